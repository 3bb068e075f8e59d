"""Kills of the service and of its engine at random moments: whatever was admitted ends once and costs what it gave.

CI runs a short form with a fixed seed; `make chaos` runs for long, with a seed that it prints.
"""

from __future__ import annotations

import random
import sqlite3
import time
import urllib.error
from contextlib import closing

import psutil
import pytest

from tests.e2e.conftest import StartService
from tests.e2e.service import Service, until

pytestmark = pytest.mark.slow

SIZES = ("192x192", "256x144", "144x256")


def _ask(service: Service, rng: random.Random, keys: dict[str, str]) -> None:
    """Send some requests; one that gets no answer is sent again with its key after the next start."""
    for _ in range(rng.randrange(1, 4)):
        keys[f"chaos-{len(keys):06}"] = f"a cat --count {rng.randrange(1, 5)} --size {rng.choice(SIZES)}"
    for key, prompt in keys.items():
        try:
            service.draw(prompt, key=key)
        except (urllib.error.URLError, ConnectionError):
            return


def _kill(service: Service, rng: random.Random) -> None:
    """Kill the service, its engine, or both, after a while."""
    time.sleep(rng.random() * 3)  # the moment is meant to be any
    children = psutil.Process(service.process.pid).children(recursive=True)
    if children and rng.random() < 0.5:
        rng.choice(children).kill()
    if not children or rng.random() < 0.7:
        service.kill()


def _run(service: Service, rng: random.Random, rounds: int) -> None:
    keys: dict[str, str] = {}
    for _ in range(rounds):
        _ask(service, rng, keys)
        _kill(service, rng)
        if not service.running:
            # Now and then in the middle of its start, too.
            service.start(ready=rng.random() < 0.7)
            until(lambda: service.status("/healthz") == 200, 60, "/healthz")
    _ask(service, rng, keys)
    with closing(sqlite3.connect(service.data / "easel.db")) as db:
        ids = [row[0] for row in db.execute("SELECT id FROM jobs")]
        for job_id in ids:
            service.finished(job_id)
        assert len(ids) == len(keys)
        open_jobs = "SELECT count(*) FROM jobs WHERE state NOT IN ('delivered', 'failed')"
        until(lambda: db.execute(open_jobs).fetchone() == (0,), 60, "every job has ended")
        wrong = db.execute(
            "SELECT id, state, count, attempts,"
            " (SELECT count(*) FROM pictures WHERE job_id = jobs.id) AS drawn,"
            " (SELECT sum(reserved) FROM ledger WHERE job_id = jobs.id) AS reserved,"
            " (SELECT sum(charged) FROM ledger WHERE job_id = jobs.id) AS charged"
            " FROM jobs WHERE reserved != 0 OR charged != drawn OR drawn != iif(state = 'delivered', count, 0)"
            # Only what was tried in vain as often as it may be has failed.
            " OR (state = 'failed' AND attempts < 3)"
        ).fetchall()
        assert wrong == []
        known = {row[0] for row in db.execute("SELECT path FROM pictures")}
    folder = service.data / "pictures"
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == known
    assert "Traceback" not in service.log


@pytest.mark.timeout(400)
def test_a_short_storm(start_service: StartService) -> None:
    _run(start_service(), random.Random(5), rounds=3)


@pytest.mark.chaos
def test_a_long_storm(start_service: StartService) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - to run it again
    _run(start_service(), random.Random(seed), rounds=60)

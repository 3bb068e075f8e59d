"""`easel serve` with two devices: both draw at the same time, and one that dies stops nobody."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.service import Service, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LONG = {"steps": "40", "size": "256x256"}


class TwoDevices(Service):
    """The service with its two engine processes and its rows."""

    def slots(self) -> dict[str, dict[str, Any]]:
        """Return the state of each device, as the owner's page shows it."""
        return {slot["id"]: slot["state"] for slot in self.call("/api/owner/device")["slots"]}

    def wait_both(self) -> None:
        """Wait until both devices are warm; the service is ready with one of them."""
        until(lambda: [state["phase"] for state in self.slots().values()] == ["warm", "warm"], 90, "two warm devices")

    def draw_two(self) -> list[int]:
        """Ask for two long pictures, and wait until both are being drawn."""
        jobs = [self.draw(prompt, **LONG) for prompt in ("a red apple", "a green frog")]
        until(lambda: all((self.card(job)["progress"] or 0) > 0 for job in jobs), 90, "both are being drawn")
        return jobs

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Read the database as it is now."""
        with closing(sqlite3.connect(f"{(self.data / 'easel.db').as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            return db.execute(sql).fetchall()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[TwoDevices]:
    made = TwoDevices(tmp_path, {"EASEL_DEVICE": "cpu,cpu"})
    made.start()
    try:
        yield made
    finally:
        made.end()


def test_two_devices_draw_at_the_same_time_and_one_that_dies_stops_nobody(service: TwoDevices) -> None:
    service.wait_both()
    slots = service.slots()
    assert {name: (state["device"], state["model"]) for name, state in slots.items()} == {
        "cpu:0": ("cpu:0", "demo"),
        "cpu:1": ("cpu:1", "demo"),
    }
    first = service.draw_two()
    dead, other = service.engines()
    dead.kill()
    until(lambda: sum(state["restarts"] for state in service.slots().values()) == 1, 30, "it is started again")
    assert service.status("/readyz") == 200, "the other device draws on"
    for job in first:
        service.finished(job)
    # The job of the device that died was drawn again; the one of the other was not, so each was on one of them.
    assert sorted(service.query("SELECT attempts FROM jobs")) == [(0,), (1,)]
    assert other.is_running()
    assert "device cpu:" in service.log

    # The service is killed while a device draws and the other one starts again: neither process stays behind.
    service.draw("a blue cat", **LONG)
    engines = service.engines()
    assert len(engines) == 2
    service.kill()
    psutil.wait_procs(engines, timeout=10)
    assert not [one for one in engines if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert service.query("SELECT state FROM jobs ORDER BY id LIMIT 2") == [("delivered",)] * 2
    assert service.query("SELECT job_id, count(*) FROM pictures GROUP BY job_id") == [(job, 1) for job in first]
    assert service.query("SELECT sum(reserved), sum(charged) FROM ledger WHERE job_id <= 2") == [(0, 2)]

"""The processes of several devices fetch one model: no byte twice, and each shows how far it is."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from engine.hub import lockfile
from engine.hub.lockfile import Pin, RepoFile
from tests.fakes.hub import Hub
from tests.unit.engine.hub.conftest import REPO, WANTED, WEIGHTS

BIG = f"transformer/{WEIGHTS}"
HELD = 200_000
"""Bytes of it after which the storage says nothing more."""

_FETCHES = """
import sys
from engine.hub.fetch import fetch
found = fetch(sys.argv[1], sys.argv[2], lambda done, total: print(done, total, flush=True))
print("found", found.path, flush=True)
"""


def test_what_one_process_fetches_the_other_waits_for_and_shows(hub: Hub, models: str) -> None:
    hub.stalls[BIG] = HELD
    with ExitStack() as stack:

        def start() -> subprocess.Popen[str]:
            command = [sys.executable, "-c", _FETCHES, REPO, models]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            return process

        def until(process: subprocess.Popen[str], least: int) -> None:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line.split()[0]) >= least:
                    return
            raise AssertionError("it has ended")

        others = sum(map(len, WANTED.values())) - len(WANTED[BIG])
        until(start(), 1)
        second = start()
        # The second one shows all that is here, and the part of the file that the first one fetches.
        until(second, others + HELD)
        del hub.stalls[BIG]
        hub.released.set()
        assert second.stdout is not None
        (*_, last, found) = second.stdout.read().splitlines()
        whole = sum(map(len, WANTED.values()))
        assert last == f"{whole} {whole}"
        folder = Path(found.removeprefix("found "))
    assert {name: (folder / name).read_bytes() for name in WANTED} == WANTED
    # What was held is asked for once more, from where it broke off.
    assert Counter(hub.downloads()) == Counter({**dict.fromkeys(WANTED, 1), BIG: 2})


def test_the_commit_that_was_chosen_first_is_used(models: str) -> None:
    first, later = (Pin(digit * 40, {"vae/config.json": RepoFile(819, digit * 40)}) for digit in "ab")
    assert lockfile.put_first(models, REPO, first) == first
    assert lockfile.put_first(models, REPO, later) == first
    assert lockfile.read(models) == {REPO: first}
    # A commit without its files was copied here, and is completed.
    lockfile.put(models, REPO, Pin("b" * 40))
    assert lockfile.put_first(models, REPO, later) == later

"""The least that a service could do with many simulated devices, in a process of its own: prints its cost as JSON.

Each device draws one picture after the other and tells its steps. Each picture becomes a durable file and two durable rows,
whose commits are shared. There are no people, queue, quotas, cards, marks and thumbnails. What Easel costs beyond this is its
own; what this costs is the machine's, and differs by a factor of three between machines.

``python -m tests.bench.bare_slots SIZE SECONDS FOLDER``; SIZE is the bytes of a picture, and what it leaves in the folder is the
caller's to delete.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from engine.contract import Image, Recipe
from tests.bench.simulated_slots import SimulatedSlots, pictures

SLOTS = 100
RAMP = 3.0
"""Seconds before those that are measured."""

TOGETHER = 32
"""Most pictures whose rows share a commit."""


class Rows:
    """A database with a row for each job and each picture. Its methods block."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT, prompt TEXT)")
        self._db.execute("CREATE TABLE pictures (job_id INTEGER, path TEXT)")

    def write(self, paths: Sequence[Path]) -> None:
        """Add the rows of pictures and commit."""
        self._db.execute("BEGIN IMMEDIATE")
        for path in paths:
            self._db.execute("INSERT INTO jobs VALUES (?, 'painted', 'a red apple on a table')", (int(path.stem),))
            self._db.execute("INSERT INTO pictures VALUES (?, ?)", (int(path.stem), path.name))
        self._db.execute("COMMIT")


def write_file(path: Path, data: bytes) -> None:
    """Write a file that survives a crash."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Bare:
    """Draws, writes files and commits rows.

    Attributes:
        stored: Number of pictures whose rows are committed.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._rows = Rows(folder / "bare.db")
        self._slots = SimulatedSlots([1.0] * SLOTS, pictures(size))
        self._numbers = itertools.count(1)
        self._written: asyncio.Queue[Path] = asyncio.Queue()
        self.stored = 0

    async def run(self) -> None:
        """Work until cancelled."""
        await self._slots.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._commit())
            for slot in self._slots.slots():
                tasks.create_task(self._draw(slot.id, tasks))

    async def _draw(self, slot: str, tasks: asyncio.TaskGroup) -> None:
        while True:
            number = next(self._numbers)
            recipe = Recipe(f"{number}:0", "demo", "a red apple on a table", "", 1024, 1024, 8, 0.0, number)
            async for event in self._slots.paint([recipe], slot=slot):
                if isinstance(event, Image):
                    tasks.create_task(self._store(self._folder / f"{number}.png", event.data))

    async def _store(self, path: Path, data: bytes) -> None:
        await asyncio.to_thread(write_file, path, data)
        self._written.put_nowait(path)

    async def _commit(self) -> None:
        while True:
            paths = [await self._written.get()]
            while len(paths) < TOGETHER and not self._written.empty():
                paths.append(self._written.get_nowait())
            await asyncio.to_thread(self._rows.write, paths)
            self.stored += len(paths)


async def measure(size: int, seconds: float, folder: Path) -> dict[str, float]:
    """Return what a picture costs the processor, in milliseconds, and the share of the ceiling."""
    bare = Bare(folder, size)
    work = asyncio.create_task(bare.run())
    await asyncio.sleep(RAMP)
    stored, cpu = bare.stored, time.process_time()
    await asyncio.sleep(seconds)
    stored, cpu = bare.stored - stored, time.process_time() - cpu
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return {
        "cpu_ms_per_picture": round(cpu * 1000 / stored, 2),
        "share_of_ceiling": round(stored / (SLOTS * seconds), 3),
    }


def main(size: str, seconds: str, folder: str) -> None:
    """Measure and print it."""
    sys.stdout.write(json.dumps(asyncio.run(measure(int(size), float(seconds), Path(folder)))))


if __name__ == "__main__":
    main(*sys.argv[1:])

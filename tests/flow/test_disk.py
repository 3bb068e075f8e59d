"""The disk is full, or the database is locked, while something is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.model.cards import Tone
from bot.model.errors import Unavailable
from bot.model.jobs import JobState
from bot.store import blobs
from tests.flow.conftest import Make

WRITE = blobs.write


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("unavailable.disk_full", "error.store.no_space"),
        ("unavailable.pictures.unwritable", "error.store.failed"),
    ],
)
async def test_a_picture_that_can_not_be_stored_is_refunded(
    make: Make, monkeypatch: pytest.MonkeyPatch, key: str, error: str
) -> None:
    async def write(folder: Path, path: str, data: bytes) -> Path:
        if path.rpartition("/")[2].startswith("1-"):
            raise Unavailable(key)
        return await WRITE(folder, path, data)

    monkeypatch.setattr(blobs, "write", write)
    bot = await make()
    job = await bot.ask(count="2")
    failed = await bot.reaches(job.id, JobState.FAILED)
    assert failed.error == error
    assert await bot.ledger(job.id) == (2, 0, 0)
    await bot.quiet()
    (seen,) = bot.chats.shown(job.id)
    assert seen.card is not None
    assert seen.card.tone is Tone.PROBLEM
    after = await bot.ask(user="2")
    await bot.delivered(after.id)


async def test_a_locked_database_is_waited_for(make: Make) -> None:
    bot = await make()
    job = await bot.ask()
    write, refused = bot.db.write, 0

    def locked() -> object:
        nonlocal refused
        if refused < 4:
            refused += 1
            raise Unavailable("unavailable.database.locked")
        return write()

    bot.db.write = locked  # type: ignore[method-assign,assignment]  # a planted fault
    await bot.delivered(job.id)
    assert refused == 4
    assert await bot.ledger(job.id) == (2, 0, 1)
    assert len(bot.chats.pictures(job.id)) == 1

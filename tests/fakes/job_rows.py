"""Rows that tests begin with."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import aiosqlite

from bot.core.jobs import JobState
from bot.core.people import Actor, Place
from bot.core.pictures import DrawnPicture
from bot.core.requests import DrawRequest
from bot.quotas.rules.limits import UsageKey
from bot.quotas.store import ledger
from bot.quotas.store import ledger as credit_rows
from bot.storage import jobs, people
from engine.contract import ImageInfo

REQUEST = DrawRequest(
    prompt="a red apple, watercolour",
    typed="a red apple",
    negative="blur",
    width=192,
    height=128,
    steps=8,
    guidance=1.5,
    seed=2**63 - 1,
    count=2,
    model="demo",
    style="watercolour",
    private=True,
    notes=("note.negative.ignored",),
    image=f"inputs/{'a' * 64}.png",
    mask=f"inputs/{'b' * 64}.png",
    strength=0.6,
    variation=0.25,
    variation_seed=2**63 - 1,
    upscale=1.5,
)


def drawn_picture(job_id: int, index: int = 0, *, path: str = "a.png", seed: int = 1, size: int = 1) -> DrawnPicture:
    """A picture to store."""
    info = ImageInfo(width=192, height=128, seconds=0.25)
    return DrawnPicture(job_id, index, seed, path, size, info)


async def add_job(
    tx: aiosqlite.Connection,
    *,
    event: str = "test:1",
    user: str = "1",
    guild: str | None = None,
    state: JobState = JobState.QUEUED,
    count: int = 2,
    now: float = 1000.0,
    reserve: bool = True,
) -> int:
    """Store a job with its person, place and reservation; returns its id."""
    person = await people.remember(tx, Actor("web", user, "Ada"), now=now)
    place_id = await people.remember_place(tx, Place("web", guild, "c"), now=now)
    job = await jobs.add(
        tx,
        jobs.NewJob(
            event=event,
            state=state,
            person_id=person.id,
            account_id=person.account_id,
            place_id=place_id,
            request=REQUEST,
            locale="en",
            asker="Ada",
            created_at=now,
        ),
    )
    if reserve:
        await ledger.reserve(tx, job_id=job.id, person_id=person.id, place_id=place_id, pictures=count, now=now)
    return job.id


async def spend(
    tx: aiosqlite.Connection, asker: UsageKey, job_id: int, pictures: int, *, by_owner: bool, now: float
) -> None:
    """Pay for a job's pictures with what somebody may spend now."""
    credits_ = await credit_rows.available_credits(tx, asker, now=now)
    await credit_rows.spend_credits(tx, credits_, job_id, pictures, by_owner=by_owner, now=now)


def damage(db: Path) -> None:
    """Overwrite a page of a table, as a bad disk does: SQLite copies such a page without a word."""
    with sqlite3.connect(db) as opened:
        (page,) = opened.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ledger'").fetchone()
        (size,) = opened.execute("PRAGMA page_size").fetchone()
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    opened.close()
    with db.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))

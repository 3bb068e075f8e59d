"""Those who ask to come in; and that an update locks nobody out who has drawn before."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bot.access.store import newcomers as access_rows
from bot.core.access import AccessDecision, SubjectKind
from bot.storage.database import Database
from bot.storage.migrate import shipped


async def test_a_person_with_earlier_pictures_is_no_newcomer(tmp_path: Path) -> None:
    path = tmp_path / "easel.db"
    async with await Database.open(path, migrations=shipped()[:2]):
        pass
    job = (
        "INSERT INTO jobs (state, event, person_id, account_id, place_id, locale, prompt, typed, width, height, steps,"
        " guidance, seed, count, model, created_at) VALUES (?, ?, ?, ?, ?, 'en', 'a', 'a', 192, 192, 8, 0.0, 7, 1, 'demo', ?)"
    )
    connection = sqlite3.connect(path)
    with connection:
        for number, (platform, user) in enumerate(
            (("discord", "d1"), ("telegram", "t1"), ("telegram", "t2"), ("web", "local")), 1
        ):
            connection.execute("INSERT INTO people VALUES (?, ?, 1.0)", (number, user))
            connection.execute(
                "INSERT INTO accounts VALUES (?, ?, ?, ?, ?, 1.0)", (number, number, platform, user, user.upper())
            )
        for number, guild in enumerate(("busy", "idle"), 1):
            connection.execute("INSERT INTO places VALUES (?, 'discord', ?, ?, 1.0)", (number, guild, guild.title()))
        for event, (state, person, place) in enumerate(
            (
                ("delivered", 1, 1),
                ("delivered", 1, 1),
                ("cancelled", 1, 2),
                ("delivered", 2, None),
                ("failed", 3, None),
                ("delivered", 4, None),
            )
        ):
            connection.execute(job, (state, str(event), person, person, place, 10.0 + event))
    connection.close()
    async with await Database.open(path) as db, db.read() as tx:
        rows = await tx.execute_fetchall("SELECT platform, kind, subject, name, state FROM access ORDER BY id")
        assert [tuple(row) for row in rows] == [
            ("discord", "place", "busy", "Busy", "allowed"),
            ("discord", "person", "d1", "D1", "allowed"),
            ("telegram", "person", "t1", "T1", "allowed"),
        ]
        assert await access_rows.count_open(tx, ("chat", "discord", "telegram")) == 0


async def test_a_second_row_of_the_same_is_the_first(db: Database) -> None:
    async with db.write() as tx:
        first = await access_rows.add_newcomer(tx, "chat", SubjectKind.PERSON, "1", name="Ada", now=1.0)
        await access_rows.set_decision(tx, first.id, AccessDecision.REFUSED, by="chat:9", now=2.0)
        again = await access_rows.add_newcomer(tx, "chat", SubjectKind.PERSON, "1", name="Not Ada", now=3.0)
        place = await access_rows.add_newcomer(tx, "chat", SubjectKind.PLACE, "1", name="A group", now=3.0)
        assert (again.id, again.name, again.verdict) == (first.id, "Ada", AccessDecision.REFUSED)
        assert place.id != first.id
        assert [n.id for n in await access_rows.open_requests(tx, ("chat",))] == [place.id]
        assert await access_rows.count_open(tx, ("chat", "discord", "telegram")) == 1

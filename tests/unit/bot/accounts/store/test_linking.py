"""Joining people on a real database: whatever belongs to one of them goes along."""

from __future__ import annotations

from bot.access.store import codes as code_rows
from bot.accounts.store import linking as account_rows
from bot.core.people import Actor
from bot.storage import people, pictures
from bot.storage.database import Database, Tx
from tests.fakes.job_rows import add_job, drawn_picture


async def pointing_to(tx: Tx, table: str) -> set[tuple[str, str]]:
    """Every column that names a row of a table."""
    names = [row[0] for row in await tx.execute_fetchall("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = set()
    for name in names:
        for row in await tx.execute_fetchall("SELECT * FROM pragma_foreign_key_list(?)", (name,)):
            if row[2] == table:
                found.add((name, str(row[3])))
    return found


async def test_whatever_names_a_person_is_moved_when_two_become_one(db: Database) -> None:
    async with db.read() as tx:
        assert await pointing_to(tx, "people") == {
            (table, "person_id") for table in (*account_rows.MOVED, *account_rows.MERGED)
        }


async def test_what_both_keep_is_kept_once(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx)
        await pictures.add(tx, drawn_picture(job_id), now=1.0)
        (picture,) = await pictures.of_job(tx, job_id)
        one = await people.remember(tx, Actor("web", "1"), now=1.0)
        other = await people.remember(tx, Actor("chat", "1"), now=1.0)
        for person in (one, other):
            await tx.execute_fetchall("INSERT INTO favourites VALUES (?, ?, ?, 1.0)", (person.id, job_id, picture.id))
            assert await people.show_once(tx, person.id, "note.demo", now=1.0)
        assert await account_rows.merge_people(tx, other.id, one.id) == one.id
        rows = list(await tx.execute_fetchall("SELECT person_id, job_id FROM favourites"))
        assert [tuple(row) for row in rows] == [(one.id, job_id)]
        assert await account_rows.platforms(tx, one.id) == {"web", "chat"}
        # Neither is shown the note again, together or apart.
        apart = await account_rows.split_account(tx, other.account_id, now=2.0)
        assert not any([await people.show_once(tx, person, "note.demo", now=3.0) for person in (one.id, apart)])


async def test_only_what_a_quota_still_looks_at_is_carried(db: Database) -> None:
    now = account_rows.CARRY_SECONDS + 5000.0
    async with db.write() as tx:
        await add_job(tx, event="old", now=1000.0)
        recent = await add_job(tx, event="recent", now=now - 10)
        one = await people.remember(tx, Actor("web", "1"), now=now)
        other = await people.remember(tx, Actor("chat", "1"), now=now)
        await account_rows.merge_people(tx, one.id, other.id)
        new = await account_rows.split_account(tx, other.account_id, now=now)
        rows = list(await tx.execute_fetchall("SELECT person_id, job_id FROM carried"))
        assert [tuple(row) for row in rows] == [(new, recent)]


async def test_wrong_codes_are_counted_from_the_first_on(db: Database) -> None:
    async with db.write() as tx:
        person = await people.remember(tx, Actor("web", "1"), now=1.0)
        assert await code_rows.attempts_left(tx, person.account_id, 0.0) == (code_rows.ATTEMPTS, 0.0)
        assert [await code_rows.count_wrong_code(tx, person.account_id, 100.0 * n) for n in range(7)] == [
            4,
            3,
            2,
            1,
            0,
            0,
            4,
        ]
        assert await code_rows.attempts_left(tx, person.account_id, 700.0) == (4, 500.0)

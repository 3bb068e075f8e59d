"""SQL of linked accounts: merges two people, and splits an account off. Neither renews quotas."""

from __future__ import annotations

import functools

from bot.core.preferences import RECIPE, RecipeRule, narrower
from bot.history import store as history_rows
from bot.storage import jobs, preferences
from bot.storage.database import Tx

CARRY_SECONDS = 9 * 86400.0
"""Older use counts under no rule: the longest window is a week, and a calendar day may begin a day earlier."""

MOVED = ("accounts", "jobs", "ledger", "credits", "exports")
"""Tables whose rows get another person when two people are merged."""

MERGED = ("favourites", "carried", "carried_credits", "person_options", "shown_notes")
"""Tables in which both people may have the same row."""


async def platforms(tx: Tx, person_id: int) -> frozenset[str]:
    """Return the platforms of a person's accounts."""
    rows = await tx.execute_fetchall("SELECT platform FROM accounts WHERE person_id = ?", (person_id,))
    return frozenset(str(row[0]) for row in rows)


async def count_accounts(tx: Tx, person_id: int) -> int:
    """Return the number of a person's accounts."""
    rows = await tx.execute_fetchall("SELECT count(*) FROM accounts WHERE person_id = ?", (person_id,))
    return int(next(iter(rows))[0])


async def person_of(tx: Tx, account_id: int) -> int:
    """Return the id of an account's person. Raises LookupError if there is no such account."""
    rows = await tx.execute_fetchall("SELECT person_id FROM accounts WHERE id = ?", (account_id,))
    for row in rows:
        return int(row[0])
    raise LookupError(f"there is no account {account_id}")


async def merge_people(tx: Tx, one: int, other: int) -> int:
    """Merge two people; return the id of the older one, which stays and gets all rows of the other."""
    stays, goes = min(one, other), max(one, other)
    # Favourites of the other's jobs are now favourites of own jobs, which the search index marks.
    crossed = [
        *await _favourites_of(tx, owner=stays, author=goes),
        *await _favourites_of(tx, owner=goes, author=stays),
    ]
    await _keep_narrower_rule(tx, stays, goes)
    for table in MERGED:
        await tx.execute_fetchall(f"UPDATE OR IGNORE {table} SET person_id = ? WHERE person_id = ?", (stays, goes))  # noqa: S608 - constants
        await tx.execute_fetchall(f"DELETE FROM {table} WHERE person_id = ?", (goes,))  # noqa: S608 - constants
    for table in MOVED:
        await tx.execute_fetchall(f"UPDATE {table} SET person_id = ? WHERE person_id = ?", (stays, goes))  # noqa: S608 - constants
    await tx.execute_fetchall("DELETE FROM people WHERE id = ?", (goes,))
    for job in await jobs.of_ids(tx, crossed):
        await history_rows.index_job(tx, job)
    return stays


async def _keep_narrower_rule(tx: Tx, stays: int, goes: int) -> None:
    """Let files tell no more than either of two people has chosen. Of their other options, those of the one who stays hold."""
    chosen = [(await preferences.of_person(tx, person)).get(RECIPE) for person in (stays, goes)]
    rules = [rule for rule in RecipeRule if rule in chosen]
    if None not in chosen and rules:
        await preferences.put(tx, stays, RECIPE, functools.reduce(narrower, rules).value)


async def split_account(tx: Tx, account_id: int, *, now: float) -> int:
    """Give an account a new person, with the account's jobs; return the new person's id.

    Recent use of each person counts against the quotas of both. Credits stay with the old person.
    """
    old = await person_of(tx, account_id)
    rows = await tx.execute_fetchall(
        "INSERT INTO people (name, created_at) SELECT name, ? FROM accounts WHERE id = ? RETURNING id",
        (now, account_id),
    )
    new = int(next(iter(rows))[0])
    await tx.execute_fetchall("UPDATE accounts SET person_id = ? WHERE id = ?", (new, account_id))
    await tx.execute_fetchall(
        "UPDATE jobs SET person_id = ? WHERE person_id = ? AND account_id = ?", (new, old, account_id)
    )
    theirs = "person_id = ? AND job_id IN (SELECT id FROM jobs WHERE person_id = ?)"
    for table in ("ledger", "favourites"):
        await tx.execute_fetchall(f"UPDATE {table} SET person_id = ? WHERE {theirs}", (new, old, new))  # noqa: S608 - constants
    await tx.execute_fetchall(
        "INSERT INTO person_options (person_id, name, value)"
        " SELECT ?, name, value FROM person_options WHERE person_id = ?",
        (new, old),
    )
    await tx.execute_fetchall(
        "INSERT INTO shown_notes (person_id, note, shown_at) SELECT ?, note, shown_at FROM shown_notes WHERE person_id = ?",
        (new, old),
    )
    await _carry(tx, old, new, now)
    return new


async def _carry(tx: Tx, old: int, new: int, now: float) -> None:
    """Let the recent use of each person count for the other too."""
    since = now - CARRY_SECONDS
    await tx.execute_fetchall(
        "DELETE FROM carried WHERE person_id = ? AND job_id IN"
        " (SELECT job_id FROM ledger WHERE ledger.job_id = carried.job_id AND counted_at <= ?)",
        (old, since),
    )
    await tx.execute_fetchall(
        "INSERT OR IGNORE INTO carried (person_id, job_id) SELECT ?, job_id FROM carried WHERE person_id = ?",
        (new, old),
    )
    for whose, reaches in ((new, old), (old, new)):
        await tx.execute_fetchall(
            "INSERT OR IGNORE INTO carried (person_id, job_id)"
            " SELECT ?, job_id FROM ledger WHERE person_id = ? AND counted_at > ? AND kind = 'reserve'",
            (reaches, whose, since),
        )
    await tx.execute_fetchall(
        "INSERT OR IGNORE INTO carried_credits (person_id, credit_id, until)"
        " SELECT ?, credit_id, until FROM carried_credits WHERE person_id = ?",
        (new, old),
    )
    await tx.execute_fetchall(
        "INSERT OR REPLACE INTO carried_credits (person_id, credit_id, until)"
        " SELECT ?, id, ? FROM credits WHERE person_id = ? AND expires_at > ? AND kind = 'borrowed'",
        (new, now, old, since),
    )


async def _favourites_of(tx: Tx, *, owner: int, author: int) -> list[int]:
    rows = await tx.execute_fetchall(
        "SELECT DISTINCT f.job_id FROM favourites f JOIN jobs j ON j.id = f.job_id"
        " WHERE f.person_id = ? AND j.person_id = ?",
        (owner, author),
    )
    return [int(row[0]) for row in rows]

"""SQL of people, their accounts, places and the options of places."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bot.core.jobs import ServiceState
from bot.core.people import Account, Actor, Person, Place
from bot.storage.database import Tx
from bot.storage.sql import JSON, RowMapper

OF_PERSON = "account_id IN (SELECT id FROM accounts WHERE person_id = ?)"
"""Condition for the rows of a person's accounts; its parameter is the person's id."""

OF_SAME_PERSON = (
    "account_id IN (SELECT id FROM accounts WHERE person_id = (SELECT person_id FROM accounts WHERE id = ?))"
)
"""The same, by the id of one of the accounts."""

_ACCOUNTS = RowMapper(Account, "accounts")
_PEOPLE = RowMapper(Person, "accounts", columns={"id": "person_id", "account_id": "id"})
_PLACES = RowMapper(Place, "places", columns={"channel": "''"}, omit={"thread", "age_restricted", "locale"})


async def remember(tx: Tx, actor: Actor, *, now: float) -> Person:
    """Return the person of an actor. A new account gets a person of its own; a changed name is stored."""
    person = await _remember(tx, actor, now=now)
    if actor.handle:
        handle = actor.handle.lower()
        # Handles change hands: only the account that was seen with it last keeps it.
        await asyncio.gather(
            tx.execute_fetchall(
                "UPDATE accounts SET handle = '' WHERE platform = ? AND handle = ? AND handle <> '' AND id <> ?",
                (actor.platform, handle, person.account_id),
            ),
            tx.execute_fetchall(
                "UPDATE accounts SET handle = ? WHERE id = ? AND handle <> ?", (handle, person.account_id, handle)
            ),
        )
    return person


async def find_by_handle(tx: Tx, platform: str, handle: str) -> Account | None:
    """Return the account that was last seen with this handle (without ``@``), or None."""
    return await _ACCOUNTS.select_one(
        tx, "WHERE platform = ? AND handle = ? AND handle <> ''", (platform, handle.lower())
    )


async def _remember(tx: Tx, actor: Actor, *, now: float) -> Person:
    person = await find(tx, actor.platform, actor.user_id)
    if person is None:
        # Concurrently: the connection's thread runs statements in order, so the last row id is the person's.
        _, rows = await asyncio.gather(
            tx.execute_fetchall("INSERT INTO people (name, created_at) VALUES (?, ?)", (actor.name, now)),
            tx.execute_fetchall(
                "INSERT INTO accounts (person_id, platform, user_id, name, created_at)"  # noqa: S608 - constants
                f" VALUES (last_insert_rowid(), ?, ?, ?, ?) RETURNING {_PEOPLE.columns}",
                (actor.platform, actor.user_id, actor.name, now),
            ),
        )
        return _PEOPLE.read(next(iter(rows)))
    if actor.name and actor.name != person.name:
        await tx.execute_fetchall("UPDATE accounts SET name = ? WHERE id = ?", (actor.name, person.account_id))
        return replace(person, name=actor.name)
    return person


async def find(tx: Tx, platform: str, user_id: str) -> Person | None:
    """Return the person of an account, or None."""
    return await _PEOPLE.select_one(tx, "WHERE platform = ? AND user_id = ?", (platform, user_id))


async def get_account(tx: Tx, account_id: int) -> Account:
    """Return an account by its id. Raises LookupError if there is none."""
    found = await _ACCOUNTS.select_one(tx, "WHERE id = ?", (account_id,))
    if found is None:
        raise LookupError(f"there is no account {account_id}")
    return found


async def show_once(tx: Tx, person_id: int, note: str, *, now: float) -> bool:
    """Store that a person is shown a note that everybody is shown once; return False if they were shown it before.

    Args:
        tx: A writing transaction.
        person_id: The person.
        note: The note's catalogue key.
        now: Unix seconds.
    """
    rows = await tx.execute_fetchall(
        "INSERT OR IGNORE INTO shown_notes (person_id, note, shown_at) VALUES (?, ?, ?) RETURNING note",
        (person_id, note, now),
    )
    return any(True for _ in rows)


async def platforms_of(tx: Tx, person_id: int) -> dict[int, str]:
    """Return the platform of each of a person's accounts, by the account's id."""
    rows = await tx.execute_fetchall("SELECT id, platform FROM accounts WHERE person_id = ?", (person_id,))
    return {int(row[0]): str(row[1]) for row in rows}


async def get_place(tx: Tx, place_id: int) -> Place:
    """Return a place by its id, without a channel. Raises LookupError if there is none."""
    found = await _PLACES.select_one(tx, "WHERE id = ?", (place_id,))
    if found is None:
        raise LookupError(f"there is no place {place_id}")
    return found


async def remember_place(tx: Tx, place: Place, *, now: float) -> int | None:
    """Store a server or group and return its id; None in direct messages and on the page."""
    if place.guild is None:
        return None
    rows = await tx.execute_fetchall(
        "INSERT INTO places (platform, guild, name, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (platform, guild) DO UPDATE SET name = coalesce(nullif(excluded.name, ''), name) RETURNING id",
        (place.platform, place.guild, place.name, now),
    )
    return int(next(iter(rows))[0])


async def find_place(tx: Tx, place: Place) -> int | None:
    """Return the id of a server or group; None if it is not stored, and in direct messages and on the page."""
    rows = await tx.execute_fetchall(
        "SELECT id FROM places WHERE platform = ? AND guild = ?", (place.platform, place.guild)
    )
    return next((int(row[0]) for row in rows), None)


async def all_owners(tx: Tx) -> tuple[tuple[str, str], ...]:
    """Return the platform and user id of each owner."""
    rows = await tx.execute_fetchall("SELECT platform, user_id FROM owners")
    return tuple((str(row[0]), str(row[1])) for row in rows)


async def get_owner(tx: Tx, platform: str, user_id: str) -> tuple[str, str] | None:
    """Return an owner's name and locale; None if the account is no owner's."""
    rows = await tx.execute_fetchall(
        "SELECT name, locale FROM owners WHERE platform = ? AND user_id = ?", (platform, user_id)
    )
    return next(((str(row[0]), str(row[1])) for row in rows), None)


async def owner_locale(tx: Tx, platform: str, user_id: str) -> str:
    """Return the locale for messages to an owner: that of their last request, else of their claim, else English."""
    rows = await tx.execute_fetchall(
        "SELECT locale FROM jobs WHERE person_id = (SELECT person_id FROM accounts WHERE platform = ? AND user_id = ?)"
        " ORDER BY id DESC LIMIT 1",
        (platform, user_id),
    )
    for row in rows:
        return str(row[0])
    owner = await get_owner(tx, platform, user_id)
    return (owner[1] if owner else "") or "en"


async def put_owner(tx: Tx, platform: str, user_id: str, name: str, *, locale: str, now: float) -> None:
    """Store an owner. ``locale`` is the locale of the account when it claimed the bot."""
    await tx.execute_fetchall(
        "INSERT INTO owners (platform, user_id, name, locale, since) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (platform, user_id) DO UPDATE SET name = excluded.name, locale = excluded.locale",
        (platform, user_id, name, locale, now),
    )


async def remove_owner(tx: Tx, platform: str, user_id: str) -> None:
    """Remove an owner."""
    await tx.execute_fetchall("DELETE FROM owners WHERE platform = ? AND user_id = ?", (platform, user_id))


SERVICE = 0
"""Place id of the options of the whole service."""

STATE = "state"
"""Name of the service's option that holds its ServiceState."""


@dataclass(frozen=True, slots=True)
class _Option:
    place_id: int
    name: str
    value: object


_OPTIONS = RowMapper(_Option, "options", converters={"value": JSON})


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a place and of the whole service.

    Attributes:
        here: Values that the place's admins have set, by name.
        everywhere: Values that the owners have set, by name.
    """

    here: Mapping[str, object] = field(default_factory=dict)
    everywhere: Mapping[str, object] = field(default_factory=dict)

    def binding(self, name: str) -> object:
        """Return the effective value: the place's, else the service's, else None."""
        value = self.here.get(name)
        return self.everywhere.get(name) if value is None else value

    @property
    def state(self) -> ServiceState:
        """The state that the owners have set."""
        value = self.everywhere.get(STATE)
        return ServiceState(value) if isinstance(value, str) and value in set(ServiceState) else ServiceState.RUN


async def get_option(tx: Tx, place_id: int, name: str) -> object:
    """Return an option's value; None if it is not set."""
    rows = await tx.execute_fetchall("SELECT value FROM options WHERE place_id = ? AND name = ?", (place_id, name))
    return next((json.loads(row[0]) for row in rows), None)


async def read_options(tx: Tx, place_id: int | None) -> Options:
    """Return the options of a place and of the service; with None, only those of the service."""
    rows = await _OPTIONS.select(tx, "WHERE place_id IN (?, ?)", (SERVICE, place_id))
    return Options(
        here={row.name: row.value for row in rows if row.place_id != SERVICE},
        everywhere={row.name: row.value for row in rows if row.place_id == SERVICE},
    )


async def put_option(tx: Tx, place_id: int, name: str, value: object) -> None:
    """Set an option; None removes it."""
    if value is None:
        await tx.execute_fetchall("DELETE FROM options WHERE place_id = ? AND name = ?", (place_id, name))
        return
    await tx.execute_fetchall(
        "INSERT INTO options (place_id, name, value) VALUES (?, ?, ?)"
        " ON CONFLICT (place_id, name) DO UPDATE SET value = excluded.value",
        (place_id, name, JSON.write(value)),
    )


async def get_service_state(tx: Tx) -> ServiceState:
    """Return the state that the owners have set."""
    return (await read_options(tx, None)).state


_FREE = "NOT EXISTS (SELECT 1 FROM places WHERE platform = ?1 AND guild = ?3)"
_RULES = (
    "UPDATE OR IGNORE policies SET place = ?3, channel = CASE channel WHEN ?2 THEN ?3 ELSE channel END"
    " WHERE by_owner IN (0, 1) AND coalesce(platform, '') = ?1 AND coalesce(place, '') = ?2"
)
# The subjects of changes name the place too; otherwise they could not be undone.
_SUBJECT = (
    "json_replace(subject, '$.place', ?3, '$.channel',"
    " CASE json_extract(subject, '$.channel') WHEN ?2 THEN ?3 ELSE json_extract(subject, '$.channel') END)"
)
_CHANGES = (
    "UPDATE audit SET place = ?3, subject = CASE WHEN json_valid(subject) AND json_extract(subject, '$.place') = ?2"  # noqa: S608
    f" THEN {_SUBJECT} ELSE subject END WHERE platform = ?1 AND place = ?2"
)
_DEFAULTS = (
    "UPDATE OR IGNORE options SET name = 'defaults:' || ?3 WHERE name = 'defaults:' || ?2"
    " AND place_id = (SELECT id FROM places WHERE platform = ?1 AND guild = ?3)"
)
_STATEMENTS = (
    f"UPDATE places SET guild = ?3 WHERE platform = ?1 AND guild = ?2 AND {_FREE}",  # noqa: S608 - constants
    "UPDATE OR IGNORE access SET subject = ?3 WHERE platform = ?1 AND kind = 'place' AND subject = ?2",
    _RULES,
    _DEFAULTS,
    _CHANGES,
)


async def move_place(tx: Tx, platform: str, old: str, new: str) -> None:
    """Move a place's rules, access decision, options, bans and changes to another id. Repeating it changes nothing.

    Args:
        tx: A writing transaction.
        platform: The platform.
        old: The guild's old id.
        new: Its new id. Rows that exist under it already stay as they are.
    """
    for statement in _STATEMENTS:
        await tx.execute_fetchall(statement, (platform, old, new))

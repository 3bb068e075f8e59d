"""SQL of sessions and one-time links to sign in."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.people import Place
from bot.core.sign_in import Session, SignInLink, SignInLinkKind, SignInMethod
from bot.storage import people
from bot.storage.database import Tx
from bot.storage.people import OF_SAME_PERSON
from bot.storage.sql import RowMapper


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session's row with its account."""

    id: int
    account_id: int
    method: SignInMethod
    token_digest: str
    place_id: int | None
    created_at: float
    used_at: float
    platform: str
    user_id: str
    name: str


_STORED = RowMapper(
    StoredSession,
    columns={
        name: f"{alias}.{name}"
        for alias, names in {
            "s": ("id", "account_id", "method", "token_digest", "place_id", "created_at", "used_at"),
            "a": ("platform", "user_id", "name"),
        }.items()
        for name in names
    },
)
_SESSIONS = RowMapper(Session, "sessions")
_LINKS = RowMapper(SignInLink, "sign_in_links")


async def add_session(
    tx: Tx,
    account_id: int,
    digest: str,
    method: SignInMethod,
    *,
    now: float,
    token_digest: str = "",
    place_id: int | None = None,
    browser: str = "",
) -> int:
    """Store a session; returns its number."""
    rows = await tx.execute_fetchall(
        "INSERT INTO sessions (digest, account_id, method, token_digest, place_id, browser, created_at, used_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (digest, account_id, method.value, token_digest, place_id, browser, now, now),
    )
    return int(next(iter(rows))[0])


async def get_session(tx: Tx, digest: str) -> StoredSession | None:
    """Return a session with its account, or None."""
    return await _STORED.fetch_one(
        tx,
        f"SELECT {_STORED.columns} FROM sessions s JOIN accounts a ON a.id = s.account_id WHERE s.digest = ?",  # noqa: S608
        (digest,),
    )


async def touch_session(tx: Tx, session_id: int, now: float) -> None:
    """Record that a session was used."""
    await tx.execute_fetchall("UPDATE sessions SET used_at = ? WHERE id = ?", (now, session_id))


async def sessions_of(tx: Tx, account_id: int, *, used_since: float, created_since: float) -> tuple[Session, ...]:
    """Return the live sessions of an account's person, the last used first."""
    return await _SESSIONS.select(
        tx,
        f"WHERE {OF_SAME_PERSON} AND used_at > ? AND created_at > ? ORDER BY used_at DESC, id DESC",
        (account_id, used_since, created_since),
    )


async def remove_session(tx: Tx, digest: str) -> None:
    """Delete a session, if there is one."""
    await tx.execute_fetchall("DELETE FROM sessions WHERE digest = ?", (digest,))


async def remove_session_of(tx: Tx, account_id: int, session_id: int) -> bool:
    """Delete a session of an account's person; returns whether there was one."""
    cursor = await tx.execute(f"DELETE FROM sessions WHERE {OF_SAME_PERSON} AND id = ?", (account_id, session_id))  # noqa: S608
    return cursor.rowcount == 1


async def remove_sessions_of(tx: Tx, account_id: int, *, but: int | None = None) -> None:
    """Delete all sessions of an account's person but one, and their links from chats."""
    await tx.execute_fetchall(f"DELETE FROM sessions WHERE {OF_SAME_PERSON} AND id IS NOT ?", (account_id, but))  # noqa: S608
    await tx.execute_fetchall(f"DELETE FROM sign_in_links WHERE {OF_SAME_PERSON} AND kind = 'chat'", (account_id,))  # noqa: S608


async def expire(tx: Tx, *, now: float, used_since: float, created_since: float) -> None:
    """Delete sessions and links that are no longer valid."""
    await tx.execute_fetchall("DELETE FROM sessions WHERE used_at <= ? OR created_at <= ?", (used_since, created_since))
    await tx.execute_fetchall("DELETE FROM sign_in_links WHERE expires_at <= ? OR used_at IS NOT NULL", (now,))


async def add_link(
    tx: Tx,
    kind: SignInLinkKind,
    digest: str,
    *,
    created_by: str,
    now: float,
    expires_at: float,
    account_id: int | None = None,
    place_id: int | None = None,
    name: str = "",
    quota: str = "",
) -> int:
    """Store a link; returns its number. A link from a chat replaces the earlier ones of its account."""
    if kind is SignInLinkKind.CHAT:
        await tx.execute_fetchall("DELETE FROM sign_in_links WHERE kind = 'chat' AND account_id = ?", (account_id,))
    rows = await tx.execute_fetchall(
        "INSERT INTO sign_in_links (kind, digest, account_id, place_id, name, quota, created_by, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (kind.value, digest, account_id, place_id, name, quota, created_by, now, expires_at),
    )
    return int(next(iter(rows))[0])


async def get_link(tx: Tx, digest: str, now: float) -> SignInLink | None:
    """Return a link that is valid, or None."""
    return await _LINKS.select_one(tx, "WHERE digest = ? AND used_at IS NULL AND expires_at > ?", (digest, now))


async def use_link(tx: Tx, link_id: int, now: float) -> None:
    """Use a link up."""
    await tx.execute_fetchall("UPDATE sign_in_links SET used_at = ? WHERE id = ?", (now, link_id))


async def invitations(tx: Tx, now: float) -> tuple[SignInLink, ...]:
    """Return the invitations that are valid, the newest first."""
    return await _LINKS.select(
        tx, "WHERE kind = 'invitation' AND used_at IS NULL AND expires_at > ? ORDER BY id DESC", (now,)
    )


async def remove_invitation(tx: Tx, link_id: int, now: float) -> bool:
    """Delete an invitation that is valid; returns whether there was one."""
    cursor = await tx.execute(
        "DELETE FROM sign_in_links WHERE id = ? AND kind = 'invitation' AND used_at IS NULL AND expires_at > ?",
        (link_id, now),
    )
    return cursor.rowcount == 1


async def place_of(tx: Tx, session: StoredSession) -> Place | None:
    """Return the place whose admin opened the session; None if there is none."""
    return None if session.place_id is None else await people.get_place(tx, session.place_id)

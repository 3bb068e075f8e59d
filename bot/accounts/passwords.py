"""Passwords: hashed with Argon2, checked at sign-in, and changed by their owners."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from bot.accounts.sessions import SessionService
from bot.accounts.store import credentials as rows
from bot.accounts.store import sign_in as session_rows
from bot.core.errors import BadInput, NotAllowed
from bot.core.ports import Clock
from bot.core.sign_in import NewSession, SignInMethod
from bot.core.texts import lower
from bot.storage.database import Transactions, Tx

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LEAST, MOST = 10, 256
"""Shortest and longest password, in characters."""

_LOGIN = re.compile(r"[\w.@+-]{2,40}")


def checked_login(typed: str) -> str:
    """Return the name to sign in with, in NFKC and in lower case. Raises BadInput."""
    login = lower(typed)
    if not _LOGIN.fullmatch(login):
        raise BadInput("refusal.password.login")
    return login


def checked_password(login: str, typed: str) -> str:
    """Return a new password in NFKC. Raises BadInput if it is too short, too long or the name itself."""
    password = unicodedata.normalize("NFKC", typed)
    if not LEAST <= len(password) <= MOST:
        raise BadInput("refusal.password.length", low=LEAST, high=MOST)
    if lower(password) == login or len(set(password)) < LEAST // 2:
        raise BadInput("refusal.password.weak")
    return password


async def put_password(tx: Tx, account_id: int, login: str, hashed: str, now: float) -> None:
    """Store an account's password. Raises BadInput if the name is another account's."""
    taken = await rows.get_password(tx, login)
    if taken is not None and taken.account_id != account_id:
        raise BadInput("refusal.password.taken", name=login)
    await rows.put_password(tx, account_id, login, hashed, now)


class PasswordService:
    """Hashes and checks passwords. One at a time: each takes 64 MiB and about 50 ms of every core."""

    def __init__(self, db: Transactions, clock: Clock, sessions: SessionService) -> None:
        self._db = db
        self._clock = clock
        self._sessions = sessions
        self._turn = asyncio.Lock()
        self._nobody = ""

    async def hashed(self, password: str) -> str:
        """Return the hash of a password that was checked."""
        async with self._turn:
            return await asyncio.to_thread(_hash, password)

    async def sign_in(self, login: str, typed: str, *, browser: str = "", replaces: str = "") -> NewSession:
        """Open a session by name and password.

        Raises:
            NotAllowed: The name or the password is wrong, or the person is banned everywhere.
        """
        password = unicodedata.normalize("NFKC", typed)[: MOST + 1]
        async with self._db.read() as tx:
            stored = await rows.get_password(tx, lower(login))
        if stored is None:
            # As slow as for a name that exists, so that the time tells nobody which names do.
            self._nobody = self._nobody or await self.hashed("nobody's password")
            await self._matches(self._nobody, password)
            raise NotAllowed("refusal.password.wrong")
        if not await self._matches(stored.hash, password):
            raise NotAllowed("refusal.password.wrong")
        renewed = await self.hashed(password) if _is_outdated(stored.hash) else None
        async with self._db.write() as tx:
            # Changed meanwhile: the typed one is no longer right.
            if await rows.get_password(tx, stored.login) != stored:
                raise NotAllowed("refusal.password.wrong")
            if renewed is not None:
                await rows.put_hash(tx, stored.account_id, stored.hash, renewed)
            return await self._sessions.open(
                tx, stored.account_id, SignInMethod.PASSWORD, browser=browser, replaces=replaces
            )

    async def login_of(self, account_id: int) -> str:
        """Return the name that an account's person signs in with; empty without a password."""
        async with self._db.read() as tx:
            stored = await rows.password_of(tx, account_id)
        return "" if stored is None else stored.login

    async def change(self, account_id: int, old: str, new: str, *, session_id: int | None) -> None:
        """Change the password of an account's person; all their other sessions end.

        Raises:
            BadInput: The new one is too short, too long or too simple.
            NotAllowed: The old one is wrong, or there is none.
        """
        async with self._db.read() as tx:
            stored = await rows.password_of(tx, account_id)
        if stored is None or not await self._matches(stored.hash, unicodedata.normalize("NFKC", old)[: MOST + 1]):
            raise NotAllowed("refusal.password.old")
        hashed = await self.hashed(checked_password(stored.login, new))
        async with self._db.write() as tx:
            await rows.put_password(tx, stored.account_id, stored.login, hashed, self._clock.now())
            await session_rows.remove_sessions_of(tx, account_id, but=session_id)

    async def _matches(self, hashed: str, password: str) -> bool:
        async with self._turn:
            return await asyncio.to_thread(_verified, hashed, password)


@cache
def _hasher() -> PasswordHasher:
    # Imported when a password is first used: an Easel without passwords saves 4 MiB.
    from argon2 import PasswordHasher  # noqa: PLC0415 - see above

    return PasswordHasher()


def _hash(password: str) -> str:
    return _hasher().hash(password)


def _is_outdated(hashed: str) -> bool:
    return _hasher().check_needs_rehash(hashed)


def _verified(hashed: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415 - as above

    try:
        return _hasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False

"""Passkeys of accounts: stored, listed, used to sign in, removed. The page verifies what browsers send."""

from __future__ import annotations

from dataclasses import replace

from bot.accounts.sessions import SessionService
from bot.accounts.store import credentials as rows
from bot.core.errors import BadInput, NotAllowed, NotFound
from bot.core.ports import Clock
from bot.core.sign_in import NewSession, Passkey, SignInMethod
from bot.storage.database import Transactions, Tx

MOST = 20
"""Most passkeys of one person."""


async def add_passkey(tx: Tx, passkey: Passkey) -> None:
    """Store a verified passkey of its account.

    Raises:
        BadInput: It is registered already.
        NotAllowed: The person has the most passkeys.
    """
    if len(await rows.passkeys_of(tx, passkey.account_id)) >= MOST:
        raise NotAllowed("refusal.passkey.most", n=MOST)
    if not await rows.add_passkey(tx, passkey):
        raise BadInput("refusal.passkey.known")


class PasskeyService:
    """Keeps the public halves of passkeys."""

    def __init__(self, db: Transactions, clock: Clock, sessions: SessionService) -> None:
        self._db = db
        self._clock = clock
        self._sessions = sessions

    async def add(self, account_id: int, passkey: Passkey) -> None:
        """Store a verified passkey, which has no account yet. Raises as ``add_passkey`` does."""
        async with self._db.write() as tx:
            await add_passkey(tx, replace(passkey, account_id=account_id, created_at=self._clock.now()))

    async def find(self, credential_id: str) -> Passkey:
        """Return the passkey with a browser's id. Raises NotAllowed if there is none."""
        async with self._db.read() as tx:
            found = await rows.get_passkey(tx, credential_id)
        if found is None:
            raise NotAllowed("refusal.passkey.unknown")
        return found

    async def list(self, account_id: int) -> tuple[Passkey, ...]:
        """Return the passkeys of an account's person, the oldest first."""
        async with self._db.read() as tx:
            return await rows.passkeys_of(tx, account_id)

    async def sign_in(self, passkey: Passkey, sign_count: int, *, browser: str = "", replaces: str = "") -> NewSession:
        """Open a session of a passkey whose signature was verified.

        Args:
            passkey: As it was when the signature was verified.
            sign_count: The authenticator's counter in that signature.
            browser: As in ``SessionService.open``.
            replaces: As there.

        Raises:
            NotAllowed: It was removed or used meanwhile, or the person is banned everywhere.
        """
        async with self._db.write() as tx:
            if await rows.get_passkey(tx, passkey.credential_id) != passkey:
                raise NotAllowed("refusal.passkey.unknown")
            await rows.use_passkey(tx, passkey.id, sign_count, self._clock.now())
            return await self._sessions.open(
                tx, passkey.account_id, SignInMethod.PASSKEY, browser=browser, replaces=replaces
            )

    async def remove(self, account_id: int, passkey_id: int) -> None:
        """Remove a passkey of an account's person. Raises NotFound."""
        async with self._db.write() as tx:
            if not await rows.remove_passkey(tx, account_id, passkey_id):
                raise NotFound("refusal.passkey.none")

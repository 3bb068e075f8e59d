"""Invitations: an owner's links with which people set up a password or a passkey, for a new account or one of theirs."""

from __future__ import annotations

from dataclasses import replace

from bot.accounts import page_accounts, passkeys, passwords
from bot.accounts.passwords import PasswordService
from bot.accounts.sessions import SessionService
from bot.accounts.store import sign_in as rows
from bot.accounts.tokens import digest_of, new_token
from bot.audit import store as audit_rows
from bot.audit.changes import actor_label
from bot.audit.store import AuditEntry
from bot.core.errors import BadInput, NotFound
from bot.core.people import Actor
from bot.core.ports import Clock
from bot.core.sign_in import NewSession, Passkey, SignInLink, SignInLinkKind, SignInMethod
from bot.core.texts import clean
from bot.quotas.rules.terms import parse_terms
from bot.storage.database import Transactions, Tx

DAYS = 7.0
"""Lifetime of an invitation in days, unless another one is given."""

MOST_DAYS = 90.0
MAX_NAME = 40
"""Longest name of an account, in characters."""


class InvitationService:
    """Creates, lists, withdraws and redeems invitations."""

    def __init__(
        self, db: Transactions, clock: Clock, sessions: SessionService, password_service: PasswordService
    ) -> None:
        self._db = db
        self._clock = clock
        self._sessions = sessions
        self._passwords = password_service

    async def create(self, by: Actor, *, name: str = "", quota: str = "", person: str = "", days: float = DAYS) -> str:
        """Return the token of a new invitation, for an owner. It is secret: never log it.

        Args:
            by: The owner.
            name: The name that the new account is suggested; empty for none.
            quota: A rule of its own, such as ``20/day``; empty: the usual rules apply.
            person: An account that exists (``telegram:123``, ``web:member-...``), which gets the password or passkey; empty: a
                new account.
            days: Its lifetime.

        Raises:
            BadInput: The rule can't be read, is given for a person, or the lifetime is out of range.
            NotFound: There is no such account.
        """
        if not 0 < days <= MOST_DAYS:
            raise BadInput("refusal.invitation.days", n=round(MOST_DAYS))
        if quota:
            parse_terms(quota)
            if person:
                raise BadInput("refusal.invitation.quota")
        now = self._clock.now()
        token = new_token()
        name = _name(name)
        async with self._db.write() as tx:
            account_id = None
            if person:
                found = await page_accounts.find(tx, person)
                account_id, name = found.account_id, found.name
            await rows.add_link(
                tx,
                SignInLinkKind.INVITATION,
                digest_of(token),
                created_by=actor_label(by),
                now=now,
                expires_at=now + days * 86400,
                account_id=account_id,
                name=name,
                quota=quota,
            )
            await audit_rows.add(
                tx, AuditEntry(now, actor_label(by), "invite", before="—", after=person or name or "?")
            )
        return token

    async def list(self) -> tuple[SignInLink, ...]:
        """Return the invitations that are still valid, the newest first."""
        async with self._db.read() as tx:
            return await rows.invitations(tx, self._clock.now())

    async def withdraw(self, by: Actor, number: int) -> None:
        """Make an invitation invalid. Raises NotFound."""
        now = self._clock.now()
        async with self._db.write() as tx:
            if not await rows.remove_invitation(tx, number, now):
                raise NotFound("refusal.invitation.none")
            await audit_rows.add(tx, AuditEntry(now, actor_label(by), "invite withdraw", before=str(number)))

    async def find(self, token: str) -> SignInLink:
        """Return an invitation without using it. Raises NotFound."""
        async with self._db.read() as tx:
            return await self._valid(tx, token)

    async def accept_with_password(
        self, token: str, name: str, login: str, password: str, *, browser: str = "", replaces: str = ""
    ) -> NewSession:
        """Set a password and open a session.

        Args:
            token: The invitation's.
            name: The new account's name; empty: the name to sign in with.
            login: The name to sign in with.
            password: As typed.
            browser: As in ``SessionService.open``.
            replaces: As there.

        Raises:
            NotFound: There is no such invitation, or it was used or has expired.
            BadInput: The name or the password can't be used.
            NotAllowed: The person is banned everywhere.
        """
        login = passwords.checked_login(login)
        password = passwords.checked_password(login, password)
        await self.find(token)
        hashed = await self._passwords.hashed(password)
        now = self._clock.now()
        async with self._db.write() as tx:
            account_id = await self._redeem(tx, token, _name(name) or login, now)
            await passwords.put_password(tx, account_id, login, hashed, now)
            # Who had the old password is out.
            await rows.remove_sessions_of(tx, account_id)
            return await self._sessions.open(tx, account_id, SignInMethod.PASSWORD, browser=browser, replaces=replaces)

    async def accept_with_passkey(
        self, token: str, name: str, passkey: Passkey, *, browser: str = "", replaces: str = ""
    ) -> NewSession:
        """Store a verified passkey, whose account is not known yet, and open a session. Raises as for a password."""
        now = self._clock.now()
        async with self._db.write() as tx:
            account_id = await self._redeem(tx, token, _name(name), now)
            await passkeys.add_passkey(tx, replace(passkey, account_id=account_id, created_at=now))
            return await self._sessions.open(tx, account_id, SignInMethod.PASSKEY, browser=browser, replaces=replaces)

    async def _valid(self, tx: Tx, token: str) -> SignInLink:
        found = await rows.get_link(tx, digest_of(token), self._clock.now())
        if found is None or found.kind is not SignInLinkKind.INVITATION:
            raise NotFound("refusal.sign_in.link")
        return found

    async def _redeem(self, tx: Tx, token: str, name: str, now: float) -> int:
        """Use an invitation up; returns the row of its account, which is made if there is none."""
        link = await self._valid(tx, token)
        await rows.use_link(tx, link.id, now)
        if link.account_id is not None:
            return link.account_id
        terms = parse_terms(link.quota) if link.quota else None
        name = name or link.name or "Easel"
        return (await page_accounts.add(tx, "member", name, terms, by=link.created_by, now=now)).account_id


def _name(typed: str) -> str:
    name = " ".join(clean(typed).split())
    if len(name) > MAX_NAME:
        raise BadInput("refusal.invitation.name", n=MAX_NAME)
    return name

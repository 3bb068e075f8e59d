"""Sessions: opened at a sign-in, renewed by use, ended by signing out or by time; and one-time links from chats."""

from __future__ import annotations

import contextlib

from bot.accounts.store import sign_in as rows
from bot.accounts.tokens import digest_of, new_token
from bot.core.access import Owners
from bot.core.errors import NotFound, Unavailable
from bot.core.people import Actor, Place
from bot.core.ports import Clock
from bot.core.sign_in import PAGE, PAGE_OWNER, Identity, NewSession, Session, SignInLink, SignInLinkKind, SignInMethod
from bot.moderation import checks
from bot.storage import people
from bot.storage.database import Transactions, Tx

IDLE_SECONDS = 14 * 86400.0
"""A session ends after this long without a request."""

LONGEST_SECONDS = 90 * 86400.0
"""A session ends this long after the sign-in, however much it is used."""

ADMIN_SECONDS = 86400.0
"""An admin's link from a server or group gives the rights there for this long: who is an admin may change at any time."""

LINK_SECONDS = 600.0
"""Lifetime of a link from a chat."""

TOUCH_SECONDS = 60.0
"""Use is recorded to this precision, so that not every request writes."""


class SessionService:
    """Opens, checks and ends sessions."""

    def __init__(self, db: Transactions, clock: Clock, owners: Owners) -> None:
        self._db = db
        self._clock = clock
        self._owners = owners

    def actor(self, platform: str, user_id: str, name: str) -> Actor:
        """Return an account as it acts on the page: with an owner's rights where it has them, never as an admin."""
        if (platform, user_id) == (PAGE_OWNER.platform, PAGE_OWNER.user_id):
            return PAGE_OWNER
        owner = user_id in self._owners.ids(platform)
        return Actor(platform, user_id, name, is_admin=owner, is_owner=owner)

    async def open_by_token(self, page_token: str, *, browser: str = "", replaces: str = "") -> NewSession:
        """Open a session of the page's owner, who has shown the page's token."""
        now = self._clock.now()
        async with self._db.write() as tx:
            person = await people.remember(tx, PAGE_OWNER, now=now)
            return await self.open(
                tx,
                person.account_id,
                SignInMethod.TOKEN,
                browser=browser,
                replaces=replaces,
                token_digest=digest_of(page_token),
            )

    async def open(
        self,
        tx: Tx,
        account_id: int,
        method: SignInMethod,
        *,
        browser: str = "",
        replaces: str = "",
        token_digest: str = "",
        place_id: int | None = None,
    ) -> NewSession:
        """Open a session.

        Args:
            tx: A writing transaction.
            account_id: Whose.
            method: How they proved who they are.
            browser: The browser's name, as the list of sessions shows it; data.
            replaces: Token of the session that the browser had; it ends, so that no earlier secret stays valid.
            token_digest: Digest of the page's token, for TOKEN.
            place_id: The place whose admin asked for the link there.

        Raises:
            NotAllowed: The person is banned everywhere.
        """
        now = self._clock.now()
        account = await people.get_account(tx, account_id)
        actor = self.actor(account.platform, account.user_id, account.name)
        await checks.check_actor(tx, actor, PAGE, now=now, everywhere=True)
        await rows.expire(tx, now=now, used_since=now - IDLE_SECONDS, created_since=now - LONGEST_SECONDS)
        if replaces:
            await rows.remove_session(tx, digest_of(replaces))
        token = new_token()
        await rows.add_session(
            tx,
            account_id,
            digest_of(token),
            method,
            now=now,
            token_digest=token_digest,
            place_id=place_id,
            browser=browser,
        )
        return NewSession(token, account_id, account.name)

    async def identity(self, token: str, page_token: str) -> Identity | None:
        """Return whom a session's token stands for; None if there is no such session, or it has ended.

        Args:
            token: From the browser's cookie.
            page_token: The page's token; a session that another token has opened is no longer valid.

        Raises:
            NotAllowed: The person is banned everywhere.
        """
        now = self._clock.now()
        async with self._db.read() as tx:
            found = await rows.get_session(tx, digest_of(token))
            if found is None or not _alive(found, now):
                return None
            if found.method is SignInMethod.TOKEN and found.token_digest != digest_of(page_token):
                return None
            actor = self.actor(found.platform, found.user_id, found.name)
            await checks.check_actor(tx, actor, PAGE, now=now, everywhere=True)
            admin_of = await rows.place_of(tx, found) if now - found.created_at < ADMIN_SECONDS else None
        if abs(now - found.used_at) > TOUCH_SECONDS:
            # While the disk is full, what is stored can still be looked at.
            with contextlib.suppress(Unavailable):
                async with self._db.write() as tx:
                    await rows.touch_session(tx, found.id, now)
        return Identity(actor, found.method, found.account_id, session_id=found.id, admin_of=admin_of)

    async def list(self, account_id: int) -> tuple[Session, ...]:
        """Return the sessions of an account's person, the last used first."""
        now = self._clock.now()
        async with self._db.read() as tx:
            return await rows.sessions_of(
                tx, account_id, used_since=now - IDLE_SECONDS, created_since=now - LONGEST_SECONDS
            )

    async def end(self, account_id: int, session_id: int) -> None:
        """End one session of an account's person. Raises NotFound."""
        async with self._db.write() as tx:
            if not await rows.remove_session_of(tx, account_id, session_id):
                raise NotFound("refusal.session.none")

    async def close(self, token: str) -> None:
        """End the session of a token, if there is one."""
        async with self._db.write() as tx:
            await rows.remove_session(tx, digest_of(token))

    async def end_all(self, account_id: int) -> None:
        """End all sessions of an account's person, and their links from chats."""
        async with self._db.write() as tx:
            await rows.remove_sessions_of(tx, account_id)

    async def find_link(self, token: str) -> SignInLink:
        """Return a one-time link without using it. Raises NotFound if there is none, or it was used or has expired."""
        async with self._db.read() as tx:
            return await _link(tx, token, self._clock.now())

    async def open_by_link(self, token: str, *, browser: str = "", replaces: str = "") -> NewSession:
        """Use a link from a chat up and open a session of the account that asked for it.

        Raises:
            NotFound: There is no such link, or it was used or has expired.
            NotAllowed: The person is banned everywhere.
        """
        now = self._clock.now()
        async with self._db.write() as tx:
            link = await _link(tx, token, now)
            if link.kind is not SignInLinkKind.CHAT or link.account_id is None:
                raise NotFound("refusal.sign_in.link")
            await rows.use_link(tx, link.id, now)
            return await self.open(
                tx, link.account_id, SignInMethod.LINK, browser=browser, replaces=replaces, place_id=link.place_id
            )


async def create_chat_link(tx: Tx, actor: Actor, place: Place, *, admin: bool, now: float) -> str:
    """Return the token of a new link that signs an account of a chat in. It is secret: never log it.

    Args:
        tx: A writing transaction.
        actor: The account.
        place: Where it asked.
        admin: Whether it is an admin of that place.
        now: Unix seconds.
    """
    person = await people.remember(tx, actor, now=now)
    place_id = await people.remember_place(tx, place, now=now) if admin else None
    token = new_token()
    await rows.add_link(
        tx,
        SignInLinkKind.CHAT,
        digest_of(token),
        created_by=f"{actor.platform}:{actor.user_id}",
        now=now,
        expires_at=now + LINK_SECONDS,
        account_id=person.account_id,
        place_id=place_id,
        name=person.name,
    )
    return token


async def _link(tx: Tx, token: str, now: float) -> SignInLink:
    found = await rows.get_link(tx, digest_of(token), now)
    if found is None:
        raise NotFound("refusal.sign_in.link")
    return found


def _alive(session: rows.StoredSession, now: float) -> bool:
    # Times in the future were stored before the clock was set back.
    return now - session.used_at < IDLE_SECONDS and now - session.created_at < LONGEST_SECONDS

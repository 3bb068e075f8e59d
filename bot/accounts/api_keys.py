"""API keys: each acts as an account, its own or a person's; created, listed, checked and revoked."""

from __future__ import annotations

import contextlib

from bot.accounts import page_accounts
from bot.accounts.sessions import TOUCH_SECONDS
from bot.accounts.store import credentials as rows
from bot.accounts.tokens import digest_of, new_token
from bot.audit import store as audit_rows
from bot.audit.changes import actor_label
from bot.audit.store import AuditEntry
from bot.core.errors import BadInput, NotAllowed, NotFound, Unavailable
from bot.core.people import Actor
from bot.core.ports import Clock
from bot.core.sign_in import KEY_PREFIX, PAGE, ApiKey, Identity, NewKey, SignInMethod
from bot.core.texts import clean, shown
from bot.moderation import checks
from bot.quotas.rules.terms import parse_terms
from bot.storage import people
from bot.storage.database import Transactions, Tx

MAX_NAME = 40
"""Longest name of a key, in characters."""

MAX_OWN = 10
"""Most valid keys of one person that they have made themselves."""

_SHOWN_LETTERS = 5


class KeyService:
    """Creates, lists, checks and revokes API keys. A key never has an owner's rights."""

    def __init__(self, db: Transactions, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def create(self, by: Actor, name: str, *, quota: str = "", person: str = "") -> NewKey:
        """Create a key for an owner.

        Args:
            by: The owner.
            name: Its name; a valid key's name is unique.
            quota: A rule of its own, such as ``20/day``; empty: the usual rules apply.
            person: The account that it acts as (``telegram:123``); empty: an account of its own.

        Raises:
            BadInput: The name is empty, too long or taken; the rule can't be read; or a rule is given for a person, who has
                rules of their own.
            NotFound: Nobody has drawn anything by that account yet.
        """
        name = _checked(name)
        terms = parse_terms(quota) if quota else None
        if terms is not None and person:
            raise BadInput("refusal.key.quota")
        now = self._clock.now()
        async with self._db.write() as tx:
            if person:
                account = await page_accounts.find(tx, person)
            else:
                account = await page_accounts.add(tx, "key", name, terms, by=actor_label(by), now=now)
            return await self._add(tx, account.account_id, name, by, now)

    async def create_own(self, by: Actor, account_id: int, name: str) -> NewKey:
        """Create a key that acts as the person's own account.

        Raises:
            BadInput: The name is empty, too long or taken.
            NotAllowed: They have the most keys already.
        """
        name = _checked(name)
        now = self._clock.now()
        async with self._db.write() as tx:
            if len(await rows.keys_of(tx, account_id)) >= MAX_OWN:
                raise NotAllowed("refusal.key.most", n=MAX_OWN)
            return await self._add(tx, account_id, name, by, now)

    async def _add(self, tx: Tx, account_id: int, name: str, by: Actor, now: float) -> NewKey:
        key = new_token(KEY_PREFIX)
        prefix = key[: len(KEY_PREFIX) + _SHOWN_LETTERS]
        label = actor_label(by)
        number = await rows.add_key(tx, account_id, digest_of(key), name, prefix, created_by=label, now=now)
        if number is None:
            raise BadInput("refusal.key.taken", name=name)
        await audit_rows.add(tx, AuditEntry(now, label, "key create", before="—", after=name))
        account = await people.get_account(tx, account_id)
        info = ApiKey(number, name, prefix, account.platform, account.user_id, label, now, None, None)
        return NewKey(key, info)

    async def list_all(self) -> tuple[ApiKey, ...]:
        """Return all keys, those that are valid first."""
        async with self._db.read() as tx:
            return await rows.all_keys(tx)

    async def list_own(self, account_id: int) -> tuple[ApiKey, ...]:
        """Return the valid keys that act as an account's person."""
        async with self._db.read() as tx:
            return await rows.keys_of(tx, account_id)

    async def revoke(self, by: Actor, name: str) -> ApiKey:
        """Revoke a key by its name or number, for an owner. Raises NotFound if no valid key has it."""
        now = self._clock.now()
        async with self._db.write() as tx:
            found = await rows.find_key(tx, name.strip())
            if found is None:
                raise NotFound("refusal.key.none", name=shown(name))
            await self._revoke(tx, found, by, now)
        return found

    async def revoke_own(self, by: Actor, account_id: int, number: int) -> None:
        """Revoke a key that acts as an account's person. Raises NotFound."""
        now = self._clock.now()
        async with self._db.write() as tx:
            found = next((key for key in await rows.keys_of(tx, account_id) if key.id == number), None)
            if found is None:
                raise NotFound("refusal.key.none", name=str(number))
            await self._revoke(tx, found, by, now)

    async def _revoke(self, tx: Tx, key: ApiKey, by: Actor, now: float) -> None:
        await rows.revoke_key(tx, key.id, now)
        await audit_rows.add(tx, AuditEntry(now, actor_label(by), "key revoke", before=key.name))

    async def identity(self, key: str) -> Identity | None:
        """Return whom a key stands for; None if it is no valid key.

        Raises:
            NotAllowed: The person is banned everywhere.
        """
        now = self._clock.now()
        async with self._db.read() as tx:
            found = await rows.key_account(tx, digest_of(key))
            if found is None:
                return None
            actor = Actor(found.platform, found.user_id, found.name)
            await checks.check_actor(tx, actor, PAGE, now=now, everywhere=True)
        if found.used_at is None or abs(now - found.used_at) > TOUCH_SECONDS:
            # While the disk is full, what is stored can still be looked at.
            with contextlib.suppress(Unavailable):
                async with self._db.write() as tx:
                    await rows.touch_key(tx, found.id, now)
        return Identity(actor, SignInMethod.KEY, found.account_id, key_id=found.id)


def _checked(name: str) -> str:
    name = " ".join(clean(name).split())
    if not 1 <= len(name) <= MAX_NAME:
        raise BadInput("refusal.key.name", n=MAX_NAME)
    if name.isdigit():
        # Keys are revoked by name or by number.
        raise BadInput("refusal.key.number")
    return name

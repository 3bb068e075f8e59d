"""One person, several accounts: joined by a short code that one of them asks for and the other types, and parted again."""

from __future__ import annotations

from bot.access import store as access_rows
from bot.access.store import CodeKind
from bot.accounts import store as account_rows
from bot.context import AppContext
from bot.core.errors import BadInput, NotAllowed
from bot.core.people import Actor
from bot.storage import people
from bot.storage.database import Tx


async def ask(ctx: AppContext, actor: Actor) -> str:
    """Make a code that joins another account to this one: for its owner's eyes alone, and for no log."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        return await access_rows.create_code(tx, CodeKind.LINK, person.account_id, now)


async def join(ctx: AppContext, actor: Actor, typed: str) -> str:
    """Make one person of the account that acts and the one whose code it types; returns that account's name.

    Raises:
        BadInput: The code is wrong (says how many tries are left), it is the account's own, or they are one already.
        NotAllowed: Both have an account on the same platform, or too many wrong codes were typed.
    """
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        tries, wait = await access_rows.attempts_left(tx, person.account_id, now)
        if not tries:
            raise NotAllowed("refusal.link.wait", wait=wait)
        redeemed = await access_rows.redeem_code(tx, CodeKind.LINK, typed, now)
        if redeemed.found and redeemed.account_id is not None:
            return await _join(tx, person.id, redeemed.account_id)
        tries = await access_rows.count_wrong_code(tx, person.account_id, now)
        _, wait = await access_rows.attempts_left(tx, person.account_id, now)
    # After the commit: a wrong code has cost its try.
    if tries:
        raise BadInput("refusal.link.wrong", n=tries)
    raise NotAllowed("refusal.link.wait", wait=wait)


async def unlink(ctx: AppContext, actor: Actor) -> None:
    """Give the account that acts a person of its own, with what was asked for by it. Raises NotAllowed."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        if await account_rows.count_accounts(tx, person.id) < 2:
            raise NotAllowed("refusal.unlink.single")
        await account_rows.split_account(tx, person.account_id, now=now)


async def _join(tx: Tx, person_id: int, account_id: int) -> str:
    # A refusal from here on undoes the transaction: the code is not used up by it.
    other = await account_rows.person_of(tx, account_id)
    if other == person_id:
        raise BadInput("refusal.link.same")
    if await account_rows.platforms(tx, other) & await account_rows.platforms(tx, person_id):
        raise NotAllowed("refusal.link.platform")
    await account_rows.merge_people(tx, other, person_id)
    return (await people.get_account(tx, account_id)).name

"""One person, several accounts: joined by a short code that one of them asks for and the other types, and parted again."""

from __future__ import annotations

from bot.model.errors import BadInput, NotAllowed
from bot.model.people import Actor
from bot.store import codes, guesses, joining, people
from bot.store.codes import CodeKind
from bot.store.database import Tx
from bot.usecases.house import House


async def ask(house: House, actor: Actor) -> str:
    """Make a code that joins another account to this one: for its owner's eyes alone, and for no log."""
    now = house.clock.now()
    async with house.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        return await codes.create(tx, CodeKind.LINK, person.account_id, now)


async def join(house: House, actor: Actor, typed: str) -> str:
    """Make one person of the account that acts and the one whose code it types; returns that account's name.

    Raises:
        BadInput: The code is wrong (says how many tries are left), it is the account's own, or they are one already.
        NotAllowed: Both have an account on the same platform, or too many wrong codes were typed.
    """
    now = house.clock.now()
    async with house.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        tries, wait = await guesses.left(tx, person.account_id, now)
        if not tries:
            raise NotAllowed("refusal.link.wait", wait=wait)
        redeemed = await codes.redeem(tx, CodeKind.LINK, typed, now)
        if redeemed.found and redeemed.account_id is not None:
            return await _join(tx, person.id, redeemed.account_id)
        tries = await guesses.wrong(tx, person.account_id, now)
        _, wait = await guesses.left(tx, person.account_id, now)
    # After the commit: a wrong code has cost its try.
    if tries:
        raise BadInput("refusal.link.wrong", n=tries)
    raise NotAllowed("refusal.link.wait", wait=wait)


async def part(house: House, actor: Actor) -> None:
    """Give the account that acts a person of its own, with what was asked for by it. Raises NotAllowed."""
    now = house.clock.now()
    async with house.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        if await joining.accounts(tx, person.id) < 2:
            raise NotAllowed("refusal.unlink.single")
        await joining.part(tx, person.account_id, now=now)


async def _join(tx: Tx, person_id: int, account_id: int) -> str:
    # A refusal from here on undoes the transaction: the code is not used up by it.
    other = await joining.owner_of(tx, account_id)
    if other == person_id:
        raise BadInput("refusal.link.same")
    if await joining.platforms(tx, other) & await joining.platforms(tx, person_id):
        raise NotAllowed("refusal.link.platform")
    await joining.join(tx, other, person_id)
    return (await people.account(tx, account_id)).name

"""Whose the bot is: a code that the operator reads at the machine, typed to the bot, makes its sender an owner."""

from __future__ import annotations

from dataclasses import replace

from bot.model.access import Guest, Verdict
from bot.model.errors import BadInput, NotAllowed
from bot.model.people import Actor
from bot.ports import Clock
from bot.store import access, codes, guesses, people
from bot.store.codes import CodeKind
from bot.store.database import Database
from bot.usecases import changes, newcomers, owners
from bot.usecases.changes import Change
from bot.usecases.house import House


async def code(db: Database, clock: Clock) -> str:
    """Make the one claim code there is, for ten minutes; for the operator's eyes alone, and for no log."""
    async with db.write() as tx:
        return await codes.create(tx, CodeKind.CLAIM, None, clock.now())


async def claim(house: House, actor: Actor, typed: str) -> bool:
    """Make the sender an owner; it counts at once. Returns whether that changed anything: owners need no code.

    Wrong codes are counted by person, so that a stranger's guesses don't end the owner's code. When many people guess,
    each has a single try in ten minutes: it slows them down, and lets in who types the right one.

    Raises:
        BadInput: The code is wrong; says how many tries are left.
        NotAllowed: This person has typed too many wrong codes; says when to try again.
    """
    if actor.is_owner:
        return False
    async with house.db.write() as tx:
        now = house.clock.now()
        person = await people.remember(tx, actor, now=now)
        tries, wait = await guesses.left(tx, person.account_id, now)
        if not tries or (tries < guesses.TRIES and await codes.is_guessed_much(tx, now)):
            raise NotAllowed("refusal.claim.wait", wait=wait)
        redeemed = await codes.redeem(tx, CodeKind.CLAIM, typed, now)
        if redeemed.found:
            subject = {"platform": actor.platform, "user_id": actor.user_id}
            value = {"name": actor.name, "locale": actor.locale}
            await changes.make(
                tx, Change(owners.OWNER, "claim", subject, value, None), by=changes.by_of(actor), now=now
            )
        elif redeemed.live:
            tries = await guesses.wrong(tx, person.account_id, now)
            _, wait = await guesses.left(tx, person.account_id, now)
    # After the commit: a wrong code has cost its try.
    if not redeemed.found:
        if not redeemed.live:
            raise BadInput("refusal.claim.none")
        if tries and redeemed.tries_left:
            raise BadInput("refusal.claim.wrong", n=tries)
        raise NotAllowed("refusal.claim.wait", wait=wait)
    await owners.refresh(house.db, house.owners)
    await _serve(house, replace(actor, is_owner=True))
    house.backlog.asked()
    return True


async def _serve(house: House, owner: Actor) -> None:
    """Who has asked for a picture and then claims the bot waits for nobody's answer."""
    async with house.db.read() as tx:
        own = await access.find(tx, owner.platform, Guest.PERSON, owner.user_id)
    if own is not None and own.verdict is Verdict.ASKED:
        await newcomers.allow(house, owner, own.id)

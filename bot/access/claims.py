"""Whose the bot is: a code that the operator reads at the machine, typed to the bot, makes its sender an owner."""

from __future__ import annotations

from dataclasses import replace

from bot.access import newcomers, owner_changes
from bot.access.store import code_attempts, codes
from bot.access.store import requests as access_rows
from bot.access.store.codes import CodeKind
from bot.audit import changes
from bot.audit.changes import Change
from bot.context import AppContext
from bot.core.access import AccessDecision, SubjectKind
from bot.core.errors import BadInput, NotAllowed
from bot.core.people import Actor
from bot.core.ports import Clock
from bot.storage import people
from bot.storage.database import Database


async def code(db: Database, clock: Clock) -> str:
    """Make the one claim code there is, for ten minutes; for the operator's eyes alone, and for no log."""
    async with db.write() as tx:
        return await codes.create(tx, CodeKind.CLAIM, None, clock.now())


async def claim(ctx: AppContext, actor: Actor, typed: str) -> bool:
    """Make the sender an owner; it counts at once. Returns whether that changed anything: owners need no code.

    Wrong codes are counted by person, so that a stranger's guesses don't end the owner's code. When many people guess,
    each has a single try in ten minutes: it slows them down, and lets in who types the right one.

    Raises:
        BadInput: The code is wrong; says how many tries are left.
        NotAllowed: This person has typed too many wrong codes; says when to try again.
    """
    if actor.is_owner:
        return False
    async with ctx.db.write() as tx:
        now = ctx.clock.now()
        person = await people.remember(tx, actor, now=now)
        tries, wait = await code_attempts.left(tx, person.account_id, now)
        if not tries or (tries < code_attempts.TRIES and await codes.is_guessed_much(tx, now)):
            raise NotAllowed("refusal.claim.wait", wait=wait)
        redeemed = await codes.redeem(tx, CodeKind.CLAIM, typed, now)
        if redeemed.found:
            subject = {"platform": actor.platform, "user_id": actor.user_id}
            value = {"name": actor.name, "locale": actor.locale}
            await changes.make(
                tx, Change(owner_changes.OWNER, "claim", subject, value, None), by=changes.by_of(actor), now=now
            )
        elif redeemed.live:
            tries = await code_attempts.wrong(tx, person.account_id, now)
            _, wait = await code_attempts.left(tx, person.account_id, now)
    # After the commit: a wrong code has cost its try.
    if not redeemed.found:
        if not redeemed.live:
            raise BadInput("refusal.claim.none")
        if tries and redeemed.tries_left:
            raise BadInput("refusal.claim.wrong", n=tries)
        raise NotAllowed("refusal.claim.wait", wait=wait)
    await owner_changes.refresh(ctx.db, ctx.owners)
    await _serve(ctx, replace(actor, is_owner=True))
    ctx.backlog.asked()
    return True


async def _serve(ctx: AppContext, owner: Actor) -> None:
    """Who has asked for a picture and then claims the bot waits for nobody's answer."""
    async with ctx.db.read() as tx:
        own = await access_rows.find(tx, owner.platform, SubjectKind.PERSON, owner.user_id)
    if own is not None and own.verdict is AccessDecision.ASKED:
        await newcomers.allow(ctx, owner, own.id)

"""Owners: the claim code, and the live list of owners."""

from __future__ import annotations

from dataclasses import replace

from bot.access import newcomers
from bot.access import store as access_rows
from bot.access import store as code_attempts
from bot.access import store as codes
from bot.access.store import CodeKind
from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.context import AppContext
from bot.core.access import AccessDecision, Owners, SubjectKind
from bot.core.errors import BadInput, NotAllowed
from bot.core.people import Actor
from bot.core.ports import Clock
from bot.storage import people
from bot.storage import people as rows
from bot.storage.database import Transactions, Tx


async def refresh_owners(db: Transactions, owners: Owners) -> None:
    """Read who has claimed the bot: at start, and whenever the rows may have changed."""
    async with db.read() as tx:
        owners.claimed(await rows.all_owners(tx))


async def _get(tx: Tx, subject: Subject) -> Value:
    found = await rows.get_owner(tx, str(subject["platform"]), str(subject["user_id"]))
    return None if found is None else {"name": found[0], "locale": found[1]}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:  # noqa: ARG001 - the log has it
    platform, user_id = str(subject["platform"]), str(subject["user_id"])
    if value is None:
        await rows.remove_owner(tx, platform, user_id)
    else:
        await rows.put_owner(tx, platform, user_id, str(value["name"]), locale=str(value["locale"]), now=now)


OWNER = Undoable("owner", _get, _put)
"""Subject: ``platform`` and ``user_id``. Value: ``{"name": ..., "locale": ...}``.
Whoever makes or undoes such a change calls ``refresh`` after it.
"""


async def claim_code(db: Transactions, clock: Clock) -> str:
    """Make the one claim code there is, for ten minutes; for the operator's eyes alone, and for no log."""
    async with db.write() as tx:
        return await codes.create_code(tx, CodeKind.CLAIM, None, clock.now())


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
        tries, wait = await code_attempts.attempts_left(tx, person.account_id, now)
        if not tries or (tries < code_attempts.ATTEMPTS and await codes.is_guessed_often(tx, now)):
            raise NotAllowed("refusal.claim.wait", wait=wait)
        redeemed = await codes.redeem_code(tx, CodeKind.CLAIM, typed, now)
        if redeemed.found:
            subject = {"platform": actor.platform, "user_id": actor.user_id}
            value = {"name": actor.name, "locale": actor.locale}
            await changes.apply_change(
                tx, Change(OWNER, "claim", subject, value, None), by=changes.actor_label(actor), now=now
            )
        elif redeemed.live:
            tries = await code_attempts.count_wrong_code(tx, person.account_id, now)
            _, wait = await code_attempts.attempts_left(tx, person.account_id, now)
    # After the commit: a wrong code has cost its try.
    if not redeemed.found:
        if not redeemed.live:
            raise BadInput("refusal.claim.none")
        if tries and redeemed.tries_left:
            raise BadInput("refusal.claim.wrong", n=tries)
        raise NotAllowed("refusal.claim.wait", wait=wait)
    await refresh_owners(ctx.db, ctx.owners)
    await _serve(ctx, replace(actor, is_owner=True))
    ctx.backlog.access_requested()
    return True


async def _serve(ctx: AppContext, owner: Actor) -> None:
    """Who has asked for a picture and then claims the bot waits for nobody's answer."""
    async with ctx.db.read() as tx:
        own = await access_rows.find_newcomer(tx, owner.platform, SubjectKind.PERSON, owner.user_id)
    if own is not None and own.verdict is AccessDecision.ASKED:
        await newcomers.allow(ctx, owner, own.id)

"""Claims of ownership: the claim code, and the live list of owners."""

from __future__ import annotations

from dataclasses import replace

from bot.access import newcomers
from bot.access.store import codes as code_rows
from bot.access.store import newcomers as access_rows
from bot.access.store.codes import CodeKind
from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.context import AppContext
from bot.core.access import AccessDecision, Owners, SubjectKind
from bot.core.errors import BadInput, NotAllowed
from bot.core.people import Actor
from bot.core.ports import Clock
from bot.storage import people
from bot.storage.database import Transactions, Tx


async def refresh_owners(db: Transactions, owners: Owners) -> None:
    """Reload the owners that have claimed the bot: at start, and after every change."""
    async with db.read() as tx:
        owners.claimed(await people.all_owners(tx))


async def _get(tx: Tx, subject: Subject) -> Value:
    found = await people.get_owner(tx, str(subject["platform"]), str(subject["user_id"]))
    return None if found is None else {"name": found[0], "locale": found[1]}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:  # noqa: ARG001 - the log has it
    platform, user_id = str(subject["platform"]), str(subject["user_id"])
    if value is None:
        await people.remove_owner(tx, platform, user_id)
    else:
        await people.put_owner(tx, platform, user_id, str(value["name"]), locale=str(value["locale"]), now=now)


OWNER = Undoable("owner", _get, _put)
"""Subject: ``platform`` and ``user_id``. Value: ``{"name": ..., "locale": ...}``.
After such a change or its undo, call ``refresh_owners``.
"""


async def claim_code(db: Transactions, clock: Clock) -> str:
    """Return a new claim code, which replaces the previous one and lives ten minutes. Secret: never log it."""
    async with db.write() as tx:
        return await code_rows.create_code(tx, CodeKind.CLAIM, None, clock.now())


async def claim(ctx: AppContext, actor: Actor, typed: str) -> bool:
    """Make the actor an owner, at once. Returns False if they are one already.

    Wrong codes count per person, so that a stranger's guesses do not use up the code. When many people guess, each has
    one try in ten minutes.

    Raises:
        BadInput: The code is wrong; says how many tries are left.
        NotAllowed: The person has typed too many wrong codes; says when to try again.
    """
    if actor.is_owner:
        return False
    async with ctx.db.write() as tx:
        now = ctx.clock.now()
        person = await people.remember(tx, actor, now=now)
        tries, wait = await code_rows.attempts_left(tx, person.account_id, now)
        if not tries or (tries < code_rows.ATTEMPTS and await code_rows.is_guessed_often(tx, now)):
            raise NotAllowed("refusal.claim.wait", wait=wait)
        redeemed = await code_rows.redeem_code(tx, CodeKind.CLAIM, typed, now)
        if redeemed.found:
            subject = {"platform": actor.platform, "user_id": actor.user_id}
            value = {"name": actor.name, "locale": actor.locale}
            await changes.apply_change(
                tx, Change(OWNER, "claim", subject, value, None), by=changes.actor_label(actor), now=now
            )
        elif redeemed.live:
            tries = await code_rows.count_wrong_code(tx, person.account_id, now)
            _, wait = await code_rows.attempts_left(tx, person.account_id, now)
    # Raise after the commit, so that a wrong code uses up a try.
    if not redeemed.found:
        if not redeemed.live:
            raise BadInput("refusal.claim.none")
        if tries and redeemed.tries_left:
            raise BadInput("refusal.claim.wrong", n=tries)
        raise NotAllowed("refusal.claim.wait", wait=wait)
    await refresh_owners(ctx.db, ctx.owners)
    await _allow_own_requests(ctx, replace(actor, is_owner=True))
    ctx.backlog.access_requested()
    return True


async def _allow_own_requests(ctx: AppContext, owner: Actor) -> None:
    """Allow the new owner's own requests, which were held until an owner answers."""
    async with ctx.db.read() as tx:
        own = await access_rows.find_newcomer(tx, owner.platform, SubjectKind.PERSON, owner.user_id)
    if own is not None and own.verdict is AccessDecision.ASKED:
        await newcomers.allow(ctx, owner, own.id)

"""People for an owner: search, what they use, bans, credits, and the answers to newcomers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.access import newcomers
from bot.access.newcomers import AnswerResult
from bot.access.store import newcomers as access_rows
from bot.context import AppContext
from bot.core.access import AccessDecision, AccessRequest, guarded
from bot.core.durations import is_for_good, parse_span
from bot.core.errors import BadInput, NotFound
from bot.core.people import Account, Actor, Place
from bot.core.quotas import CreditKind
from bot.moderation import bans
from bot.moderation.bans import BanTarget
from bot.owner import store
from bot.owner.store import FoundPerson, PersonBan, PersonTotals
from bot.quotas import service as quota_service
from bot.quotas.service import GivenCredits

MOST_NEWCOMERS = 50
"""Most newcomers that are listed; more are counted."""

MAX_TEXT = 100
"""Longest text of a search, in characters."""


@dataclass(frozen=True, slots=True)
class PersonView:
    """A person.

    Attributes:
        accounts: Their accounts, the first one first.
        bans: The bans that hold.
        totals: What they have here.
        is_owner: Whether one of the accounts is an owner's.
    """

    accounts: Sequence[FoundPerson]
    bans: Sequence[PersonBan]
    totals: PersonTotals
    is_owner: bool


@dataclass(frozen=True, slots=True)
class WaitingNewcomers:
    """The newcomers that wait for an answer, oldest first, and how many wait in all."""

    requests: Sequence[AccessRequest]
    total: int


def everywhere(actor: Actor, guild: str | None = None, platform: str = "") -> Place:
    """Return the place of an owner's change: a server or group, or without one the whole service."""
    return Place(actor.platform, None, "") if guild is None else Place(platform, guild, "")


async def search(ctx: AppContext, text: str, *, banned: bool) -> tuple[FoundPerson, ...]:
    """Return the accounts that a text finds: part of a name or handle, or an id; the newest where it is empty.

    Raises:
        BadInput: The text is too long.
    """
    if len(text) > MAX_TEXT:
        raise BadInput("refusal.web.body", problem=f"q: 0 … {MAX_TEXT}")
    async with ctx.db.read() as tx:
        return await store.find_people(tx, text.strip(), now=ctx.clock.now(), banned=banned)


async def person(ctx: AppContext, person_id: int) -> PersonView:
    """Return a person. Raises NotFound."""
    now = ctx.clock.now()
    async with ctx.db.read() as tx:
        accounts = await store.accounts_of(tx, person_id, now=now)
        if not accounts:
            raise NotFound("refusal.person_unknown", person=str(person_id))
        found_bans = await store.bans_of(tx, person_id, now=now)
        totals = await store.totals_of(tx, person_id)
    owner = any(one.user_id in ctx.owners.of(one.platform) for one in accounts)
    return PersonView(accounts, found_bans, totals, owner)


async def ban(ctx: AppContext, actor: Actor, account: Account, *, guild: str | None, span: str, reason: str) -> int:
    """Ban an account's person from a server or group, or everywhere; returns how many waiting jobs were cancelled.

    Args:
        ctx: The use cases' context.
        actor: The owner.
        account: The account.
        guild: The place on the account's platform; None: everywhere.
        span: For how long, as typed; empty for good.
        reason: In the owner's words; empty for none.

    Raises:
        BadInput: The span can't be read.
        NotAllowed: It is an owner's account.
    """
    seconds = None if not span.strip() or is_for_good(span) else parse_span(span)
    place = everywhere(actor, guild, account.platform)
    target = BanTarget(account.platform, account.user_id)
    return await bans.ban(ctx, actor, place, target, seconds=seconds, reason=reason.strip())


async def unban(ctx: AppContext, actor: Actor, account: Account, *, guild: str | None) -> None:
    """Lift a ban. Raises NotFound."""
    target = BanTarget(account.platform, account.user_id)
    await bans.unban(ctx, actor, everywhere(actor, guild, account.platform), target)


async def give_credits(
    ctx: AppContext, actor: Actor, account: Account, *, event: str, number: str, span: str, kind: CreditKind
) -> GivenCredits:
    """Grant or lend pictures that count everywhere; the same event again gives nothing more.

    Raises:
        BadInput: A value can't be read.
        NotFound: There is no such person.
    """
    return await quota_service.give_credits(
        ctx,
        actor,
        everywhere(actor),
        event=event,
        person=f"{account.platform}:{account.user_id}",
        number=number,
        span=span.strip() or None,
        kind=kind,
    )


async def waiting_newcomers(ctx: AppContext) -> WaitingNewcomers:
    """Return the newcomers that wait for an answer, each with their first request."""
    async with ctx.db.read() as tx:
        found = await access_rows.open_requests(tx, guarded(ctx.access_modes))
        shown = [await access_rows.access_request(tx, one) for one in found[:MOST_NEWCOMERS]]
    return WaitingNewcomers(shown, len(found))


async def answer(
    ctx: AppContext, actor: Actor, number: int, verdict: AccessDecision, rule: str | None = None
) -> AnswerResult:
    """Allow a newcomer, with a quota of their own where a rule is given, or refuse them.

    Raises:
        NotFound: There is no such newcomer.
        BadInput: The rule can't be read, or an answer was given already.
    """
    if verdict is AccessDecision.REFUSED:
        return await newcomers.refuse(ctx, actor, number, first=True)
    return await newcomers.allow(ctx, actor, number, rule, first=True)

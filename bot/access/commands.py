"""Commands of access: claim the bot, and answer access requests."""

from __future__ import annotations

from bot.access import cards as access_cards
from bot.access import claims, newcomers
from bot.access.cards import ALLOW, ALLOW_FEW, REFUSE
from bot.access.newcomers import AnswerResult
from bot.cards.i18n import text
from bot.commands.arguments import NUMBER
from bot.commands.model import Arg, ArgType, Command, Invocation, Permission
from bot.context import AppContext
from bot.core.access import FEW
from bot.core.cards import Card, Tone
from bot.core.errors import BadInput
from bot.core.texts import bounded, shown


async def _waiting(ctx: AppContext, invocation: Invocation) -> Card:
    requests, total = await newcomers.list_requests(ctx)
    return access_cards.requests_card(requests, total, invocation.actor.locale)


async def _allow(ctx: AppContext, invocation: Invocation) -> Card:
    return await _allowed(ctx, invocation, invocation.args.get("rule"))


async def _allow_few(ctx: AppContext, invocation: Invocation) -> Card:
    return await _allowed(ctx, invocation, FEW)


async def _allowed(ctx: AppContext, invocation: Invocation, rule: str | None) -> Card:
    # A button may be old: it must not change an answer.
    first = invocation.press is not None
    answered = await newcomers.allow(ctx, invocation.actor, _number(invocation), rule, first=first)
    return await _card(ctx, answered, invocation.actor.locale)


async def _refuse(ctx: AppContext, invocation: Invocation) -> Card:
    answered = await newcomers.refuse(ctx, invocation.actor, _number(invocation), first=invocation.press is not None)
    return await _card(ctx, answered, invocation.actor.locale)


async def _claim(ctx: AppContext, invocation: Invocation) -> Card:
    new = await claims.claim(ctx, invocation.actor, invocation.args["code"])
    sentence = text(invocation.actor.locale, "card.claimed" if new else "card.claimed.already")
    return Card(Tone.INFO, sentence, private=True, final=True)


async def _card(ctx: AppContext, answered: AnswerResult, locale: str) -> Card:
    newcomer, moved = answered.newcomer, answered.moved
    jobs = len(moved.queued)
    result = access_cards.answer_text(newcomer, jobs, locale, rule=answered.rule)
    requests, total = await newcomers.list_requests(ctx)
    return access_cards.requests_card(requests, total, locale, result=result, about=newcomer)


def _number(invocation: Invocation) -> int:
    """Return the number of an access request."""
    if invocation.press is not None:
        return invocation.press.job_id
    typed = invocation.args["number"].strip().removeprefix("#")
    number = bounded(typed, low=0)
    if number is None:
        raise BadInput("refusal.access.number", value=shown(typed))
    return number


COMMANDS = (
    Command(name="owner waiting", permission=Permission.OWNER, handler=_waiting, listed=False, default=True),
    Command(
        name="owner allow",
        permission=Permission.OWNER,
        handler=_allow,
        args=(NUMBER, Arg("rule", ArgType.TEXT, required=False)),
        action=ALLOW,
        updates=True,
    ),
    Command(action=ALLOW_FEW, permission=Permission.OWNER, handler=_allow_few, updates=True),
    Command(
        name="owner refuse",
        permission=Permission.OWNER,
        handler=_refuse,
        args=(NUMBER,),
        action=REFUSE,
        updates=True,
    ),
    # A claim makes somebody an owner, whom no ban binds.
    Command(
        name="claim",
        permission=Permission.ANYBODY,
        handler=_claim,
        args=(Arg("code", ArgType.WORD),),
        personal=True,
        listed=False,
        limited_tries=True,
        while_banned=True,
    ),
)

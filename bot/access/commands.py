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


async def _waiting(ctx: AppContext, call: Invocation) -> Card:
    requests, total = await newcomers.list_requests(ctx)
    return access_cards.requests_card(requests, total, call.actor.locale)


async def _allow(ctx: AppContext, call: Invocation) -> Card:
    return await _allowed(ctx, call, call.args.get("rule"))


async def _allow_few(ctx: AppContext, call: Invocation) -> Card:
    return await _allowed(ctx, call, FEW)


async def _allowed(ctx: AppContext, call: Invocation, rule: str | None) -> Card:
    # A button may be old: it must not change an answer.
    first = call.press is not None
    answered = await newcomers.allow(ctx, call.actor, _number(call), rule, first=first)
    return await _card(ctx, answered, call.actor.locale)


async def _refuse(ctx: AppContext, call: Invocation) -> Card:
    answered = await newcomers.refuse(ctx, call.actor, _number(call), first=call.press is not None)
    return await _card(ctx, answered, call.actor.locale)


async def _claim(ctx: AppContext, call: Invocation) -> Card:
    new = await claims.claim(ctx, call.actor, call.args["code"])
    sentence = text(call.actor.locale, "card.claimed" if new else "card.claimed.already")
    return Card(Tone.INFO, sentence, private=True, final=True)


async def _card(ctx: AppContext, answered: AnswerResult, locale: str) -> Card:
    newcomer, moved = answered.newcomer, answered.moved
    jobs = len(moved.queued)
    result = access_cards.answer_text(newcomer, jobs, locale, rule=answered.rule)
    requests, total = await newcomers.list_requests(ctx)
    return access_cards.requests_card(requests, total, locale, result=result, about=newcomer)


def _number(call: Invocation) -> int:
    """Return the number of an access request."""
    if call.press is not None:
        return call.press.job_id
    typed = call.args["number"].strip().removeprefix("#")
    number = bounded(typed, low=0)
    if number is None:
        raise BadInput("refusal.access.number", value=shown(typed))
    return number


COMMANDS = (
    Command(name="easel waiting", permission=Permission.OWNER, handler=_waiting),
    Command(
        name="easel allow",
        permission=Permission.OWNER,
        handler=_allow,
        args=(NUMBER, Arg("rule", ArgType.TEXT, required=False)),
        action=ALLOW,
        updates=True,
    ),
    Command(action=ALLOW_FEW, permission=Permission.OWNER, handler=_allow_few, updates=True),
    Command(
        name="easel refuse",
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
        while_banned=True,
    ),
)

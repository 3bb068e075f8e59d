"""Who may come in: claiming the bot, and answering strangers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.access import cards as present
from bot.access import claims, newcomers
from bot.access.newcomers import Answered
from bot.cards.i18n import text
from bot.commands.model import Invocation
from bot.context import AppContext
from bot.core.access import FEW
from bot.core.cards import Action, ButtonPress, Card, Tone
from bot.core.errors import BadInput
from bot.core.people import Actor
from bot.core.texts import bounded, shown


async def press(ctx: AppContext, actor: Actor, what: ButtonPress) -> Card:
    """Answer a newcomer by a button; the list of those who still wait takes the place of the card that it was on.

    Raises NotAllowed, NotFound and BadInput as ``newcomers.allow`` does.
    """
    if what.action is Action.REFUSE:
        answered = await newcomers.refuse(ctx, actor, what.job_id, first=True)
    else:
        rule = FEW if what.action is Action.ALLOW_FEW else None
        answered = await newcomers.allow(ctx, actor, what.job_id, rule, first=True)
    return await _card(ctx, answered, actor.locale)


async def _waiting(ctx: AppContext, call: Invocation) -> Card:
    knocks, total = await newcomers.list_requests(ctx)
    return present.card(knocks, total, call.actor.locale)


async def _allow(ctx: AppContext, call: Invocation) -> Card:
    answered = await newcomers.allow(ctx, call.actor, _number(call), call.args.get("rule"))
    return await _card(ctx, answered, call.actor.locale)


async def _refuse(ctx: AppContext, call: Invocation) -> Card:
    return await _card(ctx, await newcomers.refuse(ctx, call.actor, _number(call)), call.actor.locale)


async def _claim(ctx: AppContext, call: Invocation) -> Card:
    new = await claims.claim(ctx, call.actor, call.args["code"])
    sentence = text(call.actor.locale, "card.claimed" if new else "card.claimed.already")
    return Card(Tone.INFO, sentence, private=True, final=True)


async def _card(ctx: AppContext, answered: Answered, locale: str) -> Card:
    newcomer, moved = answered.newcomer, answered.moved
    jobs = len(moved.queued)
    said = present.answered(newcomer, jobs, locale, rule=answered.rule)
    knocks, total = await newcomers.list_requests(ctx)
    return present.card(knocks, total, locale, said=said, about=newcomer)


def _number(call: Invocation) -> int:
    typed = call.args["number"].strip().removeprefix("#")
    number = bounded(typed, low=0)
    if number is None:
        raise BadInput("refusal.access.number", value=shown(typed))
    return number


HANDLERS: Mapping[str, Callable[[AppContext, Invocation], Awaitable[Card]]] = MappingProxyType(
    {
        "easel waiting": _waiting,
        "easel allow": _allow,
        "easel refuse": _refuse,
        "claim": _claim,
    }
)

"""Who may come in: claiming the bot, and answering strangers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.model.access import FEW
from bot.model.actions import Action, Press
from bot.model.cards import Card, Tone
from bot.model.errors import BadInput
from bot.model.people import Actor
from bot.model.verbs import Call
from bot.policy.texts import bounded, shown
from bot.present import newcomers as present
from bot.present.i18n import text
from bot.usecases import claim, newcomers
from bot.usecases.house import House
from bot.usecases.newcomers import Answered


async def press(house: House, actor: Actor, what: Press) -> Card:
    """Answer a newcomer by a button; the list of those who still wait takes the place of the card that it was on.

    Raises NotAllowed, NotFound and BadInput as ``newcomers.allow`` does.
    """
    if what.action is Action.REFUSE:
        answered = await newcomers.refuse(house, actor, what.job_id, first=True)
    else:
        rule = FEW if what.action is Action.ALLOW_FEW else None
        answered = await newcomers.allow(house, actor, what.job_id, rule, first=True)
    return await _card(house, answered, actor.locale)


async def _waiting(house: House, call: Call) -> Card:
    knocks, total = await newcomers.waiting(house)
    return present.card(knocks, total, call.actor.locale)


async def _allow(house: House, call: Call) -> Card:
    answered = await newcomers.allow(house, call.actor, _number(call), call.args.get("rule"))
    return await _card(house, answered, call.actor.locale)


async def _refuse(house: House, call: Call) -> Card:
    return await _card(house, await newcomers.refuse(house, call.actor, _number(call)), call.actor.locale)


async def _claim(house: House, call: Call) -> Card:
    new = await claim.claim(house, call.actor, call.args["code"])
    sentence = text(call.actor.locale, "card.claimed" if new else "card.claimed.already")
    return Card(Tone.INFO, sentence, private=True, final=True)


async def _card(house: House, answered: Answered, locale: str) -> Card:
    newcomer, moved = answered.newcomer, answered.moved
    jobs = len(moved.queued)
    said = present.answered(newcomer, jobs, locale, rule=answered.rule)
    knocks, total = await newcomers.waiting(house)
    return present.card(knocks, total, locale, said=said, about=newcomer)


def _number(call: Call) -> int:
    typed = call.args["number"].strip().removeprefix("#")
    number = bounded(typed, low=0)
    if number is None:
        raise BadInput("refusal.access.number", value=shown(typed))
    return number


HANDLERS: Mapping[str, Callable[[House, Call], Awaitable[Card]]] = MappingProxyType(
    {
        "easel waiting": _waiting,
        "easel allow": _allow,
        "easel refuse": _refuse,
        "claim": _claim,
    }
)

"""Taking one's own pictures away, and having them forgotten; how long a place keeps any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.model.cards import Card
from bot.model.verbs import Call
from bot.policy.texts import fold
from bot.present import privacy
from bot.usecases import export, forget, keep
from bot.usecases.house import House

_YES = frozenset({"yes", "y", "是", "是的", "确认", "确定"})


async def _export(house: House, call: Call) -> Card:
    return privacy.export_card(await export.ask(house, call.actor, call.ref), call.actor.locale)


async def _forget(house: House, call: Call) -> Card:
    if fold(call.args.get("confirm", "")).strip(' .!。！”“"') not in _YES:
        lost = await forget.losses(house, call.actor)
        return privacy.forget_asked_card(
            call.actor.locale,
            jobs=lost.jobs,
            waiting=lost.waiting,
            pictures=lost.pictures,
            favourites=lost.favourites,
        )
    lost = await forget.forget(house, call.actor)
    return privacy.forgotten_card(call.actor.locale, jobs=lost.jobs, pictures=lost.pictures)


async def _keep(house: House, call: Call) -> Card:
    typed = call.args.get("span", "")
    if typed:
        kept = await keep.set_span(house, call.actor, call.place, typed)
    else:
        kept = await keep.show(house, call.place)
    return privacy.kept_card(call.actor.locale, days=kept.days, everywhere=kept.everywhere, whole=kept.whole)


HANDLERS: Mapping[str, Callable[[House, Call], Awaitable[Card]]] = MappingProxyType(
    {"export": _export, "forget": _forget, "easel keep": _keep}
)

"""Finding one's own pictures again, and drawing one again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.model.cards import Card
from bot.model.errors import NotFound
from bot.model.verbs import Call
from bot.policy.texts import bounded
from bot.present.cards import card_of
from bot.usecases import listing, press
from bot.usecases.house import House


async def _search(house: House, call: Call) -> Card:
    return await listing.first_found(house, call.actor, call.args.get("words", ""))


async def _favourites(house: House, call: Call) -> Card:
    return await listing.first_found(house, call.actor, listing.FAVOURITES)


async def _again(house: House, call: Call) -> Card:
    number = bounded(call.args["number"].removeprefix("#"))
    if number is None:
        # No job has it, and SQLite could not look for it.
        raise NotFound("refusal.job.not_found")
    job = await press.again(house, call.actor, call.place, number, call.ref)
    profile = next((p for p in house.profiles() if p.name == job.request.model), None)
    return card_of(
        job,
        (),
        pictures_dir=house.pictures,
        waiting=house.backlog.waiting(job.id),
        progress=house.backlog.progress(job.id),
        profile=profile,
    )


HANDLERS: Mapping[str, Callable[[House, Call], Awaitable[Card]]] = MappingProxyType(
    {"search": _search, "favourites": _favourites, "again": _again}
)

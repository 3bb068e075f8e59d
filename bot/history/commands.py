"""Finding one's own pictures again, and drawing one again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.cards.job_card import card_of
from bot.commands.model import Invocation
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.errors import NotFound
from bot.core.texts import bounded
from bot.drawing import job_actions
from bot.history import listing


async def _search(ctx: AppContext, call: Invocation) -> Card:
    return await listing.first_found(ctx, call.actor, call.args.get("words", ""))


async def _favourites(ctx: AppContext, call: Invocation) -> Card:
    return await listing.first_found(ctx, call.actor, listing.FAVOURITES)


async def _again(ctx: AppContext, call: Invocation) -> Card:
    number = bounded(call.args["number"].removeprefix("#"))
    if number is None:
        # No job has it, and SQLite could not look for it.
        raise NotFound("refusal.job.not_found")
    job = await job_actions.again(ctx, call.actor, call.place, number, call.ref)
    profile = next((p for p in ctx.profiles() if p.name == job.request.model), None)
    return card_of(
        job,
        (),
        pictures_dir=ctx.pictures,
        waiting=ctx.backlog.waiting(job.id),
        progress=ctx.backlog.progress(job.id),
        profile=profile,
    )


HANDLERS: Mapping[str, Callable[[AppContext, Invocation], Awaitable[Card]]] = MappingProxyType(
    {"search": _search, "favourites": _favourites, "again": _again}
)

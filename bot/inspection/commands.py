"""The command ``inspect``: what the file of a picture in a chat says of itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from bot.access import newcomers
from bot.cards.i18n import text
from bot.cards.inspection_card import inspection_card
from bot.commands.model import Arg, ArgType, Command, Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.errors import BadInput, OverQuota, Unavailable, Uninvited
from bot.core.people import Actor
from bot.core.ports import RetryLater, TooLarge
from bot.core.requests import MAX_PICTURE_BYTES, PictureSource
from bot.drawing import picture_requests
from bot.inspection.service import InspectedFile, inspect_file

FETCH_SECONDS = 20.0
"""Seconds in which a file has to arrive and be read: somebody waits for the answer."""


async def _inspect(ctx: AppContext, invocation: Invocation) -> Card:
    """Fetch the first picture of the message and say what its file says. Raises Refusal."""
    actor, place = invocation.actor, invocation.place
    # Nothing is fetched for strangers, nor for people who are banned: the first transaction checks that.
    async with ctx.db.read():
        pass
    if await newcomers.is_stranger(ctx, actor, place):
        raise Uninvited(newcomers.UNLISTED)
    if not invocation.pictures:
        raise BadInput("refusal.inspect.pictures")
    source = invocation.pictures[0]
    if source.bytes > MAX_PICTURE_BYTES:
        raise picture_requests.too_large(1, MAX_PICTURE_BYTES)
    wait = ctx.inspection_limits.take((actor.platform, actor.user_id), source.id, ctx.clock.monotonic())
    if wait > 0:
        raise OverQuota("refusal.inspect.often", wait=wait)
    file = await _inspected(ctx, actor, source)
    # Where everybody reads the answer, it says nothing that only owners and admins may know.
    private = place.guild is None or (invocation.ref.address is not None and invocation.ref.address.private)
    card = inspection_card(file.found, actor.locale, own=file.own if private else None)
    if file.found.is_marked:
        return card
    return replace(card, notes=(*card.notes, text(actor.locale, "inspect.encoded_again")))


async def _inspected(ctx: AppContext, actor: Actor, source: PictureSource) -> InspectedFile:
    surface = ctx.surfaces.get(actor.platform)
    if surface is None:
        raise Unavailable("unavailable.inspect")
    try:
        async with asyncio.timeout(FETCH_SECONDS), ctx.inspector.fetches:
            return await inspect_file(ctx, actor, await picture_requests.fetch(surface, source, 1, MAX_PICTURE_BYTES))
    except TooLarge as large:
        raise picture_requests.too_large(1, large.limit) from None
    except (RetryLater, TimeoutError):
        raise Unavailable("unavailable.inspect") from None


COMMANDS = (
    Command(
        name="inspect",
        permission=Permission.ANYBODY,
        handler=_inspect,
        args=(Arg("file", ArgType.PICTURE, required=False),),
        listed=False,
    ),
)

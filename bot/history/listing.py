"""Pages of the history, of searches and of favourites, as cards with a contact sheet."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from bot.cards import i18n
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.errors import NotFound
from bot.core.people import Actor, Place
from bot.core.pictures import Picture
from bot.core.strictness import SPOILER
from bot.history import cards as history_cards
from bot.history import contact_sheet
from bot.history import queries as grammar
from bot.history import service as history_service
from bot.history import store as history_rows
from bot.history.cards import Album
from bot.history.service import HistoryEntry, HistoryPage
from bot.moderation import bans
from bot.storage import data_files, people

JOBS = 9
"""Jobs per page in a chat: three rows of three thumbnails."""

FAVOURITES = "is:favourite"
"""The search that lists favourites."""


async def history_page(ctx: AppContext, actor: Actor, before: int | None = None) -> Card:
    """Return the actor's newest jobs with pictures, older than job ``before``."""
    page = await history_service.get_page(ctx, actor, before=before, limit=JOBS, pictured=True)
    return await _card(ctx, actor, page, history_cards.HISTORY, first=before is None)


async def search(ctx: AppContext, actor: Actor, typed: str) -> Card:
    """Return the first page of a search, and store the search for the page buttons. Raises BadInput."""
    grammar.parse_query(typed)
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        number = await history_rows.add_search(tx, person.account_id, typed.strip(), now=now)
    return await search_page(ctx, actor, number)


async def turn_page(ctx: AppContext, actor: Actor, place: Place, number: int, before: int | None) -> Card:
    """Return a page of a search that a button has turned. Raises NotFound, and NotAllowed for the banned."""
    async with ctx.db.read() as tx:
        await bans.check_actor(tx, actor, place, now=ctx.clock.now())
    return await search_page(ctx, actor, number, before)


async def search_page(ctx: AppContext, actor: Actor, number: int, before: int | None = None) -> Card:
    """Return a page of a stored search, of jobs older than ``before``. Raises NotFound if it is not stored any more."""
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        typed = None if person is None else await history_rows.get_search(tx, person.account_id, number)
    if typed is None:
        raise NotFound("refusal.search.over")
    query = grammar.parse_query(typed)
    page = await history_service.search(ctx, actor, query, before=before, limit=JOBS)
    album = history_cards.favourites_album(number) if typed == FAVOURITES else history_cards.found_album(number)
    return await _card(ctx, actor, page, album, first=before is None)


async def _card(ctx: AppContext, actor: Actor, page: HistoryPage, album: Album, *, first: bool) -> Card:
    # A job whose pictures were deleted meanwhile has nothing to show.
    entries = [entry for entry in page.entries if entry.pictures]
    lines = [
        history_cards.HistoryLine(entry.job, _shown(entry).seed, favourite=bool(entry.favourites)) for entry in entries
    ]
    sheet, missing = None, 0
    if entries:
        alt = i18n.text(actor.locale, album.some, n=len(lines))
        shown = [_shown(entry).path for entry in entries]
        files = await asyncio.to_thread(lambda: [data_files.regular_file(ctx.pictures, path) for path in shown])
        sheet = await contact_sheet.store(ctx.sheets or ctx.pictures.parent / data_files.SHEETS, files, alt)
        covered = any(_shown(entry).flag == SPOILER for entry in entries)
        sheet = replace(sheet, spoiler=covered)
        missing = files.count(None)
    card = history_cards.history_card(lines, actor.locale, album=album, sheet=sheet, older=page.older, first=first)
    if missing:
        # As after the restore of a backup without pictures: their squares on the sheet are empty.
        card = replace(card, notes=(*card.notes, i18n.text(actor.locale, "note.no_file", n=missing)))
    return card


def _shown(entry: HistoryEntry) -> Picture:
    """Return the picture that represents its job: its first favourite, else its first picture."""
    return next((picture for picture in entry.pictures if picture.id in entry.favourites), entry.pictures[0])

"""Pages of jobs as cards with a contact sheet."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bot.cards import i18n
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.errors import NotFound
from bot.core.people import Actor, Place
from bot.core.pictures import Picture, PictureFile
from bot.core.strictness import SPOILER
from bot.history import cards as history_cards
from bot.history import queries as grammar
from bot.history import service as history_service
from bot.history import store as history_rows
from bot.history.cards import Album
from bot.history.contact_sheet import contact_sheet
from bot.history.service import HistoryEntry, HistoryPage
from bot.moderation import bans
from bot.storage import data_files, people
from bot.storage.data_files import SHEET_NAME

KEPT_SECONDS = 86400
"""A stored notice that shows a sheet is sent within this time, or without it."""


async def sheet_of(folder: Path, paths: Sequence[Path | None], alt: str) -> PictureFile:
    """Return the contact sheet of these pictures (None leaves a square empty).

    Args:
        folder: Where sheets are kept; nothing else may be in it.
        paths: The pictures' files, at least one.
        alt: What it shows, in words.

    Raises:
        Unavailable: The disk is full, or the folder can't be written.
    """
    await data_files.clear_old(folder, SHEET_NAME, KEPT_SECONDS)
    sheet = await asyncio.to_thread(contact_sheet, paths)
    name = f"{hashlib.sha256(sheet.data).hexdigest()[:24]}.png"
    path = await data_files.write(folder, name, sheet.data)
    return PictureFile(
        path=path, name="easel-history.png", mime="image/png", width=sheet.width, height=sheet.height, alt=alt
    )


JOBS = 9
"""Jobs on one page in a chat: three rows of three thumbnails."""

FAVOURITES = "is:favourite"
"""The search behind the list of favourites."""


async def history_page(ctx: AppContext, actor: Actor, before: int | None = None) -> Card:
    """Return one's own last pictures, older than job ``before``."""
    page = await history_service.get_page(ctx, actor, before=before, limit=JOBS, pictured=True)
    return await _card(ctx, actor, page, history_cards.HISTORY, first=before is None)


async def search(ctx: AppContext, actor: Actor, typed: str) -> Card:
    """Return the newest pictures that a search finds, and keep the search for the page's buttons. Raises BadInput."""
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
    """Return a page of a search that was made earlier, older than job ``before``. Raises NotFound."""
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
    # What was removed since the rows were read has no picture to show.
    entries = [entry for entry in page.entries if entry.pictures]
    lines = [history_cards.HistoryLine(entry.job, _shown(entry).seed, favourite=bool(entry.kept)) for entry in entries]
    sheet, missing = None, 0
    if entries:
        alt = i18n.text(actor.locale, album.some, n=len(lines))
        shown = [_shown(entry).path for entry in entries]
        files = await asyncio.to_thread(lambda: [data_files.regular_file(ctx.pictures, path) for path in shown])
        sheet = await sheet_of(ctx.sheets or ctx.pictures.parent / data_files.SHEETS, files, alt)
        covered = any(_shown(entry).flag == SPOILER for entry in entries)
        sheet = replace(sheet, spoiler=covered)
        missing = files.count(None)
    card = history_cards.history_card(lines, actor.locale, album=album, sheet=sheet, older=page.older, first=first)
    if missing:
        # As after a backup without pictures was restored: their squares on the sheet are empty.
        card = replace(card, notes=(*card.notes, i18n.text(actor.locale, "note.no_file", n=missing)))
    return card


def _shown(entry: HistoryEntry) -> Picture:
    """The picture that stands for its job: the first that is kept, else the first."""
    return next((picture for picture in entry.pictures if picture.id in entry.kept), entry.pictures[0])

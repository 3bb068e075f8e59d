"""Pages of jobs as cards with a contact sheet: the history, what was searched for, and what one keeps."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from bot.model.cards import Card
from bot.model.errors import NotFound
from bot.model.moderation import SPOILER
from bot.model.people import Actor, Place
from bot.model.pictures import Picture
from bot.policy import searches as grammar
from bot.present import i18n, pages
from bot.present.pages import Album
from bot.store import paths, people, searches
from bot.usecases import history
from bot.usecases.gates import bans
from bot.usecases.history import Entry, Page
from bot.usecases.house import House
from bot.usecases.sheets import sheet_of

JOBS = 9
"""Jobs on one page in a chat: three rows of three thumbnails."""

FAVOURITES = "is:favourite"
"""The search behind the list of favourites."""


async def last(house: House, actor: Actor, before: int | None = None) -> Card:
    """Return one's own last pictures, older than job ``before``."""
    page = await history.page(house, actor, before=before, limit=JOBS, pictured=True)
    return await _card(house, actor, page, pages.HISTORY, first=before is None)


async def first_found(house: House, actor: Actor, typed: str) -> Card:
    """Return the newest pictures that a search finds, and keep the search for the page's buttons. Raises BadInput."""
    grammar.parse(typed)
    now = house.clock.now()
    async with house.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        number = await searches.add(tx, person.account_id, typed.strip(), now=now)
    return await found(house, actor, number)


async def turned(house: House, actor: Actor, place: Place, number: int, before: int | None) -> Card:
    """Return a page of a search that a button has turned. Raises NotFound, and NotAllowed for the banned."""
    async with house.db.read() as tx:
        await bans.check_actor(tx, actor, place, now=house.clock.now())
    return await found(house, actor, number, before)


async def found(house: House, actor: Actor, number: int, before: int | None = None) -> Card:
    """Return a page of a search that was made earlier, older than job ``before``. Raises NotFound."""
    async with house.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        typed = None if person is None else await searches.get(tx, person.account_id, number)
    if typed is None:
        raise NotFound("refusal.search.over")
    query = grammar.parse(typed)
    page = await history.sought(house, actor, query, before=before, limit=JOBS)
    album = pages.favourites(number) if typed == FAVOURITES else pages.found(number)
    return await _card(house, actor, page, album, first=before is None)


async def _card(house: House, actor: Actor, page: Page, album: Album, *, first: bool) -> Card:
    # What was removed since the rows were read has no picture to show.
    entries = [entry for entry in page.entries if entry.pictures]
    lines = [pages.Line(entry.job, _shown(entry).seed, favourite=bool(entry.kept)) for entry in entries]
    sheet, missing = None, 0
    if entries:
        alt = i18n.text(actor.locale, album.some, n=len(lines))
        shown = [_shown(entry).path for entry in entries]
        files = await asyncio.to_thread(lambda: [paths.regular(house.pictures, path) for path in shown])
        sheet = await sheet_of(house.sheets or house.pictures.parent / paths.SHEETS, files, alt)
        covered = any(_shown(entry).flag == SPOILER for entry in entries)
        sheet = replace(sheet, spoiler=covered)
        missing = files.count(None)
    card = pages.history_card(lines, actor.locale, album=album, sheet=sheet, older=page.older, first=first)
    if missing:
        # As after a backup without pictures was restored: their squares on the sheet are empty.
        card = replace(card, notes=(*card.notes, i18n.text(actor.locale, "note.no_file", n=missing)))
    return card


def _shown(entry: Entry) -> Picture:
    """The picture that stands for its job: the first that is kept, else the first."""
    return next((picture for picture in entry.pictures if picture.id in entry.kept), entry.pictures[0])

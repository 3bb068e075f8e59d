"""Pages of jobs as cards with a contact sheet."""

from __future__ import annotations

import asyncio
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from bot.cards import i18n
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.errors import NotFound
from bot.core.file_marks import XMP, embed_texts
from bot.core.people import Actor
from bot.core.pictures import Picture, PictureFile
from bot.core.strictness import SPOILER
from bot.history import cards as history_cards
from bot.history import queries as grammar
from bot.history import service as history_service
from bot.history import store as history_rows
from bot.history.cards import Album
from bot.history.service import HistoryEntry, HistoryPage
from bot.provenance import xmp
from bot.storage import data_files, people

CELL = 256
"""Side of a thumbnail's square in pixels."""

RETENTION_SECONDS = 86400
"""How long a sheet is stored: a notice that is sent later comes without it."""

_GAP = 8
_PAPER = (24, 24, 27)
_EMPTY = (52, 52, 58)
_INK = (255, 255, 255)
_LABEL = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Sheet:
    """An encoded PNG and its sides in pixels."""

    data: bytes
    width: int
    height: int


def contact_sheet(
    paths: Sequence[Path | None], labels: Sequence[str], *, cell: int = CELL, columns: int | None = None
) -> Sheet:
    """Return the pictures' thumbnails in reading order, each with its label. Blocks: run in a thread.

    Its XMP says that models drew the pictures.

    Args:
        paths: The pictures' files; None, and an unreadable file, leave an empty square.
        labels: One for each picture, such as ``#12``.
        cell: Side of each square in pixels; pictures are scaled to fit it.
        columns: Pictures per row; by default, the grid is as square as possible.

    Raises:
        ValueError: There are no pictures.
    """
    if not paths:
        raise ValueError("a contact sheet needs at least one picture")
    columns = min(columns or history_cards.columns_of(len(paths)), len(paths))
    rows = math.ceil(len(paths) / columns)
    step = cell + _GAP
    sheet = Image.new("RGB", (columns * step + _GAP, rows * step + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=max(12, cell // 9))
    for index, (path, label) in enumerate(zip(paths, labels, strict=True)):
        left, top = _GAP + index % columns * step, _GAP + index // columns * step
        thumbnail = _thumbnail(path, cell)
        if thumbnail is None:
            draw.rectangle((left, top, left + cell - 1, top + cell - 1), fill=_EMPTY)
        else:
            sheet.paste(thumbnail, (left + (cell - thumbnail.width) // 2, top + (cell - thumbnail.height) // 2))
        _number(draw, (left, top), label, font)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return Sheet(embed_texts(out.getvalue(), {XMP: xmp.sheet_packet().decode()}), sheet.width, sheet.height)


async def store(folder: Path, paths: Sequence[Path | None], labels: Sequence[str], alt: str) -> PictureFile:
    """Draw and store the contact sheet of these pictures; None leaves an empty square.

    Args:
        folder: The folder of contact sheets.
        paths: The pictures' files, at least one.
        labels: One for each picture.
        alt: Alternative text.

    Raises:
        Unavailable: The disk is full, or the folder can't be written.
    """
    await data_files.clear_old(folder, data_files.SHEET_NAME, RETENTION_SECONDS)
    sheet = await asyncio.to_thread(contact_sheet, paths, labels)
    name = f"{hashlib.sha256(sheet.data).hexdigest()[:24]}.png"
    path = await data_files.write(folder, name, sheet.data)
    return PictureFile(
        path=path, name="easel-history.png", mime="image/png", width=sheet.width, height=sheet.height, alt=alt
    )


def _thumbnail(path: Path | None, cell: int) -> Image.Image | None:
    if path is None:
        return None
    try:
        with Image.open(path) as picture:
            plain = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError, SyntaxError):  # Pillow raises SyntaxError for some damaged files
        return None
    return ImageOps.contain(plain, (cell, cell), Image.Resampling.LANCZOS)


def _number(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    pad = 4
    at = (corner[0] + pad * 2, corner[1] + pad * 2)
    left, top, right, bottom = draw.textbbox(at, label, font=font)
    draw.rounded_rectangle((left - pad, top - pad, right + pad, bottom + pad), radius=pad, fill=_LABEL)
    draw.text(at, label, font=font, fill=_INK)


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
    own = await history_service.own_among(ctx, actor, [entry.job.id for entry in entries])
    lines = [
        history_cards.HistoryLine(
            entry.job, _shown(entry).seed, favourite=bool(entry.favourites), own=entry.job.id in own
        )
        for entry in entries
    ]
    sheet, missing = None, 0
    if entries:
        alt = i18n.text(actor.locale, album.some, n=len(lines))
        shown = [_shown(entry).path for entry in entries]
        files = await asyncio.to_thread(lambda: [data_files.regular_file(ctx.pictures, path) for path in shown])
        labels = [f"#{entry.job.id}" for entry in entries]
        sheet = await store(ctx.sheets or ctx.pictures.parent / data_files.SHEETS, files, labels, alt)
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

"""What a press on a job's card shows the presser: the pages of the card's menu, and all that is known of a picture."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from bot.cards import job_buttons, job_card
from bot.cards.i18n import text
from bot.cards.inspection_card import InspectionWords, inspection_words
from bot.context import AppContext
from bot.core.cards import Button, ButtonPress, Card, Fact, Menu, Tone
from bot.core.errors import BadInput, NotFound
from bot.core.jobs import Job
from bot.core.pictures import Picture
from bot.drawing.flags import missing_from_line
from bot.drawing.job_actions import line_of
from bot.storage import jobs, pictures
from engine.contract import Profile


@dataclass(frozen=True, slots=True)
class _Shown:
    """A job with its stored pictures and its model; the profile is None when the model is gone."""

    job: Job
    pictures: tuple[Picture, ...]
    profile: Profile | None

    def picture(self, index: int) -> Picture:
        """Return one of its pictures. Raises NotFound."""
        for picture in self.pictures:
            if picture.index == index:
                return picture
        raise NotFound("refusal.picture.not_found")


async def open_menu(ctx: AppContext, press: ButtonPress, locale: str) -> Menu:
    """Return the menu's page of the pressed job, or of one of its pictures. Raises NotFound where nothing is left of it."""
    shown = await _load(ctx, press.job_id)
    job = shown.job
    if press.index is not None:
        shown.picture(press.index)
    rows = job_buttons.menu_of(replace(job, locale=locale), shown.pictures, shown.profile, ctx.job_buttons, press.index)
    if not shown.pictures or not rows:
        raise NotFound("refusal.picture.not_found")
    return Menu(
        Card(Tone.INFO, _title(press, locale), buttons=rows, private=True, final=True, locale=locale),
        back_button(job.id, locale),
    )


async def close_menu(ctx: AppContext, press: ButtonPress) -> Menu:
    """Return the buttons that the job's card has by itself. Raises NotFound."""
    shown = await _load(ctx, press.job_id)
    job = shown.job
    rows = job_buttons.rows_of(job, shown.pictures, shown.profile, ctx.job_buttons)
    return Menu(Card(Tone.INFO, text(job.locale, "card.menu", job=job.id), buttons=rows, private=True, final=True))


def back_button(job_id: int, locale: str) -> Button:
    """Return the button that closes a menu which stands in the place of a card's own buttons."""
    return Button(text(locale, f"button.{job_buttons.BACK}"), ButtonPress(job_buttons.BACK, job_id))


async def picture_info(ctx: AppContext, press: ButtonPress, locale: str) -> Card:
    """Return all that is known of one of a job's pictures, or of all, with the line that asks for it again.

    It tells what the file of the first one says of itself, too. Raises NotFound.
    """
    shown = await _load(ctx, press.job_id)
    job = replace(shown.job, locale=locale)
    found = shown.pictures if press.index is None else (shown.picture(press.index),)
    if not found:
        raise NotFound("refusal.picture.not_found")
    request = job.request
    first = found[0]
    more = (
        ("fact.number", str(job.id)),
        ("fact.precision", first.precision),
        ("fact.device", first.device),
        ("fact.revision", first.revision),
        ("fact.bytes", text(locale, "unit.kilobytes", n=-(-sum(p.bytes for p in found) // 1000))),
    )
    marks = await _marks_of(ctx, first, locale)
    return Card(
        Tone.INFO,
        _title(press, locale),
        prompt=line_of(ctx, request) if request.typed else "",
        notes=(
            *(text(locale, key, n=len(request.references)) for key in missing_from_line(request)),
            *(() if marks is None else (*marks.problems, *marks.notes)),
        ),
        facts=(
            *job_card.facts_of(job, found, shown.profile, ctx.loras()),
            *(Fact(text(locale, label), value) for label, value in more if value),
            *(() if marks is None else marks.marks),
        ),
        private=True,
        final=True,
        locale=locale,
    )


async def _marks_of(ctx: AppContext, picture: Picture, locale: str) -> InspectionWords | None:
    """Return what the file of a stored picture says of itself; None if the file is gone."""
    try:
        data = await asyncio.to_thread((ctx.pictures / picture.path).read_bytes)
        return inspection_words(await ctx.inspector.inspect(data), locale)
    except (OSError, BadInput):
        return None


def _title(press: ButtonPress, locale: str) -> str:
    if press.index is None:
        return text(locale, "card.menu", job=press.job_id)
    return text(locale, "card.menu.picture", job=press.job_id, index=press.index + 1)


async def _load(ctx: AppContext, job_id: int) -> _Shown:
    async with ctx.db.read() as tx:
        job = await jobs.get(tx, job_id)
        found = () if job is None else await pictures.of_job(tx, job.id)
    if job is None:
        raise NotFound("refusal.job.not_found")
    return _Shown(job, found, ctx.profile(job.request.model))

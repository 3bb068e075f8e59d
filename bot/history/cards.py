"""Cards of the history, of searches and of favourites, and the help card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.cards.i18n import text
from bot.core.cards import Button, ButtonPress, Card, Fact, Tone
from bot.core.errors import Key
from bot.core.jobs import Job, JobState
from bot.core.pictures import PictureFile
from bot.core.texts import clip, shown
from bot.drawing.styles import list_names
from engine.contract import Capability, NegativePromptSupport, Profile

PAGE = "page"
SHOW = "show"
"""The action that shows one job of a page to the viewer."""

_STAR = "★ "
_PROMPT_CHARS = 60
"""Length of a prompt in a line of the history."""


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """A job in the history; ``seed`` is that of the picture whose thumbnail is on the contact sheet.

    ``own``: it is the viewer's; among favourites there may be others.
    """

    job: Job
    seed: int | None
    favourite: bool = False
    own: bool = True


@dataclass(frozen=True, slots=True)
class Album:
    """What a page belongs to: the history, or the stored search of a number.

    Attributes:
        number: Number of the stored search; None for the history.
        some: Catalogue key for the number of jobs on the newest page.
        empty: Catalogue key for an empty result.
        end: Catalogue key for the end, behind the last page.
        older: Catalogue key for a page of older jobs.
    """

    number: int | None = None
    some: str = "card.history"
    empty: str = "card.history.empty"
    end: str = "card.history.end"
    older: str = "card.history.older"


HISTORY = Album()


def columns_of(count: int) -> int:
    """Return the thumbnails in each row of a page, and the buttons: as square as possible."""
    return max(1, math.ceil(math.sqrt(count)))


def found_album(number: int) -> Album:
    """Return the album of a stored search."""
    return Album(number, "card.found", "card.found.none", "card.found.end", "card.found.older")


def favourites_album(number: int) -> Album:
    """Return the album of the person's favourites."""
    return Album(number, "card.favourites", "card.favourites.none", "card.favourites.end", "card.favourites.older")


def history_card(
    lines: Sequence[HistoryLine],
    locale: str,
    *,
    album: Album = HISTORY,
    sheet: PictureFile | None = None,
    older: bool = False,
    first: bool = True,
) -> Card:
    """Return one page of jobs, newest first.

    Args:
        lines: The jobs, in the order of their thumbnails, which have their numbers.
        locale: The person's locale.
        album: What the page belongs to.
        sheet: Their contact sheet, if there is one.
        older: Whether there are older jobs. The button names the last job of this page; the next page begins before it.
        first: Whether this is the newest page. Other pages get a button to it, which names job 0.
    """
    openers = [
        Button(text(locale, "button.show", number=line.job.id), ButtonPress(SHOW, line.job.id))
        for line in lines
        if line.own
    ]
    columns = columns_of(len(lines))
    buttons = []
    if older and lines:
        buttons.append(Button(text(locale, "button.page"), ButtonPress(PAGE, lines[-1].job.id, album.number)))
    if not first:
        buttons.append(Button(text(locale, "button.newest"), ButtonPress(PAGE, 0, album.number)))
    rows = tuple(tuple(openers[i : i + columns]) for i in range(0, len(openers), columns))
    rows += (tuple(buttons),) if buttons else ()
    if not lines:
        status = text(locale, album.empty if first else album.end)
        notes = (text(locale, "card.found.filters"),) if album == found_album(album.number or 0) else ()
        return Card(Tone.INFO, status, notes=notes, buttons=rows, private=True, final=True)
    return Card(
        Tone.INFO,
        text(locale, album.some, n=len(lines)) if first else text(locale, album.older),
        facts=tuple(Fact(f"#{line.job.id}", _line(line, locale)) for line in lines),
        pictures=() if sheet is None else (sheet,),
        buttons=rows,
        private=True,
        final=True,
        locale=locale,
    )


def start_card(locale: str, examples: tuple[Button, ...]) -> Card:
    """Return the greeting, with buttons that draw an example."""
    notes = (text(locale, "start.how"), text(locale, "start.help"))
    status = text(locale, "start.hello")
    return Card(Tone.INFO, status, notes=notes, buttons=(examples,), private=True, final=True, locale=locale)


def help_card(
    profiles: Sequence[Profile],
    styles: Sequence[str],
    presets: Sequence[str],
    most: int,
    locale: str,
    *,
    lora: str = "",
) -> Card:
    """Return the help card of chats.

    Args:
        profiles: The models that everybody may use; the first is the default.
        styles: Names of the styles.
        presets: Names of the sizes.
        most: Most pictures of one request in this place.
        locale: The person's locale.
        lora: Name of a LoRA that everybody may use with the default model; empty if there is none.
    """
    model = profiles[0]
    lines: list[tuple[str, Mapping[str, str | int]]] = [
        ("help.prompt", {}),
        ("help.flags", {}),
        ("help.size", {"example": "{}x{}".format(*model.presets["wide"]), "presets": ", ".join(presets)}),
        ("help.count", {"most": most}),
        ("help.seed", {}),
        ("help.steps", {"model": model.title, "low": model.steps.low, "high": model.steps.high}),
    ]
    if len(model.samplers) > 1:
        lines.append(("help.sampler", {"example": f'"{model.samplers[1]}"', "known": list_names(model.samplers)}))
    if model.prompt_syntax:
        lines.append(("help.syntax", {"skip": model.clip_skip}))
    if model.negative is not NegativePromptSupport.NEVER:
        lines.append(("help.no", {}))
    if styles:
        example = f'"{styles[0]}"' if " " in styles[0] else styles[0]
        lines.append(("help.style", {"example": shown(example), "known": list_names(styles)}))
    if lora:
        lines.append(("help.lora", {"example": f"{lora}:0.8"}))
    if len(profiles) > 1:
        lines.append(("help.model", {"example": profiles[1].name, "known": ", ".join(p.name for p in profiles)}))
    if model.expands:
        lines.append(("help.expand", {}))
    if any(model.can & {Capability.IMAGE, Capability.EDIT} for model in profiles):
        lines.append(("help.pictures", {}))
    lines.append(("help.label", {}))
    lines.append(("help.private", {}))
    notes = tuple(text(locale, key, **params) for key, params in lines)
    return Card(Tone.INFO, text(locale, "help.title"), notes=notes, private=True, final=True)


def _line(line: HistoryLine, locale: str) -> str:
    prompt = clip(" ".join(line.job.request.typed.split()), _PROMPT_CHARS)
    if line.job.state in {JobState.PAINTED, JobState.DELIVERED} and line.seed is not None:
        words = text(locale, "history.line", prompt=prompt, seed=str(line.seed))
    else:
        words = text(locale, "history.line_state", prompt=prompt, state=Key(f"state.{line.job.state}"))
    return f"{_STAR if line.favourite else ''}{words}"

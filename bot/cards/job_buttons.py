"""Buttons on the cards of jobs: when each is shown, in which row, and the pages of the menu behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from bot.cards.i18n import text
from bot.core.cards import Button, ButtonPress
from bot.core.jobs import Job, JobState
from bot.core.pictures import Picture
from engine.contract import Profile

Rows = tuple[tuple[Button, ...], ...]

IN_A_ROW = 3
"""Buttons in one row of a menu: their labels are words, and phones are narrow."""

MORE, BACK, CHOOSE = "more", "less", "choose"
"""Actions that open the menu of a card, close it, and turn it to one picture, or with no picture to its first page."""

STOPPABLE = frozenset({JobState.HELD, JobState.QUEUED, JobState.RUNNING})
FINISHED = frozenset({JobState.PAINTED, JobState.DELIVERED})


class Stage(Enum):
    """What a job's card shows: a job that has not ended, one that ended without pictures, or one with pictures."""

    OPEN = auto()
    ENDED = auto()
    PICTURES = auto()


def _always(_job: Job, _picture: Picture | None, _profile: Profile | None) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class JobButton:
    """A button on the cards of jobs.

    Its label is ``button.<action>`` of the catalogues. In a row of a card with several pictures it is
    ``button.<action>_of``, which with ``each`` has ``{index}``.

    Attributes:
        stages: At which stages it is shown.
        each: Once for each picture; otherwise once for the job.
        single: In the row of a card with one picture, or with none; otherwise in the menu.
        row: Its row, 0 or 1, on a card with several pictures; None: in the menu.
        also_each: In the menu, also on the page of each picture.
        offered: Whether a job (or with ``each`` one of its pictures) has it; the profile is None when the model is gone.
        danger: It takes something away.
    """

    stages: frozenset[Stage] = frozenset({Stage.PICTURES})
    each: bool = False
    single: bool = False
    row: int | None = None
    also_each: bool = False
    offered: Callable[[Job, Picture | None, Profile | None], bool] = _always
    danger: bool = False

    def is_in_row(self, pictures: int) -> bool:
        """Whether a card with this many pictures has it in a row, not in its menu."""
        return self.single if pictures <= 1 else self.row is not None


def stage_of(job: Job, pictures: Sequence[Picture]) -> Stage:
    """Return what a job's card shows."""
    if job.state in STOPPABLE:
        return Stage.OPEN
    return Stage.PICTURES if job.state in FINISHED and pictures else Stage.ENDED


def rows_of(job: Job, pictures: Sequence[Picture], profile: Profile | None, buttons: Mapping[str, JobButton]) -> Rows:
    """Return the rows of buttons of a job's card, two at most.

    Args:
        job: The job; its locale is the labels' language.
        pictures: Those that are stored, in order.
        profile: The job's model; None when it is not there any more.
        buttons: What can be shown, by action, in order.
    """
    several = len(pictures) > 1
    rows: tuple[list[Button], list[Button]] = ([], [])
    for action, button in _shown(job, pictures, buttons):
        if not button.is_in_row(len(pictures)):
            continue
        row = rows[button.row or 0] if several else rows[0]
        for index in _indexes(job, pictures, profile, button):
            press = ButtonPress(action, job.id, index)
            title = text(job.locale, f"button.{action}")
            if several:
                label = text(job.locale, f"button.{action}_of", index=(index or 0) + 1)
                row.append(Button(label, press, button.danger, title))
            else:
                row.append(Button(title, press, button.danger))
    return tuple(tuple(row) for row in rows if row)


def more_of(
    job: Job, pictures: Sequence[Picture], profile: Profile | None, buttons: Mapping[str, JobButton]
) -> tuple[Button, ...]:
    """Return the buttons of a job that are in its card's menu, in order; see ``rows_of``."""
    return tuple(
        Button(text(job.locale, f"button.{action}"), ButtonPress(action, job.id, index), button.danger)
        for action, button in _shown(job, pictures, buttons)
        if not button.is_in_row(len(pictures))
        for index in _indexes(job, pictures, profile, button)
    )


def menu_of(
    job: Job,
    pictures: Sequence[Picture],
    profile: Profile | None,
    buttons: Mapping[str, JobButton],
    index: int | None = None,
) -> Rows:
    """Return a page of the menu: what is about the job, and a choice of its pictures; or what is about one picture.

    Args:
        job: The job; its locale is the labels' language.
        pictures: Those that are stored, in order.
        profile: The job's model; None when it is not there any more.
        buttons: What can be shown, by action, in order.
        index: The picture's; None for the first page. The first page of a single picture has everything.
    """
    found = more_of(job, pictures, profile, buttons)
    if len(pictures) <= 1:
        return _in_rows(found)
    if index is None:
        choice = tuple(Button(str(p.index + 1), ButtonPress(CHOOSE, job.id, p.index)) for p in pictures)
        return (choice, *_in_rows([one for one in found if one.press.index is None]))
    own = [one for one in found if one.press.index == index]
    own += [
        replace(one, press=replace(one.press, index=index))
        for one in found
        if one.press.index is None and buttons[one.press.action].also_each
    ]
    back = Button(text(job.locale, f"button.{CHOOSE}"), ButtonPress(CHOOSE, job.id))
    return (*_in_rows(own), (back,))


def _shown(job: Job, pictures: Sequence[Picture], buttons: Mapping[str, JobButton]) -> list[tuple[str, JobButton]]:
    stage = stage_of(job, pictures)
    return [(action, button) for action, button in buttons.items() if stage in button.stages]


def _indexes(
    job: Job, pictures: Sequence[Picture], profile: Profile | None, button: JobButton
) -> list[int] | list[None]:
    """Return the pictures that have the button; one None for a button of the job, or none where it is not offered."""
    if button.each:
        return [picture.index for picture in pictures if button.offered(job, picture, profile)]
    return [None] if button.offered(job, None, profile) else []


def _in_rows(found: Sequence[Button]) -> Rows:
    return tuple(tuple(found[start : start + IN_A_ROW]) for start in range(0, len(found), IN_A_ROW))

"""Buttons on the cards of jobs: when each is shown, and in which row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from bot.cards.i18n import text
from bot.core.cards import Button, ButtonPress
from bot.core.jobs import Job, JobState
from bot.core.pictures import Picture
from engine.contract import Profile

Rows = tuple[tuple[Button, ...], ...]

IN_A_ROW = 4
"""Buttons for pictures in one row. The 4 pictures that a chat can have need 4 rows of Discord's 5. The web page alone has
more pictures; it puts buttons next to each of them."""

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

    Its label is ``button.<action>`` of the catalogues, with ``each`` also ``button.<action>_of``, which has ``{index}``.

    Attributes:
        stages: At which stages it is shown.
        each: Once for each picture, in a row of its own; otherwise once for the job, in the first row.
        row: Its row, 0 or 1, on a card with one picture.
        offered: Whether a job (or with ``each`` one of its pictures) has it; the profile is None when the model is gone.
        danger: It takes something away.
    """

    stages: frozenset[Stage] = frozenset({Stage.PICTURES})
    each: bool = False
    row: int = 0
    offered: Callable[[Job, Picture | None, Profile | None], bool] = _always
    danger: bool = False


def stage_of(job: Job, pictures: Sequence[Picture]) -> Stage:
    """Return what a job's card shows."""
    if job.state in STOPPABLE:
        return Stage.OPEN
    return Stage.PICTURES if job.state in FINISHED and pictures else Stage.ENDED


def rows_of(job: Job, pictures: Sequence[Picture], profile: Profile | None, buttons: Mapping[str, JobButton]) -> Rows:
    """Return the rows of buttons of a job's card.

    Args:
        job: The job; its locale is the labels' language.
        pictures: Those that are stored, in order.
        profile: The job's model; None when it is not there any more.
        buttons: What can be shown, by action, in order.
    """
    stage = stage_of(job, pictures)
    shown = [(b, _made(job, pictures, profile, action, b)) for action, b in buttons.items() if stage in b.stages]
    if len(pictures) <= 1:
        rows = [[one for button, made in shown if button.row == row for one in made] for row in (0, 1)]
    else:
        rows = [[one for button, made in shown if not button.each for one in made]]
        for button, made in shown:
            if button.each:
                rows += [made[i : i + IN_A_ROW] for i in range(0, len(made), IN_A_ROW)]
    return tuple(tuple(row) for row in rows if row)


def _made(
    job: Job, pictures: Sequence[Picture], profile: Profile | None, action: str, button: JobButton
) -> list[Button]:
    if button.each:
        offered = [p for p in pictures if button.offered(job, p, profile)]
        return [Button(_label(job, action, p), ButtonPress(action, job.id, p.index), button.danger) for p in offered]
    if not button.offered(job, None, profile):
        return []
    return [Button(text(job.locale, f"button.{action}"), ButtonPress(action, job.id), button.danger)]


def _label(job: Job, action: str, picture: Picture) -> str:
    """Return the label of a picture's button; it says which one unless the job has a single one."""
    if job.request.count == 1:
        return text(job.locale, f"button.{action}")
    return text(job.locale, f"button.{action}_of", index=picture.index + 1)

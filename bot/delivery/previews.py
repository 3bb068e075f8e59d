"""Previews on the cards of chats: which drawings have them, when they change, and the small picture that is shown."""

from __future__ import annotations

import asyncio
import io
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

from bot.core.cards import CardPreview
from bot.core.jobs import Job, JobState
from bot.core.ports import Clock
from bot.core.strictness import HIDDEN
from bot.delivery.live import Live, PreviewFrame

LEAST_REST = 4.0
"""Seconds that the drawing is still expected to take when a preview is shown: a shorter rest is not worth an upload."""

OBSERVED = 1.0
"""Seconds of drawing from which the rest is estimated."""

SIDE = 256
"""Longest side of a preview, in pixels."""

MOST_BYTES = 40_000
"""Largest preview."""

_GAP = 4
_EMPTY = (52, 52, 58)
_QUALITIES = (85, 70, 50, 30)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShownPreview:
    """The preview on a card, and the progress, 0 to 1, that the card names with it."""

    preview: CardPreview
    progress: float


@dataclass(slots=True)
class _Drawing:
    """A job that is being drawn: when and with which progress it was first seen, and what its card shows."""

    seen_at: float
    seen: float
    frames: dict[int, PreviewFrame] = field(default_factory=dict)
    shown: ShownPreview | None = None
    changed_at: float = 0.0
    refused: bool = False

    def total(self, progress: float, now: float) -> float:
        """Return the seconds that the whole drawing is expected to take; 0 while too little of it was seen."""
        seconds, share = now - self.seen_at, progress - self.seen
        return seconds / share if seconds >= OBSERVED and share > 0 else 0.0


class ChatPreviews:
    """Chooses the preview of each card. All is in memory: a restart loses nothing that matters.

    A preview is part of an edit of progress and never an edit of its own. Between two previews the card's progress stays
    as it is, so that a card with a preview is edited less often than one without, and uploads each preview once.
    """

    def __init__(self, live: Live, clock: Clock, *, on: bool) -> None:
        """Args:
        live: Has the engine make previews.
        clock: Time.
        on: Whether cards show previews at all.
        """
        self._live = live
        self._clock = clock
        self._on = on
        self._drawings: dict[int, _Drawing] = {}

    async def of(self, job: Job, every: float) -> ShownPreview | None:
        """Return what the job's card shows now; None without a preview.

        Args:
            job: The job, as its row is.
            every: Shortest pause between two previews, in seconds.
        """
        self._drawings = {id_: d for id_, d in self._drawings.items() if self._live.progress(id_) is not None}
        progress = self._live.progress(job.id)
        # A request that moderation has marked gets a covered picture.
        covered = HIDDEN in job.request.notes
        if not self._on or covered or job.forgotten or job.state is not JobState.RUNNING or not progress:
            return None
        now = self._clock.monotonic()
        drawing = self._drawings.setdefault(job.id, _Drawing(now, progress))
        if drawing.refused:
            return None
        await self._update(drawing, job, every, progress, now)
        return drawing.shown

    def refuse(self, job_id: int) -> None:
        """The chat does not take the job's previews."""
        if (drawing := self._drawings.get(job_id)) is not None:
            drawing.refused, drawing.shown = True, None

    async def _update(self, drawing: _Drawing, job: Job, every: float, progress: float, now: float) -> None:
        shown, age = drawing.shown, now - drawing.changed_at
        total = drawing.total(progress, now)
        goes_on = total * (1 - progress) >= LEAST_REST
        # The engine makes a preview within two steps.
        lead = min(2 * total / job.request.steps, every / 2)
        if goes_on and (shown is None or age >= every - lead):
            self._live.ask_for_previews(job.id)
        if shown is not None and age < every and progress < 1:
            return
        if goes_on and (frames := self._live.take_previews(job.id)):
            drawing.frames.update(frames)
            preview = await _preview(job, drawing.frames)
            if preview is not None:
                drawing.shown, drawing.changed_at = ShownPreview(preview, progress), now
                return
        # The next preview is on its way: the progress waits for it, but not for long.
        waits = goes_on and age < 2 * every
        if shown is not None and not waits:
            drawing.shown, drawing.changed_at = ShownPreview(shown.preview, progress), now


async def _preview(job: Job, frames: Mapping[int, PreviewFrame]) -> CardPreview | None:
    request = job.request
    pictures = [frames[i].data if i in frames else None for i in range(request.count)]
    try:
        data = await asyncio.to_thread(preview_sheet, pictures, request.width, request.height)
    except OSError as e:
        log.warning("a preview of job %d can't be read: %s", job.id, e)
        return None
    return CardPreview(data, max(frame.number for frame in frames.values()))


def preview_sheet(pictures: Sequence[bytes | None], width: int, height: int) -> bytes:
    """Return encoded pictures side by side, in reading order, as a small JPEG. Blocks: run in a thread.

    Args:
        pictures: All pictures of a job; None leaves an empty place.
        width: Of the finished pictures, in pixels; only the ratio matters.
        height: As ``width``.

    Raises:
        OSError: A picture can't be read.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    scale = min((SIDE - _GAP * (columns - 1)) / (columns * width), (SIDE - _GAP * (rows - 1)) / (rows * height))
    cell = max(1, int(width * scale)), max(1, int(height * scale))
    sheet = Image.new("RGB", (columns * (cell[0] + _GAP) - _GAP, rows * (cell[1] + _GAP) - _GAP), _EMPTY)
    for index, data in enumerate(pictures):
        if data is not None:
            with Image.open(io.BytesIO(data)) as picture:
                fitted = picture.convert("RGB").resize(cell, Image.Resampling.BICUBIC)
            sheet.paste(fitted, (index % columns * (cell[0] + _GAP), index // columns * (cell[1] + _GAP)))
    data = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        sheet.save(buffer, "JPEG", quality=quality)
        data = buffer.getvalue()
        if len(data) <= MOST_BYTES:
            break
    return data

"""The previews of chats' cards: when there are any, and the small picture."""

from __future__ import annotations

import io
import os

import pytest
from PIL import Image

from bot.core.events import EventBus
from bot.core.jobs import Job, JobState
from bot.core.strictness import HIDDEN
from bot.delivery.live import Live
from bot.delivery.previews import MOST_BYTES, SIDE, ChatPreviews, ShownPreview, preview_sheet
from tests.fakes.clock import FakeClock
from tests.unit.bot.cards.factories import make_job

EVERY = 4.0


def encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


RED = encoded(Image.new("RGB", (32, 18), "red"))


class Drawing:
    """A job of one picture that is drawn, and the previews of its card."""

    def __init__(self, *, on: bool = True, steps: int = 20, notes: tuple[str, ...] = ()) -> None:
        self.live, self.clock, self.steps = Live(EventBus()), FakeClock(), steps
        self.previews = ChatPreviews(self.live, self.clock, on=on)
        self.job = make_job(JobState.RUNNING, count=1, notes=notes)
        self.live.begin(self.job.id, 1)
        self.done = 0

    async def step(self, seconds: float = 2.0, data: bytes = RED) -> ShownPreview | None:
        """Take one step; return what the card shows then."""
        self.clock.advance(seconds)
        self.done += 1
        self.live.step(self.job.id, 0, self.done / self.steps)
        if self.live.wants_previews(self.job.id):
            self.live.add_preview(self.job.id, 0, data, "image/png")
        return await self.look()

    async def look(self, job: Job | None = None) -> ShownPreview | None:
        return await self.previews.of(job or self.job, EVERY)


async def test_a_preview_and_the_progress_stay_together_until_the_next_one() -> None:
    drawing = Drawing()
    shown = [await drawing.step() for _ in range(20)]
    numbers = [None if one is None else one.preview.number for one in shown]
    assert numbers[:9] == [None, None, 1, 1, 2, 2, 3, 3, 4]
    assert [one.progress for one in shown[2:7] if one] == [0.15, 0.15, 0.25, 0.25, 0.35]
    assert shown[-1] is not None
    assert shown[-1].progress == 1
    assert numbers[-2:] == [numbers[-4]] * 2, "no new one at the end"
    drawing.live.end(drawing.job.id)
    assert await drawing.look() is None
    assert drawing.previews._drawings == {}


@pytest.mark.parametrize(
    "drawing",
    [Drawing(on=False), Drawing(notes=(HIDDEN,)), Drawing(steps=3)],
    ids=["off", "covered", "few steps are left"],
)
async def test_none(drawing: Drawing) -> None:
    assert [await drawing.step() for _ in range(drawing.steps)] == [None] * drawing.steps
    assert not drawing.live.wants_previews(drawing.job.id)


async def test_a_refused_or_unreadable_preview_is_not_shown() -> None:
    drawing = Drawing()
    for _ in range(3):
        await drawing.step(data=b"no picture")
    assert await drawing.look() is None
    for _ in range(3):
        await drawing.step()
    assert await drawing.look() is not None
    drawing.previews.refuse(drawing.job.id)
    assert [await drawing.step() for _ in range(9)] == [None] * 9


@pytest.mark.parametrize(
    ("count", "sides", "size"),
    [
        (1, (1024, 1024), (256, 256)),
        (1, (1024, 512), (256, 128)),
        (4, (512, 512), (256, 256)),
        (3, (64, 128), (130, 256)),
    ],
)
def test_the_sheet_keeps_the_shape_of_the_pictures(count: int, sides: tuple[int, int], size: tuple[int, int]) -> None:
    data = preview_sheet([RED] * (count - 1) + [RED if count == 1 else None], *sides)
    with Image.open(io.BytesIO(data)) as sheet:
        assert (sheet.format, sheet.size) == ("JPEG", size)
        red = sheet.convert("RGB").getpixel((size[0] // 5, size[1] // 5))
        last = sheet.convert("RGB").getpixel((size[0] * 4 // 5, size[1] * 4 // 5))
    assert isinstance(red, tuple)
    assert isinstance(last, tuple)
    assert red[0] > 200
    assert (last[0] > 200) is (count == 1)


def test_noise_is_small_too() -> None:
    noise = encoded(Image.frombytes("RGB", (SIDE, SIDE), os.urandom(SIDE * SIDE * 3)))
    assert len(preview_sheet([noise], 1024, 1024)) <= MOST_BYTES

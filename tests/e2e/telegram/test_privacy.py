"""What people draw stays theirs: no log line repeats it, they can take it along, and have it forgotten."""

from __future__ import annotations

import io
import zipfile

import pytest

from bot.observability import logs
from bot.settings import Settings
from tests.e2e.telegram.conftest import Start
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_limits import DELETED_WITHIN
from tests.fakes.telegram_world import Chat

WORD = "xyzzymarker"


@pytest.fixture
def said() -> io.StringIO:
    """All that is logged, as a service logs it when it is asked for everything."""
    stream = io.StringIO()
    logs.configure(Settings(_env_file=None, log_level="DEBUG"), stream=stream)
    return stream


async def test_no_line_repeats_a_prompt_and_everything_can_be_taken_along_and_forgotten(
    start: Start, telegram: TelegramStandIn, ann: Chat, said: io.StringIO
) -> None:
    bot = await start()
    person = next(iter(ann.members.values()))
    group = telegram.group("Painters", person)
    telegram.writes(ann, person, f"a {WORD} apple --count 2")
    telegram.writes(ann, person, f"{WORD} --sise {WORD}")
    telegram.writes(group, person, f"/draw the {WORD} sea --no {WORD}")
    await telegram.until(
        lambda: len([m for m in ann.by_bot() if m.photo]) == 2 and any(m.photo for m in group.by_bot())
    )
    await telegram.until(lambda: any("seeds" in m.words for m in ann.by_bot()))
    await bot.settled()
    telegram.refuse("sendMessage", 400, "Bad Request: something is wrong")
    telegram.cut("sendPhoto")
    telegram.writes(ann, person, f"/draw another {WORD}")
    await telegram.until(lambda: ("sendMessage", 400) in telegram.refused)
    await bot.settled()
    telegram.mend()
    # Of a message that may have arrived or not, nobody knows the number: only people can delete it.
    for message in ann.by_bot():
        if "another" in message.words:
            telegram.deletes(message)

    telegram.writes(ann, person, "/export")
    await telegram.until(lambda: any(m.document for m in ann.by_bot()))
    (parcel,) = [m.document for m in ann.by_bot() if m.document]
    with zipfile.ZipFile(io.BytesIO(parcel.data)) as archive:
        assert archive.testzip() is None
        assert len([name for name in archive.namelist() if name.startswith("pictures/")]) >= 3
    assert not any(m.document for m in group.by_bot())

    old = next(m for m in group.by_bot() if m.photo)
    old.date -= DELETED_WITHIN + 60
    before = old.photo
    telegram.writes(ann, person, "/forget")
    await telegram.until(lambda: any("/forget yes" in m.words for m in ann.by_bot()))
    telegram.writes(ann, person, "/forget yes")
    # A job that is drawn at once has its pictures on its first card: that was never edited before.
    await telegram.until(
        lambda: (
            "This drawing was deleted" in old.words and old.photo != before and not any(m.photo for m in ann.by_bot())
        )
    )
    assert "This drawing was deleted" in old.words
    assert old.photo != before
    assert old.markup is None
    assert not any(WORD in m.words for m in (*group.by_bot(), *ann.by_bot()))
    assert await bot.count("pictures") == 0
    assert not list((bot.folder / "pictures").rglob("*.png"))
    lines = said.getvalue()
    assert WORD not in lines
    assert "Telegram refused" in lines, "there was something to be logged"

"""Every kind of bad input in Discord: one private sentence in the person's language; nothing kept, nothing charged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.discord_harness import DiscordHarness
from tests.fakes.discord import FakeDiscord
from tests.fakes.engine import FakeEngine

BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("empty", {"prompt": " "}, "There is no prompt", "提示词"),
    ("5,000 characters", {"prompt": "a" * 5000}, "5,000 characters|5000 characters", "5000|5,000"),
    ("unknown flag", {"prompt": "a cat --sede 7"}, "--seed", "--seed"),
    ("off the grid", {"prompt": "a cat", "size": "200x200"}, "208x208|192x192", "208x208|192x192"),
    ("too small", {"prompt": "a cat", "size": "16x16"}, "too small", "64"),
    ("too large", {"prompt": "a cat", "size": "4096x4096"}, "too large", "512"),
    ("no size", {"prompt": "a cat", "size": "big"}, "is not a size", "big"),
    ("count 0", {"prompt": "a cat", "count": 0}, "1 to 4", "4"),
    ("count 99", {"prompt": "a cat", "count": 99}, "1 to 4", "4"),
    ("count 99 as a flag", {"prompt": "a cat --count 99"}, "1 to 4", "4"),
    ("negative seed", {"prompt": "a cat", "seed": "-2"}, "out of range", "-2"),
    ("seed above 2^63-1", {"prompt": "a cat", "seed": str(2**63)}, "out of range", str(2**63)),
    ("seed that is none", {"prompt": "a cat", "seed": "seven"}, "not a whole number", "seven"),
    ("steps", {"prompt": "a cat --steps 999"}, "out of range", "999"),
    ("model", {"prompt": "a cat --model nope"}, "no model", "nope"),
    ("flag from a phone", {"prompt": "a cat —count 99"}, "1 to 4", "4"),
]


@pytest.fixture
async def bot(tmp_path: Path, discord: FakeDiscord) -> AsyncIterator[DiscordHarness]:
    engine = FakeEngine()
    await engine.start()
    one = DiscordHarness(tmp_path, discord, engine)
    await one.start()
    yield one
    await one.stop()


async def test_bad_input_is_one_private_sentence(bot: DiscordHarness) -> None:
    discord = bot.discord
    bob = discord.person("Bob")
    for locale, column in (("en-US", 2), ("zh-CN", 3)):
        person = discord.person("Somebody", locale=locale)
        for row in BAD:
            options = dict(row[1])
            answer = await (await person.draw(options.pop("prompt"), strict=False, **options)).answer()
            shown = answer.text.replace("\\", "").replace("\u200b", "")
            words = str(row[column])
            assert any(word in shown for word in words.split("|")), f"{row[0]}, {locale}: {shown}"
            assert "\n" not in shown, f"{row[0]}: more than one line: {shown}"
            assert answer.only_for is person.user
            if locale == "zh-CN":
                assert any("\u4e00" <= c <= "\u9fff" for c in shown), shown
    assert bob.sees() == []
    assert await bot.count("jobs") == 0
    assert await bot.count("ledger") == 0

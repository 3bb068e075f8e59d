"""Every kind of bad input in Discord: one private sentence in the person's language; nothing kept, nothing charged."""

from __future__ import annotations

from typing import Any

from tests.e2e.discord.conftest import Start
from tests.fakes.bad_requests import BAD_REQUESTS, BadRequest
from tests.fakes.discord import FakeDiscord


def options(bad: BadRequest) -> dict[str, Any]:
    """The command's options: count is a whole number there, and what has no option of its own is a flag."""
    own: dict[str, str | int] = {name: value for name, value in bad.fields.items() if name in {"size", "seed"}}
    own |= {name: int(value) for name, value in bad.fields.items() if name == "count" and value.isdigit()}
    flags = {name: value for name, value in bad.fields.items() if name not in own}
    return {"prompt": bad._replace(fields=flags).typed, **own}


async def test_bad_input_is_one_private_sentence(start: Start, discord: FakeDiscord) -> None:
    bot = await start()
    bob = discord.person("Bob")
    for locale in ("en-US", "zh-CN"):
        person = discord.person("Somebody", locale=locale)
        # Discord asks for a prompt by itself, and its client stops a seed that is too long.
        for bad in (bad for bad in BAD_REQUESTS if bad.prompt and bad.what != "endless seed"):
            answer = await (await person.draw(strict=False, **options(bad))).answer()
            shown = answer.text.replace("\\", "").replace("\u200b", "")
            assert bad.words(locale[:2], most=4) in shown, f"{bad.what}, {locale}: {shown}"
            assert "\n" not in shown, f"{bad.what}: more than one line: {shown}"
            assert answer.only_for is person.user
            if locale == "zh-CN":
                assert any("\u4e00" <= c <= "\u9fff" for c in shown), shown
    assert bob.sees() == []
    assert await bot.count("jobs") == 0
    assert await bot.count("ledger") == 0

"""Hostile input on both chat platforms: one answer each, nothing of other people's in it, and nothing breaks."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from bot.cards import i18n
from bot.features import COMMANDS
from tests.contract.test_pictures_in import HOSTILE
from tests.e2e.chats import on_discord, on_telegram
from tests.e2e.discord.harness import DiscordHarness
from tests.e2e.harness import PlatformHarness
from tests.e2e.telegram.harness import TelegramHarness
from tests.fakes.discord_world import Channel, Message
from tests.fakes.engine import FakeEngine
from tests.fakes.telegram_world import Chat, Msg

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SECRET = "zanzibarword"
"""A word of Bob's prompts, which nobody else may read."""

PRIVATE, ELSEWHERE, OWN = 1, 2, 3
"""Bob's private job in Mallory's chat, Bob's job in a place that she is not in, and her own job."""

SEED = 20261201
INPUTS = [60, pytest.param(300, marks=pytest.mark.soak)]

_NUMBERS = (PRIVATE, ELSEWHERE, 0, 99, 2**31, 2**53, 2**63 - 1, 2**63, 10**30)
_INDEXES = (None, None, 0, 0, 1, 9, 255, 10**9, 10**20)
_GARBAGE = (
    "easel", "easel:", "easel::", "easel:reroll", "easel:reroll:", "easel:reroll:-1", "easel:reroll:1e3", "EASEL:reroll:1",
    "easel:reroll:１", "easel:reroll:1:0:0", "easel:reroll:1 ", " easel:reroll:1", "easel:reroll:1\n", "easel:nothing:1",
    "easel:__init__:1", "other:reroll:1", "{}", "[1]", "null", "' OR 1=1 --", "../../etc/passwd", "easel:reroll:0x1",
    "\u202eeasel:reroll:1", "easel:more:+1", "easel:more:1_000", "x" * 64,
)  # fmt: skip
_PROMPTS = (
    "@everyone @here <@1> <@&2> <#3>", "<b>bold</b> <script>alert(1)</script> &amp;", "[link](tg://user?id=1) `x` ```y```",
    "a cat\u0000with\u0001control\u0007characters\u001b[31m", "\u202eevil\u202c \u2066x\u2069 \u200b\u200d\ufeff", "Z̴̡̢͓̲͚͈" * 60,
    "a" * 3900, "猫" * 3900, "👩‍👩‍👧‍👦" * 300, "\n" * 500 + "a cat", "--seed", "--size 0x0", "--count -1", "-- -- --", "——",
    "a cat --seed 99999999999999999999999", "a cat --size 99999999x99999999", "a cat --steps 1e9", "a cat --guidance inf",
    "a cat --model ../../etc/passwd", "a cat --lora ../../x:1", "<lora:../../x:1>", "a cat --style '; DROP TABLE jobs; --",
    'a cat --no "', "((((((a cat:1e99))))))", "[[[[[[", "{0} {prompt} {job} %s %(x)s ${HOME} {{7*7}}", "\\" * 500,
    f"--from {PRIVATE}", f"a cat --from {PRIVATE}:1", f"a cat --from {ELSEWHERE}:1", f"a cat --from {ELSEWHERE}:99999999999",
    "a cat --from ../pictures", "a cat --from -1:-1",
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """One input: a press or a form with this custom id, a prompt, a job to draw again, or a file as a picture."""

    kind: str
    text: str
    data: bytes = b""
    values: tuple[tuple[str, str], ...] = ()


def presses(rng: random.Random) -> Iterator[str]:
    """Yield custom ids: every action on Bob's jobs first, then all actions with any numbers, and garbage."""
    actions = sorted(COMMANDS.by_action)
    for n, action in enumerate(action for action in actions if COMMANDS.by_action[action].on_job):
        yield f"easel:{action}:{(PRIVATE, ELSEWHERE)[n % 2]}:0"
    while True:
        rng.shuffle(actions)
        for action in actions:
            index = rng.choice(_INDEXES)
            number = rng.choice((PRIVATE, ELSEWHERE, rng.choice(_NUMBERS)))
            text = f"easel:{action}:{number}" + ("" if index is None else f":{index}")
            yield text[:64]
            if rng.random() < 0.5:
                yield rng.choice(_GARBAGE)


def forms(rng: random.Random) -> Iterator[Input]:
    """Yield forms of other people's jobs, of buttons without one, and with fields that they do not have."""
    fields = ("prompt", "negative", "size", "seed", "steps", "model", "where", "count", "no_such_field", "__class__")
    buttons = presses(rng)
    while True:
        names = rng.sample(fields, rng.randint(0, 5))
        values = tuple((name, rng.choice(_PROMPTS)[:4000]) for name in names)
        forged = f"easel:{rng.choice(('edit', 'start', 'settings', 'panel'))}:{rng.choice(_NUMBERS[:5])}:0"
        yield Input("form", rng.choice((forged, next(buttons))), values=values)


def inputs(count: int, *, has_forms: bool) -> list[Input]:
    """Return inputs of all kinds by turns, the same ones each time."""
    rng = random.Random(SEED)
    prompts, files, pressed, filled = list(_PROMPTS), list(HOSTILE.items()), presses(rng), forms(rng)
    rng.shuffle(prompts)
    rng.shuffle(files)
    found: list[Input] = []
    while len(found) < count:
        n = len(found) // 6
        name, data = files[n % len(files)]
        found += [
            Input("press", next(pressed)),
            Input("prompt", prompts[n % len(prompts)]),
            Input("press", next(pressed)),
            next(filled) if has_forms else Input("press", next(pressed)),
            Input("again", str(rng.choice(_NUMBERS[:5]) or 1)),
            Input("picture", f"make it night {name}", data),
        ]
    return found[:count]


class Rig(Protocol):
    """Mallory on a platform, who sends what no client sends."""

    @property
    def bot(self) -> PlatformHarness:
        """The service."""

    async def send(self, one: Input) -> str:
        """Send one input; returns all that the answer says, empty if it is a sign alone."""

    def sees(self) -> tuple[str, list[bytes]]:
        """Return all that Mallory can read and all files that she can open."""


class DiscordRig:
    """Mallory and Bob in a channel; Bob in another server as well."""

    def __init__(self, bot: DiscordHarness) -> None:
        self.bot = bot
        self.discord = bot.discord
        self.mallory, self.bob = self.discord.person("Mallory"), self.discord.person("Bob")
        self.card: Message
        self._threads = 0

    async def begin(self) -> None:
        elsewhere = self.discord.foreign()
        for person, prompt, more in (
            (self.bob, f"{SECRET} one", {"private": True}),
            (self.bob, f"{SECRET} two", {"channel": elsewhere}),
            (self.mallory, "a cat", {}),
        ):
            self.card = await (await person.draw(prompt, **more)).answer()
            await self.discord.world.until(lambda: len(self.card.attachments) == 1, "a picture")

    async def send(self, one: Input) -> str:
        match one.kind:
            case "press":
                asked = await self.mallory.send_press(self.card, one.text)
            case "form":
                asked = await self.mallory.submit(one.text, self.card, **dict(one.values))
            case "again":
                asked = await self.mallory.run("again", number=int(one.text), channel=self._thread())
            case "picture":
                sent = self.mallory.uploads(one.data, "photo.png", "image/png")
                asked = await self.mallory.draw(one.text, channel=self._thread(), picture=sent)
            case _:
                asked = await self.mallory.draw(one.text, channel=self._thread())
        interaction = await asked.acknowledged()
        if interaction.modal:
            return json.dumps(interaction.modal)
        return "" if interaction.original is None else (await asked.answer()).text

    def sees(self) -> tuple[str, list[bytes]]:
        seen = [m for m in self.discord.world.messages.values() if m.only_for in (None, self.mallory.user)]
        theirs = [m for m in seen if m.channel.id not in self._of_bob()]
        return "\n".join(m.text for m in theirs), [a.data for m in theirs for a in m.attachments]

    def _of_bob(self) -> set[int]:
        return {c.id for c in self.discord.world.channels.values() if c.name == "theirs"}

    def _thread(self) -> Channel:
        """A thread for each: a channel takes 5 edits in 5 s."""
        self._threads += 1
        return self.discord.thread(f"thread {self._threads}")


class TelegramRig:
    """Mallory and Bob in a group; Bob in another one as well."""

    def __init__(self, bot: TelegramHarness) -> None:
        self.bot = bot
        self.telegram = bot.telegram
        self.mallory, self.bob = self.telegram.person("Mallory"), self.telegram.person("Bob")
        self.group = self.telegram.group("Painters", self.mallory, self.bob)
        self.elsewhere = self.telegram.group("Others", self.bob)
        self.private, self.bobs = self.telegram.private(self.mallory), self.telegram.private(self.bob)
        self.card: Msg

    async def begin(self) -> None:
        for chat, person, words, shown in (
            (self.group, self.bob, f"/draw {SECRET} one --private", self.bobs),
            (self.elsewhere, self.bob, f"/draw {SECRET} two", self.elsewhere),
            (self.group, self.mallory, "/draw a cat", self.group),
        ):
            self.telegram.writes(chat, person, words)
            self.card = await self.telegram.until(lambda: _picture(shown))  # noqa: B023 - it is waited for at once

    async def send(self, one: Input) -> str:
        if one.kind == "press":
            return await self._press(one.text)
        if one.kind == "picture":
            asked = self.telegram.sends_file(self.private, self.mallory, one.data, "photo.png", "image/png", one.text)
        else:
            words = f"/again {one.text}" if one.kind == "again" else one.text
            asked = self.telegram.writes(self.private, self.mallory, words)

        def answered() -> str | None:
            return next((m.words for m in self.private.by_bot() if m.reply_to is asked and _is_answer(m)), None)

        return await self.telegram.until(answered)

    async def _press(self, data: str) -> str:
        query = self.telegram.sends_press(self.card, self.mallory, data)
        await self.telegram.until(lambda: query.answered)
        return query.text or ""

    def sees(self) -> tuple[str, list[bytes]]:
        seen = [m for chat in (self.group, self.private) for m in chat.by_bot()]
        files = [file.data for m in seen for file in (m.photo, m.document) if file is not None]
        return "\n".join(text for m in seen for text in (m.words, *m.past)), files


def _picture(chat: Chat) -> Msg | None:
    return next((m for m in chat.by_bot() if m.photo is not None), None)


def _is_answer(message: Msg) -> bool:
    return bool(message.words) and "Fetching" not in message.words


@contextlib.asynccontextmanager
async def discord(folder: Path) -> AsyncIterator[Rig]:
    async with on_discord(folder, FakeEngine()) as bot:
        rig = DiscordRig(bot)
        await rig.begin()
        yield rig


@contextlib.asynccontextmanager
async def telegram(folder: Path) -> AsyncIterator[Rig]:
    async with on_telegram(folder, FakeEngine()) as bot:
        rig = TelegramRig(bot)
        await rig.begin()
        yield rig


RIGS: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Rig]]] = {"discord": discord, "telegram": telegram}


@pytest.mark.parametrize("count", INPUTS)
@pytest.mark.parametrize("platform", list(RIGS))
async def test_hostile_input_leaks_nothing_and_breaks_nothing(
    tmp_path: Path, platform: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    wrong: list[str] = []
    async with RIGS[platform](tmp_path) as rig:
        mine = {
            path
            for path in (tmp_path / "pictures").rglob("*")
            if path.name.startswith((f"{PRIVATE}-", f"{ELSEWHERE}-"))
        }
        assert len(mine) == 2
        for one in inputs(count, has_forms=platform == "discord"):
            said = await rig.send(one)
            silent = not said and one.kind in {"prompt", "again", "picture"}
            internal = i18n.text("en", "refusal.unavailable.internal") in said
            if silent or internal or SECRET in said or re.search(r"Traceback|/tmp/|sqlite|Errno", said):
                wrong.append(f"{one.kind} {one.text[:80]!r} {one.values}: {said!r}")
        await settled(rig.bot)
        words, files = rig.sees()
        assert not wrong, "\n".join(wrong)
        assert SECRET not in words
        assert not any(SECRET.encode() in data for data in files)
        assert not {path.read_bytes() for path in mine} & set(files)
        states = f"SELECT count(*) FROM jobs WHERE id IN ({PRIVATE}, {ELSEWHERE}) AND state = 'delivered'"
        assert await rig.bot.number(states) == 2
        assert await rig.bot.number(f"SELECT count(*) FROM pictures WHERE job_id IN ({PRIVATE}, {ELSEWHERE})") == 2
    assert [record.getMessage() for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}] == []


async def settled(bot: PlatformHarness) -> None:
    """Wait until every job has ended and is shown."""
    wait: Callable[[], Awaitable[None]] = getattr(bot, "settled")  # noqa: B009 - both platforms' harnesses have it
    await wait()

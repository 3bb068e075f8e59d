"""One suite for all surfaces: people edit and delete what they have drawn, and set what their requests use by default."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest

from bot.cards.i18n import text
from bot.preferences.commands import OWN
from bot.storage.database import Database
from tests.e2e.chats import on_discord, on_telegram
from tests.e2e.discord.harness import DiscordHarness
from tests.e2e.telegram.harness import TelegramHarness
from tests.fakes.discord_world import Message
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.fakes.telegram_world import Msg
from tests.unit.adapters.web.harness import WebHarness, settings_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CHOICES: Mapping[str, tuple[str, ...]] = {"count": ("none", "1", "2", "3", "4"), "language": ("en", "zh_cn")}
"""What the forms of the settings offer, in their order."""


class Rig(Protocol):
    """A surface, and a person on it: ``press`` and ``draw`` use the surface's real client."""

    @property
    def db(self) -> Database:
        """The service's database."""

    @property
    def folder(self) -> Path:
        """The data folder."""

    async def draw(self, words: str, count: int = 1) -> int:
        """Ask for pictures and wait until they are shown; returns the job's number."""

    async def edit(self, job: int) -> str:
        """Open the form of Edit; returns the request as it was."""

    async def send_edit(self, words: str, count: int = 1) -> int:
        """Send the form back with this request, and wait until it is drawn; returns the job's number."""

    async def delete(self, job: int, *, sure: bool) -> str:
        """Press Delete, and where ``sure`` also the button that this brings; returns what is said last."""

    async def set(self, name: str, value: str) -> str:
        """Choose a value in the form of a setting; returns what is said."""

    async def history(self) -> str:
        """Look at one's own history; returns what it says."""

    def shows(self, job: int) -> bool:
        """Whether the card or a picture of the job is still in the chat."""


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - rows tell nobody that they change
            await asyncio.sleep(0.01)


async def number(rig: Rig, query: str) -> int:
    async with rig.db.read() as tx:
        return int(next(iter(await tx.execute_fetchall(query)))[0])


async def next_job(rig: Rig, before: int) -> int:
    """Wait until a job after number ``before`` is delivered; returns its number."""

    async def delivered() -> bool:
        return await number(rig, f"SELECT count(*) FROM jobs WHERE id > {before} AND state = 'delivered'") == 1

    await until(delivered)
    return await number(rig, "SELECT max(id) FROM jobs")


class DiscordRig:
    """Somebody in a server's channel."""

    def __init__(self, bot: DiscordHarness) -> None:
        self.bot = bot
        self.db, self.folder = bot.db, bot.folder
        self.world = bot.discord.world
        self.person = bot.discord.person("Ann")
        self._form: Any = None
        self._cards: dict[int, Message] = {}

    async def draw(self, words: str, count: int = 1) -> int:
        before = await number(self, "SELECT coalesce(max(id), 0) FROM jobs")
        # In a thread of its own: a channel takes 5 edits in 5 s.
        thread = self.bot.discord.thread(f"after {before}")
        return await self._drawn(before, await (await self.person.draw(words, channel=thread)).answer(), count)

    async def edit(self, job: int) -> str:
        menu = await (await self.person.press(self._cards[job], "⋯")).answer()
        self._form = await self.person.press(menu, f"easel:edit:{job}")
        modal = (await self._form.acknowledged()).modal
        return str(modal["components"][0]["component"]["value"])

    async def send_edit(self, words: str, count: int = 1) -> int:
        before = await number(self, "SELECT max(id) FROM jobs")
        return await self._drawn(before, await (await self.person.fill(self._form, prompt=words)).answer(), count)

    async def delete(self, job: int, *, sure: bool) -> str:
        menu = await (await self.person.press(self._cards[job], "⋯")).answer()
        await self.person.press(menu, f"easel:delete:{job}")
        await self.world.until(lambda: set(menu.buttons) == {f"easel:deletenow:{job}"}, "a question")
        if sure:
            await self.person.press(menu, f"easel:deletenow:{job}")
            await self.world.until(lambda: not menu.buttons, "the end")
        return _read(menu)

    async def set(self, name: str, value: str) -> str:
        card = await (await self.person.run("settings")).answer()
        index = [arg.name for arg in OWN].index(name)
        opened = await self.person.press(card, f"easel:settings:{index}")
        return _read(await (await self.person.fill(opened, **{name: value})).answer())

    async def history(self) -> str:
        return _read(await (await self.person.run("history")).answer())

    def shows(self, job: int) -> bool:
        return not self._cards[job].deleted

    async def _drawn(self, before: int, card: Message, count: int) -> int:
        job = await next_job(self, before)
        self._cards[job] = card
        await self.world.until(lambda: len(card.attachments) == count, f"{count} pictures")
        return job


def _read(message: Message) -> str:
    # A reader does not see what keeps Discord from reading markup.
    return re.sub(r"\\(.)", r"\1", message.text)


class TelegramRig:
    """Somebody's private chat."""

    def __init__(self, bot: TelegramHarness) -> None:
        self.db, self.folder = bot.db, bot.folder
        self.telegram = bot.telegram
        self.person = self.telegram.person("Ann")
        self.chat = self.telegram.private(self.person)
        self._cards: dict[int, Msg] = {}
        self._albums: dict[int, list[Msg]] = {}

    async def draw(self, words: str, count: int = 1) -> int:
        before = await number(self, "SELECT coalesce(max(id), 0) FROM jobs")
        pictures = self._pictures()
        self.telegram.writes(self.chat, self.person, words)
        job = await next_job(self, before)
        self._cards[job] = await self.telegram.until(
            lambda: self._card(job) if len(self._pictures()) == len(pictures) + count else None
        )
        self._albums[job] = self._pictures()[len(pictures) :]
        return job

    async def edit(self, job: int) -> str:
        card = await self._menu(job)
        form = await self._answer(lambda: self.telegram.presses(card, self.person, f"easel:edit:{job}"))
        return form.code()[0]

    async def send_edit(self, words: str, count: int = 1) -> int:
        return await self.draw(words, count)

    async def delete(self, job: int, *, sure: bool) -> str:
        card = await self._menu(job)
        query = self.telegram.presses(card, self.person, f"easel:delete:{job}")
        await self.telegram.until(lambda: f"easel:deletenow:{job}" in str(card.markup) and query.answered)
        if sure:
            query = self.telegram.presses(card, self.person, f"easel:deletenow:{job}")
            await self.telegram.until(lambda: query.answered)
        return query.text or ""

    async def set(self, name: str, value: str) -> str:
        card = await self._answer(lambda: self.telegram.writes(self.chat, self.person, "/settings"))
        index, choice = [arg.name for arg in OWN].index(name), CHOICES[name].index(value)
        form = await self._answer(lambda: self.telegram.presses(card, self.person, f"easel:settings:{index}"))
        button = f"easel:settings:{index}:{choice}"
        return (await self._answer(lambda: self.telegram.presses(form, self.person, button))).words

    async def history(self) -> str:
        return (await self._answer(lambda: self.telegram.writes(self.chat, self.person, "/history"))).words

    def shows(self, job: int) -> bool:
        return any(not message.deleted for message in (self._cards[job], *self._albums[job]))

    def _pictures(self) -> list[Msg]:
        return [m for m in self.chat.by_bot() if m.photo is not None]

    def _card(self, job: int) -> Msg | None:
        return next((m for m in self.chat.by_bot() if f"easel:more:{job}" in str(m.markup)), None)

    async def _menu(self, job: int) -> Msg:
        """Open the menu of a card; an open one is left open, and a question of the menu is left."""
        card = self._cards[job]
        if f"easel:deletenow:{job}" in str(card.markup):
            self.telegram.presses(card, self.person, "← Back")
            await self.telegram.until(lambda: f"easel:more:{job}" in str(card.markup))
        if f"easel:more:{job}" in str(card.markup):
            self.telegram.presses(card, self.person, "⋯")
        await self.telegram.until(lambda: f"easel:delete:{job}" in str(card.markup))
        return card

    async def _answer(self, act: Callable[[], object]) -> Msg:
        before = {m.id for m in self.chat.by_bot()}
        act()
        return await self.telegram.until(lambda: next((m for m in self.chat.by_bot() if m.id not in before), None))


class PageRig:
    """The owner at the page."""

    def __init__(self, app: WebHarness) -> None:
        self.app = app
        self.db, self.folder = app.db, app.folder

    async def draw(self, words: str, count: int = 1) -> int:
        before = await number(self, "SELECT coalesce(max(id), 0) FROM jobs")
        # A line of Edit begins with its command, which the page has no use for.
        body = {"key": self.app.key(), "prompt": words.removeprefix("/draw ")}
        status, answer = await self.app.post("/api/draw", body)
        assert status == 201, answer
        job = await next_job(self, before)
        _, shown = await self.app.get(f"/api/jobs/{job}")
        assert len(shown["card"]["pictures"]) == count
        return job

    async def edit(self, job: int) -> str:
        return str((await self._press(f"easel:edit:{job}"))["card"]["prompt"])

    async def send_edit(self, words: str, count: int = 1) -> int:
        return await self.draw(words, count)

    async def delete(self, job: int, *, sure: bool) -> str:
        asked = (await self._press(f"easel:delete:{job}"))["menu"]
        assert f"easel:deletenow:{job}" in [b["id"] for row in asked["buttons"] for b in row]
        said = (await self._press(f"easel:deletenow:{job}"))["menu"] if sure else asked
        return str(said["status"])

    async def set(self, name: str, value: str) -> str:
        index, choice = [arg.name for arg in OWN].index(name), CHOICES[name].index(value)
        button = f"easel:settings:{index}:{choice}"
        form = (await self._press(f"easel:settings:{index}"))["card"]
        assert button in [b["id"] for row in form["buttons"] for b in row]
        card = (await self._press(button))["card"]
        return "\n".join([card["status"], *card["notes"], *(f["value"] for f in card["facts"])])

    async def history(self) -> str:
        return json.dumps(await self.app.get("/api/history"), ensure_ascii=False)

    def shows(self, job: int) -> bool:
        return False  # it has no chat, and shows the history

    async def _press(self, button: str) -> dict[str, Any]:
        status, answer = await self.app.post("/api/press", {"key": self.app.key(), "id": button})
        assert status == 200, answer
        return answer


@contextlib.asynccontextmanager
async def discord(folder: Path) -> AsyncIterator[Rig]:
    async with on_discord(folder, FakeEngine()) as bot:
        yield DiscordRig(bot)


@contextlib.asynccontextmanager
async def telegram(folder: Path) -> AsyncIterator[Rig]:
    async with on_telegram(folder, FakeEngine()) as bot:
        yield TelegramRig(bot)


@contextlib.asynccontextmanager
async def page(folder: Path) -> AsyncIterator[Rig]:
    gate = StepGate()
    gate.open()
    async with WebHarness(folder, FakeEngine(pause=gate), gate, settings_of()).opened() as app:
        yield PageRig(app)


RIGS: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Rig]]] = {
    "discord": discord,
    "telegram": telegram,
    "page": page,
}
"""Every surface that there is; a new platform adds its line here."""


@pytest.fixture(params=list(RIGS))
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with RIGS[request.param](tmp_path) as one:
        yield one


async def test_edit_delete_and_settings(rig: Rig) -> None:
    # Edit: the form has the request as it was, and what is sent back is another job.
    first = await rig.draw("a heron --seed 7 --count 2", count=2)
    line = await rig.edit(first)
    assert "a heron" in line
    second = await rig.send_edit(line.replace("a heron", "an otter"), count=2)
    same = "SELECT count(DISTINCT seed || steps || width || height) FROM jobs WHERE id IN"
    assert await number(rig, f"{same} ({first}, {second})") == 1
    assert await number(rig, f"SELECT count(*) FROM jobs WHERE id = {second} AND prompt = 'an otter'") == 1
    assert "a heron" in await rig.history()

    # Delete: asked once, then gone from the chat, the history and the disk; the other job stays.
    assert text("en", "card.delete.ask", job=first) in await rig.delete(first, sure=False)
    assert await number(rig, "SELECT count(*) FROM pictures") == 4
    assert text("en", "card.delete.done", job=first) in await rig.delete(first, sure=True)

    async def gone() -> bool:
        return not rig.shows(first)

    assert rig.shows(second) or isinstance(rig, PageRig)
    await until(gone)
    assert await number(rig, "SELECT count(*) FROM pictures") == 2
    assert len(list((rig.folder / "pictures").rglob("*.png"))) == 2
    history = await rig.history()
    assert "heron" not in history
    assert "an otter" in history

    # Settings: they hold for what is not typed, and a language for every answer.
    assert "2" in await rig.set("count", "2")
    await rig.draw("a lynx", count=2)
    await rig.draw("a lynx --count 1", count=1)
    await rig.set("count", "none")
    await rig.draw("a lynx", count=1)
    assert any("\u4e00" <= c <= "\u9fff" for c in await rig.set("language", "zh_cn"))
    assert text("zh_CN", "card.delete.ask", job=second) in await rig.delete(second, sure=False)

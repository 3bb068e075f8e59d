"""One suite for all surfaces: pictures that people send are fetched, checked and drawn from, and bad ones cost one sentence."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiohttp import web
from PIL import Image

from bot.cards.i18n import text, texts
from bot.core.requests import DrawRequest
from bot.dispatch.service import Dispatch
from bot.drawing import picture_requests
from bot.drawing.picture_requests import PictureFetcher
from bot.storage import jobs
from bot.storage.database import Database
from tests.e2e.chats import on_discord, on_telegram
from tests.e2e.discord.harness import DiscordHarness
from tests.e2e.telegram.harness import TelegramHarness
from tests.fakes.discord_world import Message
from tests.fakes.editing import EDITOR, PLAIN
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import BLUE, RED, bomb, opened, picture
from tests.fakes.step_gate import StepGate
from tests.fakes.telegram import TelegramStandIn
from tests.unit.adapters.web.harness import WebHarness, error_of, settings_of

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Sent:
    """A file as somebody sends it: its name, and what their app says that it is."""

    data: bytes
    name: str = "photo.png"
    mime: str = "image/png"


class Easel(Protocol):
    """What the tests ask of the service."""

    db: Database
    folder: Path
    dispatch: Dispatch

    async def number(self, query: str) -> int:
        """Return the one number that a query selects."""

    async def count(self, table: str) -> int:
        """Return the number of rows of a table."""


class Rig(Protocol):
    """A platform, and a person on it who sends pictures."""

    @property
    def bot(self) -> Easel:
        """The service."""

    @property
    def faults(self) -> list[Answer]:
        """What answers the next downloads instead of the files."""

    async def send(self, words: str, *files: Sent) -> None:
        """Send pictures with words; waits until that is taken up."""

    def said(self) -> list[str]:
        """What the bot's messages say now, oldest first."""


class TelegramRig:
    """Ann's private chat: one picture is a file with a caption, several are an album of photos."""

    def __init__(self, telegram: TelegramStandIn, bot: TelegramHarness) -> None:
        self.telegram = telegram
        self.bot = bot
        self.faults = telegram.file_faults
        self.ann = telegram.private(telegram.person("Ann"))
        self._albums = 0

    async def send(self, words: str, *files: Sent) -> None:
        person = self.ann.members[self.ann.id]
        if len(files) == 1:
            (file,) = files
            self.telegram.sends_file(self.ann, person, file.data, file.name, file.mime, words)
        else:
            self._albums += 1
            for n, file in enumerate(files):
                self.telegram.sends_photo(self.ann, person, file.data, None if n else words, f"album-{self._albums}")
        await self.telegram.until(lambda: self.telegram.confirmed >= 1000 + len(self.ann.messages) - len(self.said()))

    def said(self) -> list[str]:
        return [message.words for message in self.ann.by_bot()]


class DiscordRig:
    """A person who draws with the options for pictures."""

    def __init__(self, bot: DiscordHarness) -> None:
        self.discord = bot.discord
        self.bot = bot
        self.faults = self.discord.rest.file_faults
        self.person = self.discord.person("Ann")
        self._threads = 0

    async def send(self, words: str, *files: Sent) -> None:
        names = ("picture", "picture2", "picture3", "picture4")
        ids: dict[str, Any] = {
            n: self.person.uploads(f.data, f.name, f.mime) for n, f in zip(names, files, strict=False)
        }
        # In a thread of its own: a channel takes 5 edits in 5 s.
        self._threads += 1
        thread = self.discord.thread(f"thread {self._threads}")
        await (await self.person.draw(words, channel=thread, **ids)).answer()

    def said(self) -> list[str]:
        # A reader does not see what keeps Discord from reading markup.
        return [re.sub(r"\\(.)", r"\1", message.text) for message in self._seen()]

    def _seen(self) -> list[Message]:
        messages = sorted(self.discord.world.messages.values(), key=lambda message: message.id)
        return [m for m in messages if not m.deleted and m.only_for in (None, self.person.user)]


class PageRig:
    """The page, which brings the pictures with the request."""

    def __init__(self, app: WebHarness) -> None:
        self.bot = app
        self.faults: list[Answer] = []
        self._said: list[str] = []

    async def send(self, words: str, *files: Sent) -> None:
        form = {"key": self.bot.key(), "prompt": words}
        status, answer = await self.bot.upload(form, {}, [file.data for file in files])
        if status != HTTPStatus.CREATED:
            self._said.append(error_of(answer)[1])

    def said(self) -> list[str]:
        return self._said


def engine() -> FakeEngine:
    return FakeEngine((PLAIN, EDITOR), edit_model="editor")


@contextlib.asynccontextmanager
async def telegram(folder: Path) -> AsyncIterator[Rig]:
    async with on_telegram(folder, engine()) as bot:
        yield TelegramRig(bot.telegram, bot)


@contextlib.asynccontextmanager
async def discord(folder: Path) -> AsyncIterator[Rig]:
    async with on_discord(folder, engine()) as bot:
        yield DiscordRig(bot)


@contextlib.asynccontextmanager
async def page(folder: Path) -> AsyncIterator[Rig]:
    gate = StepGate()
    gate.open()
    async with WebHarness(folder, engine(), gate, settings_of()).opened() as app:
        yield PageRig(app)


RIGS: dict[str, Callable[[Path], AbstractAsyncContextManager[Rig]]] = {
    "telegram": telegram,
    "discord": discord,
    "page": page,
}
CHATS = ("telegram", "discord")


@pytest.fixture
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with RIGS[request.param](tmp_path) as one:
        yield one


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - rows tell nobody that they change
            await asyncio.sleep(0.01)


async def requests(rig: Rig, count: int) -> list[DrawRequest]:
    async def drawn() -> bool:
        states = "SELECT count(*) FROM jobs WHERE state IN ('delivered', 'failed', 'cancelled')"
        return await rig.bot.number(states) >= count

    await until(drawn)
    async with rig.bot.db.read() as tx:
        return [job.request for job in reversed(await jobs.of_person(tx, 1, limit=99))]


async def answer_of(rig: Rig, number: int) -> str:
    """Wait until the request of this number is answered for good; returns what its one message says."""

    async def answered() -> bool:
        said = rig.said()
        return len(said) == number and "Fetching" not in said[-1] and not await rig.bot.count("picture_requests")

    await until(answered)
    return rig.said()[-1]


@pytest.mark.parametrize("rig", list(RIGS), indirect=True)
async def test_one_picture_and_several_are_drawn_from_in_their_order(rig: Rig) -> None:
    first, second = Sent(picture(96, 64, RED)), Sent(picture(64, 96, BLUE))
    await rig.send("make it night", first)
    (one,) = await requests(rig, 1)
    assert (one.model, one.typed, len(one.references)) == ("editor", "make it night", 1)
    await rig.send("join them", first, second)
    _, two = await requests(rig, 2)
    found = [opened((rig.bot.folder / name).read_bytes()) for name in two.references]
    assert [one.size for one in found] == [(96, 64), (64, 96)]


@pytest.mark.parametrize("rig", list(RIGS), indirect=True)
async def test_what_a_camera_writes_into_a_picture_is_not_kept(rig: Rig) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Secret Camera"
    out = io.BytesIO()
    Image.new("RGB", (96, 64), RED).save(out, "JPEG", exif=exif)
    assert b"Secret Camera" in out.getvalue()
    await rig.send("make it night", Sent(out.getvalue(), "photo.jpg", "image/jpeg"))
    await requests(rig, 1)
    kept = [path for path in rig.bot.folder.rglob("*") if path.is_file() and b"Secret Camera" in path.read_bytes()]
    assert kept == []


def gif() -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", (64, 64), colour) for colour in (RED, BLUE)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return out.getvalue()


@pytest.mark.parametrize("rig", list(RIGS), indirect=True)
async def test_of_an_animation_the_first_picture_is_taken(rig: Rig) -> None:
    await rig.send("make it night", Sent(gif(), "a.gif", "image/gif"))
    (one,) = await requests(rig, 1)
    assert opened((rig.bot.folder / one.references[0]).read_bytes()).size == (64, 64)


PNG = picture(96, 64)
JPEG = picture(96, 64, form="JPEG")
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
HOSTILE: dict[str, bytes] = {
    "text named .png": b"this is no picture at all",
    "empty lines": b"\n" * 5000,
    "one byte": b"\x89",
    "a PNG's signature alone": PNG[:8],
    "a PNG's header alone": PNG[:33],
    "half a PNG": PNG[: len(PNG) // 2],
    "a PNG with broken sums": PNG[:40] + bytes(b ^ 0xFF for b in PNG[40:]),
    "a bomb": bomb(),
    "a wide bomb": bomb(200_000, 1000),
    "a huge bomb": bomb(2**31 - 1, 2**31 - 1),
    "a quarter of a JPEG": JPEG[: len(JPEG) // 4],
    "a JPEG's signature alone": JPEG[:4],
    "SVG": SVG,
    "SVG with a space before": b"   " + SVG,
    "HTML": b"<!doctype html><script>alert(1)</script>",
    "PDF": b"%PDF-1.7\n1 0 obj",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file",
    "ZIP": b"PK\3\4" + bytes(400),
    "a program": b"\x7fELF" + bytes(400),
    "Photoshop": b"8BPS\0\1" + bytes(400),
    "HEIC": b"\0\0\0\x18ftypheic" + bytes(400),
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(400),
    "a video": b"\0\0\0\x18ftypmp42" + bytes(400),
    "sound": b"RIFF\0\0\0\0WAVEfmt " + bytes(400),
    "half a WebP": picture(96, 64, form="WEBP")[:30],
    "half a GIF": gif()[:20],
    "TIFF with a directory that is not there": b"II*\0\xff\xff\xff\x7f",
    "BMP of no size": b"BM" + bytes(60),
    "an icon": b"\0\0\1\0\1\0" + bytes(100),
    "a pickle": b"cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("rig", list(RIGS), indirect=True)
async def test_files_that_are_no_pictures_cost_one_sentence_each(rig: Rig) -> None:
    known = {sentence.partition("{")[0] for sentence in texts("en", "refusal.references.").values()}
    known |= {sentence.partition("{")[0] for sentence in texts("en", "refusal.pictures.").values()}
    for number, (name, data) in enumerate(HOSTILE.items(), 1):
        await rig.send(f"secret words {number}", Sent(data))
        sentence = await answer_of(rig, number)
        assert any(sentence.strip("✗⚠ \n").startswith(begin) or begin in sentence for begin in known if begin), name
        assert len(sentence) < 200, name
        assert "secret" not in sentence
        assert not any(word in sentence for word in ("Traceback", "/tmp", "file_", "http", "Error"))
    assert len(HOSTILE) >= 30
    assert [await rig.bot.count(table) for table in ("jobs", "ledger", "picture_requests")] == [0, 0, 0]
    inputs = rig.bot.folder / "inputs"
    assert not inputs.is_dir() or not list(inputs.iterdir())


async def refuses(status: int) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="secret of the server", headers={"Retry-After": "0"})

    return answer


class Elsewhere:
    """A server of somebody else, which a redirect names; nobody may ask it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        async def handle(request: web.Request) -> web.Response:
            self.asked.append(request.path)
            return web.Response(body=PNG)

        app = web.Application()
        app.router.add_get("/{rest:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


@pytest.mark.parametrize("rig", CHATS, indirect=True)
async def test_servers_that_do_not_hand_the_file_out(rig: Rig) -> None:
    gone = text("en", "refusal.pictures.gone", number=1)
    elsewhere = Elsewhere()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(bytes(2**20))
        return response

    async def declared(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(60 * 2**20))

    async with elsewhere.serve() as there:

        async def away(_: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": f"{there}/private"})

        async def file(_: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": "file:///etc/passwd"})

        expected = [
            (await refuses(404), gone),
            (await refuses(403), gone),
            (await refuses(410), gone),
            (away, gone),
            (file, gone),
            (endless, text("en", "refusal.pictures.too_large", number=1, limit=32)),
            (declared, text("en", "refusal.pictures.too_large", number=1, limit=32)),
        ]
        for number, (answer, sentence) in enumerate(expected, 1):
            rig.faults.append(answer)
            await rig.send(f"cat {number}", Sent(PNG))
            said = await answer_of(rig, number)
            assert sentence in said, number
            assert "secret" not in said
    assert elsewhere.asked == []
    assert await rig.bot.count("jobs") == 0


@pytest.mark.parametrize("rig", CHATS, indirect=True)
async def test_a_server_in_trouble_is_asked_again_and_a_slow_one_given_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_requests, "_FIRST_PAUSE", 0.01)
    rig.faults.extend([await refuses(503), await refuses(429)])
    await rig.send("make it night", Sent(PNG))
    (one,) = await requests(rig, 1)
    assert one.typed == "make it night"

    released = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(PNG[:20])
        await released.wait()
        return response

    fetcher = rig.bot.dispatch._workers[0]
    assert isinstance(fetcher, PictureFetcher)
    fetcher._seconds, fetcher._patience = 0.2, 0.5
    rig.faults.extend([slow] * 9)
    await rig.send("too slow", Sent(PNG))

    async def answered() -> bool:
        return any(text("en", "refusal.pictures.unreachable") in words for words in rig.said())

    await until(answered)
    released.set()

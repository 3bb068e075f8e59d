"""The page for tests: the real Studio, dispatch and SQLite file, and the fake engine."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse, FormData, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from adapters.cli.environment import AppSettings
from adapters.web.feed_streams import FeedStreams
from adapters.web.identity import PLACE as PAGE
from adapters.web.platform import PLATFORM
from adapters.web.service import CLOSE_SECONDS, STREAMS, application, connection_options
from adapters.web.settings import WebSettings
from bot.accounts.sessions import create_chat_link
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.core.sign_in import PAGE_OWNER
from bot.observability.tracing import Traces
from bot.settings import Settings
from tests.fakes.empty_database import open_database
from tests.fakes.engine import FakeEngine
from tests.fakes.service import build_service
from tests.fakes.step_gate import StepGate

Json = dict[str, Any]
Client = TestClient[web.Request, web.Application]

LANGUAGES = {"en": "en-GB,en;q=0.9", "zh": "zh-CN,zh;q=0.9,en;q=0.8"}
"""``Accept-Language`` headers of browsers."""

TOKEN = "k" * 32
"""The page's token where everybody signs in."""

ADA = Actor("chat", "1", "Ada")
BOB = Actor("chat", "2", "Bob")
"""Members, with accounts in a chat."""

WAIT_SECONDS = 20.0
"""Seconds after which a wait fails."""


CORE = Settings(_env_file=None)


def settings_of(**given: Any) -> WebSettings:
    """The page's settings, none of them from a file of this machine."""
    return WebSettings(_env_file=None, **given)


def app_of(folder: Path, settings: WebSettings) -> AppSettings:
    """All settings for a data folder where the page alone is on."""
    return AppSettings(Settings(_env_file=None, data_dir=folder), (PLATFORM.configured(settings),))


class Server(TestServer):
    """Runs the application as the service does: a handler is not cancelled when its browser leaves."""

    async def _make_runner(self, **kwargs: Any) -> web.AppRunner:
        options = {**connection_options(), "lingering_time": 0.1, "shutdown_timeout": CLOSE_SECONDS}
        options |= {"handler_cancellation": False}
        return web.AppRunner(self.app, **{**kwargs, **options})


@dataclass(slots=True)
class Event:
    """One event of a stream; a comment is a kind of its own."""

    kind: str
    data: Json = field(default_factory=dict)
    id: str = ""


async def events(response: ClientResponse) -> AsyncIterator[Event]:
    """Read a stream as a browser does, block by block."""
    lines: list[str] = []
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        if line:
            lines.append(line)
            continue
        fields = dict(one.split(": ", 1) for one in lines)
        lines = []
        if "" in fields:
            yield Event("comment")
        elif "retry" in fields:
            yield Event("retry", {"ms": int(fields["retry"])})
        else:
            yield Event(fields["event"], json.loads(fields["data"]), fields.get("id", ""))


class WebHarness:
    """A bot with its page on a free port, and a client."""

    def __init__(
        self, folder: Path, engine: FakeEngine, gate: StepGate, settings: WebSettings, token: str = ""
    ) -> None:
        self.folder = folder
        self.engine = engine
        self.gate = gate
        self.settings = settings
        self.token = token
        self.traces: Traces | None = None
        self.more: dict[str, Any] = {}
        """Further arguments of ``build_service``."""
        self._keys = 0

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[WebHarness]:
        """Build it as the composition root does, and end it in the opposite order."""
        async with await open_database(self.folder / "easel.db") as self.db:
            self.registry = CollectorRegistry()
            self.dispatch, self.studio = build_service(
                self.db,
                self.folder,
                self.engine,
                self.registry,
                quota=50,
                max_counts={"web": 16},
                link=self.settings.public_url or "",
                traces=self.traces,
                **self.more,
            )
            await self.engine.start()
            await self.dispatch.start()
            self.server = Server(application(self.settings, self.studio, self.registry, self.token))
            async with TestClient(self.server) as self.client:
                yield self
                self.gate.open()
            await self.dispatch.stop()
            await self.engine.aclose()

    @property
    def actor(self) -> Actor:
        """The person at the page."""
        return Actor("web", "local", is_admin=True, is_owner=True)

    @property
    def origin(self) -> str:
        """The origin of the page, as the test client calls it."""
        return f"http://127.0.0.1:{self.client.port}"

    async def link_for(self, actor: Actor = ADA, place: Place = PAGE, *, admin: bool = False) -> str:
        """Return the token of a link that an account asked for in a chat."""
        async with self.db.write() as tx:
            return await create_chat_link(tx, actor, place, admin=admin, now=self.studio._ctx.clock.now())

    async def signed_in(self, actor: Actor = ADA, place: Place = PAGE, *, admin: bool = False) -> dict[str, str]:
        """Open a session of an account of a chat; returns the headers of its browser."""
        link = await self.link_for(actor, place, admin=admin)
        session = await self.studio.accounts.sessions.open_by_link(link)
        return {"Cookie": f"easel_{self.settings.port}={session.token}", "Origin": self.origin}

    async def key_for(self, name: str = "bridge", **how: str) -> dict[str, str]:
        """Create an API key; returns the headers of its program."""
        made = await self.studio.accounts.keys.create(PAGE_OWNER, name, **how)
        return {"Authorization": f"Bearer {made.key}"}

    def refusals(self, reason: str) -> float:
        """Return how many requests were refused for a reason."""
        return self.registry.get_sample_value("easel_web_refused_total", {"reason": reason}) or 0.0

    def key(self) -> str:
        """Return a new request key."""
        self._keys += 1
        return f"00000000-{self._keys}"

    async def get(self, path: str, **how: Any) -> tuple[int, Json]:
        """GET a path; returns status and JSON."""
        async with self.client.get(path, **how) as response:
            return response.status, await response.json()

    async def post(self, path: str, body: object, **how: Any) -> tuple[int, Json]:
        """POST JSON; returns status and JSON."""
        async with self.client.post(path, json=body, **how) as response:
            return response.status, await response.json()

    async def upload(
        self, form: Json, files: Mapping[str, bytes], references: Sequence[bytes] = (), **how: Any
    ) -> tuple[int, Json]:
        """Send a request for pictures as a browser's form does; returns status and JSON."""
        data = FormData(default_to_multipart=True)
        for name, value in form.items():
            data.add_field(name, value)
        for name, content in (*files.items(), *(("references", content) for content in references)):
            data.add_field(name, io.BytesIO(content), filename=f"{name}.png", content_type="application/octet-stream")
        async with self.client.post("/api/draw", data=data, **how) as response:
            return response.status, await response.json()

    async def raw(self, request: str) -> tuple[int, str]:
        """Send a raw request; returns status and the whole answer. ``HOST`` becomes the real one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.client.port)
        try:
            writer.write(request.replace("HOST", f"127.0.0.1:{self.client.port}").encode())
            answer = (await reader.read()).decode()
        finally:
            writer.close()
            await writer.wait_closed()
        return int(answer.split(" ", 2)[1]), answer

    async def ask(self, prompt: str = "a red apple", **form: str) -> Json:
        """Ask for pictures; returns the card."""
        status, answer = await self.post("/api/draw", {"key": self.key(), "prompt": prompt, **form})
        assert status == 201, answer
        card: Json = answer["card"]
        return card

    async def drawn(self, prompt: str = "a red apple", **form: str) -> Json:
        """Ask for pictures and wait until they are there; returns the final card."""
        return await self.final((await self.ask(prompt, **form))["job_id"])

    async def started(self, files: Mapping[str, bytes], references: Sequence[bytes] = (), **form: str) -> Json:
        """Ask for pictures that start from others, and wait until they are there; returns the final card."""
        status, answer = await self.upload({"key": self.key(), "prompt": "a red apple", **form}, files, references)
        assert status == 201, answer
        return await self.final(answer["card"]["job_id"])

    async def final(self, job: int) -> Json:
        """Follow a job to its end."""
        async with self.client.get(f"/api/jobs/{job}/events") as response:
            last = [event async for event in events(response) if event.kind == "card"][-1]
        card: Json = last.data["card"]
        assert card["final"]
        return card

    async def number(self, query: str) -> int:
        """Return the one number that a query selects."""
        async with self.db.read() as tx:
            return int(next(iter(await tx.execute_fetchall(query)))[0])

    async def drawn_by_actor(self) -> None:
        """Draw a picture without the page, and wait until it is there."""
        shown = await self.studio.draw(self.actor, PAGE, DrawForm("a red apple"), EventRef(self.key()))
        async for _ in self.studio.watch(self.actor, shown.job_id):
            pass

    async def press(self, button: str, **how: Any) -> tuple[int, Json]:
        """Press a button."""
        return await self.post("/api/press", {"id": button, "key": self.key()}, **how)

    async def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        return await self.number(f"SELECT count(*) FROM {table}")

    async def charged(self) -> int:
        """Return the number of charged pictures."""
        return await self.number("SELECT coalesce(sum(charged), 0) FROM ledger")

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.001)

    def answering(self) -> int:
        """Browsers whose connection still has a task here; the application's own tasks come and go as well."""
        return sum("RequestHandler" in repr(task.get_coro()) for task in asyncio.all_tasks())

    def previewed(self) -> int:
        """Return the number of jobs whose previews are made."""
        return len(self.dispatch.live._preview_viewers)

    @property
    def streams(self) -> FeedStreams:
        """The streams of the feed."""
        return self.server.app[STREAMS]

    def watched(self) -> int:
        """Return the number of watched jobs."""
        return len(self.dispatch.live._viewers)


def error_of(answer: Json) -> tuple[str, str]:
    """Return key and sentence of an error body; it has no other fields."""
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"key", "text"}
    key, text = answer["error"]["key"], answer["error"]["text"]
    assert text
    assert text != key
    assert "\n" not in text
    assert not re.search(r"\{[a-z_]+\}", text), "a field was left open"
    return key, text

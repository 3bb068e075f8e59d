from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.contract import EngineConfig, Lane, Recipe
from engine.families.z_image.spec import demo
from engine.host import wire
from engine.host.inbox import Inbox
from engine.ray import painter as painters
from engine.ray.painter import Painter
from engine.spec import ModelSpec

SETUP = wire.Setup((ModelSpec(demo()),), EngineConfig("demo", "nowhere"))


def says_where(setup: wire.Setup, send: Callable[[wire.Message], None], inbox: Inbox) -> None:
    """A worker: it answers the first request with the contents of its start picture, warns, and fails."""
    (request,) = inbox.take(wait=True)
    logging.getLogger("engine.test").warning("it is\nodd")
    send(wire.TextReady(request.ticket, Path(request.recipe.image).read_text(encoding="utf-8")))
    raise RuntimeError("out of paint")


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painters, "_end_with_parent", lambda: None)
    monkeypatch.setattr(logging.getLogger("engine"), "handlers", [])


async def test_it_runs_its_worker_with_what_was_sent_along() -> None:
    painter = Painter(f"{__name__}:says_where")
    hello = await painter.hello()
    assert hello.easel
    recipe = Recipe("a", "demo", "a cat", "", 64, 64, 2, 0.0, 7, image="/theirs/a.png")
    frames = wire.CODEC.encode(SETUP) + wire.CODEC.encode(wire.Draw(Lane.BULK, (5,), (recipe,)))
    await painter.tell(frames, {"/theirs/a.png": b"a start"})
    async with asyncio.timeout(30):
        items = [item async for item in painter.listen()]
    assert items[-1] == b""
    said = [message for item in items for message in wire.CODEC.decode_all(item)]
    assert wire.TextReady(5, "a start") in said
    notices = [message.text for message in said if isinstance(message, wire.Notice)]
    assert notices[0] == "WARNING:engine.test: it is odd"
    assert "Traceback" in notices[1]
    assert await painter.problem() == "RuntimeError: out of paint"

"""The classifier's process: it judges, comes back, and says so when it can't."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.contract import EngineError, SafetyVerdict
from engine.host.child_process import child_environment
from engine.host.frames import WireError
from engine.moderation import folder as folders
from engine.moderation import wire
from engine.moderation.process_moderator import COMMAND, ModeratorConfig, ModeratorTimeouts, ProcessModerator
from tests.fakes.classifiers import looks_like_one, picture, red_is_unsafe

UNSAFE = ("nsfw", "porn")
QUICK = ModeratorTimeouts(loading=60.0, answer=30.0, rest=1000.0)
RED, BLUE = picture(250, 20, 20), picture(20, 20, 250)


@contextlib.asynccontextmanager
async def child(
    folder: Path, *what: str, timeouts: ModeratorTimeouts = QUICK, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[ProcessModerator]:
    command = (sys.executable, "-m", "tests.fakes.moderation_child", *what) if what else COMMAND
    moderator = ProcessModerator(
        ModeratorConfig(looks_like_one(folder) if what else folder, UNSAFE), timeouts, command, clock
    )
    try:
        async with asyncio.timeout(100):
            yield moderator
    finally:
        await moderator.aclose()


@pytest.mark.slow
async def test_a_real_classifier_judges(tmp_path: Path) -> None:
    async with child(red_is_unsafe(tmp_path / "vit")) as moderator:
        await moderator.start()
        assert await moderator.judge(RED) is SafetyVerdict.UNSAFE
        assert await moderator.judge(BLUE) is SafetyVerdict.SAFE
        assert await moderator.judge(b"no picture at all") is SafetyVerdict.UNKNOWN
        assert await moderator.judge(picture(60, 200, 10)) is SafetyVerdict.UNSAFE
        last = moderator.pid
    assert last is not None
    assert not psutil.pid_exists(last)


@pytest.mark.slow
def test_a_child_ends_with_its_parent_also_while_it_loads(tmp_path: Path) -> None:
    looks_like_one(tmp_path)
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment({}, offline=True)
    ) as started:
        assert started.stdin is not None
        started.stdin.write(wire.CODEC.encode(wire.ClassifierSetup(str(tmp_path), UNSAFE)))
        started.stdin.close()
        assert started.wait(60) == 0


async def test_scores_become_verdicts(tmp_path: Path) -> None:
    async with child(tmp_path, "judges") as moderator:
        verdicts = [await moderator.judge(score) for score in (b"0.49", b"0.5", b"1", b"broken", b"0")]
    assert [v.value for v in verdicts] == ["safe", "unsafe", "unsafe", "unknown", "safe"]


async def test_pictures_wait_for_each_other(tmp_path: Path) -> None:
    others = psutil.Process().children()  # such as the browser of other tests
    async with child(tmp_path, "judges") as moderator:
        verdicts = await asyncio.gather(*(moderator.judge(b"1" if n % 3 else b"0") for n in range(12)))
        assert [v is SafetyVerdict.UNSAFE for v in verdicts] == [bool(n % 3) for n in range(12)]
        assert len(psutil.Process().children()) == len(others) + 1


async def test_a_child_that_died_meanwhile_is_replaced(tmp_path: Path) -> None:
    async with child(tmp_path, "judges") as moderator:
        assert await moderator.judge(b"0") is SafetyVerdict.SAFE
        first = moderator.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert await moderator.judge(b"1") is SafetyVerdict.UNSAFE
        assert moderator.pid not in {None, first}


async def test_a_death_is_seen_to(tmp_path: Path) -> None:
    async with child(tmp_path, "dies_once", str(tmp_path / "mark")) as moderator:
        assert await moderator.judge(b"1") is SafetyVerdict.UNSAFE


@pytest.mark.parametrize("what", ["dies", "quits", "raves", "echoes"])
async def test_what_can_not_answer_knows_nothing(tmp_path: Path, what: str) -> None:
    others = psutil.Process().children()
    async with child(tmp_path, what) as moderator:
        assert await moderator.judge(b"0") is SafetyVerdict.UNKNOWN
    assert psutil.Process().children() == others


async def test_a_hang_is_a_death(tmp_path: Path) -> None:
    async with child(tmp_path, "stalls", timeouts=replace(QUICK, answer=0.2)) as moderator:
        assert await moderator.judge(b"0") is SafetyVerdict.UNKNOWN


async def test_nobody_waits_for_one_that_never_loads(tmp_path: Path) -> None:
    now = [0.0]
    async with child(tmp_path, "quits", clock=lambda: now[0]) as moderator:
        assert await moderator.judge(b"0") is SafetyVerdict.UNKNOWN
        moderator._command = ("no such program",)  # would be noticed: it can't be started
        assert await moderator.judge(b"0") is SafetyVerdict.UNKNOWN
        moderator._command = (sys.executable, "-m", "tests.fakes.moderation_child", "judges")
        assert await moderator.judge(b"0") is SafetyVerdict.UNKNOWN
        now[0] += QUICK.rest
        assert await moderator.judge(b"0") is SafetyVerdict.SAFE


async def test_who_stops_waiting_leaves_no_answer_for_the_next(tmp_path: Path) -> None:
    async with child(tmp_path, "judges") as moderator:
        assert await moderator.judge(b"0") is SafetyVerdict.SAFE
        assert moderator.pid is not None
        # Held, it can't have answered yet.
        psutil.Process(moderator.pid).suspend()
        waiting = asyncio.create_task(moderator.judge(b"1"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert moderator._lock.locked()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await moderator.judge(b"0") is SafetyVerdict.SAFE


async def test_the_child_is_told_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EASEL_DISCORD_TOKEN", "abc.def")
    with caplog.at_level(logging.WARNING):
        async with child(tmp_path, "echoes") as moderator:
            await moderator.judge(b"0")
    assert "PATH" in json.loads(caplog.messages[0])
    assert "abc.def" not in caplog.text


def test_a_folder_is_looked_at_before_it_is_used(tmp_path: Path) -> None:
    assert folders.read(looks_like_one(tmp_path, ("drawings", "Hentai", "NSFW")), ("nsfw", "hentai")) == folders.Labels(
        ("drawings", "Hentai", "NSFW"), (1, 2)
    )
    with pytest.raises(EngineError, match="the classifier's labels are drawings, Hentai, NSFW"):
        folders.read(tmp_path, ("cats",))
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    (tmp_path / "._model.safetensors").touch()
    with pytest.raises(EngineError, match="other weights are not loaded"):
        folders.read(tmp_path, ("nsfw",))
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(EngineError, match="it is no regular file"):
        folders.read(tmp_path, ("nsfw",))
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"], "id2label": {"0": "nsfw"}}')
    with pytest.raises(EngineError, match="holds BertModel"):
        folders.read(tmp_path, ("nsfw",))
    for bad in ("[]", "{", '{"architectures": 7}', '{"id2label": "x"}', "[" * 100_000):
        (tmp_path / "config.json").write_text(bad)
        with pytest.raises(EngineError, match=r"config\.json"):
            folders.read(tmp_path, ("nsfw",))
    (tmp_path / "config.json").unlink()
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(EngineError, match=r"config\.json"):
        folders.read(tmp_path, ("nsfw",))


@pytest.mark.parametrize("header", [b"", b"[]", b"{}", b'{"kind": "Score"}', b'{"kind": "Nobody", "x": 1}', b"\xff"])
def test_what_is_no_message_is_refused(header: bytes) -> None:
    with pytest.raises(WireError):
        wire.CODEC.decode(header, b"")

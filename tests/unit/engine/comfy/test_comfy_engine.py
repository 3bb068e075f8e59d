"""The engine of a ComfyUI server that fails, lies, falls silent, or is used by others too."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import pytest
import pytest_asyncio
from aiohttp import web
from PIL import Image as Pillow

from engine.comfy.comfy_engine import ComfyEngine, Pauses
from engine.comfy.workflow import Workflow
from engine.contract import (
    BadRecipe,
    EngineError,
    EngineLost,
    Event,
    Failed,
    Image,
    OutOfMemory,
    Phase,
    Preview,
    Recipe,
    Step,
    UnknownModel,
)
from engine.host.supervision import Timeouts
from tests.fakes import comfy as fake
from tests.fakes.comfy import FakeComfy, NodeError, Prompt, comfy, flat
from tests.fakes.comfy_workflow import comfy_workflow

QUICK = Timeouts(first_pause=0.02, longest_pause=0.05)
PATIENT = Pauses(look=30.0)


def recipe(name: str = "a", **more: object) -> Recipe:
    made = Recipe(name, "demo", "a red apple", "", width=64, height=64, steps=4, guidance=1.0, seed=7)
    return replace(made, **more)  # type: ignore[arg-type]  # each test names fields of Recipe


def slow(name: str = "slow") -> Recipe:
    return recipe(name, width=512, height=512, steps=500)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeComfy]:
    async with comfy() as running:
        yield running


@contextlib.asynccontextmanager
async def drawing(
    server: FakeComfy,
    timeouts: Timeouts = QUICK,
    pauses: Pauses = PATIENT,
    workflows: dict[str, Workflow] | None = None,
    url: str = "",
) -> AsyncIterator[ComfyEngine]:
    engine = ComfyEngine(
        url or server.url,
        workflows or {"demo": comfy_workflow()},
        slot="comfy:here",
        timeouts=timeouts,
        pauses=pauses,
    )
    await engine.start()
    try:
        yield engine
    finally:
        async with asyncio.timeout(5):
            await engine.aclose()


async def all_of(engine: ComfyEngine, *recipes: Recipe) -> list[Event]:
    async with contextlib.aclosing(engine.paint(recipes)) as events:
        return [event async for event in events]


async def end_of(engine: ComfyEngine, wanted: Recipe | None = None) -> Event:
    async with asyncio.timeout(30):
        return (await all_of(engine, wanted or recipe()))[-1]


async def error_of(engine: ComfyEngine, wanted: Recipe | None = None) -> EngineError:
    failed = await end_of(engine, wanted)
    assert isinstance(failed, Failed), failed
    return failed.error


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a stand-in's state has no event
            await asyncio.sleep(0.005)


async def test_a_picture_says_that_comfyui_drew_it_and_leaves_nothing_in_the_history(server: FakeComfy) -> None:
    async with drawing(server) as engine:
        image = await end_of(engine)
        assert isinstance(image, Image)
        assert image.device == engine.state().device == "ComfyUI NVIDIA GeForce RTX 3090"
        assert image.setup.startswith("comfyui-")
        assert image.data.startswith(b"\x89PNG")
        await until(lambda: not server.history)
        assert [one.value("seed") for one in server.submitted] == [7]
        assert engine.slots()[0].plain == {"demo"}
        assert engine.state().resident == ("demo",)


async def test_an_old_server_chooses_the_ids_and_tells_no_steps(server: FakeComfy) -> None:
    server.chooses_ids = server.quiet = True
    async with drawing(server) as engine:
        events = await all_of(engine, recipe(), recipe("b"))
        for name in "ab":
            mine = [event for event in events if event.recipe_id == name]
            assert mine[:2] == [Step(name, 1, 4), Step(name, 4, 4)]
            assert isinstance(mine[2], Image)
        await until(lambda: not server.history)


async def test_previews_of_the_server_are_passed_on_small(server: FakeComfy) -> None:
    async with drawing(server) as engine, contextlib.aclosing(engine.paint([slow()])) as events:
        await anext(events)
        await engine.set_preview("slow", enabled=True)
        preview = await anext(event async for event in events if isinstance(event, Preview))
        assert Pillow.open(io.BytesIO(preview.data)).size == (64, 64)
        await engine.set_preview("slow", enabled=False)


async def test_prompts_of_others_are_waited_for_and_left_alone(server: FakeComfy) -> None:
    go = asyncio.Event()
    server.pause = go.wait
    theirs = [server.put(), server.put()]
    async with drawing(server) as engine:
        mine = asyncio.create_task(all_of(engine, recipe("dropped"), recipe("kept")))
        await until(lambda: bool(server.submitted))
        # It waits behind theirs: taking it out stops nothing.
        await engine.drop("dropped")
        await until(lambda: len(server.submitted) == 2)
        assert server.running is theirs[0]
        assert server.interrupted == []
        assert [one.id for one in server.waiting] == [theirs[1].id, server.submitted[1].id]
        go.set()
        events = await mine
        assert isinstance(events[-1], Image)
        assert {event.recipe_id for event in events} == {"kept"}
        assert {one.id for one in theirs} <= server.history.keys()
        assert not theirs[0].stopped.is_set()


async def test_only_a_prompt_of_its_own_that_runs_is_interrupted(server: FakeComfy) -> None:
    async with drawing(server) as engine:
        async with contextlib.aclosing(engine.paint([slow()])) as events:
            await anext(events)
            await engine.drop("slow")
            assert [event async for event in events] == []
        await until(lambda: bool(server.interrupted) and server.running is None)
        assert server.interrupted == [{"prompt_id": server.submitted[0].id}]
        await until(lambda: not server.history)
        assert isinstance(await end_of(engine), Image)


async def test_what_somebody_stops_or_deletes_on_the_server_fails(server: FakeComfy) -> None:
    async with drawing(server, pauses=Pauses(look=0.02)) as engine:
        stopped = asyncio.create_task(error_of(engine, slow()))
        await until(lambda: server.running is not None)
        assert server.running is not None
        server.running.stopped.set()
        assert "stopped or deleted" in str(await stopped)
        go = asyncio.Event()
        server.pause = go.wait
        server.put()
        deleted = asyncio.create_task(error_of(engine))
        await until(lambda: len(server.submitted) == 2)
        server.waiting.clear()
        assert "stopped or deleted" in str(await deleted)
        go.set()


async def test_what_the_server_forgets_to_say_is_found_in_its_history(server: FakeComfy) -> None:
    async with drawing(server, pauses=Pauses(look=0.02)) as engine:
        server.mute = True
        assert isinstance(await end_of(engine), Image)
        server.fail = raising("ValueError", "It can't.")
        assert isinstance(await error_of(engine), BadRecipe)


def raising(kind: str, message: str) -> Callable[[Prompt], None]:
    def fail(_: Prompt) -> None:
        raise NodeError(kind, message)

    return fail


@pytest.mark.parametrize(
    ("kind", "message", "error"),
    [
        ("ValueError", "mat1 and mat2 shapes cannot be multiplied", BadRecipe),
        ("torch.OutOfMemoryError", "Allocation on device", OutOfMemory),
        ("RuntimeError", "CUDA out of memory. Tried to allocate", OutOfMemory),
    ],
)
async def test_a_node_that_fails_ends_its_recipe_alone(
    server: FakeComfy, kind: str, message: str, error: type[EngineError]
) -> None:
    async with drawing(server) as engine:
        server.fail = raising(kind, message)
        found = await error_of(engine)
        assert type(found) is error
        assert message in str(found)
        server.fail = lambda _: None
        assert isinstance(await end_of(engine), Image)
        await until(lambda: not server.history)


async def test_a_workflow_that_the_server_refuses_fails_alone(server: FakeComfy) -> None:
    async with drawing(server) as engine:
        await engine.warm()
        server.files["ckpt_name"] = []
        found = await error_of(engine)
        assert isinstance(found, BadRecipe)
        assert "CheckpointLoaderSimple; Value not in list; ckpt_name" in str(found)
        server.files["ckpt_name"] = [fake.CHECKPOINT]
        assert isinstance(await end_of(engine), Image)


@pytest.mark.parametrize(
    ("picture", "problem"),
    [
        (lambda _: flat(32, 64, (1, 2, 3), b"abc"), "32x64 pixels instead of 64x64"),
        (lambda _: b"<html>no</html>", "no picture that can be read"),
        (lambda _: b"\x89PNG" + bytes(2**23), "no picture of it"),
    ],
)
async def test_a_picture_that_was_not_asked_for_fails(
    server: FakeComfy, picture: Callable[[Prompt], bytes], problem: str
) -> None:
    async with drawing(server) as engine:
        server.picture = picture
        assert problem in str(await error_of(engine))
        server.picture = fake.drawn
        assert isinstance(await end_of(engine), Image)


async def test_a_jpeg_becomes_a_png(server: FakeComfy) -> None:
    server.picture = lambda _: flat(64, 64, (1, 2, 3), b"abc", "JPEG")
    async with drawing(server) as engine:
        image = await end_of(engine)
        assert isinstance(image, Image)
        assert Pillow.open(io.BytesIO(image.data)).format == "PNG"


def many_digits() -> str:
    return json.dumps({"type": "progress", "data": {"prompt_id": "p", "value": 1, "max": 2}}).replace(
        "2}", "9" * 5000 + "}"
    )


@pytest.mark.parametrize(
    "send",
    [
        lambda server: server.send_text("["),
        lambda server: server.send_text("[" * 100_000),
        lambda server: server.send_text(json.dumps({"type": "progress", "data": {"prompt_id": "x" * 2**20}})),
        lambda server: server.send_text(many_digits()),
        lambda server: server.send_bytes(struct.pack(">II", 4, 2**32 - 1)),
        lambda server: server.send_bytes(struct.pack(">II", 1, 1) + bytes(2**20)),
    ],
)
async def test_messages_that_are_none_change_nothing(
    server: FakeComfy, send: Callable[[FakeComfy], Awaitable[None]]
) -> None:
    async with drawing(server) as engine, contextlib.aclosing(engine.paint([slow("kept")])) as events:
        await anext(events)
        await engine.set_preview("kept", enabled=True)
        await send(server)
        assert isinstance(await anext(events), Step | Preview)
        assert engine.state().phase is Phase.WARM


async def test_a_message_without_end_loses_the_connection_and_no_memory(server: FakeComfy) -> None:
    async with drawing(server) as engine:
        await engine.warm()
        await server.send_bytes(bytes(2**23 + 1))
        await until(lambda: engine.state().restarts == 1 and engine.state().phase is Phase.WARM)
        assert isinstance(await end_of(engine), Image)


def endless(body: bytes) -> Callable[[], web.StreamResponse]:
    return lambda: web.Response(body=body, content_type="application/json")


@pytest.mark.parametrize(
    ("path", "answer", "problem"),
    [
        ("/system_stats", endless(b"{}"), "is no ComfyUI server"),
        ("/system_stats", endless(b"<html>"), "does not answer with JSON"),
        ("/system_stats", endless(b"[" * 2**18), "does not answer with JSON"),
        ("/system_stats", endless(b" " * (2**24 + 1)), "answers more than 16 MiB"),
        ("/system_stats", lambda: web.Response(status=401), "answers 401"),
        ("/system_stats", lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "answers 302"),
        ("/object_info", lambda: web.Response(status=500), "answers 500"),
        ("/ws", lambda: web.Response(status=404), "can't be reached"),
    ],
)
async def test_what_is_no_comfyui_server_is_said_to_be_none(
    server: FakeComfy, path: str, answer: Callable[[], web.StreamResponse], problem: str
) -> None:
    server.raw = {path: answer}
    async with drawing(server) as engine:
        async with asyncio.timeout(30):
            with pytest.raises(EngineError, match=problem):
                await engine.warm()
        assert engine.state().phase is Phase.BROKEN
        assert problem in str(await error_of(engine))
        # It is looked for on and on.
        server.raw = {}
        await until(lambda: engine.slots()[0].ready)
        await engine.warm()
        assert not engine.state().problem
        assert isinstance(await end_of(engine), Image)


@pytest.mark.parametrize("path", ["/prompt", "/history"])
async def test_a_server_that_breaks_while_it_draws_is_lost_and_comes_back(server: FakeComfy, path: str) -> None:
    async with drawing(server) as engine:
        await engine.warm()
        server.raw = {path: lambda: web.Response(status=500)}
        with pytest.raises(EngineLost):
            await end_of(engine)
        server.raw = {}
        assert isinstance(await end_of(engine), Image)
        assert engine.state().restarts >= 1


async def test_a_picture_that_is_not_there_fails_alone(server: FakeComfy) -> None:
    async with drawing(server) as engine:
        server.raw = {"/view": lambda: web.Response(status=404)}
        assert "has no picture of it" in str(await error_of(engine))
        server.raw = {}
        assert isinstance(await end_of(engine), Image)


async def test_a_server_that_is_killed_loses_what_it_drew(server: FakeComfy) -> None:
    async with drawing(server) as engine:
        reading = asyncio.create_task(all_of(engine, slow(), slow("next")))
        await until(lambda: server.running is not None)
        await server.stop()
        with pytest.raises(EngineLost, match="ComfyUI server"):
            await reading
        assert engine.state().phase is Phase.LOST
        assert not engine.slots()[0].ready
        waiting = asyncio.create_task(end_of(engine))
        await server.start()
        assert isinstance(await waiting, Image)
        assert engine.state().restarts == 1


async def test_a_server_that_was_never_there_is_said_to_be_away_and_looked_for(server: FakeComfy) -> None:
    await server.stop()
    async with drawing(server) as engine:
        with pytest.raises(EngineError, match=f"at {server.url} can't be reached: Connection refused"):
            await engine.warm()
        await server.start()
        await until(lambda: engine.slots()[0].ready)
        assert engine.state().restarts == 0


async def test_a_silent_server_is_lost(server: FakeComfy) -> None:
    async with drawing(server, replace(QUICK, silence=0.3)) as engine:
        reading = asyncio.create_task(all_of(engine, slow()))
        await until(lambda: server.running is not None)
        server.silent = True
        with pytest.raises(EngineLost):
            async with asyncio.timeout(30):
                await reading
        await until(lambda: engine.state().phase is Phase.LOST)
        server.silent = False
        assert isinstance(await end_of(engine), Image)


async def test_a_prompt_that_runs_and_says_nothing_is_lost(server: FakeComfy) -> None:
    server.pause = asyncio.Event().wait
    async with drawing(server, replace(QUICK, loading=0.1), Pauses(look=0.02)) as engine:
        with pytest.raises(EngineLost, match="said nothing"):
            await end_of(engine)
        assert len(server.interrupted) >= 1


async def test_what_was_under_way_when_the_connection_broke_is_taken_back(server: FakeComfy) -> None:
    server.put(client="nobody")
    async with drawing(server) as engine:
        reading = asyncio.create_task(all_of(engine, slow()))
        await until(lambda: server.running is not None and server.running.client != "nobody")
        await server.hang_up()
        with pytest.raises(EngineLost, match="closed the connection"):
            await reading
        await until(lambda: server.running is None)
        assert {one["prompt_id"] for one in server.interrupted} == {server.submitted[0].id}
        assert isinstance(await end_of(engine), Image)
        # The other one's entry is its own.
        await until(lambda: len(server.history) == 1)


async def test_a_prompt_whose_answer_is_lost_is_taken_back(server: FakeComfy) -> None:
    async with drawing(server) as engine:
        await engine.warm()
        server.breaks = True
        with pytest.raises(EngineLost):
            await end_of(engine, slow())
        server.breaks = False
        await until(lambda: bool(server.interrupted) and server.running is None)
        assert server.interrupted[0] == {"prompt_id": server.submitted[0].id}
        assert isinstance(await end_of(engine), Image)


async def test_closing_takes_back_what_is_on_the_server(server: FakeComfy) -> None:
    async with drawing(server) as engine:
        reading = asyncio.create_task(all_of(engine, slow()))
        await until(lambda: server.running is not None)
        await engine.aclose()
        with pytest.raises(EngineLost):
            await reading
        assert server.running is None
        assert not server.history
        with pytest.raises(EngineLost):
            await engine.warm()


async def test_only_models_that_the_server_has_are_drawn_and_the_log_says_what_it_lacks(
    server: FakeComfy, caplog: pytest.LogCaptureFixture
) -> None:
    other = comfy_workflow("other")
    graph = {**other.graph, "model": {"class_type": "UNETLoader", "inputs": {"unet_name": "mine.safetensors"}}}
    workflows = {"other": replace(other, graph=graph), "demo": comfy_workflow()}
    with caplog.at_level(logging.INFO):
        async with drawing(server, pauses=Pauses(recheck=0.02), workflows=workflows) as engine:
            assert [profile.name for profile in engine.profiles()] == ["other", "demo"]
            await engine.warm()
            assert [profile.name for profile in engine.profiles()] == ["demo"]
            assert engine.slots()[0].models == {"demo"}
            assert isinstance(await end_of(engine), Image)
            await engine.slots_changed()
            changed = asyncio.create_task(engine.slots_changed())
            server.files["unet_name"].append("mine.safetensors")
            await until(lambda: engine.slots()[0].models == {"demo", "other"})
            await changed
    said = [record.message for record in caplog.records if "mine.safetensors" in record.message]
    assert len([line for line in said if "can't be drawn" in line]) == 1


async def test_a_model_that_the_server_lacks_fails_with_what_it_lacks(server: FakeComfy) -> None:
    other = comfy_workflow("other")
    graph = {**other.graph, "model": {"class_type": "UNETLoader", "inputs": {"unet_name": "mine.safetensors"}}}
    async with drawing(server, workflows={"demo": comfy_workflow(), "other": replace(other, graph=graph)}) as engine:
        error = await error_of(engine, recipe(model="other"))
        assert isinstance(error, UnknownModel)
        assert "lacks unet_name mine.safetensors" in str(error)


async def test_a_server_without_any_model_can_t_be_used_until_it_has_one(server: FakeComfy) -> None:
    server.lacking = {"KSampler", "VAEDecode"}
    async with drawing(server, pauses=Pauses(recheck=0.02)) as engine:
        with pytest.raises(UnknownModel, match="lacks KSampler, VAEDecode"):
            await engine.warm()
        assert engine.state().phase is Phase.BROKEN
        server.lacking = set()
        await until(lambda: engine.slots()[0].ready)
        assert isinstance(await end_of(engine), Image)


def test_without_a_workflow_there_is_no_engine() -> None:
    with pytest.raises(UnknownModel):
        ComfyEngine("http://nowhere", {})


def names(recipes: Sequence[Prompt]) -> list[int]:
    return [one.value("seed") for one in recipes]


async def test_one_prompt_at_a_time_is_on_the_server(server: FakeComfy) -> None:
    async with drawing(server) as engine:
        most = 0

        def count(_: Prompt) -> None:
            nonlocal most
            most = max(most, len(server.waiting) + 1)

        server.fail = count
        await asyncio.gather(*(end_of(engine, recipe(str(n), seed=n)) for n in range(5)))
        assert most == 1
        assert names(server.submitted) == [0, 1, 2, 3, 4]

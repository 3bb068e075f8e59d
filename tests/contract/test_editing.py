"""An edit from the form to a stored picture, with a small pipeline of FLUX.2 klein in the engine's own process."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from bot.core.cards import ButtonPress
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, EventRef
from bot.core.people import Place
from bot.drawing import job_actions
from bot.storage import pictures
from engine.contract import EngineConfig
from engine.host.process_engine import ProcessEngine
from tests.fakes import models, pipelines
from tests.fakes.engine import FakeEngine
from tests.fakes.png_texts import read_texts
from tests.fakes.small_pipelines import SMALL_PIPELINES
from tests.fakes.surface import FakeSurface
from tests.flow.harness import CHAT, TICK, Bot

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("one_thread")]

SEED = 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Build a default model that does not edit, and one that does; models.toml names them."""
    SMALL_PIPELINES["Flux2KleinPipeline"].build(tmp_path / "klein", 0)
    models.small_sd15(tmp_path / "small")
    table = '[small]\nsource = "small"\n[klein]\nsource = "klein"\nsize = 64\n'
    (tmp_path / "models.toml").write_text(table, encoding="utf-8")
    return tmp_path


@pytest.fixture
async def bot(folder: Path) -> AsyncIterator[Bot]:
    """The bot with that engine."""
    config = EngineConfig("small", "nowhere", models_file=str(folder / "models.toml"), edit_model="klein")
    engine = ProcessEngine(config)
    await engine.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(engine.aclose)
        async with asyncio.timeout(200):
            await engine.warm()
        (folder / "data").mkdir()
        one = Bot(folder / "data", cast("FakeEngine", engine), {"chat": FakeSurface()})
        await one.start()
        stack.push_async_callback(one.kill)
        yield one


def given(*box: float) -> bytes:
    out = io.BytesIO()
    Pillow.effect_mandelbrot((64, 64), cast("tuple[float, float, float, float]", box), 30).convert("RGB").save(
        out, "PNG"
    )
    return out.getvalue()


async def drawn(bot: Bot, job: Job, index: int = 0) -> bytes:
    # Loading another model takes longer than what ``delivered`` waits for.
    async with asyncio.timeout(200):
        while (await bot.job(job.id)).state is not JobState.DELIVERED:
            await asyncio.sleep(0.02)
            bot.clock.advance(TICK)
    async with bot.db.read() as tx:
        return (bot.pictures / (await pictures.of_job(tx, job.id))[index].path).read_bytes()


def pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))


async def test_an_edit_is_stored_as_the_plain_call_draws_it(bot: Bot, folder: Path) -> None:
    references = (given(-2, -1, 1, 1), given(-1, -1, 0, 0))
    job = await bot.ask("make it night", references=references, seed=str(SEED))
    assert (job.request.model, job.request.width, job.request.height) == ("klein", 64, 64)
    data = await drawn(bot, job)
    pipe = pipelines.load(folder / "klein")
    (plain,) = pipe(
        prompt="make it night",
        image=[Pillow.open(io.BytesIO(one)) for one in references],
        width=64,
        height=64,
        num_inference_steps=job.request.steps,
        guidance_scale=job.request.guidance,
        generator=torch.Generator().manual_seed(SEED),
    ).images
    assert np.array_equal(pixels(data), np.asarray(plain))
    assert "References: 2" in read_texts(data)["parameters"]
    # The other order is another picture, and so is the next seed of the same references.
    turned = await bot.ask("make it night", references=references[::-1], seed=str(SEED))
    assert not np.array_equal(pixels(await drawn(bot, turned)), pixels(data))
    ref = EventRef("reroll", Address("chat", CHAT, user="1"))
    press = ButtonPress("reroll", job.id)
    again = await job_actions.reroll(bot.ctx, bot.actor(), Place("chat", None, CHAT), press, ref)
    assert again.request.references == job.request.references
    assert not np.array_equal(pixels(await drawn(bot, again)), pixels(data))

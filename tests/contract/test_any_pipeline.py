"""Pipelines of any class through the engine's own process: to a picture, beside a batched family, dropped and unloaded."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from engine.contract import BadRecipe, EngineConfig, Failed, Image, Phase, Preview, Recipe, Step, UnknownModel
from engine.host.process_engine import ProcessEngine
from tests.fakes import models, pipelines
from tests.fakes.small_pipelines import SMALL_PIPELINES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("one_thread")]

RED = Recipe("a", "klein", "a red cat", "", 64, 64, 4, 0.0, 5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a model that edits, one with previews and one of a batched family; models.toml names them."""
    root = tmp_path_factory.mktemp("models")
    SMALL_PIPELINES["Flux2KleinPipeline"].build(root / "klein", 0)
    SMALL_PIPELINES["FluxPipeline"].build(root / "flux", 0)
    models.small_sd15(root / "small")
    names = ("klein", "flux", "small")
    (root / "models.toml").write_text("".join(f'[{name}]\nsource = "{name}"\n' for name in names), encoding="utf-8")
    return root


@contextlib.asynccontextmanager
async def running(folders: Path, model: str, **more: Any) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(EngineConfig(model, "nowhere", models_file=str(folders / "models.toml"), **more))
    await engine.start()
    try:
        async with asyncio.timeout(200):
            await engine.warm()
            yield engine
    finally:
        await engine.aclose()


async def all_of(engine: ProcessEngine, *recipes: Recipe) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {recipe.id: [] for recipe in recipes}
    async with contextlib.aclosing(engine.paint(recipes)) as events:
        async for event in events:
            found[event.recipe_id].append(event)
    return found


def pixels_of(event: object) -> NDArray[np.uint8]:
    assert isinstance(event, Image), event
    return np.asarray(Pillow.open(io.BytesIO(event.data)))


def plain(folder: Path, recipe: Recipe, **more: object) -> NDArray[np.uint8]:
    pipe = pipelines.load(folder)
    (found,) = pipe(
        prompt=recipe.prompt,
        width=recipe.width,
        height=recipe.height,
        num_inference_steps=recipe.steps,
        guidance_scale=recipe.guidance,
        generator=torch.Generator().manual_seed(recipe.seed),
        **more,
    ).images
    return np.asarray(found)


def reference(folder: Path, name: str = "one.png") -> Path:
    picture = Pillow.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 30).convert("RGB")
    picture.save(folder / name)
    return folder / name


async def test_its_pictures_and_edits_are_those_of_the_plain_call_to_the_last_bit(
    folders: Path, tmp_path: Path
) -> None:
    path = str(reference(tmp_path))
    edit = replace(RED, id="edit", references=(path, path))
    recipes = [replace(RED, id="long", steps=50), RED, edit, replace(RED, id="b", seed=6, steps=2)]
    bad = {
        "many": replace(RED, references=(path,) * 5),
        "start": replace(RED, image=path, strength=0.5),
        "vary": replace(RED, variation=0.1),
        "small": replace(RED, model="small", references=(path,)),
    }
    async with running(folders, "klein") as engine:
        found: dict[str, list[object]] = {recipe.id: [] for recipe in recipes}
        async with contextlib.aclosing(engine.paint(recipes)) as events:
            async for event in events:
                found[event.recipe_id].append(event)
                if event.recipe_id == "long" and len(found["long"]) == 1:
                    await engine.drop("long")
        failed = await all_of(engine, *(replace(recipe, id=name) for name, recipe in bad.items()))
        assert isinstance((await all_of(engine, RED))["a"][-1], Image)
        assert engine.state().restarts == 0
    # Dropped within a step; the others went on.
    assert len(found["long"]) <= 2
    assert [(s.step, s.steps) for s in found["a"] if isinstance(s, Step)] == [(n, 4) for n in range(1, 5)]
    assert np.array_equal(pixels_of(found["a"][-1]), plain(folders / "klein", RED))
    pictures = [Pillow.open(path)] * 2
    assert np.array_equal(pixels_of(found["edit"][-1]), plain(folders / "klein", edit, image=pictures))
    assert not np.array_equal(pixels_of(found["a"][-1]), pixels_of(found["edit"][-1]))
    errors = {name: events[-1].error for name, events in failed.items() if isinstance(events[-1], Failed)}
    assert errors.keys() == bad.keys()
    assert all(isinstance(error, BadRecipe) for error in errors.values())
    assert "at most 4 reference pictures" in str(errors["many"])
    assert "takes no reference pictures" in str(errors["small"])


async def test_it_takes_turns_with_other_models_and_its_memory_is_given_back(folders: Path) -> None:
    one = Recipe("one", "small", "a red cat", "", 64, 64, 3, 3.0, 5)
    flux = Recipe("flux", "flux", "a red cat", "", 64, 64, 50, 3.5, 5)
    async with running(folders, "klein", idle_unload=0.5 / 60) as engine:
        found = await all_of(engine, RED, one, replace(RED, id="b", seed=7), replace(one, id="two"))
        assert {name: type(events[-1]) for name, events in found.items()} == dict.fromkeys(found, Image)
        while engine.state().phase is not Phase.IDLE:  # noqa: ASYNC110  # the engine tells its state by no event
            await asyncio.sleep(0.01)
        again = await all_of(engine, RED)
        assert np.array_equal(pixels_of(found["a"][-1]), pixels_of(again["a"][-1]))
        seen = []
        async with contextlib.aclosing(engine.paint([flux])) as events:
            async for event in events:
                seen.append(event)
                if len(seen) == 1:
                    await engine.set_preview("flux", enabled=True)
        assert engine.state().restarts == 0
    previews = [event for event in seen if isinstance(event, Preview)]
    assert previews
    assert Pillow.open(io.BytesIO(previews[0].data)).size == (8, 8)
    assert isinstance(seen[-1], Image)


async def test_it_is_warmed_with_a_reference_where_it_needs_one(tmp_path: Path) -> None:
    SMALL_PIPELINES["QwenImageEditPlusPipeline"].build(tmp_path / "edit", 0)
    (tmp_path / "models.toml").write_text('[edit]\nsource = "edit"\nsize = 64\n', encoding="utf-8")
    async with running(tmp_path, "edit") as engine:
        assert engine.state().phase is Phase.WARM
        assert engine.profiles()[0].needs_reference


@pytest.mark.parametrize("named", ["NobodysPipeline", "FluxPriorReduxPipeline", "WanPipeline"])
def test_a_model_that_can_not_be_drawn_with_is_refused(tmp_path: Path, named: str) -> None:
    (tmp_path / "model_index.json").write_text(f'{{"_class_name": "{named}"}}', encoding="utf-8")
    with pytest.raises(UnknownModel, match=f"'{named}'"):
        ProcessEngine(EngineConfig(str(tmp_path), "nowhere"))

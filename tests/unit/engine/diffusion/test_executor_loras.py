"""Pictures with LoRAs among others: equal sets share steps, cached prompts belong to their set, failures stay alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors.torch import save_file

from engine.contract import EngineError, Image, LoraInfo, LoraRequest, Recipe, UnknownLora
from engine.diffusion.executor import StepExecutor
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.loader import compile_blocks
from engine.diffusion.lora_library import LoraLibrary
from engine.diffusion.request_state import RequestState, lora_set
from engine.families.registry import model_class
from engine.spec import LoraSpec
from tests.fakes import lora_forms, models, pipelines
from tests.unit.engine.diffusion.toy import Ends, OneModel

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
RECIPE = Recipe("a", "sd15", "a red cat", "", 64, 64, 3, 2.0, 3)


class Provider(OneModel):
    """One small model in fp32."""

    def __init__(self, family: Any) -> None:
        super().__init__({"fp32": family}, ("sd15",))
        self.steps: list[list[int]] = []
        step = family.step

        def recorded(states: Sequence[Any], **more: Any) -> None:
            self.steps.append([state.recipe.seed for state in states])
            step(states, **more)

        family.step = recorded

    @property
    def model(self) -> Any:
        """The loaded model."""
        return self.toys["fp32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.small_sd15(tmp_path_factory.mktemp("models") / "sd15")


@pytest.fixture
def provider(folder: Path) -> Provider:
    return Provider(model_class("sd15")(pipelines.load(folder), CPU))


def library(provider: Provider, folder: Path, *names: str) -> LoraLibrary:
    specs = []
    for seed, name in enumerate(names):
        path = folder / f"{name}.safetensors"
        pipe = provider.model.pipe
        save_file(lora_forms.build(pipe, lora_forms.FORMS["lora"], seed=seed, text=name == "text")[0], path)
        specs.append(LoraSpec(LoraInfo(name, name), str(path)))
    return LoraLibrary(specs)


def draw(provider: Provider, loras: LoraLibrary, *recipes: Recipe) -> list[Image | EngineError]:
    ends, encoder = Ends(), ImageEncoder()
    executor = StepExecutor(provider, ends, encoder, CPU, loras=loras)
    executor.add([RequestState(ticket, recipe) for ticket, recipe in enumerate(recipes)])
    while len(executor):
        executor.step()
    encoder.close()
    return [ends.ends[ticket] for ticket in range(len(recipes))]


def pixels(drawn: Image | EngineError) -> NDArray[np.int16]:
    assert isinstance(drawn, Image), drawn
    return np.asarray(Pillow.open(io.BytesIO(drawn.data))).astype(np.int16)


def having(seed: int, *loras: LoraRequest) -> Recipe:
    return replace(RECIPE, id=f"r{seed}", seed=seed, loras=loras)


def test_equal_sets_share_steps_and_each_picture_is_that_of_its_own(provider: Provider, tmp_path: Path) -> None:
    loras = library(provider, tmp_path, "ink", "text")
    ink, text = LoraRequest("ink", 0.8), LoraRequest("text", 0.6)
    recipes = [having(1), having(2, ink), having(3, text, ink), having(4, ink), having(5, ink, text), having(6)]
    together = draw(provider, loras, *recipes)
    sizes = {tuple(sorted(seeds)) for seeds in provider.steps}
    assert sizes == {(1, 6), (2, 4), (3, 5)}
    for recipe, drawn in zip(recipes, together, strict=True):
        alone = draw(provider, library(provider, tmp_path, "ink", "text"), recipe)[0]
        assert np.abs(pixels(drawn) - pixels(alone)).max() <= 1
        assert isinstance(drawn, Image)
        assert isinstance(alone, Image)
        assert drawn.setup == alone.setup
        assert [name for name, _ in drawn.loras] == sorted(lora.name for lora in recipe.loras)
    setups = {drawn.setup for drawn in together if isinstance(drawn, Image)}
    assert len(setups) == 3


def test_a_prompt_is_encoded_again_for_a_set_that_changes_the_text_encoder(provider: Provider, tmp_path: Path) -> None:
    loras = library(provider, tmp_path, "ink", "text")
    ends, encoder = Ends(), ImageEncoder()
    executor = StepExecutor(provider, ends, encoder, CPU, loras=loras)
    encoded = []
    for ticket, lora in enumerate((None, "ink", "text", "text", None)):
        chosen = () if lora is None else (LoraRequest(lora),)
        executor.add([RequestState(ticket, replace(having(1, *chosen), guidance=0.0))])
        while len(executor):
            executor.step()
        encoded.append(executor.prompts.encoded)
    encoder.close()
    assert encoded == [1, 1, 2, 2, 2]
    assert (pixels(ends.ends[0]) == pixels(ends.ends[4])).all()
    assert (pixels(ends.ends[2]) != pixels(ends.ends[0])).any()


def test_a_lora_that_can_not_be_used_fails_alone(provider: Provider, tmp_path: Path) -> None:
    loras = library(provider, tmp_path, "ink", "gone")
    (tmp_path / "gone.safetensors").unlink()
    recipes = [having(1), having(2, LoraRequest("gone")), having(3, LoraRequest("ink")), having(4, LoraRequest("inc"))]
    one, two, three, four = draw(provider, loras, *recipes)
    assert isinstance(one, Image)
    assert isinstance(three, Image)
    assert isinstance(two, UnknownLora)
    assert isinstance(four, UnknownLora)
    assert "did you mean ink" in str(four)


def test_a_file_that_is_replaced_while_it_is_drawn_with(provider: Provider, tmp_path: Path) -> None:
    loras = library(provider, tmp_path, "ink")
    ends, encoder = Ends(), ImageEncoder()
    executor = StepExecutor(provider, ends, encoder, CPU, loras=loras)
    executor.add([RequestState(0, having(1, LoraRequest("ink")))])
    executor.step()
    pipe = provider.model.pipe
    save_file(lora_forms.build(pipe, lora_forms.FORMS["loha"], seed=9)[0], tmp_path / "ink.safetensors")
    executor.add([RequestState(1, having(1, LoraRequest("ink")))])
    while len(executor):
        executor.step()
    encoder.close()
    first, second = ends.ends[0], ends.ends[1]
    assert isinstance(first, Image)
    assert isinstance(second, Image)
    assert first.setup != second.setup
    assert (pixels(first) != pixels(second)).any()
    again = draw(provider, loras, having(1, LoraRequest("ink")))[0]
    assert np.abs(pixels(again) - pixels(second)).max() <= 1


def test_a_model_that_was_compiled(provider: Provider, tmp_path: Path) -> None:
    loras = library(provider, tmp_path, "ink")
    recipe = having(1, LoraRequest("ink"))
    expected, plain = draw(provider, loras, recipe, having(1))
    family = provider.model
    family.denoiser._repeated_blocks = ["BasicTransformerBlock"]  # as UNet2DConditionModel has them
    assert compile_blocks(family, "eager", having(7))
    compiled, other = draw(provider, loras, recipe, having(1))
    assert np.abs(pixels(compiled) - pixels(expected)).max() <= 1
    assert np.abs(pixels(other) - pixels(plain)).max() <= 1


def test_sets_are_equal_whatever_the_order() -> None:
    a, b = LoraRequest("a", 0.5), LoraRequest("b", 1.0)
    assert lora_set(having(1, b, a)) == lora_set(having(1, a, b)) == (a, b)
    assert lora_set(having(1, a, LoraRequest("a", 0.25))) == (LoraRequest("a", 0.75),)
    assert lora_set(having(1, a, LoraRequest("a", -0.5))) == ()
    assert lora_set(having(1, LoraRequest("a", 0.0))) == ()

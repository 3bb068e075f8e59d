"""LoRAs on pipelines of any class: each picture is the plain call's with its own set, whichever names the file has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from engine.contract import LoraInfo, LoraRequest, Recipe, UnknownLora
from engine.diffusion.lora_library import LoraLibrary
from engine.families.denoise_state import Embedding
from engine.families.generic.model import CallState, Generic
from engine.spec import LoraSpec
from tests.fakes import lora_forms, pipelines
from tests.fakes.small_pipelines import SMALL_PIPELINES

pytestmark = pytest.mark.slow

Picture = NDArray[np.float32]
RECIPE = Recipe("a", "small", "a red cat", "", 64, 64, 2, 3.0, 5)
NAMES = ("Flux2KleinPipeline", "QwenImagePipeline", "StableDiffusion3Pipeline")


@pytest.fixture(scope="module", params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SMALL_PIPELINES[request.param].build(tmp_path_factory.mktemp("small") / request.param, 0)


@pytest.fixture(scope="module")
def family(folder: Path) -> Iterator[Generic]:
    found = Generic(pipelines.load(folder), torch.device("cpu"))
    yield found
    found.close()


def encode(run: Any, prompt: str, _: str = "") -> Embedding:
    found: Embedding = run(prompt)
    return found


def begin(family: Generic, loras: LoraLibrary, recipe: Recipe) -> tuple[CallState, Any]:
    chosen = loras.prepare(family, recipe.loras)
    with loras.active(family, chosen):
        return family.start(recipe, encode), chosen


def draw(family: Generic, loras: LoraLibrary, *recipes: Recipe) -> list[Picture]:
    """Draw pictures in turns, one step each, each with its own LoRAs."""
    begun = [begin(family, loras, recipe) for recipe in recipes]
    while any(not state.finished for state, _ in begun):
        for state, chosen in begun:
            with loras.active(family, chosen):
                if not state.finished:
                    family.step([state])
    return [family.finish(state).numpy() for state, _ in begun]


def plain(folder: Path, wanted: Mapping[str, Tensor], weight: float) -> Picture:
    """Draw with weights that hold the LoRA."""
    pipe = lora_forms.merged(pipelines.load(folder), wanted, weight)
    (found,) = draw(Generic(pipe, torch.device("cpu")), LoraLibrary(), RECIPE)
    return found


def library(paths: Sequence[Path]) -> LoraLibrary:
    return LoraLibrary([LoraSpec(LoraInfo(path.stem, path.stem), str(path)) for path in paths])


def apart(one: Picture, other: Picture) -> float:
    return float(np.abs(one - other).max()) * 255


@torch.no_grad()
def pairs(model: Any, ends: Sequence[str], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    tensors: dict[str, Tensor] = {}
    wanted: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if name.endswith(tuple(ends)) and isinstance(module, torch.nn.Linear):
            made, weight = lora_forms.lora(module.weight, generator, alpha=4.0)
            tensors |= {f"{prefix}{name}.{end}": t for end, t in lora_forms.peft_names(made).items()}
            wanted[f"transformer.{name}.weight"] = weight
    return tensors, wanted


@pytest.mark.parametrize("prefix", ["transformer.", "diffusion_model."])
def test_pictures_that_take_turns_have_their_own_sets(
    folder: Path, family: Generic, tmp_path: Path, prefix: str
) -> None:
    tensors, wanted = pairs(family.pipe.transformer, ("to_q", "to_v", "to_out", "to_out.0"), prefix)
    assert len(wanted) >= 2
    save_file(tensors, tmp_path / "ink.safetensors")
    loras = library([tmp_path / "ink.safetensors"])
    before = {key: tensor.clone() for key, tensor in family.pipe.transformer.state_dict().items()}
    without, half, full = draw(
        family,
        loras,
        RECIPE,
        replace(RECIPE, loras=(LoraRequest("ink", 0.5),)),
        replace(RECIPE, loras=(LoraRequest("ink", 1.0),)),
    )
    assert apart(without, plain(folder, {}, 0.0)) == 0
    assert apart(half, plain(folder, wanted, 0.5)) <= 1
    assert apart(full, plain(folder, wanted, 1.0)) <= 1
    assert min(apart(half, without), apart(full, half)) > 1
    after = family.pipe.transformer.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@torch.no_grad()
@pytest.mark.parametrize("folder", ["Flux2KleinPipeline"], indirect=True, scope="module")
@pytest.mark.parametrize("alpha", [False, True])
def test_names_of_the_first_publication(folder: Path, family: Generic, tmp_path: Path, alpha: bool) -> None:
    attention = family.pipe.transformer.transformer_blocks[0].attn
    own = torch.cat([attention.to_q.weight, attention.to_k.weight, attention.to_v.weight])
    made, moved = lora_forms.lora(own, torch.Generator().manual_seed(2), alpha=2.0 if alpha else 4.0)
    tensors = lora_forms.peft_names(made) | ({"alpha": made["alpha"]} if alpha else {})
    begin_ = "diffusion_model.double_blocks.0.img_attn.qkv"
    save_file({f"{begin_}.{end}": tensor for end, tensor in tensors.items()}, tmp_path / "bfl.safetensors")
    wanted = {
        f"transformer.transformer_blocks.0.attn.to_{which}.weight": rows
        for which, rows in zip("qkv", moved.chunk(3), strict=True)
    }
    (drawn,) = draw(family, library([tmp_path / "bfl.safetensors"]), replace(RECIPE, loras=(LoraRequest("bfl"),)))
    assert apart(drawn, plain(folder, wanted, 1.0)) <= 1
    assert apart(drawn, plain(folder, {}, 1.0)) > 1


def test_what_can_not_be_translated_whole_is_refused(family: Generic, tmp_path: Path) -> None:
    good, _ = pairs(family.pipe.transformer, ("to_q",), "diffusion_model.")
    down, up = torch.ones(2, 8), torch.ones(8, 2)
    more: dict[str, dict[str, Tensor]] = {
        "layer": {"diffusion_model.nowhere.7.lora_A.weight": down, "diffusion_model.nowhere.7.lora_B.weight": up},
        "dora": {"diffusion_model.double_blocks.0.img_attn.qkv.dora_scale": torch.ones(8, 1)},
        "half": {"diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight": down},
    }
    for name, tensors in more.items():
        save_file(good | tensors, tmp_path / f"{name}.safetensors")
    loras = library([tmp_path / f"{name}.safetensors" for name in more])
    for name in more:
        with pytest.raises(UnknownLora, match=rf"^The LoRA {name} can't be used with this model: .*\.$"):
            loras.prepare(family, (LoraRequest(name),))

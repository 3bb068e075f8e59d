"""LoRAs by request: every form draws what its definition says, the weights stay as they are, mistakes are one sentence."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.contract import LoraInfo, LoraRequest, Recipe, UnknownLora
from engine.diffusion.files import Files
from engine.diffusion.lora_library import NO_LORAS, LoraLibrary
from engine.families.registry import model_class
from engine.lora_catalogue import read_loras
from engine.spec import LoraSpec
from tests.fakes import lora_forms, loras, models, pipelines
from tests.unit.engine.diffusion.test_assemble import made, quantised, weights

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
RECIPE = Recipe("a", "m", "a red cat", "", 64, 64, 2, 0.0, 3)
Picture = NDArray[np.float32]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.zoo(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def family(zoo: Path) -> Callable[[str], Any]:
    """Return a loaded model of a family; its weights must not be changed."""
    return functools.cache(lambda name: model_class(name)(pipelines.load(zoo / name), CPU))


def library(*paths: Path, **more: Any) -> LoraLibrary:
    return LoraLibrary([LoraSpec(LoraInfo(path.stem, path.stem), str(path)) for path in paths], **more)


def draw(family: Any, having: LoraLibrary | None = None, wanted: Sequence[LoraRequest] = ()) -> Picture:
    having = having or LoraLibrary()
    chosen = having.prepare(family, wanted)
    with torch.no_grad(), having.active(family, chosen):
        state = family.start(RECIPE, lambda encode, prompt, *_: encode(prompt))
        while not state.finished:
            family.step([state])
    found: Picture = family.finish(state).numpy()
    return found


def hooks(family: Any) -> int:
    """Count the hooks on the layers; other tests' libraries leave some that do nothing."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in family.denoiser.modules())


def apart(one: Picture, other: Picture) -> float:
    """Return the largest difference of two pictures, of 255."""
    return float(np.abs(one - other).max()) * 255


def one(name: str, weight: float = 1.0) -> list[LoraRequest]:
    return [LoraRequest(name, weight)]


@pytest.mark.parametrize("name", ["sd15", "z_image"])
@pytest.mark.parametrize("form", list(lora_forms.FORMS))
def test_a_form_draws_what_its_definition_says(
    zoo: Path, family: Callable[[str], Any], tmp_path: Path, name: str, form: str
) -> None:
    model = family(name)
    wanted_form = lora_forms.FORMS[form]
    tensors, wanted = lora_forms.build(model.pipe, wanted_form, text=name == "sd15" and wanted_form.metadata is None)
    save_file(tensors, tmp_path / "lora.safetensors", dict(wanted_form.metadata or {}) or None)
    assert len(wanted) >= 3
    having = library(tmp_path / "lora.safetensors")
    plain, drawn = draw(model), {}
    for weight in (-0.5, 0.5, 1.0):
        drawn[weight] = draw(model, having, one("lora", weight))
        reference = model_class(name)(lora_forms.merged(pipelines.load(zoo / name), wanted, weight), CPU)
        assert apart(drawn[weight], draw(reference)) <= 1
        assert apart(drawn[weight], plain) > 3
    assert apart(drawn[0.5], drawn[1.0]) > 1
    assert having.files_read == 1
    assert apart(draw(model, having), plain) == 0
    assert apart(draw(model, having, one("lora", 1.0)), drawn[1.0]) == 0


def test_dora_at_one_three_and_five(family: Callable[[str], Any], tmp_path: Path) -> None:
    model = family("sd15")
    drawn = []
    tensors, _ = lora_forms.build(model.pipe, lora_forms.FORMS["dora by input"])
    for factor in (1, 3, 5):
        changed = {key: t * factor if key.endswith("dora_scale") else t for key, t in tensors.items()}
        save_file(changed, tmp_path / f"x{factor}.safetensors")
        drawn.append(draw(model, library(tmp_path / f"x{factor}.safetensors"), one(f"x{factor}")))
    assert min(apart(drawn[0], drawn[1]), apart(drawn[1], drawn[2]), apart(drawn[0], drawn[2])) > 3


@pytest.mark.parametrize(
    ("form", "prefix"),
    [
        ("peft", "transformer."),
        ("peft", "diffusion_model."),
        ("peft", "base_model.model."),
        ("peft", "base_model.model.diffusion_model."),
        ("lora", "model.diffusion_model."),
        ("lora", "lora_transformer_"),
        ("lora", "lora_unet_"),
        ("lokr with a factored right", "lycoris_"),
        ("dora of peft", "base_model.model."),
    ],
)
def test_the_prefixes_of_trainers(family: Callable[[str], Any], tmp_path: Path, form: str, prefix: str) -> None:
    model = family("z_image")
    tensors, wanted = lora_forms.build(model.pipe, lora_forms.FORMS[form])
    renamed: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        layer = next(layer for layer in map(bare, wanted) if key.startswith(f"diffusion_model.{layer}."))
        end = key.removeprefix(f"diffusion_model.{layer}.")
        renamed[f"{prefix}{layer.replace('.', '_') if prefix.endswith('_') else layer}.{end}"] = tensor
    save_file(tensors, tmp_path / "usual.safetensors")
    save_file(renamed, tmp_path / "renamed.safetensors")
    having = library(tmp_path / "usual.safetensors", tmp_path / "renamed.safetensors")
    usual = draw(model, having, one("usual"))
    assert apart(usual, draw(model)) > 3
    assert apart(usual, draw(model, having, one("renamed"))) == 0


def bare(key: str) -> str:
    return key.removeprefix("transformer.").removesuffix(".weight")


@pytest.mark.parametrize(
    "form", ["peft", "lora", "loha", "lokr", "lokr with a factored right", "full", "dora by output"]
)
def test_fused_queries_keys_and_values(zoo: Path, family: Callable[[str], Any], tmp_path: Path, form: str) -> None:
    model = family("z_image")
    make = lora_forms.FORMS[form].linear
    assert make is not None
    block = model.pipe.transformer.layers[0].attention
    own = torch.cat([block.to_q.weight, block.to_k.weight, block.to_v.weight]).detach()
    ends, moved = make(own, torch.Generator().manual_seed(1))
    begin = "diffusion_model.layers.0.attention.qkv"
    save_file({f"{begin}.{end}": tensor for end, tensor in ends.items()}, tmp_path / "fused.safetensors")
    wanted = {
        f"transformer.layers.0.attention.to_{which}.weight": rows
        for which, rows in zip("qkv", moved.chunk(3), strict=True)
    }
    for weight in (0.5, 1.0):
        reference = model_class("z_image")(lora_forms.merged(pipelines.load(zoo / "z_image"), wanted, weight), CPU)
        drawn = draw(model, library(tmp_path / "fused.safetensors"), one("fused", weight))
        assert apart(drawn, draw(reference)) <= 1
        assert apart(drawn, draw(model)) > 1


def test_a_set_is_the_sum_of_its_loras_in_any_order(zoo: Path, family: Callable[[str], Any], tmp_path: Path) -> None:
    model = family("sd15")
    forms = ["lora", "loha of a high rank", "dora by input", "dora by output"]
    reference = pipelines.load(zoo / "sd15")
    before = {key: tensor.clone() for key, tensor in weights(reference).items()}
    for seed, form in enumerate(forms):
        tensors, wanted = lora_forms.build(model.pipe, lora_forms.FORMS[form], seed=seed)
        save_file(tensors, tmp_path / f"l{seed}.safetensors")
        moved = {key: weights(reference)[key] + tensor - before[key] for key, tensor in wanted.items()}
        lora_forms.merged(reference, moved, 0.3)
    # merged() takes W' - W of the moved weights, which is that of the first ones.
    having = library(*(tmp_path / f"l{seed}.safetensors" for seed in range(4)))
    wanted_set = [LoraRequest(f"l{seed}", 0.3) for seed in range(4)]
    drawn = draw(model, having, wanted_set)
    assert apart(drawn, draw(model_class("sd15")(reference, CPU))) <= 1
    assert apart(drawn, draw(model, having, wanted_set[:3])) > 1


@pytest.mark.parametrize("name", ["sd15", "z_image"])
def test_the_weights_are_the_same_bits_after_any_sequence(
    family: Callable[[str], Any], tmp_path: Path, name: str
) -> None:
    model = family(name)
    before = {key: tensor.clone() for key, tensor in weights(model.pipe).items()}
    hooks_before = hooks(model)
    plain = draw(model)
    for form in ("lora", "dora by input", "lokr"):
        save_file(lora_forms.build(model.pipe, lora_forms.FORMS[form])[0], tmp_path / f"{form[:4]}.safetensors")
    having = library(*(tmp_path / f"{form}.safetensors" for form in ("lora", "dora", "lokr")))
    for names in (["lora"], ["dora", "lokr"], [], ["lora", "dora", "lokr"], ["lokr"], []):
        drawn = draw(model, having, [LoraRequest(n, 0.7) for n in names])
        assert (apart(drawn, plain) == 0) == (not names)
    after = weights(model.pipe)
    assert apart(draw(model), plain) == 0
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert hooks(model) == hooks_before, "those of this library are gone"


def test_quantised_layers_take_every_form(zoo: Path, tmp_path: Path) -> None:
    path = quantised(zoo / "z_image-first.safetensors", tmp_path / "q8.gguf")
    model = model_class("z_image")(made(Files("z_image", zoo / "z_image", denoiser=path)), CPU)
    float_model = model_class("z_image")(pipelines.load(zoo / "z_image"), CPU)
    plain = draw(model)
    noise = apart(plain, draw(float_model))
    for form in ("lora", "loha of a high rank", "lokr", "dora by input", "dora by output"):
        save_file(lora_forms.build(float_model.pipe, lora_forms.FORMS[form])[0], tmp_path / "lora.safetensors")
        having = library(tmp_path / "lora.safetensors")
        drawn = draw(model, having, one("lora"))
        assert apart(drawn, plain) > 3
        assert apart(drawn, draw(float_model, having, one("lora"))) <= 3 * noise + 3


def test_a_file_is_read_once_and_again_when_it_has_changed(family: Callable[[str], Any], tmp_path: Path) -> None:
    model = family("sd15")
    path = tmp_path / "lora.safetensors"
    tensors, _ = lora_forms.build(model.pipe, lora_forms.FORMS["lora"])
    save_file(tensors, path)
    having = library(path)
    first = having.prepare(model, one("lora"))
    assert having.prepare(model, one("lora")) is first
    assert having.prepare(model, one("lora", 0.5)) is not first
    assert having.files_read == 1
    save_file(
        {key: tensor * 2 for key, tensor in tensors.items()} | {"lora_unet_conv_in.diff": torch.ones(16, 4, 3, 3)}, path
    )
    second = having.prepare(model, one("lora"))
    assert having.files_read == 2
    assert first.digests != second.digests
    assert first.extras != second.extras
    path.unlink()
    with pytest.raises(UnknownLora, match=r"^The file of the LoRA lora is not there any more \(.*\)\.$"):
        having.prepare(model, one("lora"))
    os.mkfifo(path)
    with pytest.raises(UnknownLora, match=r"^The file of the LoRA lora is no regular file any more\.$"):
        having.prepare(model, one("lora"))
    assert apart(draw(model), draw(model)) == 0


def test_rewritten_metadata_change_the_setup_and_not_the_digest(family: Callable[[str], Any], tmp_path: Path) -> None:
    model = family("sd15")
    path = tmp_path / "lora.safetensors"
    tensors, _ = lora_forms.build(model.pipe, lora_forms.FORMS["lora"])
    having = library(path)
    found = []
    for title in ("one", "another"):
        save_file(tensors, path, {"modelspec.title": title})
        found.append(having.prepare(model, one("lora")))
    first, second = found
    assert having.files_read == 2
    assert first.digests == second.digests
    assert first.extras != second.extras


def test_the_cache_is_bounded_by_bytes(family: Callable[[str], Any], tmp_path: Path) -> None:
    model = family("sd15")
    paths = [tmp_path / f"l{seed}.safetensors" for seed in range(3)]
    for seed, path in enumerate(paths):
        save_file(lora_forms.build(model.pipe, lora_forms.FORMS["lora"], seed=seed)[0], path)
    size = paths[0].stat().st_size
    having = library(*paths, most=2 * size, most_sets=2 * size)
    for names in ("l0", "l1", "l0", "l2"):
        having.prepare(model, one(names))
    assert having.files_read == 3
    having.prepare(model, one("l0"))
    assert having.files_read == 3
    having.prepare(model, one("l1"))
    assert having.files_read == 4
    having.clear()
    having.prepare(model, one("l1"))
    assert having.files_read == 5


def test_mistakes_are_one_sentence_that_names_the_lora(zoo: Path, family: Callable[[str], Any], tmp_path: Path) -> None:
    model = family("sd15")
    (tmp_path / "cut.safetensors").write_bytes((zoo / "sd15-lora.safetensors").read_bytes()[:5000])
    save_file(
        load_file(zoo / "sd15-lora.safetensors") | {"lora_unet_x.oft_blocks": torch.ones(2)},
        tmp_path / "oft.safetensors",
    )
    save_file(
        {"lora_unet_conv_in.lora_down.weight": torch.ones(2, 4, 3, 3, dtype=torch.int8)}, tmp_path / "int.safetensors"
    )
    having = library(
        tmp_path / "cut.safetensors",
        tmp_path / "oft.safetensors",
        tmp_path / "int.safetensors",
        zoo / "z_image-lora.safetensors",
        zoo / "sdxl-lora.safetensors",
    )
    said = {
        "cut": "can't be read",
        "oft": "1 of its",
        "int": "it has weights in int8",
        "z_image-lora": "can't be applied",
        "sdxl-lora": "can't be used with this model",
        "sdxl-lor": "There is no LoRA 'sdxl-lor'; did you mean sdxl-lora",
    }
    for name, expected in said.items():
        with pytest.raises(UnknownLora) as caught:
            having.prepare(model, one(name))
        assert expected in str(caught.value)
        assert re.fullmatch(r"[^\n]{20,400}[.?]", str(caught.value))
    assert having.prepare(model, ()) is NO_LORAS


def test_one_of_another_family_names_those_that_fit(family: Callable[[str], Any], tmp_path: Path) -> None:
    model = family("sd15")
    save_file(lora_forms.build(model.pipe, lora_forms.FORMS["lora"])[0], tmp_path / "mine.safetensors")
    loras.comfy_z_image(family("z_image").pipe, tmp_path / "other.safetensors")
    (tmp_path / "models.toml").write_text("[lora.mine]\nfile = 'mine.safetensors'\nfamily = 'sd15'\n")
    having = LoraLibrary(read_loras(str(tmp_path), str(tmp_path / "models.toml")).specs)
    having.prepare(model, one("mine"))
    with pytest.raises(UnknownLora) as caught:
        having.prepare(model, one("other"))
    assert str(caught.value) == (
        "The LoRA other is made for Z-Image, and this model is Stable Diffusion 1.5; those for Stable Diffusion 1.5 are mine."
    )

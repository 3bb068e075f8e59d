"""Transformers in SVDQuant: recognised, refused with what to do, planned, and loaded through a package that stands in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import catalogue
from engine.contract import EngineError, LoraInfo, LoraRequest, OutOfMemory, Recipe, UnknownLora, UnknownModel
from engine.diffusion import svdquant
from engine.diffusion.files import Files, check, check_single, stored_weights
from engine.diffusion.lora_library import LoraLibrary
from engine.diffusion.memory import probe
from engine.diffusion.memory.plan import plan, refit
from engine.diffusion.memory.probe import four_bits
from engine.diffusion.memory.types import CUDA, GIB, Device, ModelMemory
from engine.diffusion.model_manager import LoadedModel, LoadError
from engine.families.sd15.spec import sd15
from engine.families.z_image.spec import z_image_turbo
from engine.spec import Lora, LoraSpec, ModelSpec
from engine.weights import header
from tests.fakes import models, nunchaku
from tests.fakes.simulated_card import SimulatedCard, SimulatedLoader, simulated
from tests.unit.engine.diffusion.memory.devices import card, processor

TURBO = z_image_turbo()
BYTES = 4 * GIB
EVERY = frozenset({"torchao", "gguf", "nunchaku"})


def able(gib: float, form: str = "int4", *, bf16: bool = True) -> Device:
    return replace(card(gib, bf16=bf16), four_bits=form)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.small_z_image(tmp_path_factory.mktemp("svdquant") / "base")


@pytest.fixture(scope="module")
def packed(folder: Path) -> Path:
    return nunchaku.write(folder, folder.parent / "svdq-int4_r16.safetensors")


@pytest.mark.parametrize("form", ["int4", "fp4"])
def test_a_file_is_recognised_by_its_tensors(form: str, folder: Path, tmp_path: Path) -> None:
    assert svdquant.form_of_file(nunchaku.write(folder, tmp_path / "a.safetensors", form=form)) == form


def test_other_files_are_not(folder: Path, tmp_path: Path) -> None:
    alone = models.transformer_alone(folder, tmp_path / "a.safetensors")
    assert svdquant.form_of_file(alone) == ""
    assert svdquant.form_of_file(None) == ""
    assert svdquant.form_of_file(tmp_path / "a.gguf") == ""


def test_its_file_passes_the_checks_and_counts_as_it_is(folder: Path, packed: Path) -> None:
    files = Files("z_image", folder, denoiser=packed)
    check(files)
    assert "transformer" not in stored_weights(files).formats


def test_what_cant_be_done_with_it_is_said_before_it_is_loaded(folder: Path, packed: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"LoRAs can't be added to .* in SVDQuant: take the model in int8"):
        check(Files("z_image", folder, denoiser=packed, loras=(Lora(str(tmp_path / "a.safetensors"), 1.0),)))
    with pytest.raises(UnknownModel, match="in SVDQuant, which is loaded only as transformer, over a base"):
        check_single(packed)
    with pytest.raises(UnknownModel, match=r"made for Z-Image, and the model in .* is SDXL"):
        check(Files("sdxl", models.small_sdxl(tmp_path / "sdxl"), denoiser=packed))
    with pytest.raises(UnknownModel, match="can't be loaded for a Flux2Transformer2DModel: take the model in int8"):
        svdquant.check(packed, "Flux2Transformer2DModel")


def test_a_plan_takes_the_files_bytes_and_offloads_no_layers() -> None:
    found = plan(TURBO, 1024, 1024, able(11.25), "auto", EVERY, packed=BYTES, svdquant="int4")
    assert (found.on, found.precision, found.compute, found.offload) == ("cuda", "svdquant", "bf16", "text")
    assert found.sentence.startswith("Weights in svdquant, computed in bf16")
    assert any("nunchaku multiplies in four bits" in reason for reason in found.reasons)
    other = plan(TURBO, 1024, 1024, able(11.25), "auto", EVERY, packed=BYTES)
    assert (found.device_bytes, other.precision) == (other.device_bytes, "gguf")
    again = refit(ModelMemory(found, BYTES), TURBO, 1024, 1024)
    assert again.device_bytes == found.device_bytes


@pytest.mark.parametrize(
    ("device", "libraries", "form", "sentence"),
    [
        (
            able(24),
            frozenset({"torchao"}),
            "int4",
            "needs nunchaku, which is not installed: install the wheel for your",
        ),
        (processor(64), EVERY, "int4", "needs an NVIDIA card from RTX 20 to 50, and a processor is none"),
        (able(24, ""), EVERY, "int4", "needs an NVIDIA card from RTX 20 to 50, and a card is none"),
        (able(24, "fp4"), EVERY, "int4", "is in int4, and a card computes in fp4"),
        (able(24), EVERY, "fp4", "is in fp4, and a card computes in int4"),
        (able(24, bf16=False), EVERY, "int4", "needs a card with bf16"),
    ],
)
def test_a_plan_says_what_it_lacks(device: Device, libraries: frozenset[str], form: str, sentence: str) -> None:
    with pytest.raises(EngineError, match=f"The model's SVDQuant file {sentence}"):
        plan(TURBO, 1024, 1024, device, "auto", libraries, packed=BYTES, svdquant=form)


def test_it_is_never_drawn_on_the_processor() -> None:
    with pytest.raises(OutOfMemory, match="In SVDQuant it can't be drawn on the CPU"):
        plan(TURBO, 1024, 1024, able(2), "auto", EVERY, packed=BYTES, svdquant="int4")
    turing = able(24, bf16=False)
    assert plan(sd15(), 512, 512, turing, "auto", EVERY, packed=GIB, svdquant="int4").compute == "fp16"


@pytest.mark.parametrize(
    ("capability", "rocm", "form"),
    [
        ((7, 0), False, ""),
        ((7, 5), False, "int4"),
        ((8, 6), False, "int4"),
        ((8, 9), False, "int4"),
        ((9, 0), False, ""),
        ((12, 0), False, "fp4"),
        ((8, 6), True, ""),
    ],
)
def test_four_bits_by_compute_capability(capability: tuple[int, int], rocm: bool, form: str) -> None:
    assert four_bits(capability, rocm=rocm) == form


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which packages are found."""
    found = tmp_path / "site"
    found.mkdir()
    monkeypatch.syspath_prepend(found)
    yield found
    for name in [name for name in sys.modules if name.split(".")[0] == "nunchaku"]:
        del sys.modules[name]


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> SimulatedLoader:
    simulation = SimulatedCard(2.0)
    made = simulated(monkeypatch, simulation)
    # The processor stands in for the card, and computes in fp32.
    monkeypatch.setattr(probe, "probe_device", lambda *_: replace(simulation.device, four_bits="int4", bf16=True))
    return made


def spec_of(folder: Path, packed: Path) -> ModelSpec:
    found = catalogue.specs(str(folder), str(folder.parent), "")[0]
    return replace(found, base=str(folder), transformer=str(packed))


def drawn(loaded: LoadedModel) -> NDArray[np.float32]:
    family = loaded.family
    recipe = Recipe("a", "small", "a red cat", "", 64, 64, 4, 0.0, 3)
    state = family.start(recipe, lambda encode, prompt, _="": encode(prompt), None, ())
    while not state.finished:
        family.step([state])
    found: NDArray[np.float32] = np.asarray(family.finish(state)).clip(0, 1)
    return found


@pytest.mark.slow
def test_it_is_loaded_by_the_package_and_draws(
    folder: Path, packed: Path, loader: SimulatedLoader, site: Path, tmp_path: Path
) -> None:
    nunchaku.install(site)
    loaded = loader.load(spec_of(folder, packed), "")
    try:
        assert (loaded.precision, loaded.quantisation) == ("svdquant", "svdquant weights nunchaku")
        assert loaded.memory is not None
        assert (loaded.memory.packed, loaded.memory.plan.on) == (packed.stat().st_size, CUDA)
        assert svdquant.is_loaded_in(loaded.family.denoiser)
        assert loader.safer("svdquant") is None
        found = drawn(loaded)
        path = models.write_lora(tmp_path / "a.safetensors", folder=folder)
        library = LoraLibrary([LoraSpec(LoraInfo("a", "a"), str(path))])
        with pytest.raises(UnknownLora, match="LoRAs can't be added to a model in SVDQuant; leave them out"):
            library.prepare(loaded.family, (LoraRequest("a", 1.0),))
    finally:
        loader.unload(loaded)
    whole = loader.load(catalogue.specs(str(folder), str(folder.parent), "")[0], "bf16")
    error = float(np.abs(drawn(whole) - found).mean()) * 255
    print(f"SVDQuant by the stand-in: off by {error:.2f} of 255")  # noqa: T201 - shown by -rP
    assert 0 < error < 4
    loader.unload(whole)


def test_a_package_without_the_class_is_named(folder: Path, packed: Path, loader: SimulatedLoader, site: Path) -> None:
    (site / "nunchaku").mkdir()
    (site / "nunchaku" / "__init__.py").touch()
    with pytest.raises(
        LoadError, match="the package nunchaku here has no NunchakuZImageTransformer2DModel; install a newer"
    ):
        loader.load(spec_of(folder, packed), "")


def test_without_the_package_the_model_is_refused(folder: Path, packed: Path, loader: SimulatedLoader) -> None:
    assert "nunchaku" not in probe.libraries()
    with pytest.raises(LoadError, match="The model's SVDQuant file needs nunchaku, which is not installed"):
        loader.load(spec_of(folder, packed), "")


def test_the_header_of_a_file_is_enough(packed: Path) -> None:
    assert {tensor.dtype for name, tensor in header(packed).items() if name.endswith(".qweight")} == {"I8"}

"""Plans put into effect on small pipelines, whose parts are called one by one as the engine does."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, GGUFQuantizationConfig, ZImageTransformer2DModel
from numpy.typing import NDArray
from safetensors.torch import load_file

from engine.contract import Recipe
from engine.diffusion.memory import apply
from engine.diffusion.memory.apply import DTYPES
from engine.diffusion.memory.estimate import Estimate
from engine.diffusion.memory.pending import PendingWeights
from engine.diffusion.memory.plan import plan
from engine.diffusion.memory.types import Plan
from engine.families.sd15.spec import sd15
from engine.families.sdxl.spec import sdxl
from engine.families.z_image.model import ZImage
from engine.families.z_image.spec import demo
from tests.fakes import models
from tests.unit.engine.diffusion.memory.counting import nbytes
from tests.unit.engine.diffusion.memory.devices import card, processor

pytestmark = pytest.mark.slow

_BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DEMO = demo()
LIBRARIES = frozenset({"torchao", "gguf"})
PARTS = ("transformer", "text_encoder", "vae")


def planned(asked: str, **changes: Any) -> Plan:
    return replace(plan(DEMO, 64, 64, processor(8), asked, LIBRARIES), **changes)


def loaded(made: Plan, folder: str = DEMO.source, **parts: Any) -> Any:
    pipe = DiffusionPipeline.from_pretrained(folder, local_files_only=True, **apply.options(made, PARTS), **parts)
    apply.settle(pipe, made, CPU)
    return pipe


def drawn(pipe: Any, prompts: Sequence[str] = ("a red apple on a table",), side: int = 64) -> NDArray[np.float32]:
    """Draw as the engine does; the second prompt is encoded after the first picture's first step."""
    family = ZImage(pipe, CPU)
    pictures = []
    for prompt in prompts:
        recipe = Recipe("r", "demo", prompt, "", side, side, 4, 0.0, 1)
        pictures.append(family.begin(recipe, family.encode(prompt), None))
        family.step(pictures[:1])
    while not pictures[0].finished:
        family.step([p for p in pictures if not p.finished])
    found: NDArray[np.float32] = family.finish(pictures[0]).clip(0, 1).numpy()
    return found


def error(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float]:
    """Return the mean and the largest difference, in steps of 1/255."""
    gap = np.abs(a - b) * 255
    return float(gap.mean()), float(gap.max())


@pytest.fixture(scope="module")
def exact() -> NDArray[np.float32]:
    return drawn(loaded(planned("fp32")))


def test_int8_really_runs(exact: NDArray[np.float32]) -> None:
    before = loaded(planned("fp32"))
    made = planned("int8")
    assert (made.precision, made.text_encoder, made.compute) == ("int8", "int8", "fp32")
    after = loaded(made)
    sizes = {n: (nbytes(getattr(before, n)), nbytes(getattr(after, n))) for n in PARTS}
    mean, most = error(drawn(after), exact)
    print(f"int8: {sizes}, off by {mean:.2f}/255 in the mean, {most:.1f}/255 at most")  # noqa: T201 - shown by -rP
    was, now = sizes["transformer"]
    assert was == DEMO.parameters["transformer"] * 4
    assert now < was / 3.7
    assert sizes["text_encoder"][1] < sizes["text_encoder"][0] / 2
    assert sizes["vae"][0] == sizes["vae"][1], "the VAE's convolutions stay as they are"
    assert 0 < mean < 2
    assert most < 12
    assert now == pytest.approx(Estimate(DEMO).denoiser("int8", "fp32"), rel=0.1)


def test_a_loaded_pipeline_is_quantised_too(exact: NDArray[np.float32]) -> None:
    made = planned("int8")
    pipe = DiffusionPipeline.from_pretrained(DEMO.source, local_files_only=True, dtype=apply.loaded_in(made))
    apply.settle(pipe, made, CPU)
    assert apply.is_quantised(pipe.transformer)
    assert np.array_equal(drawn(pipe), drawn(loaded(made))), "loaded small or made small, it is the same"


def written(folder: Path, kind: gguf.GGMLQuantizationType, *, original: bool) -> Path:
    """Write the demo's transformer as a GGUF file, with the original's names (one matrix for q, k and v) or diffusers'."""
    weights = load_file(Path(DEMO.source) / "transformer" / "diffusion_pytorch_model.safetensors")
    if original:
        for key in [k for k in weights if ".attention.to_q." in k]:
            joined = torch.cat([weights.pop(key.replace("to_q", part)) for part in ("to_q", "to_k", "to_v")])
            weights[key.replace("to_q", "qkv")] = joined
        for ours, theirs in (
            ("all_final_layer.2-1.", "final_layer."),
            ("all_x_embedder.2-1.", "x_embedder."),
            (".to_out.0.", ".out."),
            (".norm_q.", ".q_norm."),
            (".norm_k.", ".k_norm."),
        ):
            weights = {k.replace(ours, theirs): v for k, v in weights.items()}
    path = folder / "transformer.gguf"
    writer = gguf.GGUFWriter(path, "lumina2")
    block = gguf.GGML_QUANT_SIZES[kind][0]
    for name, tensor in weights.items():
        array = tensor.float().numpy()
        # As people make them: the layers' matrices, not the small ones around them.
        if array.ndim == 2 and array.shape[1] % block == 0 and ("layers." in name or "refiner." in name):
            writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("kind", "original", "smaller", "mean_at_most"),
    [("Q8_0", True, 2.9, 1.5), ("Q8_0", False, 2.9, 1.5), ("Q4_0", True, 4.3, 15)],
)
def test_gguf_really_runs(
    kind: str, original: bool, smaller: float, mean_at_most: float, tmp_path: Path, exact: NDArray[np.float32]
) -> None:
    path = written(tmp_path, gguf.GGMLQuantizationType[kind], original=original)
    size = path.stat().st_size
    made = plan(DEMO, 64, 64, processor(8), "auto", LIBRARIES, packed=size)
    assert made.precision == "gguf"
    transformer = ZImageTransformer2DModel.from_single_file(
        str(path),
        quantization_config=GGUFQuantizationConfig(compute_dtype=DTYPES[made.compute]),
        config=DEMO.source,
        subfolder="transformer",
        dtype=apply.loaded_in(made),
    )
    pipe = loaded(made, transformer=transformer)
    now = nbytes(pipe.transformer)
    mean, most = error(drawn(pipe), exact)
    was = DEMO.parameters["transformer"] * 4
    print(f"GGUF {kind}: {was} to {now} bytes, off by {mean:.2f}/255, at most {most:.1f}/255")  # noqa: T201 - shown by -rP
    assert apply.is_quantised(pipe.transformer)
    assert now == pytest.approx(size, rel=0.01), "the plan takes the file's size for the weights'"
    assert now < was / smaller
    assert 0 < mean < mean_at_most
    assert ZImage(pipe, CPU).dtype == torch.float32


def test_weights_that_wait_in_bf16_compute_in_fp32(exact: NDArray[np.float32]) -> None:
    made = planned("bf16")
    assert (made.storage, made.compute) == ("bf16", "fp32")
    pipe = loaded(made)
    assert nbytes(pipe.transformer) < DEMO.parameters["transformer"] * 4 * 0.6
    assert nbytes(pipe.text_encoder) < DEMO.parameters["text_encoder"] * 4 * 0.6
    assert ZImage(pipe, CPU).dtype == torch.float32
    layer = pipe.transformer.layers[0]
    assert layer.attention.to_q.weight.dtype == torch.bfloat16
    assert layer.attention_norm1.weight.dtype == torch.float32
    mean, _ = error(drawn(pipe), exact)
    assert mean < 1.5


def test_fp16_for_a_family_that_overflows_is_only_how_weights_wait(exact: NDArray[np.float32]) -> None:
    pipe = loaded(planned("fp16"))
    assert pipe.transformer.layers[0].attention.to_q.weight.dtype == torch.float16
    mean, most = error(drawn(pipe), exact)
    assert mean < 0.5, most


def test_a_card_without_bf16_draws_in_clamped_fp16_and_reads_prompts_in_fp32(exact: NDArray[np.float32]) -> None:
    made = plan(DEMO, 64, 64, card(8, bf16=False), "auto", LIBRARIES)
    assert (made.storage, made.compute, made.text_compute, made.vae) == ("fp16", "fp16", "fp32", "fp32")
    pipe = loaded(made)
    assert ZImage(pipe, CPU).dtype == torch.float16
    assert ZImage(pipe, CPU).encode("a").tensors[0].dtype == torch.float32
    assert pipe.text_encoder.layers[0].mlp.up_proj.weight.dtype == torch.float16
    assert nbytes(pipe.text_encoder) < DEMO.parameters["text_encoder"] * 4 * 0.6
    mean, most = error(drawn(pipe), exact)
    print(f"clamped fp16: off by {mean:.2f}/255, at most {most:.1f}/255")  # noqa: T201 - shown by -rP
    assert 0 < mean < 1


def test_fp8_keeps_the_denoiser_small_and_the_text_encoder_whole(exact: NDArray[np.float32]) -> None:
    made = planned("fp8")
    pipe = loaded(made)
    assert pipe.transformer.layers[0].attention.to_q.weight.dtype == torch.float8_e4m3fn
    assert nbytes(pipe.transformer) < DEMO.parameters["transformer"] * 1.5
    assert nbytes(pipe.text_encoder) >= DEMO.parameters["text_encoder"] * 4
    mean, _ = error(drawn(pipe), exact)
    assert 0 < mean < 12


@pytest.mark.parametrize("offload", ["text", "group", "model", "sequential"])
def test_whatever_waits_in_main_memory_the_picture_is_the_same(offload: str) -> None:
    # The CPU stands in for the card: what is checked is that every hook is reached when parts are called one by one.
    prompts = ("a red apple on a table", "a blue cup")
    usual = drawn(loaded(planned("fp32")), prompts)
    moved = drawn(loaded(planned("fp32", offload=offload, text_encoder="host")), prompts)
    assert np.array_equal(usual, moved)


def test_int8_weights_can_be_streamed(exact: NDArray[np.float32]) -> None:
    plain = drawn(loaded(planned("int8")))
    assert np.array_equal(drawn(loaded(planned("int8", offload="group"))), plain)


class Part(torch.nn.Linear):
    """A module that writes down where its weights went."""

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__(1, 1)
        self._name, self._log = name, log

    def to(self, device: Any) -> Any:  # type: ignore[override] # as much of it as is called
        self._log.append(f"{self._name} {torch.device(device).type}")
        return self


def test_parts_take_turns_in_any_order() -> None:
    log: list[str] = []
    text, denoiser = Part("text", log), Part("denoiser", log)
    apply.take_turns([text, denoiser], CUDA)
    assert log == ["text cpu", "denoiser cpu"]
    # A second prompt comes while a picture is being drawn: the denoiser makes way, and comes back.
    for part, other in ((text, "denoiser"), (denoiser, "text"), (text, "denoiser")):
        log.clear()
        part(torch.zeros(1))
        assert log == [f"{other} cpu", f"{part._name} cuda"]


def in_channels_last(vae: torch.nn.Module) -> set[bool]:
    """Return whether weights of convolutions are in this order: both where some are."""
    # 1x1 convolutions are in both orders.
    weights = [p for p in vae.parameters() if p.dim() == 4 and min(p.shape[1:3]) > 1]
    return {p.is_contiguous(memory_format=torch.channels_last) for p in weights}


def test_the_vae_in_another_memory_format_decodes_the_same_picture(exact: NDArray[np.float32]) -> None:
    made = planned("fp32")
    plain: Any = DiffusionPipeline.from_pretrained(DEMO.source, local_files_only=True, dtype=torch.float32)
    assert in_channels_last(plain.vae) == {False}
    assert in_channels_last(loaded(made).vae) == {True}
    assert error(drawn(plain), exact)[1] <= 1


@pytest.mark.parametrize(("precision", "last"), [("bf16", True), ("fp16", True), ("fp32", False)])
@pytest.mark.parametrize("offload", ["", "model"])
def test_the_vae_is_placed_on_a_card_in_the_memory_format_of_its_tensor_cores(
    precision: str, last: bool, offload: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = replace(plan(sd15(), 512, 512, card(80), "bf16", LIBRARIES), vae=precision, offload=offload)
    assert made.on == "cuda"
    to: Any = torch.nn.Module.to

    def on_meta(module: torch.nn.Module, *args: Any, **more: Any) -> torch.nn.Module:
        """Move to the meta device, which keeps sizes and strides, where the card is meant."""
        found: torch.nn.Module = to(module, *("meta" if a == CUDA else a for a in args), **more)
        return found

    fill = PendingWeights.fill
    monkeypatch.setattr(torch.nn.Module, "to", on_meta)
    monkeypatch.setattr(
        PendingWeights,
        "fill",
        lambda own, part, device: fill(own, part, torch.device("meta") if device == CUDA else device),
    )
    pipe = DiffusionPipeline.from_pretrained(models.small_sd15(tmp_path / "model"), dtype=torch.bfloat16)
    apply.settle(pipe, made, CUDA)
    assert {p.device.type for p in pipe.vae.parameters()} == {"cpu" if offload else "meta"}
    assert {p.dtype for p in pipe.vae.parameters()} == {DTYPES[precision]}
    assert in_channels_last(pipe.vae) == {last}
    if offload:
        assert in_channels_last(pipe.vae.to(CUDA)) == {last}, "it keeps the order when it moves"


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_the_vae_of_videos_keeps_its_memory_format(device: str) -> None:
    vae = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3), torch.nn.Conv3d(4, 4, 3)).to(torch.bfloat16)
    apply.set_memory_format(vae, torch.device(device))
    assert all(p.is_contiguous() for p in vae.parameters())


def test_tiles_change_a_picture_little(tmp_path: Path) -> None:
    pipe = loaded(planned("fp32"))
    latents = torch.randn(1, 16, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        whole = pipe.vae.decode(latents, return_dict=False)[0]
        apply.tile(pipe, True)
        tiled = pipe.vae.decode(latents, return_dict=False)[0]
        apply.tile(pipe, False)
        again = pipe.vae.decode(latents, return_dict=False)[0]
    assert torch.equal(whole, again)
    assert tiled.shape == whole.shape
    assert not torch.equal(whole, tiled)
    assert pipe.vae.tile_sample_min_size <= 512


@pytest.mark.parametrize("make", [models.small_sdxl, models.small_sd15], ids=["sdxl", "sd15"])
@pytest.mark.parametrize(("asked", "off"), [("int8", 0.1), ("bf16", 0.1), ("fp8", 0.35)])
def test_unets_take_plans_too(make: Any, asked: str, off: float, tmp_path: Path) -> None:
    profile = sdxl() if make is models.small_sdxl else sd15()
    folder = make(tmp_path / "model")
    outputs = []
    for precision in ("fp32", asked):
        made = plan(profile, 64, 64, processor(64), precision, LIBRARIES)
        names = (
            ("unet", "text_encoder", "text_encoder_2", "vae")
            if profile.family == "sdxl"
            else ("unet", "text_encoder", "vae")
        )
        pipe = DiffusionPipeline.from_pretrained(folder, local_files_only=True, **apply.options(made, names))
        apply.settle(pipe, made, CPU)
        unet = pipe.unet
        with torch.no_grad():
            pipe.text_encoder(torch.ones(1, 4, dtype=torch.long))
            words = torch.ones(1, 4, unet.config.cross_attention_dim)
            more = {}
            if profile.family == "sdxl":
                more["added_cond_kwargs"] = {"text_embeds": torch.ones(1, 48), "time_ids": torch.ones(1, 6)}
            latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
            outputs.append(unet(latents, torch.tensor([500.0]), words, return_dict=False, **more)[0])
    exact, found = outputs
    assert found.dtype == torch.float32
    assert not torch.equal(exact, found)
    assert float((exact - found).norm() / exact.norm()) < off


def test_tiles_are_smaller_than_what_most_people_draw() -> None:
    # diffusers' own tiles are as large as the pictures that a VAE was made for: 1024 pixels for SDXL and Z-Image.
    vae = AutoencoderKL(sample_size=1024, block_out_channels=(32, 32, 32, 32), **_BLOCKS)
    apply.tile(SimpleNamespace(vae=vae), True)
    assert vae.use_tiling
    assert (vae.tile_sample_min_size, vae.tile_latent_min_size) == (512, 64)


def test_nothing_is_left_when_a_pipeline_is_let_go() -> None:
    pipe = loaded(planned("fp32", offload="model"))
    gone = weakref.ref(pipe.transformer)
    del pipe
    gc.collect()
    assert gone() is None

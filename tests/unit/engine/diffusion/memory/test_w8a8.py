"""Products in eight bits on real layers and small models of each family; abilities by a table of cards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.contract import Recipe
from engine.diffusion import loras
from engine.diffusion.assemble import assemble
from engine.diffusion.files import Files
from engine.diffusion.lora_deltas import geometry
from engine.diffusion.lora_hooks import ActiveHooks, base_weight, hooks_of
from engine.diffusion.lora_targets import targets_of
from engine.diffusion.memory import apply, w8a8
from engine.diffusion.memory.estimate import Estimate
from engine.diffusion.memory.plan import plan
from engine.diffusion.memory.types import Plan
from engine.diffusion.memory.w8a8 import FORMATS, W8A8Linear, abilities, convert, convertible, multiplies, quantised
from engine.families.registry import model_class
from engine.families.z_image.spec import demo
from engine.folders import profile_of
from tests.fakes import models, published
from tests.fakes.simulated_card import SimulatedCard
from tests.unit.engine.diffusion.memory.counting import nbytes
from tests.unit.engine.diffusion.memory.devices import card, processor

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
OFF = {"int8": 0.012, "fp8": 0.05}
"""Relative error of one layer."""


def layer(form: str, dtype: torch.dtype = torch.float32, *, bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    """Return a layer of random weights, and the same one that multiplies in eight bits."""
    torch.manual_seed(0)
    plain = nn.Linear(256, 512, bias=bias).to(dtype).requires_grad_(False)
    other = nn.Linear(256, 512, bias=bias).to(dtype).requires_grad_(False)
    other.load_state_dict(plain.state_dict())
    assert convert(nn.ModuleDict({"blocks": nn.ModuleList([other])}), form, CPU, 64) == 1
    return plain, other


def off(found: Tensor, exact: Tensor) -> float:
    return float((found.float() - exact.float()).norm() / exact.float().norm())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMATS)
def test_a_layer_gives_nearly_the_same_in_eight_bits(form: str, dtype: torch.dtype, bias: bool) -> None:
    plain, layer8 = layer(form, dtype, bias=bias)
    x = torch.randn(2, 3, 40, 256).to(dtype)
    found = layer8(x)
    assert (found.shape, found.dtype) == ((2, 3, 40, 512), dtype)
    assert 0 < off(found, plain(x)) < OFF[form]
    assert off(layer8(x[0, 0, :5]), plain(x[0, 0, :5])) < OFF[form], "few rows are not quantised"
    assert layer8.weight.nbytes == plain.weight.numel()


@pytest.mark.parametrize("form", FORMATS)
def test_the_inputs_really_are_quantised(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, layer8 = layer(form)
    seen: list[torch.dtype] = []
    name = {"int8": "_int_mm", "fp8": "_scaled_mm"}[form]
    real = getattr(torch, name)

    def noted(one: Tensor, other: Tensor, *more: Any, **options: Any) -> Tensor:
        seen.extend((one.dtype, other.dtype))
        made: Tensor = real(one, other, *more, **options)
        return made

    monkeypatch.setattr(torch, name, noted)
    layer8(torch.randn(w8a8.LEAST_ROWS, 256))
    assert seen == [torch.int8 if form == "int8" else torch.float8_e4m3fn] * 2
    layer8(torch.randn(w8a8.LEAST_ROWS - 1, 256))
    assert len(seen) == 2


@pytest.mark.parametrize("form", FORMATS)
def test_a_row_has_a_scale_of_its_own(form: str) -> None:
    rows = torch.randn(4, 64) * torch.tensor([[1e-3], [1.0], [1e4], [0.0]])
    stored, scale = quantised(rows, form)
    back = stored.float() * scale
    assert all(off(back[n], rows[n]) < OFF[form] for n in range(3))
    assert torch.equal(back[3], rows[3])


@pytest.mark.parametrize("form", FORMATS)
def test_inputs_in_another_order_are_laid_out_row_by_row(form: str) -> None:
    rows = torch.randn(256, 40).T
    stored, _ = quantised(rows, form)
    assert stored.is_contiguous()
    plain, layer8 = layer(form)
    assert torch.equal(layer8(rows), layer8(rows.contiguous()))
    assert off(layer8(rows), plain(rows)) < OFF[form]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMATS)
def test_numbers_that_are_not_finite_stay_so(form: str, dtype: torch.dtype) -> None:
    """A picture with NaN is drawn again; eight bits must not hide it."""
    _, layer8 = layer(form, dtype)
    x = torch.randn(40, 256).to(dtype)
    x[3, 7], x[5, 9] = float("nan"), float("inf")
    found = layer8(x).isfinite()
    assert not found[3].any()
    assert not found[5].any()
    assert found[[n for n in range(40) if n not in (3, 5)]].all()


@pytest.mark.parametrize("form", FORMATS)
def test_a_long_input_is_computed_piece_by_piece(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, layer8 = layer(form)
    x = torch.randn(2 * 40 + w8a8.LEAST_ROWS - 1, 256)
    whole = layer8(x)
    monkeypatch.setattr(w8a8, "CHUNK", 40 * 512)
    assert torch.equal(layer8(x), whole)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_product_takes_no_more_memory_than_the_plan_counts(
    form: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(w8a8, "CHUNK", 2**20)
    simulation = SimulatedCard(1.0)
    for by_row in (True, False):
        _, layer8 = layer(form, dtype)
        assert isinstance(layer8, W8A8Linear)
        layer8.by_row = by_row
        x = torch.randn(3 * 2**12, 256).to(dtype)
        simulation.allocator.peak = before = simulation.allocator.allocated
        with simulation.computing():
            found = layer8(x)
        taken = simulation.allocator.peak - before - found.nbytes
        print(f"{form} {by_row}: {taken / 2**20:.1f} MiB for results of 1 Mi numbers")  # noqa: T201 - shown by -rP
        assert taken <= 12 * 2**20
        del found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("by_row", [True, False])
def test_both_products_of_fp8_give_the_same(form: str, by_row: bool) -> None:
    plain, layer8 = layer(form)
    assert isinstance(layer8, W8A8Linear)
    layer8.by_row = by_row and form == "fp8"
    x = torch.randn(64, 256)
    assert off(layer8(x), plain(x)) < OFF[form]


@pytest.mark.parametrize("form", FORMATS)
def test_a_model_that_is_cast_keeps_its_eight_bits(form: str) -> None:
    _, layer8 = layer(form)
    before, x = layer8.weight.clone(), torch.randn(40, 256)
    exact = layer8(x)
    layer8.to(torch.bfloat16)
    assert torch.equal(layer8.weight, before)
    assert off(layer8(x.bfloat16()), exact) < 2 * OFF[form]
    assert isinstance(layer8, W8A8Linear)
    assert layer8.scale.dtype == torch.float32


def test_a_step_reads_no_value_of_the_device() -> None:
    """Nothing is read on the meta device, which has no values."""
    for form in FORMATS:
        _, layer8 = layer(form)
        assert layer8.to("meta")(torch.empty(40, 256, device="meta")).shape == (40, 512)


@pytest.mark.parametrize(
    ("name", "capability", "rocm", "forms"),
    [
        ("NVIDIA GeForce GTX 1080", (6, 1), False, set()),
        ("Tesla V100-SXM2-16GB", (7, 0), False, set()),
        ("NVIDIA GeForce GTX 1660 SUPER", (7, 5), False, set()),
        ("NVIDIA GeForce RTX 2070", (7, 5), False, {"int8"}),
        ("NVIDIA A100-SXM4-80GB", (8, 0), False, {"int8"}),
        ("NVIDIA GeForce RTX 3060", (8, 6), False, {"int8"}),
        ("NVIDIA GeForce RTX 4090", (8, 9), False, {"int8", "fp8"}),
        ("NVIDIA H100 80GB HBM3", (9, 0), False, {"int8", "fp8"}),
        ("NVIDIA GeForce RTX 5090", (12, 0), False, {"int8", "fp8"}),
        ("AMD Radeon RX 7900 XTX", (11, 0), True, set()),
    ],
)
def test_abilities_by_card(name: str, capability: tuple[int, int], rocm: bool, forms: set[str]) -> None:
    assert abilities(name, capability, rocm=rocm) == forms


@pytest.mark.parametrize("form", FORMATS)
def test_a_product_is_tried_before_it_is_relied_on(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert multiplies.__wrapped__(form, CPU)
    name = {"int8": "_int_mm", "fp8": "_scaled_mm"}[form]
    real = getattr(torch, name)
    monkeypatch.setattr(torch, name, lambda *args, **more: real(*args, **more) * 2)
    w8a8.scales_rows.cache_clear()
    assert not multiplies.__wrapped__(form, CPU), "its result is wrong"

    def missing(*_: Any, **__: Any) -> Tensor:
        raise NotImplementedError("not on this device")

    monkeypatch.setattr(torch, name, missing)
    w8a8.scales_rows.cache_clear()
    assert not multiplies.__wrapped__(form, CPU)
    w8a8.scales_rows.cache_clear()


@pytest.mark.parametrize(
    ("name", "config", "some", "none"),
    [
        (
            "ZImageTransformer2DModel",
            published.Z_IMAGE,
            ("layers.0.attention.to_q", "noise_refiner.0.feed_forward.w1", "layers.29.feed_forward.w2"),
            ("adaLN", "all_x_embedder", "cap_embedder", "t_embedder", "all_final_layer"),
        ),
        (
            "UNet2DConditionModel",
            published.SDXL,
            ("mid_block.attentions.0.transformer_blocks.0.ff.net.2",),
            (
                "time_emb",
                "add_embedding",
                "proj_in",
                "proj_out",
                "down_blocks.1.attentions.0.transformer_blocks.0.attn1",
            ),
        ),
        (
            "UNet2DConditionModel",
            published.SD15,
            ("mid_block.attentions.0.transformer_blocks.0.attn1.to_q",),
            ("time_emb",),
        ),
        (
            "Flux2Transformer2DModel",
            published.KLEIN,
            ("single_transformer_blocks.0.attn.to_qkv_mlp_proj", "transformer_blocks.0.ff.linear_in"),
            ("modulation", "x_embedder", "context_embedder", "norm_out", "time"),
        ),
    ],
    ids=["z_image", "sdxl", "sd15", "klein"],
)
def test_the_large_layers_of_published_models_are_chosen(
    name: str, config: Mapping[str, Any], some: tuple[str, ...], none: tuple[str, ...]
) -> None:
    with torch.device("meta"):
        part = getattr(diffusers, name)(**config)
    found = dict(convertible(part))
    share = sum(one.weight.numel() for one in found.values()) / sum(p.numel() for p in part.parameters())
    print(f"{name}: {len(found)} layers, {share:.3f} of the parameters")  # noqa: T201 - shown by -rP
    assert set(some) <= found.keys()
    assert not [
        layer for layer in found for word in none if word in layer and ("ff." not in layer or word == "time_emb")
    ]
    assert all(side % 16 == 0 for one in found.values() for side in one.weight.shape)


def planned(name: str, folder: Path, asked: str, forms: frozenset[str]) -> Plan:
    device = replace(card(24), products=forms)
    made = plan(profile_of(folder), 64, 64, device, asked, frozenset({"torchao"}))
    # The processor stands in for the card, and computes in fp32, so that the error is that of the eight bits alone.
    wide: Any = {"compute": "fp32", "text_compute": "fp32", "vae": "fp32", "text_encoder": "device"}
    return replace(made, storage="fp8" if made.storage == "fp8" else "fp32", **wide)


def loaded(name: str, folder: Path, made: Plan) -> Any:
    pipe = assemble(Files(name, folder), profile_of(folder), torch.float32, **quantising(name, made))
    apply.settle(pipe, made, CPU)
    return pipe


def quantising(name: str, made: Plan) -> Mapping[str, Any]:
    part = "transformer" if name == "z_image" else "unet"
    found = dict(apply.options(made, (part,)))
    found.pop("dtype")
    return found


def drawn(name: str, pipe: Any) -> NDArray[np.float32]:
    family = model_class(name)(pipe, CPU)
    recipe = Recipe("a", "small", "a red cat", "", 64, 64, 4, 4.0, 3)
    state = family.begin(recipe, family.encode(recipe.prompt), family.encode(""))
    while not state.finished:
        family.step([state])
    found: NDArray[np.float32] = family.finish(state).clip(0, 1).numpy()
    return found


@pytest.fixture
def least(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small layers of small models multiply in eight bits."""
    monkeypatch.setattr(w8a8, "LEAST_SIDE", 16)


@pytest.mark.slow
@pytest.mark.usefixtures("least")
@pytest.mark.parametrize("name", ["sd15", "sdxl", "z_image"])
def test_small_models_of_each_family_draw_in_eight_bits(name: str, tmp_path: Path) -> None:
    folder = models.SMALL[name](tmp_path / name)
    none: frozenset[str] = frozenset()
    exact = drawn(name, loaded(name, folder, planned(name, folder, "fp32", none)))
    for form in FORMATS:
        made = planned(name, folder, form, frozenset(FORMATS))
        assert made.w8a8
        pipe = loaded(name, folder, made)
        part = getattr(pipe, "unet", None) or pipe.transformer
        layers = [one for one in part.modules() if isinstance(one, W8A8Linear)]
        assert layers
        assert apply.is_quantised(part)
        assert model_class(name)(pipe, CPU).dtype == torch.float32
        mean = float(np.abs(drawn(name, pipe) - exact).mean()) * 255
        print(f"{name} in {form} W8A8: {len(layers)} layers, {nbytes(part)} bytes, off by {mean:.2f}")  # noqa: T201
        assert 0 < mean < {"int8": 2, "fp8": 8}[form]
        # The plan's bytes are those of the weights alone.
        alone = loaded(name, folder, planned(name, folder, form, none))
        assert nbytes(part) == pytest.approx(nbytes(getattr(alone, "unet", None) or alone.transformer), rel=0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("least")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("offload", ["text", "group", "model"])
def test_wherever_weights_wait_the_picture_is_the_same(form: str, offload: str, tmp_path: Path) -> None:
    folder = models.SMALL["z_image"](tmp_path / "z")
    made = planned("z_image", folder, form, frozenset(FORMATS))
    plain = drawn("z_image", loaded("z_image", folder, made))
    assert np.array_equal(drawn("z_image", loaded("z_image", folder, replace(made, offload=offload))), plain)


@pytest.mark.slow
@pytest.mark.usefixtures("least")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["lora", "dora by output"])
def test_loras_are_computed_beside_layers_in_eight_bits(form: str, kind: str, tmp_path: Path) -> None:
    folder = models.SMALL["z_image"](tmp_path / "z")
    pipe = loaded("z_image", folder, planned("z_image", folder, form, frozenset(FORMATS)))
    path = models.write_lora(tmp_path / "a.safetensors", kind, folder=folder)
    targets = targets_of({"transformer": pipe.transformer}, model_class("z_image"))
    adapter = loras.read(path, targets)
    before = drawn("z_image", pipe)
    active = ActiveHooks(targets)
    active.always(hooks_of([(adapter, {}, 1.0)], targets, CPU))
    assert not np.array_equal(drawn("z_image", pipe), before)
    active.always({})
    assert np.array_equal(drawn("z_image", pipe), before)


@pytest.mark.parametrize("form", FORMATS)
def test_a_layers_weight_can_be_read(form: str) -> None:
    plain, layer8 = layer(form)
    assert geometry(layer8) == geometry(plain)
    found = base_weight(layer8, CPU)
    assert found is not None
    assert off(found, plain.weight) < OFF[form]


def test_the_plan_keeps_room_for_the_sums() -> None:
    known = Estimate(profile_of(Path(demo().source)))
    assert known.step(512, 512, 1, "bf16", w8a8=True) > known.step(512, 512, 1, "bf16")


@pytest.mark.parametrize(
    ("asked", "forms", "w8a8_is", "precision"),
    [
        ("auto", {"int8", "fp8"}, False, "bf16"),
        ("int8", {"int8"}, True, "int8"),
        ("int8", set(), False, "int8"),
        ("fp8", {"int8"}, False, "fp8"),
        ("fp8", {"int8", "fp8"}, True, "fp8"),
        ("bf16", {"int8", "fp8"}, False, "bf16"),
    ],
)
def test_a_plan_multiplies_in_eight_bits_where_the_card_does(
    asked: str, forms: set[str], w8a8_is: bool, precision: str
) -> None:
    found = plan(demo(), 64, 64, replace(card(24), products=frozenset(forms)), asked, frozenset({"torchao", "gguf"}))
    assert (found.precision, found.w8a8) == (precision, w8a8_is)
    assert ("(W8A8)" in found.sentence) is w8a8_is
    assert any("(W8A8)" in reason for reason in found.reasons) is w8a8_is
    assert ("w8a8 torch" in apply.quantisation(found)) is w8a8_is
    assert (apply.quantisation(found) == "") is (precision == "bf16")


def test_layer_by_layer_and_on_a_processor_only_weights_are_in_eight_bits() -> None:
    able = frozenset(FORMATS)
    tiny = replace(card(0.3, stream=False), products=able)
    found = plan(demo(), 64, 64, tiny, "fp8", frozenset())
    assert (found.on, found.w8a8) in {("cuda", False), ("cpu", False)}
    small = replace(card(0.1, host=24), products=able)
    assert not plan(demo(), 64, 64, small, "int8", frozenset({"torchao"})).w8a8
    assert not plan(demo(), 64, 64, processor(24), "int8", frozenset({"torchao"})).w8a8

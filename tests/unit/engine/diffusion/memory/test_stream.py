"""Weights that wait in one piece of memory a block, and come to the device ahead of their use."""

from __future__ import annotations

import gc
import mmap
import weakref
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from diffusers import Flux2Transformer2DModel, UNet2DConditionModel, ZImageTransformer2DModel
from diffusers.hooks.group_offloading import _get_group_onload_device
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

from engine.diffusion.memory import stream as streaming
from engine.diffusion.memory.apply import quantise_linear
from engine.diffusion.memory.stream import MOST, blocks, nbytes, pages, pinned, stream
from engine.families.registry import spec_of
from tests.fakes.published import CLIP_L, KLEIN, OPEN_CLIP_G, QWEN3_4B, SD15, SDXL, Z_IMAGE
from tests.unit.engine.diffusion.memory import counting

CPU, META = torch.device("cpu"), torch.device("meta")


class Net(nn.Module):
    """Three blocks of a list, a large layer before them, a tied one behind, a small one, a parameter and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(64, 32)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32)) for _ in range(3))
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 64, bias=False)
        self.head.weight = self.embed.weight
        self.shift = nn.Parameter(torch.randn(32))
        self.register_buffer("scale", torch.full((32,), 0.5))
        self.fails = False

    def forward(self, words: Tensor) -> Tensor:
        x = self.embed(words) + self.shift
        for number, block in enumerate(self.blocks):
            if self.fails and number == 1:
                raise RuntimeError("no memory")
            x = x + block(x) * self.scale
        found: Tensor = self.head(self.norm(x))
        return found


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    monkeypatch.setattr(streaming, "LEAST", 64 * 32 * 4)
    return Net()


WORDS = torch.arange(6)[None]


def storages(module: nn.Module) -> set[int]:
    return {p.untyped_storage().data_ptr() for p in module.parameters()}


def test_blocks_are_items_of_lists_and_large_layers(net: Net) -> None:
    assert list(blocks(net)) == [net.embed, *net.blocks, net.head]


def test_a_block_too_large_is_taken_apart(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "MOST", nbytes(net.blocks[0]) - 1)
    inner = [layer for block in net.blocks for layer in block.children() if isinstance(layer, nn.Linear)]
    assert list(blocks(net)) == [net.embed, *inner, net.head]


@pytest.mark.parametrize("quantised", [False, True])
def test_it_computes_the_same(net: Net, quantised: bool) -> None:
    if quantised:
        quantise_linear(net.blocks)
    with torch.no_grad():
        before = net(WORDS)
        stream(net, CPU)
        for _ in range(3):
            assert torch.equal(net(WORDS), before)


def test_a_blocks_weights_are_views_of_one_piece_of_whole_pages(net: Net) -> None:
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    stream(net, CPU)
    for block in net.blocks:
        assert len(storages(block)) == 1
        (address,) = storages(block)
        assert address % mmap.PAGESIZE == 0
        storage = next(block.parameters()).untyped_storage()
        assert nbytes(block) <= storage.nbytes() <= pages(nbytes(block) + 4 * 256)
    assert storages(net.head) == storages(net.embed), "tied weights are there once"
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.state_dict().items())


def test_after_a_call_the_weights_are_in_main_memory_and_the_rest_on_the_device(net: Net) -> None:
    stream(net, META)
    with torch.no_grad():
        found = net(WORDS.to(META))
    assert (found.device, found.shape) == (META, (1, 6, 64))
    for name, parameter in net.named_parameters():
        waits = name.startswith(("blocks", "embed", "head"))
        assert parameter.device == (CPU if waits else META), name
    assert net.scale.device == META
    assert _get_group_onload_device(net) == META, "pipelines ask where to compute"


class Recorded(streaming._Streamer):
    """Keeps the blocks in the order in which they were copied and entered."""

    log: ClassVar[list[tuple[str, Any]]] = []

    def _copied(self, block: Any) -> tuple[Tensor, Any]:
        self.log.append(("copy", block))
        return super()._copied(block)

    def enter(self, block: Any) -> None:
        self.log.append(("enter", block))
        super().enter(block)
        assert len(self._placed) + len(self._ahead) <= 2, "two blocks at a time"


def test_the_next_block_is_copied_ahead_once_the_order_is_known(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_Streamer", Recorded)
    Recorded.log.clear()
    stream(net, CPU)
    net(WORDS)
    first = [block for what, block in Recorded.log if what == "enter"]
    assert len(first) == 5
    assert [what for what, _ in Recorded.log] == ["enter", "copy"] * 5
    Recorded.log.clear()
    net(WORDS)
    expected = [("enter", first[0]), ("copy", first[0]), ("copy", first[1])]
    for block, following in zip(first[1:], [*first[2:], None], strict=True):
        expected += [("enter", block)] + ([("copy", following)] if following else [])
    assert Recorded.log == expected


def test_after_a_call_that_failed_it_computes_the_same(net: Net) -> None:
    with torch.no_grad():
        before = net(WORDS)
        stream(net, CPU)
        net(WORDS)
        net.fails = True
        with pytest.raises(RuntimeError):
            net(WORDS)
        net.fails = False
        assert torch.equal(net(WORDS), before)
    assert len(storages(net.blocks[0])) == 1


def test_a_call_that_failed_leaves_no_copies_on_the_device(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[weakref.ref[Tensor]] = []
    copied = streaming._Streamer._copied

    def recorded(streamer: Any, block: Any) -> tuple[Tensor, Any]:
        flat, event = copied(streamer, block)
        copies.append(weakref.ref(flat))
        return flat, event

    monkeypatch.setattr(streaming._Streamer, "_copied", recorded)
    stream(net, CPU)
    with torch.no_grad():
        net(WORDS)

        def fails(*_: object) -> None:
            assert [copy for copy in copies if copy() is not None], "a block and the one after it are there"
            raise RuntimeError("no memory")

        second: Any = net.blocks[1]
        second[1].forward = fails
        with pytest.raises(RuntimeError):
            net(WORDS)
    gc.collect()
    assert [copy() for copy in copies if copy() is not None] == []
    assert {parameter.untyped_storage().data_ptr() for parameter in net.blocks[1].parameters()} == storages(
        net.blocks[1]
    )


def test_memory_is_given_back_with_the_model() -> None:
    net = Net()
    stream(net, CPU)
    net(WORDS)
    gone = weakref.ref(net.blocks[0])
    del net
    gc.collect()
    assert gone() is None


def test_memory_that_a_card_can_not_lock_is_used_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Runtime:
        def __init__(self) -> None:
            self.locked: dict[int, int] = {}
            self.error = 0

        def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802 - CUDA's name
            self.locked[address] = size
            return self.error

        def cudaHostUnregister(self, address: int) -> int:  # noqa: N802 - CUDA's name
            del self.locked[address]
            return 0

    runtime = Runtime()
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    found = pinned(5000, torch.device("cuda"))
    assert runtime.locked == {found.data_ptr(): 8192}
    view = found[:10].view(torch.uint8)
    del found
    assert runtime.locked, "a view of it is still there"
    del view
    assert not runtime.locked
    runtime.error = 2
    assert pinned(5000, torch.device("cuda")).nbytes == 5000
    assert "can't be locked" in caplog.text


def power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


def test_what_is_pinned_is_what_the_weights_take_not_half_as_much_again() -> None:
    """The arithmetic of both ways on the published Z-Image in bf16."""
    made = counting.made(ZImageTransformer2DModel, Z_IMAGE, torch.bfloat16)
    text = counting.transformers_model(Qwen3Model, Qwen3Config, QWEN3_4B).to(torch.bfloat16)
    weights = rounded = ours = 0
    for part in (made, text):
        weights += nbytes(part)
        rounded += sum(power_of_two(parameter.nbytes) for parameter in part.parameters())
        ours += sum(pages(sum(-(-p.nbytes // 256) * 256 for p in block.parameters())) for block in blocks(part))
    print(f"{weights / 2**30:.2f} GiB of weights: pinned {rounded / 2**30:.2f} by tensor, {ours / 2**30:.2f} by block")  # noqa: T201 - figures, shown by -rP
    assert weights / 2**30 == pytest.approx(18.96, abs=0.01)
    assert rounded / 2**30 == pytest.approx(27.9, abs=0.1)
    assert 0.99 * weights < ours < 1.001 * weights


WINDOWS: tuple[tuple[str, Callable[[], nn.Module]], ...] = (
    ("z_image", lambda: counting.made(ZImageTransformer2DModel, Z_IMAGE, torch.bfloat16)),
    ("sdxl", lambda: counting.made(UNet2DConditionModel, SDXL, torch.bfloat16)),
    ("sd15", lambda: counting.made(UNet2DConditionModel, SD15, torch.bfloat16)),
    ("klein", lambda: counting.made(Flux2Transformer2DModel, KLEIN, torch.bfloat16)),
    ("qwen3", lambda: counting.transformers_model(Qwen3Model, Qwen3Config, QWEN3_4B).to(torch.bfloat16)),
    ("qwen3 lm", lambda: counting.transformers_model(Qwen3ForCausalLM, Qwen3Config, QWEN3_4B).to(torch.bfloat16)),
    ("clip l", lambda: counting.transformers_model(CLIPTextModel, CLIPTextConfig, CLIP_L).to(torch.bfloat16)),
    (
        "clip g",
        lambda: counting.transformers_model(CLIPTextModelWithProjection, CLIPTextConfig, OPEN_CLIP_G).to(
            torch.bfloat16
        ),
    ),
)


PAIRS: Mapping[str, int] = {
    "z_image": spec_of("z_image").footprint.block_pair,
    "sdxl": spec_of("sdxl").footprint.block_pair,
    "sd15": spec_of("sd15").footprint.block_pair,
    "klein": 490_734_592,
    "qwen3": spec_of("z_image").footprint.text_pair,
    "qwen3 lm": spec_of("z_image").footprint.text_pair,
    "clip l": spec_of("sd15").footprint.text_pair,
    "clip g": spec_of("sdxl").footprint.text_pair,
}
"""The parameters of the two consecutive blocks that are largest together, as the plan has them."""


@pytest.mark.parametrize(("name", "make"), WINDOWS, ids=[name for name, _ in WINDOWS])
def test_nearly_all_weights_of_the_published_models_are_in_blocks(name: str, make: Callable[[], nn.Module]) -> None:
    part = make()
    found = list(blocks(part))
    sizes = [nbytes(block) for block in found]
    inside = {id(p): p.nbytes for block in found for p in block.parameters()}
    stays = nbytes(part) - sum(inside.values())
    pair = max(a + b for a, b in pairwise(sizes))
    print(f"{name}: {len(sizes)} blocks, largest pair {pair // 2} numbers, {stays / 2**20:.0f} MiB stay on the device")  # noqa: T201 - figures, shown by -rP
    assert stays < 64 * 2**20
    assert pair // 2 == PAIRS[name]
    assert all(
        size <= MOST or isinstance(block, nn.Embedding | nn.Linear) for size, block in zip(sizes, found, strict=True)
    )

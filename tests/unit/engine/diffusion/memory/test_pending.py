"""Small models of each class are placed weight by weight: they are the same, and take the bytes that the plan says."""

from __future__ import annotations

import functools
import mmap
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.contract import Profile
from engine.diffusion import files as model_files
from engine.diffusion.assemble import assemble
from engine.diffusion.files import Files
from engine.diffusion.memory import apply, estimate, stream
from engine.diffusion.memory.apply import DTYPES
from engine.diffusion.memory.estimate import BYTES, Estimate
from engine.diffusion.memory.pending import LayerChange
from engine.diffusion.memory.placements import Size, load_peak, need
from engine.diffusion.memory.plan import plan
from engine.diffusion.memory.probe import plain_tensors
from engine.diffusion.memory.types import Plan, StoredWeights
from engine.families.registry import spec_of
from engine.families.spec import DENOISERS, TEXT_ENCODER
from engine.folders import profile_of
from engine.spec import Lora
from tests.fakes import models
from tests.fakes.small_pipelines import SMALL_PIPELINES
from tests.unit.engine.diffusion.memory.devices import processor

pytestmark = pytest.mark.slow

CPU, META = torch.device("cpu"), torch.device("meta")
LIBRARIES = frozenset({"torchao", "gguf"})
CLASSES = ["sd15", "sdxl", "z_image", "Flux2KleinPipeline", "StableDiffusion3Pipeline"]
MAPS = Path("/proc/self/maps")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the folder of a small model of a class, all of whose weights are in fp32."""
    root = tmp_path_factory.mktemp("models")

    @functools.cache
    def folder(name: str) -> Path:
        made = (
            SMALL_PIPELINES[name].build(root / name, 0) if name in SMALL_PIPELINES else models.SMALL[name](root / name)
        )
        for path in made.glob("*/*.safetensors"):
            save_file(
                {k: t.float() if t.is_floating_point() else t for k, t in load_file(path).items()},
                path,
                {"format": "pt"},
            )
        return made

    return folder


def planned(profile: Profile, precision: str, **changes: Any) -> Plan:
    """Return a plan that computes in the format of the weights, or in bf16."""
    form = precision if precision in BYTES else "bf16"
    made = plan(profile, 64, 64, processor(8), "auto", LIBRARIES)
    same = {"storage": form, "compute": form, "text_compute": form, "vae": form}
    return replace(made, precision=precision, **(same | changes))


def formats(files: Files) -> dict[str, torch.dtype]:
    held = model_files.stored_weights(files)
    return {part: DTYPES[held.formats[part]] for part in held.mapped}


def loaded(files: Files, made: Plan, device: torch.device = CPU, *, by_weight: bool = True) -> Any:
    """Load a model as the engine does: weight by weight, or as the libraries convert it."""
    return placed(files, made, device, by_weight=by_weight)[0]


def placed(files: Files, made: Plan, device: torch.device, *, by_weight: bool = True) -> tuple[Any, int]:
    """Load and place a model; return it, and the most bytes of main memory that were taken while it was placed."""
    profile, stored = profile_of(files.folder), formats(files) if by_weight else {}
    changes: dict[nn.Module, list[LayerChange]] = {}
    options = dict(apply.options(made, tuple(files.spec.parts)))
    dtype = options.pop("dtype")
    pipe = assemble(files, profile, dtype, stored=stored, changes=changes if by_weight else None, **options)
    if by_weight and MAPS.exists():
        mapped = maps()
        assert not [name for part, name, tensor in tensors(pipe) if part in stored and not mapped(tensor)]
    with Allocated() as allocated:
        apply.settle(pipe, made, device, reorder=False, stored=stored, changes=changes)
    return pipe, allocated.most


def tensors(pipe: Any) -> Iterator[tuple[str, str, Tensor]]:
    """Yield the name of the part, the name and the tensor, of all parameters and buffers that are saved."""
    for part, module in pipe.components.items():
        if isinstance(module, nn.Module):
            for name, tensor in module.state_dict(keep_vars=True).items():
                yield part, name, tensor


def maps() -> Callable[[Tensor], bool]:
    """Return what tells whether a tensor lies in a file of weights that is mapped into memory."""
    found = []
    for line in MAPS.read_text().splitlines():
        place, *_, name = line.split()
        if name.endswith(".safetensors"):
            begin, _, end = place.partition("-")
            found.append((int(begin, 16), int(end, 16)))
    return lambda tensor: any(begin <= tensor.data_ptr() < end for begin, end in found)


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "fp16") for name in CLASSES), ("z_image", "int8"), ("Flux2KleinPipeline", "bf16")]
)
def test_weights_are_those_that_the_libraries_convert(name: str, precision: str, folders: Any) -> None:
    files = Files("generic" if name in SMALL_PIPELINES else name, folders(name))
    made = planned(profile_of(files.folder), precision)
    libraries, ours = loaded(files, made, by_weight=False), loaded(files, made)
    assert set(formats(files)) == {part for part, _, _ in tensors(ours)}
    for (part, weight, expected), (_, _, found) in zip(tensors(libraries), tensors(ours), strict=True):
        assert found.dtype == expected.dtype, (part, weight)
        for one, other in zip(plain_tensors(expected), plain_tensors(found), strict=True):
            assert torch.equal(one, other), (part, weight)


@pytest.mark.parametrize(("precision", "offload"), [("bf16", "none"), ("int8", "none"), ("bf16", "group")])
def test_loras_are_added_to_weights_on_their_way(precision: str, offload: str, folders: Any, tmp_path: Path) -> None:
    folder = folders("z_image")
    lora = models.lora(folder, tmp_path / "lora.safetensors")
    two = Files("z_image", folder, loras=(Lora(str(lora), 0.5), Lora(str(lora), 0.25)))
    made = planned(profile_of(folder), precision, offload=offload)
    plain, merged = loaded(replace(two, loras=()), made), loaded(two, made)
    exact = loaded(two, planned(profile_of(folder), "fp32"), by_weight=False)
    changed = 0
    for (_, name, base), (_, _, found), (_, _, expected) in zip(
        *(tensors(pipe) for pipe in (plain, merged, exact)), strict=True
    ):
        before, after = (
            t.dequantize() if hasattr(t, "dequantize") and type(t) is not nn.Parameter else t for t in (base, found)
        )
        if not torch.equal(before, after):
            changed += 1
            assert float((after.float() - expected).abs().max()) <= float(expected.abs().max()) / 100, name
    assert changed


class Allocated(TorchDispatchMode):  # type: ignore[no-untyped-call] # PyTorch's own class
    """Follows the main memory that tensors take which are made inside of its ``with``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = self._live = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device == CPU and not hasattr(tensor, "__tensor_flatten__"):
                storage = tensor.untyped_storage()
                if storage._cdata not in given and storage._cdata not in self._known:
                    self._known.add(storage._cdata)
                    self._live += storage.nbytes()
                    weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes()).atexit = False
        self.most = max(self.most, self._live)
        return out

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, folders: Any) -> Any:
    """Let the plan know a small model as it knows published ones; return the model's files and profile."""
    monkeypatch.setattr(stream, "LEAST", 1)

    def count(name: str) -> tuple[Files, Profile]:
        family = "generic" if name in SMALL_PIPELINES else name
        files = Files(family, folders(name))
        pipe = loaded(files, planned(profile_of(files.folder), "fp32"), by_weight=False)
        parts = {n: p for n, p in pipe.components.items() if isinstance(p, nn.Module)}
        denoiser = next(n for n in parts if n in DENOISERS)
        texts = [part for n, part in parts.items() if n.startswith(TEXT_ENCODER)]
        known = replace(
            spec_of(family).footprint,
            parameters={n: size(part.parameters()) for n, part in parts.items()} | {"buffers": buffers(parts.values())},
            linear_share={n: linear_share(part) for n, part in parts.items()},
            largest_layer=largest(parts[denoiser]),
            block_pair=pair(parts[denoiser]),
            text_pair=max(pair(part) for part in texts),
        )
        monkeypatch.setattr(estimate, "spec_of", lambda _: replace(spec_of(family), footprint=known, denoiser=denoiser))
        return files, replace(profile_of(files.folder), parameters=known.parameters)

    return count


def linear_share(part: Any) -> float:
    head = part.get_output_embeddings() if hasattr(part, "get_output_embeddings") else None
    linear = sum(m.weight.numel() for m in part.modules() if isinstance(m, nn.Linear) and m is not head)
    return linear / size(part.parameters())


def size(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() for t in tensors)


def buffers(parts: Iterable[nn.Module]) -> int:
    """Return the numbers in buffers that come from files, such as tables of positions. They are never streamed."""
    return size(
        buffer
        for part in parts
        for name, buffer in part.named_buffers()
        if name in part.state_dict() and buffer.is_floating_point()
    )


def largest(part: nn.Module) -> int:
    return max(sum(p.numel() for p in m.parameters(recurse=False)) for m in part.modules())


def pair(part: nn.Module) -> int:
    sizes = [sum(p.numel() for p in block.parameters()) for block in stream.blocks(part)]
    return max((a + b for a, b in pairwise(sizes)), default=sum(sizes))


WAYS = (("bf16", "device", "none"), ("bf16", "device", "group"), ("int8", "int8", "text"))
"""Precision, text encoder and offload."""


@pytest.mark.parametrize("name", CLASSES)
def test_a_load_takes_the_bytes_that_the_plan_says(name: str, counted: Any) -> None:
    """The meta device stands for the card. Rows of small models are short, so their int8 scales weigh more."""
    files, profile = counted(name)
    pictures = Size(64, 64, stored=model_files.stored_weights(files))
    for precision, text, offload in WAYS:
        made = planned(profile, precision, text_encoder=text, offload=offload)
        takes = need(Estimate(profile, "cuda"), made, pictures, 1, tiled=False)
        pipe, taken = placed(files, made, META)
        held = Held(pipe)
        peak = load_peak(Estimate(profile, "cuda"), made, pictures, takes)
        figures = f"{held.card} of {takes.weights} on the card, {held.pinned} of {takes.pinned} pinned"
        print(f"{name} {precision} {offload}: {figures}, peak {taken + held.pinned} of {peak}")  # noqa: T201 - shown by -rP
        assert held.card == pytest.approx(takes.weights, rel=0.1)
        assert held.host == pytest.approx(takes.pinned, rel=0.1)
        assert held.pinned <= held.host + held.padding
        assert taken + held.pinned <= 1.1 * peak + held.padding


class Held:
    """The bytes that the weights of a pipeline take.

    Scales are left out: rows of small models are so short that they weigh a tenth, and a thousandth in published ones.

    Attributes:
        card: On the card, which the meta device stands for.
        host: In main memory.
        pinned: Of the page-locked pieces of main memory that hold these.
        padding: The most that fills the pieces up, scales included: each weight's place and each piece have a least size.
    """

    def __init__(self, pipe: Any) -> None:
        self.card = self.host = self.padding = 0
        pieces = {}
        parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
        for tensor in {id(t): t for part in parts for t in chain(part.parameters(), part.buffers())}.values():
            weight = next(plain_tensors(tensor))
            for plain in plain_tensors(tensor):
                if plain.device == META:
                    self.card += plain.nbytes if plain is weight else 0
                    continue
                self.host += plain.nbytes if plain is weight else 0
                self.padding += stream._ALIGN + (0 if plain is weight else plain.nbytes)
                pieces[plain.untyped_storage().data_ptr()] = plain.untyped_storage().nbytes()
        self.pinned = sum(pieces.values())
        self.padding += len(pieces) * mmap.PAGESIZE


def test_files_that_mix_formats_are_converted_as_a_whole(counted: Any) -> None:
    files, profile = counted("sd15")
    held = model_files.stored_weights(files)
    made = planned(profile, "bf16", offload="none")

    def peak(stored: StoredWeights) -> int:
        pictures = Size(64, 64, stored=stored)
        figures = Estimate(profile, "cuda")
        return load_peak(figures, made, pictures, need(figures, made, pictures, 1, tiled=False))

    assert peak(replace(held, mapped=frozenset())) == sum(profile.parameters.values()) * 2
    assert peak(held) < sum(profile.parameters.values())

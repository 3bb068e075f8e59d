"""A card of any size that the processor stands in for: its allocator, its limit, and faults when a test wants them.

Weights that a plan puts on the card, and all that is made while a model encodes, steps and decodes, take its memory, in
the sizes and blocks in which PyTorch's caching allocator gives it. What the plan sees is this card.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from engine.diffusion import device as device_module
from engine.diffusion import executor as executor_module
from engine.diffusion import loader as loader_module
from engine.diffusion.loader import Loader
from engine.diffusion.memory import probe
from engine.diffusion.memory.probe import plain_tensors
from engine.diffusion.memory.types import CUDA, GIB, Device, Plan
from engine.diffusion.model_manager import LoadedModel
from engine.families.spec import DENOISERS, TEXT_ENCODER

MIB = 2**20
_STEP = 512
_SMALL, _SMALL_SEGMENT = MIB, 2 * MIB
_MIDDLE, _MIDDLE_SEGMENT = 10 * MIB, 20 * MIB
_ROUND = 2 * MIB

_PRODUCTS = frozenset(
    {
        torch.ops.aten.mm.default,
        torch.ops.aten.addmm.default,
        torch.ops.aten.bmm.default,
        torch.ops.aten.baddbmm.default,
        torch.ops.aten.convolution.default,
    }
)


@dataclass(eq=False)
class _Block:
    """A piece of a segment; pieces of a segment are linked in order."""

    size: int
    free: bool = True
    small: bool = False
    before: _Block | None = None
    after: _Block | None = None

    @property
    def whole(self) -> bool:
        """Whether it is its whole segment."""
        return self.before is None and self.after is None


class CachingAllocator:
    """Gives memory as PyTorch's CUDACachingAllocator does.

    Sizes are multiples of 512 bytes. Up to 1 MiB they come from segments of 2 MiB, below 10 MiB from segments of 20 MiB,
    else from a segment of their own, a multiple of 2 MiB. Freed memory is kept and given again, the best fit first.

    Args:
        limit: Bytes of the card.

    Attributes:
        allocated: Bytes in use.
        reserved: Bytes of all segments.
        peak: The most bytes that were in use.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.allocated = self.reserved = self.peak = 0
        self._blocks: set[_Block] = set()

    def allocate(self, nbytes: int) -> _Block:
        """Return a block. Raises torch.OutOfMemoryError."""
        size = max(_STEP, -(-nbytes // _STEP) * _STEP)
        small = size <= _SMALL
        fitting = [b for b in self._blocks if b.free and b.small is small and b.size >= size]
        block = min(fitting, key=lambda b: b.size, default=None) or self._segment(size, small)
        self._split(block, size)
        block.free = False
        self.allocated += block.size
        self.peak = max(self.peak, self.allocated)
        return block

    def free(self, block: _Block) -> None:
        """Take a block back."""
        assert not block.free
        block.free = True
        self.allocated -= block.size
        for one, other in ((block.before, block), (block, block.after)):
            if one is not None and other is not None and one.free and other.free:
                self._join(one, other)
                block = one

    def empty_cache(self) -> None:
        """Give segments back of which nothing is in use."""
        for block in [b for b in self._blocks if b.free and b.whole]:
            self._blocks.discard(block)
            self.reserved -= block.size

    def _segment(self, size: int, small: bool) -> _Block:
        if small:
            length = _SMALL_SEGMENT
        elif size < _MIDDLE:
            length = _MIDDLE_SEGMENT
        else:
            length = -(-size // _ROUND) * _ROUND
        if self.reserved + length > self.limit:
            self.empty_cache()
        if self.reserved + length > self.limit:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size / MIB:.2f} MiB; {self.reserved / MIB:.2f} of "
                f"{self.limit / MIB:.2f} MiB are reserved."
            )
        self.reserved += length
        block = _Block(length, small=small)
        self._blocks.add(block)
        return block

    def _split(self, block: _Block, size: int) -> None:
        rest = block.size - size
        if rest < _STEP if block.small else rest <= _SMALL:
            return
        after = _Block(rest, small=block.small, before=block, after=block.after)
        if block.after is not None:
            block.after.before = after
        block.size, block.after = size, after
        self._blocks.add(after)

    def _join(self, one: _Block, other: _Block) -> None:
        one.size += other.size
        one.after = other.after
        if other.after is not None:
            other.after.before = one
        self._blocks.discard(other)


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation. Products of 16-bit numbers are summed in fp32 and then rounded, as cards do.

    A processor without AVX-512 takes 7 to 30 times as long for them as for fp32.
    """
    if func not in _PRODUCTS or not (isinstance(args[0], torch.Tensor) and args[0].dtype.itemsize == 2):
        return func(*args, **kwargs)
    short = args[0].dtype
    args, kwargs = tree_map(_cast(short, torch.float32), (args, kwargs))
    return tree_map(_cast(torch.float32, short), func(*args, **kwargs))


def _cast(from_: torch.dtype, to: torch.dtype) -> Callable[[Any], Any]:
    return lambda value: value.to(to) if isinstance(value, torch.Tensor) and value.dtype is from_ else value


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call] # PyTorch's own class
    """Takes the card's memory for every storage that is made inside its ``with``, until that is gone."""

    def __init__(self, allocator: CachingAllocator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._allocator = allocator
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        out = _computed(func, args, kwargs or {})
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and not hasattr(tensor, "__tensor_flatten__"):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self._known and key not in given:
                    block = self._allocator.allocate(storage.nbytes())
                    self._known.add(key)
                    weakref.finalize(storage, self._gone, key, block).atexit = False
        return out

    def _gone(self, key: int, block: _Block) -> None:
        self._known.discard(key)
        self._allocator.free(block)


@dataclass
class SimulatedCard:
    """A card, and the faults that it will have.

    Attributes:
        gib: Its memory.
        host: GiB of main memory that are free.
        stream: Whether it copies while it computes.
        faults: What goes wrong next: ``load``, ``encode``, ``step`` or ``decode``, and ``oom``, ``nan`` or ``flat`` (a
            picture of one colour).
        taken: The faults that were taken.
    """

    gib: float
    host: float = 24
    stream: bool = True
    faults: list[tuple[str, str]] = field(default_factory=list)
    taken: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.allocator = CachingAllocator(round(self.gib * GIB))
        self._watch = _Watch(self.allocator)
        self._weights: dict[int, list[_Block]] = {}

    @property
    def device(self) -> Device:
        """The card as the plan sees it now."""
        free, host = self.allocator.limit - self.allocator.allocated, round(self.host * GIB)
        return Device(CUDA, "a card", self.allocator.limit, free, host, host, bf16=True, fp8=True, stream=self.stream)

    def weights(self, *pipes: Any) -> dict[str, int]:
        """Stands for ``bytes_by_device``."""
        return {CUDA: sum(block.size for pipe in pipes for block in self._weights.get(id(pipe), ()))}

    def release(self, *_: object) -> None:
        """Stands for ``engine.diffusion.device.release``."""
        gc.collect()
        self.allocator.empty_cache()

    def hold(self, pipe: Any, plan: Plan) -> None:
        """Take the memory of the weights that a plan puts on the card."""
        blocks = self._weights.setdefault(id(pipe), [])
        try:
            for part in _on_card(pipe, plan):
                for tensor in (*part.parameters(), *part.buffers()):
                    blocks.extend(self.allocator.allocate(plain.nbytes) for plain in plain_tensors(tensor))
            self.fault("load")
        except torch.OutOfMemoryError:
            self.drop(pipe)
            raise

    def drop(self, pipe: Any) -> None:
        """Take the memory of a model's weights back."""
        for block in self._weights.pop(id(pipe), []):
            self.allocator.free(block)

    def fault(self, where: str) -> str:
        """Return the fault that comes next here, other than an out-of-memory error, which is raised."""
        found = next((fault for fault in self.faults if fault[0] == where), None)
        if found is None:
            return ""
        self.faults.remove(found)
        self.taken.append(found)
        if found[1] == "oom":
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        return found[1]

    @contextmanager
    def computing(self) -> Iterator[None]:
        """While inside, all that is made takes the card's memory."""
        with self._watch:
            yield

    def watched(self, family: Any) -> None:
        """Let a model take the card's memory while it works, and have the card's faults."""
        encode, step, finish = family.encode, family.step, family.finish

        def run(where: str, call: Callable[..., Any], *args: Any, **more: Any) -> tuple[Any, str]:
            with self.computing():
                return call(*args, **more), self.fault(where)

        def stepped(states: Any, **more: Any) -> None:
            _, fault = run("step", step, states, **more)
            if fault == "nan":
                states[0].latents = states[0].latents * float("nan")

        def finished(state: Any) -> Any:
            pixels, fault = run("decode", finish, state)
            return pixels * {"flat": 0.0, "nan": float("nan")}.get(fault, 1.0)

        family.encode = lambda *args, **more: run("encode", encode, *args, **more)[0]
        family.step, family.finish = stepped, finished


class SimulatedLoader(Loader):
    """Loads on the card that the processor stands in for.

    Attributes:
        card: The card.
        done: Names of the models that were loaded (``+``) and unloaded (``-``), with the numbers' format.
    """

    card: SimulatedCard
    done: list[str]

    def _family(self, spec: Any, located: Any, made: Plan) -> Any:
        family = super()._family(spec, located, made)
        if made.on == CUDA:
            self.card.hold(family.pipe, made)
            self.card.watched(family)
        self.done.append(f"+{spec.profile.name} {made.precision}")
        return family

    def unload(self, loaded: LoadedModel) -> None:
        self.done.append(f"-{loaded.spec.profile.name}")
        self.card.drop(loaded.family.pipe)
        super().unload(loaded)


def simulated(monkeypatch: pytest.MonkeyPatch, card: SimulatedCard) -> SimulatedLoader:
    """Return a loader for a card, and let the engine see the card."""
    monkeypatch.setattr(probe, "probe_device", lambda *_: card.device)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda *_: card.allocator.allocated)
    monkeypatch.setattr(loader_module, "bytes_by_device", card.weights)
    monkeypatch.setattr(device_module, "release", card.release)
    monkeypatch.setattr(executor_module, "release", card.release)
    made = SimulatedLoader("cpu", "auto", "nowhere", "", lambda _, __: pytest.fail("a folder needs no download"))
    made.card, made.done = card, []
    return made


def _on_card(pipe: Any, plan: Plan) -> Iterator[torch.nn.Module]:
    """Yield the parts whose weights are on the card between two pictures."""
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    match plan.offload:
        case "none":
            yield from parts.values()
        case "text":
            yield from (part for name, part in parts.items() if not name.startswith(TEXT_ENCODER))
        case "group":
            yield from (
                part for name, part in parts.items() if name not in DENOISERS and not name.startswith(TEXT_ENCODER)
            )
        case "model":
            yield max(parts.values(), key=lambda part: sum(p.nbytes for p in part.parameters()))

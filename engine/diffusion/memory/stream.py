"""Keeps a part's weights in main memory and copies them to the device block by block, ahead of their use.

The weights of a block lie in one piece of page-locked memory, so that one copy brings them all. The block that comes next
is copied while the device computes with the current one; two blocks are on the device at a time. The group offloading of
diffusers copies each tensor by itself and pins each by itself. PyTorch's own allocator of page-locked memory rounds each
tensor up to a power of two: the weights of Z-Image in bf16 would take 27.9 GiB instead of 19.0.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from engine.diffusion.memory.pending import PendingWeights
from engine.diffusion.memory.probe import plain_tensors

log = logging.getLogger(__name__)


def pages(nbytes: int) -> int:
    """Return the bytes of the whole pages that hold ``nbytes``."""
    return -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE


def pinned(nbytes: int, device: torch.device) -> torch.Tensor:
    """Return ``nbytes`` of main memory as a tensor of uint8, page-locked where the device is a card.

    Memory that the system does not lock is returned as it is: copies from it are correct, and the card waits for them.
    """
    size = max(1, pages(nbytes))
    array = (ctypes.c_uint8 * size).from_buffer(mmap.mmap(-1, size))
    if device.type == "cuda":
        _lock(array, size)
    return torch.frombuffer(array, dtype=torch.uint8)[:nbytes]


def _lock(array: ctypes.Array[ctypes.c_uint8], size: int) -> None:
    runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call] # PyTorch's own function
    address = ctypes.addressof(array)
    error = int(runtime.cudaHostRegister(address, size, 0))
    if error:
        log.warning("%d MiB of main memory can't be locked for the card (CUDA error %d)", size // 2**20, error)
        return
    # The array gives its memory back after this, since it holds the last reference to it.
    weakref.finalize(array, runtime.cudaHostUnregister, address).atexit = False


MOST = 512 * 2**20
"""Bytes of a block that is copied at once; larger ones are taken apart."""

LEAST = 8 * 2**20
"""Bytes of a layer outside of the blocks that is copied; smaller ones stay on the device."""

_HOST = torch.device("cpu")
_ALIGN = 256
_LAYERS = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weights are read by their own forward method alone."""

_HOOK, _PART_HOOK = "group_offloading", "weight_streaming"
"""By the first name pipelines of diffusers find the device that a module computes on."""


def blocks(part: nn.Module, size_of: Callable[[nn.Module], int] | None = None) -> Iterator[nn.Module]:
    """Yield the modules of a part that are copied at once, each with all that is inside it.

    They are the items of lists of modules, and the large layers outside of such items.

    Args:
        part: The part.
        size_of: Returns the bytes of a module; None: those that its parameters have now.
    """
    for child in part.children():
        size = (size_of or nbytes)(child)
        item = isinstance(part, nn.ModuleList | nn.Sequential) and 0 < size <= MOST
        layer = isinstance(child, _LAYERS) and size >= LEAST
        if item or layer:
            yield child
        else:
            yield from blocks(child, size_of)


def nbytes(module: nn.Module) -> int:
    """Return the bytes of a module's parameters, quantised or not."""
    return sum(plain.nbytes for parameter in module.parameters() for plain in plain_tensors(parameter))


def stream(part: nn.Module, device: torch.device, pending: PendingWeights | None = None) -> None:
    """Keep a part's weights in main memory; its buffers and small layers go to the device and stay there.

    Args:
        part: A part on the CPU whose blocks are called through their ``forward`` methods.
        device: The device that computes.
        pending: Has the weights of the part that have no place yet; they get it block by block.
    """
    pending = pending or PendingWeights()
    streamer = _Streamer(device)
    made: dict[tuple[int, ...], _Block] = {}
    moved: set[int] = set()
    # These lists keep the parameters alive, so that no two have the same id.
    found = [(module, list(_slots(module))) for module in blocks(part, pending.nbytes)]
    for module, before in found:
        # A layer that is tied to another one, as the last of a language model, has the same weights.
        key = tuple(id(parameter) for _, _, parameter in before)
        pending.fill(module, _HOST)
        block = _Block(tuple(_slots(module)), made.get(key), device)
        made.setdefault(key, block)
        moved |= {id(module) for module in module.modules()}
        HookRegistry.check_if_exists_or_initialize(module).register_hook(_BlockHook(streamer, block), _HOOK)
    del found
    pending.fill(part, device)
    for module in part.modules():
        for name, buffer in module._buffers.items():  # noqa: SLF001  # the way to replace a buffer as it is
            module._buffers[name] = None if buffer is None else buffer.to(device)  # noqa: SLF001
        if id(module) not in moved:
            for name, parameter in module._parameters.items():  # noqa: SLF001
                if parameter is not None:
                    module._parameters[name] = _parameter(parameter.detach().to(device))  # noqa: SLF001
    HookRegistry.check_if_exists_or_initialize(part).register_hook(_PartHook(streamer), _PART_HOOK)
    # Hooks of diffusers are not called when the part fails.
    part.register_forward_hook(streamer.ended, always_call=True)


_Slot = tuple[nn.Module, str, nn.Parameter]
"""A module, the name of a parameter of its own, and the parameter."""


class _Block:
    """The weights of a block: one piece of main memory, and views of it.

    Args:
        slots: Where the parameters are.
        like: A block with the same parameters, whose memory is shared.
        device: The device that copies from the memory.
    """

    def __init__(self, slots: tuple[_Slot, ...], like: _Block | None, device: torch.device) -> None:
        plain = [tensor for _, _, parameter in slots for tensor in plain_tensors(parameter.detach())]
        self._layout = _layout(plain)
        self._slots = [(module, name) for module, name, _ in slots]
        if like is None:
            self.host = pinned(self._layout.nbytes, device)
            for tensor, view in zip(plain, self._layout.views(self.host), strict=True):
                view.copy_(tensor)
        else:
            self.host = like.host
        self._on_host = self._parameters(self.host, [parameter for _, _, parameter in slots])
        self.offload()

    def onload(self, flat: Tensor) -> None:
        """Let the modules compute with a copy of the memory."""
        self._place(self._parameters(flat, self._on_host))

    def offload(self) -> None:
        """Let the modules have the weights in main memory."""
        self._place(self._on_host)

    def _place(self, parameters: list[nn.Parameter]) -> None:
        for (module, name), parameter in zip(self._slots, parameters, strict=True):
            module._parameters[name] = parameter  # noqa: SLF001  # setattr would take 20 times as long

    def _parameters(self, flat: Tensor, like: list[nn.Parameter]) -> list[nn.Parameter]:
        views = self._layout.views(flat)
        return [_parameter(_rebuilt(parameter.detach(), views)) for parameter in like]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where tensors lie in one piece of memory: offset in bytes, type and shape of each."""

    places: tuple[tuple[int, torch.dtype, torch.Size], ...]
    nbytes: int

    def views(self, flat: Tensor) -> Iterator[Tensor]:
        """Yield the tensors that lie in a piece of memory."""
        for offset, dtype, shape in self.places:
            size = shape.numel() * dtype.itemsize
            yield flat[offset : offset + size].view(dtype).view(shape)


def _layout(tensors: list[Tensor]) -> _Layout:
    places, offset = [], 0
    for tensor in tensors:
        places.append((offset, tensor.dtype, tensor.shape))
        offset += -(-tensor.nbytes // _ALIGN) * _ALIGN
    return _Layout(tuple(places), offset)


class _Streamer:
    """Copies a part's blocks in the order in which they were called the last time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._copies: Any = None
        if device.type == "cuda":
            self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # PyTorch's own class
        self._following: dict[_Block, _Block] = {}
        self._last: _Block | None = None
        self._placed: set[_Block] = set()
        self._ahead: dict[_Block, tuple[Tensor, Any]] = {}

    def ended(self, *_: object) -> None:
        """Give back what a call of the part has on the device, after a failure too."""
        self.restart()

    def restart(self) -> None:
        """Forget what an earlier call left behind."""
        for block in self._placed:
            block.offload()
        self._placed.clear()
        self._drop_all()
        self._last = None

    def enter(self, block: _Block) -> None:
        """Bring a block to the device, and begin to copy the one that followed it the last time."""
        flat, copied = self._ahead.pop(block) if block in self._ahead else self._copied(block)
        self._drop_all()
        if copied is not None:
            torch.cuda.current_stream(self.device).wait_event(copied)
        block.onload(flat)
        self._placed.add(block)
        if self._last is not None:
            self._following[self._last] = block
        self._last = block
        following = self._following.get(block)
        if following is not None and following not in self._placed:
            self._ahead[following] = self._copied(following)

    def leave(self, block: _Block) -> None:
        """Give a block's memory on the device back."""
        block.offload()
        self._placed.discard(block)

    def _copied(self, block: _Block) -> tuple[Tensor, Any]:
        """Return a copy of a block's memory on the device, and the event after which it is complete.

        The memory comes from the stream that computes. The copy waits for the work that this stream was given before, so
        that memory of an earlier block is not overwritten while it is read.
        """
        if self._copies is None:
            return block.host.to(self.device, copy=True), None
        flat = torch.empty(block.host.shape, dtype=torch.uint8, device=self.device)
        self._copies.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._copies):
            flat.copy_(block.host, non_blocking=True)
        return flat, self._copies.record_event()

    def _drop_all(self) -> None:
        for _, copied in self._ahead.values():
            if copied is not None:  # memory that is still written must not be given to others
                torch.cuda.current_stream(self.device).wait_event(copied)
        self._ahead.clear()


class _BlockHook(ModelHook):  # type: ignore[misc] # diffusers has no types
    def __init__(self, streamer: _Streamer, block: _Block) -> None:
        super().__init__()
        self.config = SimpleNamespace(onload_device=streamer.device)
        self._streamer, self._block = streamer, block

    def pre_forward(self, _module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        self._streamer.enter(self._block)
        return args, kwargs

    def post_forward(self, _module: nn.Module, output: Any) -> Any:
        self._streamer.leave(self._block)
        return output


class _PartHook(ModelHook):  # type: ignore[misc] # diffusers has no types
    def __init__(self, streamer: _Streamer) -> None:
        super().__init__()
        self._streamer = streamer

    def pre_forward(self, _module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        self._streamer.restart()
        return args, kwargs


def _slots(module: nn.Module) -> Iterator[_Slot]:
    for inner in module.modules():
        for name, parameter in inner._parameters.items():  # noqa: SLF001  # named_parameters leaves out tied ones
            if parameter is not None:
                yield inner, name, parameter


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def _rebuilt(like: Tensor, plain: Iterator[Tensor]) -> Tensor:
    """Return a tensor of the same class as another one, made of other plain tensors."""
    flatten: Any = getattr(like, "__tensor_flatten__", None)
    if flatten is None:
        return next(plain)
    names, context = flatten()
    inner = {name: _rebuilt(getattr(like, name), plain) for name in names}
    kind: Any = type(like)
    found: Tensor = kind.__tensor_unflatten__(inner, context, like.size(), like.stride())
    return found

"""Measures memory: what a device has free and supports, and what loaded weights take."""

from __future__ import annotations

import ctypes
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import torch

from engine.diffusion.memory import w8a8
from engine.diffusion.memory.types import BITSANDBYTES, CPU, CUDA, GGUF, MPS, NUNCHAKU, TORCHAO, Device

_SIDE = 256
"""Side of the matrices that are multiplied to tell whether a processor computes in bf16."""

_NATIVE = 1.5
"""Times as long as in fp32 that a product in bf16 may take where bf16 is not emulated."""

_CGROUP = Path("/sys/fs/cgroup")
"""Where a container finds its own limits (cgroup v2, see cgroups(7))."""


def probe_device(device: torch.device, reserved: int = 0) -> Device:
    """Return the free memory and the abilities of a device.

    Args:
        device: The device.
        reserved: Bytes of its memory that are reserved for something else.
    """
    found = _probe(device)
    one = found.kind != CUDA  # the host's memory is the device's
    return replace(
        found,
        free=max(0, found.free - reserved),
        host_free=max(0, found.host_free - reserved) if one else found.host_free,
    )


def _probe(device: torch.device) -> Device:
    spare, pinnable = host_free(), ram_free()
    if device.type == CUDA:
        free, total = torch.cuda.mem_get_info(device)
        # Memory that PyTorch has cached and does not use is available to the next model too.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return Device(
            kind=CUDA,
            name=torch.cuda.get_device_name(device),
            total=total,
            free=free,
            host_free=spare,
            pinnable=pinnable,
            bf16=torch.cuda.is_bf16_supported(including_emulation=False),
            fp8=_casts(device, torch.float8_e4m3fn),
            stream=True,
            products=_products(device),
            four_bits=four_bits(torch.cuda.get_device_capability(device), rocm=torch.version.hip is not None),
        )
    if device.type == MPS:
        total = torch.mps.recommended_max_memory()
        free = max(0, total - torch.mps.driver_allocated_memory())
        # The memory is shared: the GPU can't take more than is free on the host.
        return Device(
            kind=MPS,
            name="Apple GPU",
            total=total,
            free=min(free, spare),
            host_free=spare,
            pinnable=pinnable,
            bf16=_casts(device, torch.bfloat16),
            fp8=_casts(device, torch.float8_e4m3fn),
            stream=False,
        )
    return Device(
        kind=CPU,
        name="the processor",
        total=psutil.virtual_memory().total,
        free=spare,
        host_free=spare,
        pinnable=pinnable,
        bf16=_cpu_bf16(),
        fp8=_casts(device, torch.float8_e4m3fn),
        stream=False,
    )


def libraries() -> frozenset[str]:
    """Return which of torchao, gguf, bitsandbytes and nunchaku are installed, without importing them."""
    return frozenset(name for name in (TORCHAO, GGUF, BITSANDBYTES, NUNCHAKU) if find_spec(name) is not None)


def host_free() -> int:
    """Return the bytes of main memory and swap that this process may still allocate, within a container's limit."""
    return _limited(psutil.virtual_memory().available + psutil.swap_memory().free)


def ram_free() -> int:
    """Return the bytes of main memory, without swap, that this process may still allocate."""
    return _limited(psutil.virtual_memory().available)


def _limited(free: int) -> int:
    limit = limit_left(_CGROUP)
    return free if limit is None else min(free, limit)


def limit_left(folder: Path) -> int | None:
    """Return the bytes that a container's limit leaves; None where there is no limit."""
    try:
        most = int((folder / "memory.max").read_text(encoding="ascii"))
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # not Linux, not a container, or "max"
        return None
    # The page cache counts as used, and the kernel reclaims it under pressure.
    return max(0, most - used + int(stat.get("inactive_file", 0)))


def _casts(device: torch.device, dtype: torch.dtype) -> bool:
    try:
        return float(torch.ones(1, device=device).to(dtype).to(torch.float32)) == 1.0
    except (RuntimeError, TypeError, NotImplementedError):
        return False


@cache
def _products(device: torch.device) -> frozenset[str]:
    """Return the formats of eight bits in which a card multiplies: those that it should, where the product is right."""
    name, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    able = w8a8.abilities(name, capability, rocm=torch.version.hip is not None)
    return frozenset(form for form in able if w8a8.multiplies(form, device))


def four_bits(capability: tuple[int, int], *, rocm: bool) -> str:
    """Return the form of SVDQuant that nunchaku computes in on a card, ``int4`` or ``fp4``; empty where it does not.

    These are its own rules (``check_hardware_compatibility``): Hopper has no tensor cores for four bits.
    """
    forms = {(7, 5): "int4", (8, 0): "int4", (8, 6): "int4", (8, 9): "int4", (12, 0): "fp4"}
    return "" if rocm else forms.get(capability, "")


@cache
def _cpu_bf16() -> bool:
    """Whether the processor computes in bf16 itself: emulated, a matrix product takes many times as long as in fp32."""
    return _seconds(torch.bfloat16) < _NATIVE * _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    """Return the seconds of a matrix product on the processor, the best of five."""
    matrix = torch.ones(_SIDE, _SIDE, dtype=dtype)
    found = []
    for _ in range(6):  # the first one prepares the library
        began = time.perf_counter()
        torch.mm(matrix, matrix)
        found.append(time.perf_counter() - began)
    return min(found[1:])


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3) in glibc."""

_WHILE = 2**20
_AFTER = 32 * 2**20
"""The upper bound of glibc's dynamic threshold on 64-bit systems."""


def bytes_by_device(*pipes: Any) -> Mapping[str, int]:
    """Return the bytes of pipelines' weights by type of device (``cpu``, ``cuda``, ``mps``).

    Weights that are memory-mapped from their files do not count, since the system can reclaim that memory.
    """
    found: Counter[str] = Counter()
    seen: set[int] = set()
    for part in chain.from_iterable(pipe.components.values() for pipe in pipes):
        if isinstance(part, torch.nn.Module):
            for tensor in chain(part.parameters(), part.buffers()):
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    for plain in plain_tensors(tensor):
                        found[plain.device.type] += plain.nbytes
    if set(found) == {CPU}:
        found[CPU] = min(found[CPU], _private())
    return found


@contextmanager
def trimming() -> Iterator[None]:
    """While inside, freed blocks of 1 MiB and more are returned to the system at once.

    Quantising frees a large tensor and keeps a small one, layer after layer. glibc would keep the freed blocks, with the
    small tensors between them: three times the memory of the result. Does nothing without glibc.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _WHILE)
    try:
        yield
    finally:
        # Drawing reuses its blocks: each fresh page would cost time.
        libc.mallopt(_MMAP_THRESHOLD, _AFTER)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _AFTER)
        libc.malloc_trim(0)


def plain_tensors(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the plain tensors inside a quantised one, or the tensor itself."""
    inner = getattr(tensor, "__tensor_flatten__", None)
    if inner is None:
        yield tensor
        return
    for name in inner()[0]:
        yield from plain_tensors(getattr(tensor, name))


def _private() -> int:
    """Return the bytes of this process's private, anonymous memory; all of its memory where that is unknown."""
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def _glibc() -> Any:
    try:
        found = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return found if hasattr(found, "mallopt") and hasattr(found, "malloc_trim") else None

"""Queries a device: free memory and supported formats; and which quantisation libraries are installed."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch

from engine.diffusion.memory.types import BITSANDBYTES, CPU, CUDA, GGUF, MPS, TORCHAO, Device

_CGROUP = Path("/sys/fs/cgroup")
"""Where a container finds its own limits (cgroup v2, see cgroups(7))."""


def look(device: torch.device, kept: int = 0) -> Device:
    """Return the free memory and the abilities of a device.

    Args:
        device: The device.
        kept: Bytes of its memory that are reserved for something else.
    """
    found = _look(device)
    one = found.kind != CUDA  # the host's memory is the device's
    return replace(
        found,
        free=max(0, found.free - kept),
        host_free=max(0, found.host_free - kept) if one else found.host_free,
    )


def _look(device: torch.device) -> Device:
    spare = host_free()
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
            bf16=torch.cuda.is_bf16_supported(including_emulation=False),
            fp8=_casts(device, torch.float8_e4m3fn),
            stream=True,
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
        bf16=_cpu_bf16(),
        fp8=_casts(device, torch.float8_e4m3fn),
        stream=False,
    )


def libraries() -> frozenset[str]:
    """Return which of torchao, gguf and bitsandbytes are installed, without importing them."""
    return frozenset(name for name in (TORCHAO, GGUF, BITSANDBYTES) if find_spec(name) is not None)


def host_free() -> int:
    """Return the bytes of main memory and swap that this process may still allocate, within a container's limit."""
    found = psutil.virtual_memory().available + psutil.swap_memory().free
    limit = limit_left(_CGROUP)
    return found if limit is None else min(found, limit)


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


def _cpu_bf16() -> bool:
    # Older versions of PyTorch can't tell; assuming that bf16 is slow is safe.
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16"))

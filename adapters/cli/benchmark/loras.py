"""What LoRAs cost in `easel bench`: pictures with a LoRA against those without, and with another one than before."""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from engine.contract import Engine, Failed, LoraRequest, Recipe
from engine.families.spec import DENOISERS
from engine.weights import header, weight_files

RANK = 16
NAMES = ("bench-one", "bench-other")
_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True, slots=True)
class LoraCost:
    """Seconds of a picture, the best of several.

    Attributes:
        without: Without LoRAs.
        same: With the LoRA of the picture before.
        changed: With another LoRA than the picture before; both were used before.
    """

    without: float
    same: float
    changed: float


def write(pipeline: Path, folder: Path) -> bool:
    """Write two LoRAs of all attention layers of a pipeline's denoiser; return whether its layers are known.

    Their numbers are zero, which takes the same time as others.
    """
    part = next((pipeline / name for name in sorted(DENOISERS) if (pipeline / name).is_dir()), None)
    if part is None:
        return False
    tensors: dict[str, tuple[int, int]] = {}
    for path in weight_files(part):
        for name, tensor in header(path).items():
            layer = name.removesuffix(".weight")
            if name.endswith(".weight") and layer.endswith(_LAYERS) and len(tensor.shape) == 2:
                rows, columns = tensor.shape
                tensors[f"{part.name}.{layer}.lora_A.weight"] = (RANK, columns)
                tensors[f"{part.name}.{layer}.lora_B.weight"] = (rows, RANK)
    for name in NAMES if tensors else ():
        _write_zeros(folder / f"{name}.safetensors", tensors, {"name": name})
    return bool(tensors)


def _write_zeros(path: Path, shapes: Mapping[str, tuple[int, int]], metadata: Mapping[str, str]) -> None:
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        entries[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    raw = json.dumps(entries).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + end)


async def measure(engine: Engine, recipe: Recipe, rounds: int) -> LoraCost:
    """Draw pictures one after another, and return the best times of ``rounds`` turns.

    Raises:
        RuntimeError: A picture failed.
    """
    one, other = (replace(recipe, loras=(LoraRequest(name),)) for name in NAMES)
    for warm in (recipe, one, other):
        await _seconds(engine, warm)
    without, same, changed = [], [], []
    for _ in range(max(2, rounds)):
        without.append(await _seconds(engine, recipe))
        await _seconds(engine, one)
        same.append(await _seconds(engine, one))
        changed.append(await _seconds(engine, other))
    return LoraCost(min(without), min(same), min(changed))


async def _seconds(engine: Engine, recipe: Recipe) -> float:
    began = time.perf_counter()
    async with aclosing(engine.paint([recipe])) as events:
        async for event in events:
            if isinstance(event, Failed):
                raise RuntimeError(f"the engine failed: {event.error}")
    return time.perf_counter() - began

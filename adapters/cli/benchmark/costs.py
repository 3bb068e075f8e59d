"""What LoRAs, changes of model, loading and edits cost in `easel bench`.

Small models stand in for further ones, so that it takes a minute on any machine: the demo under other names, and an editor
with random weights.
"""

from __future__ import annotations

import json
import math
import statistics
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from adapters.cli.benchmark.png import sample_pictures
from adapters.cli.benchmark.systems import BenchmarkClient, RecordingEngine, burst, make_editor, running_baseline
from adapters.cli.environment import AppSettings
from adapters.cli.wiring import opened
from bot.settings import Settings
from engine.contract import Engine, EngineConfig, Failed, LoraRequest, Profile, Recipe
from engine.families.registry import DEMO, known_models
from engine.families.spec import DENOISERS
from engine.weights import header, weight_files

COPIES = ("second", "third", "fourth")
"""Further names of the demo; each is a model of its own to the engine."""

CHANGES = 8
"""Changes between two models that are on the device."""

_EDITS = 2
"""Edits in a burst."""

_SIDE, _STEPS = 256, 4
"""Of an edit, its references included."""

_RANK = 16
_LORAS = ("bench-one", "bench-other")
_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True, slots=True)
class SmallModelsResult:
    """What was measured.

    Attributes:
        load_seconds: Median time in which another small model is loaded, when a request names it; the system has cached
            its files.
        change_ms: What a picture takes longer where the one before it was of another model on the device, in milliseconds.
        reloads: How many of these changes loaded a model.
        edit_vs_plain: Speed of edits with two references through all of Easel, where that of the plain calls is 1.
    """

    load_seconds: float
    change_ms: float
    reloads: int
    edit_vs_plain: float


async def measure_small_models(
    settings: Settings, folder: Path, rounds: int, note: Callable[[str], None]
) -> SmallModelsResult:
    """Measure with a service of its own.

    Args:
        settings: The settings; device and precision are used.
        folder: An empty folder, which becomes the data folder.
        rounds: Bursts of edits; the best counts.
        note: Called with the present phase.

    Raises:
        EngineError: The engine can't start.
        RuntimeError: A process or a job failed.
    """
    note("small models")
    editor = folder / "editor"
    await make_editor(str(editor))
    references = _references(folder)
    demo = next(spec.profile for spec in known_models() if spec.profile.name == DEMO)
    tables = [f"[{name}]\nsource = {json.dumps(demo.source)}\n" for name in COPIES]
    tables.append(f"[editor]\nsource = {json.dumps(str(editor))}\nsize = {_SIDE}\n")
    (folder / "models.toml").write_text("".join(tables), encoding="utf-8")
    engines: list[RecordingEngine] = []

    def make(config: EngineConfig) -> RecordingEngine:
        engines.append(RecordingEngine(config))
        return engines[0]

    own = {"data_dir": folder, "model": DEMO, "edit_model": "", "lora_dir": None, "upscaler": None}
    async with opened(AppSettings(settings.model_copy(update=own)), make) as easel:
        await engines[0].warm()
        client = BenchmarkClient(easel, engines[0])
        note("switching models")
        load, change, reloads = await _changes(client, engines[0].profiles()[0])
        note("edits")
        edit = await _edits(client, str(editor), references, rounds)
    return SmallModelsResult(load, change, reloads, edit)


def _references(folder: Path) -> tuple[str, ...]:
    paths = []
    for number, pixels in enumerate(list(sample_pictures().values())[:2]):
        paths.append(str(folder / f"reference-{number}.png"))
        Image.fromarray(pixels).resize((_SIDE, _SIDE)).save(paths[-1])
    return tuple(paths)


async def _changes(client: BenchmarkClient, profile: Profile) -> tuple[float, float, int]:
    """Return seconds of a load, milliseconds of a change between loaded models, and how many changes were loads."""
    one = replace(burst(profile, 1, 0).recipes[0], steps=1)
    loads = []
    for name in COPIES:
        await client.burst([replace(one, model=name)])
        loads.append(client.engine.state().switch_seconds)
    same, changed, reloads = [], [], 0
    for number in range(CHANGES):
        model = (DEMO, COPIES[0])[number % 2]
        changed.append((await client.burst([replace(one, model=model)])).seconds)
        reloads += client.engine.state().switch_seconds > 0
        same.append((await client.burst([replace(one, model=model)])).seconds)
    change = max(0.0, statistics.median(changed) - statistics.median(same)) * 1000
    return statistics.median(loads), change, reloads


async def _edits(client: BenchmarkClient, folder: str, references: tuple[str, ...], rounds: int) -> float:
    state = client.engine.state()
    bare, served = [], []
    async with running_baseline(folder, state.device.split()[0], state.precision, calm=True) as loop:
        for number in range(1 + rounds):
            recipes = [
                Recipe(
                    f"{n}", "editor", f"make it {number} {n}", "", _SIDE, _SIDE, _STEPS, 0.0, n, references=references
                )
                for n in range(_EDITS)
            ]
            bare.append(await loop.draw([[recipe] for recipe in recipes]))
            served.append((await client.burst(recipes)).seconds)
    # The first round warms up.
    return min(bare[1:]) / min(served[1:])


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


def write_loras(pipeline: Path, folder: Path) -> bool:
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
                tensors[f"{part.name}.{layer}.lora_A.weight"] = (_RANK, columns)
                tensors[f"{part.name}.{layer}.lora_B.weight"] = (rows, _RANK)
    for name in _LORAS if tensors else ():
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


async def measure_loras(engine: Engine, recipe: Recipe, rounds: int) -> LoraCost:
    """Draw pictures one after another, and return the best times of ``rounds`` turns.

    Raises:
        RuntimeError: A picture failed.
    """
    one, other = (replace(recipe, loras=(LoraRequest(name),)) for name in _LORAS)
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

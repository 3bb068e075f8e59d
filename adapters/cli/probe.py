"""Checks PyTorch, its devices and the memory plan of each, and prints one JSON object.

It is a separate process, so that no other process imports PyTorch.

Usage: python -m adapters.cli.probe DEVICES PRECISION MODEL MODELS_DIR MODELS_FILE UPSCALER
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.host.imports import large_imports

with large_imports():
    import torch

    from engine.diffusion import device as devices
    from engine.diffusion import files, svdquant
    from engine.diffusion.memory import probe
    from engine.diffusion.memory.plan import plan
    from engine.diffusion.memory.types import CPU, Device, Plan, StoredWeights
    from engine.diffusion.upscaler import Upscaler

from engine import catalogue, upscaler_file
from engine.contract import EngineError, UnknownModel
from engine.hub import cache
from engine.hub.needs import needs
from engine.hub.selection import WHOLE
from engine.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """The arguments in their order.

    Attributes:
        devices: A device, or the ids of several slots, separated by commas.
        precision: As ``EngineConfig``.
        model: As ``EngineConfig``.
        models_dir: As ``EngineConfig``.
        models_file: A path.
        upscaler: A path; empty if there is none.
    """

    devices: str
    precision: str
    model: str
    models_dir: str
    models_file: str
    upscaler: str


def main(request: ProbeRequest) -> None:
    """Print ``torch``, and what was found of each of the ``devices``: see ``DeviceCheck`` in ``adapters.cli.doctor``.

    ``upscaler`` is the upscaler's error, if there is one.
    """
    # Output of libraries while they load is not part of the answer.
    with redirect_stdout(sys.stderr):
        found = _look(request)
    sys.stdout.write(json.dumps(found))


def _look(request: ProbeRequest) -> dict[str, Any]:
    names = request.devices.split(",")
    found: dict[str, Any] = {"torch": torch.__version__}
    kept = 0
    try:
        kept = _upscaler(request.upscaler)
    except EngineError as error:
        found["upscaler"] = str(error)
    found["devices"] = [_look_at(request, name if len(names) > 1 else "", name, kept) for name in names]
    return found


def _look_at(request: ProbeRequest, slot: str, device: str, kept: int) -> dict[str, Any]:
    """Return what is found of one device, the slot's if there are several."""
    found: dict[str, Any] = {"slot": slot}
    try:
        chosen = devices.choose("cpu" if device.startswith("cpu:") else device)
        # A listed device may still be unusable (driver, memory), so it must compute something.
        if float(torch.ones(2, device=chosen).sum()) != 2.0:
            found["problem"] = f"{chosen} computes wrongly"
        found["title"] = devices.title(chosen, slot)
        looked = probe.probe_device(chosen, kept)
        found |= {"total": looked.total, "free": looked.free}
        made = _plan(request, looked)
        if slot and made.on == CPU != looked.kind:
            # Where there are several cards, one that can't hold the model does not draw.
            found["unplanned"] = f"The model does not fit its memory, and it does not draw: {made.sentence}"
        else:
            found["plan"] = " ".join((made.sentence, *made.reasons))
    except (devices.NoDevice, RuntimeError) as error:
        found["problem"] = str(error)
    except UnknownModel:
        pass  # reported by the check of the model
    except EngineError as error:
        found["unplanned"] = str(error)
    return found


def _upscaler(path: str) -> int:
    """Load the upscaler and return its size in bytes; 0 if none is named. Raises EngineError."""
    if not path:
        return 0
    Upscaler(Path(path), torch.device("cpu")).check()
    return upscaler_file.size(Path(path))


def _plan(request: ProbeRequest, device: Device) -> Plan:
    spec = catalogue.read_catalogue(request.model, request.models_dir, request.models_file).specs[0]
    width, height = spec.profile.presets["square"]
    file = Path(spec.transformer)
    size = file.stat().st_size if file.is_file() and files.is_packed(file) else 0
    form = svdquant.form_of_file(file) if size else ""
    stored = _stored_weights(spec, request.models_dir)
    return plan(
        spec.profile,
        width,
        height,
        device,
        request.precision,
        probe.libraries(),
        packed=size,
        svdquant=form,
        stored=stored,
    )


def _stored_weights(spec: ModelSpec, models_dir: str) -> StoredWeights | None:
    """Return how the model's files hold its weights; None where they are not all here."""
    selections = {need.source: need.selection for need in needs(spec)}

    def here(source: str) -> str:
        found = source if Path(source).exists() else cache.present(source, models_dir, selections.get(source, WHOLE))
        if found is None:
            raise UnknownModel(f"{source} is not here.")
        return found

    try:
        return files.stored_weights(files.locate(spec, here, here))
    except UnknownModel:
        return None


if __name__ == "__main__":
    main(ProbeRequest(*sys.argv[1:]))

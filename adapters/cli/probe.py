"""Looks at PyTorch, its device and how the model would be fitted to it: prints one JSON object.

In a process of its own, so that nobody else has to import PyTorch.

Usage: python -m adapters.cli.probe DEVICE PRECISION MODEL MODELS_DIR MODELS_FILE UPSCALER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from engine import catalogue, upscaler_file
from engine.contract import EngineError, UnknownModel
from engine.diffusion import device as devices
from engine.diffusion.memory import abilities
from engine.diffusion.memory.plan import plan
from engine.diffusion.memory.words import Plan
from engine.diffusion.upscaler import Upscaler


def main(device: str, precision: str, model: str, models_dir: str, models_file: str, upscaler: str) -> None:  # noqa: PLR0917 - a command line's
    """Print ``torch`` and ``device``, or ``problem``; ``plan``, or ``unplanned`` where there is none.

    ``upscaler`` is what is wrong with that, where one is named and anything is.
    """
    found: dict[str, str] = {"torch": torch.__version__}
    try:
        chosen = devices.choose(device)
        # A device that is listed may still be unusable (driver, memory): what counts is that it computes.
        if float(torch.ones(2, device=chosen).sum()) != 2.0:
            found["problem"] = f"{chosen} computes wrongly"
        found["device"] = devices.title(chosen)
        kept, wrong = _upscaler(upscaler) if upscaler else (0, "")
        found |= {"upscaler": wrong} if wrong else {}
        made = _plan(chosen, precision, model, models_dir, models_file, kept)
        found["plan"] = " ".join((made.sentence, *made.reasons))
    except (devices.NoDevice, RuntimeError) as error:
        found["problem"] = str(error)
    except UnknownModel:
        pass  # the doctor's line on the model says it
    except EngineError as error:
        found["unplanned"] = str(error)
    sys.stdout.write(json.dumps(found))


def _upscaler(path: str) -> tuple[int, str]:
    """Return the bytes that it takes, and what is wrong with it."""
    try:
        Upscaler(Path(path), torch.device("cpu")).check()
        return upscaler_file.size(Path(path)), ""
    except EngineError as error:
        return 0, str(error)


def _plan(device: torch.device, precision: str, model: str, models_dir: str, models_file: str, kept: int) -> Plan:  # noqa: PLR0917 - a command line's
    spec = catalogue.specs(model, models_dir, models_file)[0]
    width, height = spec.profile.presets["square"]
    file = Path(spec.transformer)
    size = file.stat().st_size if file.suffix.lower() == ".gguf" and file.is_file() else 0
    looked = abilities.look(device, kept)
    return plan(spec.profile, width, height, looked, precision, abilities.libraries(), gguf=size)


if __name__ == "__main__":
    main(*sys.argv[1:])

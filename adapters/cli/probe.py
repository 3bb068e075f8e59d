"""Looks at PyTorch and its device, in a process of its own so that nobody else has to import it: prints one JSON object.

Usage: python -m adapters.cli.probe DEVICE PRECISION
"""

from __future__ import annotations

import json
import sys

import torch

from engine.diffusion import device as devices


def main(device: str, precision: str) -> None:
    """Print ``torch``, ``device`` and ``precision``, or ``problem``."""
    found: dict[str, str] = {"torch": torch.__version__}
    try:
        chosen = devices.choose(device)
        # A device that is listed may still be unusable (driver, memory): what counts is that it computes.
        if float(torch.ones(2, device=chosen).sum()) != 2.0:
            found["problem"] = f"{chosen} computes wrongly"
        found["device"] = devices.title(chosen)
        found["precision"] = devices.precision(precision, chosen)
    except (devices.NoDevice, RuntimeError) as error:
        found["problem"] = str(error)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

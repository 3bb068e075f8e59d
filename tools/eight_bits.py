"""Print, for a small model of each family, the denoiser's bytes and the error of a picture in each number format.

python tools/eight_bits.py    on the processor; docs/performance.md has the table
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine.contract import Recipe  # noqa: E402 - the tool runs from any folder
from engine.diffusion.memory import w8a8  # noqa: E402
from engine.diffusion.memory.apply import cast, quantise_linear  # noqa: E402
from engine.diffusion.memory.stream import nbytes  # noqa: E402
from engine.families.registry import model_class  # noqa: E402
from tests.fakes import models, pipelines  # noqa: E402

CPU = torch.device("cpu")
LEAST_SIDE = 16
"""Small models have small layers."""

FORMATS = ("fp32", "bf16", "int8 weights", "int8 W8A8", "int8 W8A8, every layer", "fp8 weights", "fp8 W8A8")


def prepare(part: Any, how: str) -> None:
    """Bring a denoiser in float32 into a format of ``FORMATS``."""
    if how == "bf16":
        part.to(torch.bfloat16)
        return
    form = how.partition(" ")[0]
    if form == "int8":
        quantise_linear(part)
    if "W8A8" in how:
        w8a8.convert(part, form, CPU, LEAST_SIDE)
    if how.endswith("every layer"):
        layers = torch.nn.ModuleList(one for one in part.modules() if type(one) is torch.nn.Linear)
        w8a8.convert(torch.nn.ModuleDict({"all": layers}), form, CPU, LEAST_SIDE)
    if form == "fp8":
        cast(part, torch.float8_e4m3fn, torch.float32)


def drawn(family: str, folder: Path, how: str) -> tuple[int, NDArray[np.float32]]:
    """Return the denoiser's bytes and a picture, both encoded and decoded in float32."""
    pipe = pipelines.load(folder)
    part = getattr(pipe, "unet", None) or pipe.transformer
    part.requires_grad_(False)
    prepare(part, how)
    made = model_class(family)(pipe, CPU)
    recipe = Recipe("a", family, "a red cat", "", 64, 64, 6, 4.0, 3)
    state = made.begin(recipe, made.encode(recipe.prompt), made.encode(""))
    while not state.finished:
        made.step([state])
    pixels: NDArray[np.float32] = np.asarray(made.finish(state)).clip(0, 1)
    return nbytes(part), pixels


def rows() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| | " + " | ".join(FORMATS) + " |"
    yield "| --- |" + " --- |" * len(FORMATS)
    with TemporaryDirectory(prefix="easel-") as folder:
        for family, make in models.SMALL.items():
            where = make(Path(folder) / family)
            found = [drawn(family, where, how) for how in FORMATS]
            exact = found[0][1]
            cells = [f"{size / 1000:.0f} kB, {np.abs(one - exact).mean() * 255:.2f}" for size, one in found]
            yield f"| {family} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("\n".join(rows()))

"""The baseline's process: plain diffusers, without Easel. It draws each line of standard input.

A line is a JSON list of batches, each a list of recipes; for each line it prints the seconds that it took. A user's own
script would do the same: call the pipeline and save the PNG.

Usage: python -m adapters.cli.benchmark.baseline_process FOLDER DEVICE DTYPE
"""

from __future__ import annotations

import io
import json
import sys
import time
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.logging import disable_progress_bar
from PIL import Image


def draw(pipe: Any, batch: list[dict[str, Any]]) -> None:
    """Draw one batch and encode its pictures."""
    first = batch[0]
    # Every pipeline that edits names its references so.
    more = {"image": [Image.open(path) for path in first["references"]]} if first["references"] else {}
    pictures = pipe(
        prompt=[recipe["prompt"] for recipe in batch],
        width=first["width"],
        height=first["height"],
        num_inference_steps=first["steps"],
        guidance_scale=first["guidance"],
        generator=[torch.Generator().manual_seed(recipe["seed"]) for recipe in batch],
        **more,
    ).images
    for picture in pictures:
        picture.save(io.BytesIO(), "PNG")


def peak(device: torch.device) -> float:
    """Return the peak floating-point operations per second of a bf16 matrix product; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    side = 8192
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        a @ a
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def main(folder: str, device: str, dtype: str) -> None:
    """Load the pipeline, report the machine, and draw each line."""
    disable_progress_bar()
    pipe: Any = DiffusionPipeline.from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    sys.stdout.write(json.dumps({"threads": torch.get_num_threads(), "peak": peak(torch.device(device))}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        began = time.perf_counter()
        for batch in json.loads(line):
            draw(pipe, batch)
        sys.stdout.write(json.dumps(time.perf_counter() - began) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The same pictures by diffusers alone, without any of Easel: prints the seconds of each round as JSON.

A process of its own, so that nothing else holds its cores: python -m tests.bench.bare FOLDER ROUNDS BATCH
"""

from __future__ import annotations

import io
import json
import sys
import time

import torch
from diffusers import ZImagePipeline

PROMPT = "a red apple on a blue background"


def main(folder: str, rounds: int, batch: int) -> list[float]:
    """Draw ``batch`` pictures of 192x192 in 8 steps, and encode them as PNG, so many times."""
    pipeline = ZImagePipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    seconds = []
    for n in range(rounds + 1):
        begin = time.perf_counter()
        pictures = pipeline(
            [PROMPT] * batch,
            height=192,
            width=192,
            num_inference_steps=8,
            guidance_scale=0.0,
            generator=[torch.Generator().manual_seed(n * batch + i) for i in range(batch)],
        ).images
        for picture in pictures:
            picture.save(io.BytesIO(), "PNG")
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]  # the first one warms up


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))

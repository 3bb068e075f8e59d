"""The same pictures by diffusers alone, without any of Easel: draws one batch for each line on stdin, prints its seconds.

A process of its own, as the engine is: python -m tests.bench.bare FOLDER BATCH
"""

from __future__ import annotations

import io
import sys
import time

import torch
from diffusers import ZImagePipeline

PROMPT = "a red apple on a blue background"


def main(folder: str, batch: int) -> None:
    """Draw ``batch`` pictures of 192x192 in 8 steps, and encode them as PNG, whenever asked."""
    pipeline = ZImagePipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    for n, _ in enumerate(sys.stdin):
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
        sys.stdout.write(f"{time.perf_counter() - begin}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

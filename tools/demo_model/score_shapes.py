"""How much each favourite's picture looks like its own rendering: structural similarity on white, best over small shifts and mirrored.

Usage: score_shapes.py ICONS_JSON MODEL_FOLDER [SHIFT]      prints the median and the quartiles; 1 is equal
"""
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline
from PIL import Image


from data import Sprites

SIDE, OBJECT = 192, 128


def rendering(sprites: Sprites, item: int, size: int, dx: int = 0, dy: int = 0) -> np.ndarray:
    """The object drawn on white, in grey, 0 to 1."""
    image = sprites.items[item][0]
    scale = size / max(image.size)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.LANCZOS)
    canvas = Image.new("RGB", (SIDE, SIDE), (246, 246, 246))
    canvas.paste(small, ((SIDE - small.width) // 2 + dx, (SIDE - small.height) // 2 + dy), small)
    return np.asarray(canvas.convert("L"), np.float32) / 255


def uniform_filter(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over a square window around each pixel; edges are repeated."""
    half = window // 2
    padded = np.pad(values.astype(np.float64), ((half + 1, half), (half + 1, half)), "edge").cumsum(0).cumsum(1)
    summed = padded[window:, window:] - padded[:-window, window:] - padded[window:, :-window] + padded[:-window, :-window]
    return summed / window**2


def similarity(one: np.ndarray, other: np.ndarray, window: int = 7) -> float:
    """Mean structural similarity (Wang et al. 2004) where either picture is no plain white."""
    c1, c2 = 0.01**2, 0.03**2
    mean = lambda a: uniform_filter(a, window)  # noqa: E731
    a, b = mean(one), mean(other)
    va, vb, ab = mean(one * one) - a * a, mean(other * other) - b * b, mean(one * other) - a * b
    value = ((2 * a * b + c1) * (2 * ab + c2)) / ((a * a + b * b + c1) * (va + vb + c2))
    seen = mean(((np.abs(one - 0.965) > 0.03) | (np.abs(other - 0.965) > 0.03)).astype(np.float32)) > 0.02
    return float(value[seen].mean())


def best(image: np.ndarray, sprites: Sprites, item: int) -> float:
    """The largest similarity over size, mirror and shift, found on a coarse grid and refined."""
    top, where = -1.0, (OBJECT, 0, 0, False)
    for size in (112, 128, 144):
        for mirrored in (False, True):
            plain = rendering(sprites, item, size)
            plain = plain[:, ::-1] if mirrored else plain
            for dy in range(-24, 25, 8):
                for dx in range(-24, 25, 8):
                    value = float(np.corrcoef(image.ravel()[::3], np.roll(plain, (dy, dx), (0, 1)).ravel()[::3])[0, 1])
                    if value > top:
                        top, where = value, (size, dy, dx, mirrored)
    size, dy0, dx0, mirrored = where
    plain = rendering(sprites, item, size)
    plain = plain[:, ::-1] if mirrored else plain
    shifts = range(-6, 7, 2)
    return max(similarity(image, np.roll(plain, (dy0 + dy, dx0 + dx), (0, 1))) for dy in shifts for dx in shifts)


def main() -> None:
    sprites = Sprites(Path(sys.argv[1]))
    pipe = ZImagePipeline.from_pretrained(sys.argv[2], torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if len(sys.argv) > 3:
        pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config({**pipe.scheduler.config, "shift": float(sys.argv[3])})
    values = {}
    for k in range(0, len(sprites.favourites), 8):
        items = sprites.favourites[k : k + 8]
        prompts = [f"a {sprites.items[i][1][0]} on a white background" for i in items]
        generators = [torch.Generator().manual_seed(700 + k + j) for j in range(len(items))]
        images = pipe(prompts, height=SIDE, width=SIDE, num_inference_steps=8, guidance_scale=0.0, generator=generators).images
        for item, image in zip(items, images):
            values[sprites.items[item][1][0]] = best(np.asarray(image.convert("L"), np.float32) / 255, sprites, item)
    low, median, high = np.percentile(list(values.values()), (25, 50, 75))
    worst = sorted(values, key=values.__getitem__)[:8]
    print(f"similarity: median {median:.3f}, quartiles {low:.3f} and {high:.3f}; lowest: {', '.join(worst)}")


if __name__ == "__main__":
    main()

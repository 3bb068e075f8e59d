"""Draws the same 24 prompts with each model given, as a contact sheet with a panel for each.

Usage: samples.py ICONS_JSON OUT.png TITLE=MODEL_FOLDER[@SHIFT] ...
"""
import random, sys
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline
from PIL import Image, ImageDraw, ImageFont

from data import Sprites

SIDE, ACROSS, GAP, HEAD = 192, 8, 6, 34
PLACES = ("on a white background", "on the beach", "in space", "in a meadow", "at sunset", "on a blue background", "in the snow", "on a yellow background")


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def draw(folder, prompts):
    folder, _, shift = folder.partition("@")
    pipe = ZImagePipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if shift:
        pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config({**pipe.scheduler.config, "shift": float(shift)})
    images = []
    for k in range(0, len(prompts), 8):
        seeds = [torch.Generator().manual_seed(k + j) for j in range(8)]
        images += pipe(prompts[k:k + 8], height=SIDE, width=SIDE, num_inference_steps=8, guidance_scale=0.0, generator=seeds).images
    return images


def main():
    sprites = Sprites(Path(sys.argv[1]))
    names = random.Random(5).sample([sprites.items[i][1][0] for i in sprites.favourites], 24)
    prompts = [f"{article(name)} {PLACES[k % len(PLACES)]}" for k, name in enumerate(names)]
    panels = [panel.partition("=")[::2] for panel in sys.argv[3:]]
    rows = -(-len(prompts) // ACROSS)
    height = HEAD + rows * (SIDE + GAP)
    sheet = Image.new("RGB", (ACROSS * (SIDE + GAP) + GAP, len(panels) * height + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (title, folder) in enumerate(panels):
        top = number * height
        pen.text((GAP, top + 8), title, fill=(60, 60, 70), font=ImageFont.load_default(18))
        for k, image in enumerate(draw(folder, prompts)):
            sheet.paste(image, (GAP + k % ACROSS * (SIDE + GAP), top + HEAD + k // ACROSS * (SIDE + GAP)))
    sheet.save(sys.argv[2], optimize=True)
    print("\n".join(prompts))


if __name__ == "__main__":
    main()

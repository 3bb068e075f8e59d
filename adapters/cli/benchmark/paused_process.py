"""Measures pictures that are paused between steps next to the plain calls of the same pipeline.

A line of standard input is a JSON list of recipes. For each line it prints the seconds of the plain calls and those of the
paused ones; which of the two goes first alternates. No thread but those of the calls and this one is at work.

Usage: python -m adapters.cli.benchmark.paused_process FOLDER DEVICE DTYPE
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.logging import disable_progress_bar

from engine.contract import Recipe
from engine.families.denoise_state import Embedding, PictureState
from engine.families.family import Family
from engine.families.registry import model_class, of_any_pipeline

IN_TURNS = 1
"""Pictures that take steps in turns: one, as plain calls draw. docs/adr/0023 has the figures of four."""


def plain(pipe: Any, recipes: Sequence[Recipe]) -> None:
    """Draw one picture after the other."""
    for recipe in recipes:
        pipe(
            prompt=recipe.prompt,
            width=recipe.width,
            height=recipe.height,
            num_inference_steps=recipe.steps,
            guidance_scale=recipe.guidance,
            generator=torch.Generator().manual_seed(recipe.seed),
            output_type="np",
        )


def paused(family: Family[Any], recipes: Sequence[Recipe]) -> None:
    """Draw pictures in turns, step by step."""

    def encode(encode: Callable[[str], Embedding], prompt: str, _settings: str = "", /) -> Embedding:
        return encode(prompt)

    waiting, drawing = list(recipes), list[PictureState]()
    while waiting or drawing:
        while waiting and len(drawing) < IN_TURNS:
            drawing.append(family.start(waiting.pop(0), encode))
        for state in list(drawing):
            family.step([state])
            if state.finished:
                family.finish(state)
                drawing.remove(state)


def _seconds(draw: Callable[[Any, Sequence[Recipe]], None], by: Any, recipes: Sequence[Recipe]) -> float:
    began = time.perf_counter()
    draw(by, recipes)
    return time.perf_counter() - began


def main(folder: str, device: str, dtype: str) -> None:
    """Load the pipeline once, and draw each line in both ways."""
    disable_progress_bar()
    pipe: Any = DiffusionPipeline.from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    family: Family[Any] = model_class(of_any_pipeline().name)(pipe, torch.device(device))
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    for number, line in enumerate(sys.stdin):
        recipes = [Recipe(**fields) for fields in json.loads(line)]
        found = {}
        ways: list[tuple[str, Callable[[Any, Sequence[Recipe]], None], Any]]
        ways = [("plain", plain, pipe), ("paused", paused, family)]
        for name, draw, by in ways if number % 2 == 0 else reversed(ways):
            found[name] = _seconds(draw, by, recipes)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

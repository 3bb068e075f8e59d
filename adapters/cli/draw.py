"""`easel draw`: from a line to pictures in files, without a server and without a database."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from adapters.cli import outputs, surroundings
from adapters.cli.say import complain, note, refusal_of
from bot.model.requests import DrawForm, DrawRequest
from bot.policy import flags, recipes, requests
from bot.provenance import a1111, png
from bot.store import blobs
from engine.contract import Engine, EngineError, Failed, Image, Recipe, Step
from engine.host.parent import ProcessEngine

MAX_COUNT = 16
"""Most pictures in one request on the command line."""


def main(args: argparse.Namespace) -> int:
    """Draw, and print the path of each picture. Returns the exit code; raises Refusal."""
    form = flags.parse(_form(args))
    settings = surroundings.settings()
    try:
        engine = ProcessEngine(surroundings.engine_config(settings, form.model))
    except EngineError as error:
        raise refusal_of(error) from None
    # The engine has read the model's name, which may be a folder: here it has one model, whatever it was called.
    request = requests.check(replace(form, model=None), engine.profiles(), MAX_COUNT, random.SystemRandom())
    jobs = recipes.recipes_of(0, request)
    paths = outputs.plan(args.output, [job.seed for job in jobs])
    for key in request.notes:
        note(key)
    return asyncio.run(_draw(engine, request, dict(zip(jobs, paths, strict=True))))


def _form(args: argparse.Namespace) -> DrawForm:
    return DrawForm(
        # What argparse does not know goes to the reader of flags, which names the nearest one.
        prompt=" ".join([*args.prompt, *args.rest]),
        size=args.size,
        seed=args.seed,
        count=args.count,
        steps=args.steps,
        guidance=args.guidance,
        negative=args.negative,
        style=args.style,
        model=args.model,
        strength=args.strength,
        private=args.private or None,
    )


async def _draw(engine: Engine, request: DrawRequest, wanted: dict[Recipe, Path]) -> int:
    failed = 0
    jobs = list(wanted)
    title = engine.profiles()[0].title
    by_id = {job.id: job for job in jobs}
    size = engine.batch(jobs[0])
    # Only a terminal gets a bar; a pipe or a log gets the paths alone.
    with tqdm(total=len(jobs) * request.steps, unit="step", leave=False, disable=None, file=sys.stderr) as bar:
        async with _warm(engine):
            for batch in (jobs[i : i + size] for i in range(0, len(jobs), size)):
                async for event in _events(engine, batch):
                    match event:
                        case Step():
                            bar.update(1)
                        case Image(recipe_id=name):
                            recipe = by_id[name]
                            await _write(wanted[recipe], event, a1111.parameters(recipe, title, style=request.style))
                        case Failed(error=error):
                            failed += 1
                            complain(refusal_of(error))
    return 1 if failed else 0


@asynccontextmanager
async def _warm(engine: Engine) -> AsyncIterator[None]:
    await engine.start()
    try:
        await engine.warm()
        yield
    except EngineError as error:
        raise refusal_of(error) from None
    finally:
        await engine.aclose()


async def _events(engine: Engine, batch: Sequence[Recipe]) -> AsyncIterator[object]:
    # Closed at once, so that Ctrl-C stops the device and not only this loop.
    async with aclosing(engine.paint(batch)) as events:
        async for event in events:
            yield event


async def _write(path: Path, image: Image, text: str) -> None:
    data = await asyncio.to_thread(png.embed, image.data, {a1111.KEYWORD: text})
    await blobs.write(path.parent, path.name, data)
    tqdm.write(str(path), file=sys.stdout)

"""`easel draw`: draws pictures to files, without a server and without a database."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from tqdm import tqdm

from adapters.cli import environment, styles
from adapters.cli.engines import server_of_one_model
from adapters.cli.environment import given_path
from adapters.cli.output import language, refusal_of, report_error, silence, warn
from bot.cards.i18n import known
from bot.core import requests
from bot.core.errors import BadInput, Unavailable
from bot.core.requests import DrawForm, DrawRequest, ReferenceImage, SourceImage, without_trigger
from bot.core.vocabulary import listed, unknown_words
from bot.drawing import flags, request_rules, source_image
from bot.drawing.model_rules import check_count
from bot.moderation.word_list import shipped_words
from bot.provenance.facts import marking_rules
from bot.provenance.kept_marks import keep_marks
from bot.provenance.marks import Marker
from bot.provenance.sealing import Sealing, load_seal
from bot.settings import Settings
from bot.storage import data_files
from bot.storage.data_files import MIN_FREE_BYTES
from engine.contract import Capability, Engine, EngineError, Failed, Image, Recipe, Step
from engine.host import devices
from engine.host.process_engine import ProcessEngine

TOLD = "demo-told"
"""Name of the file that says that a user was told of the demo model."""

MAX_COUNT = 16
"""Most pictures in one request on the command line."""


def main(args: argparse.Namespace) -> int:
    """Draw, and print the path of each picture. Returns the exit code; raises Refusal."""
    form = flags.parse(_form(args))
    with tempfile.TemporaryDirectory(prefix="easel-") as folder:
        source = _source(folder, args.image, args.mask)
        return _main(args, form, source, _references(folder, args.references or ()))


def _main(
    args: argparse.Namespace, form: DrawForm, source: SourceImage | None, references: Sequence[ReferenceImage]
) -> int:
    settings = environment.settings()
    engine = _engine(settings, form.model, edits=bool(references))
    # The engine has resolved the model's name, which may be a folder, and has this one model.
    rng = random.SystemRandom()
    known = styles.load(settings.data_dir)
    if form.style is not None:
        for problem in known.problems:
            warn(problem.key, **problem.params)
    request = request_rules.check_form(
        replace(form, model=None),
        engine.profiles(),
        MAX_COUNT,
        rng,
        known.styles,
        loras=engine.loras(),
        source=source,
        references=references,
    )
    found = shipped_words().find(request.prompt)
    if found is not None and found.forbidden:
        # Forbidden everywhere, so also here, where no other check of words runs.
        raise BadInput("refusal.words.forbidden")
    jobs = requests.recipes_of(0, request)
    paths = plan_paths(args.output, [job.seed for job in jobs])
    for key in request.notes:
        warn(key)
    for lora in without_trigger(request, engine.loras()):
        warn("note.lora.triggers", lora=lora.title, triggers=", ".join(lora.triggers))
    profile = engine.profiles()[0]
    if words := unknown_words(request.typed, profile.vocabulary):
        warn("note.vocabulary", model=profile.title, words=listed(words))
    seal = load_seal(settings)
    marker = Marker(engine.profiles, marking_rules(settings), None if seal is None else Sealing(seal))
    code = asyncio.run(_draw(engine, request, dict(zip(jobs, paths, strict=True)), marker))
    if profile.demo and code == 0 and _is_first_time():
        warn("cli.draw.demo")
    return code


def _is_first_time() -> bool:
    """Whether the demo model draws for this user for the first time; an empty file remembers it."""
    try:
        folder = _state_folder()
        folder.mkdir(mode=data_files.FOLDER_MODE, parents=True, exist_ok=True)
        (folder / TOLD).touch(mode=data_files.FILE_MODE, exist_ok=False)
    except FileExistsError:
        return False
    except (OSError, RuntimeError):
        return True  # there is no home, or it can't be written to: better told again than never
    return True


def _state_folder() -> Path:
    """Return the folder of what Easel remembers of a user: the data folder may be another one wherever they draw."""
    own = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(own) if own else Path.home() / ".local" / "state") / "easel"


def _form(args: argparse.Namespace) -> DrawForm:
    return DrawForm(
        # Options that argparse does not know go to the parser of flags, which suggests the nearest one.
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
        sampler=args.sampler,
        clip_skip=args.clip_skip,
        control=args.control,
        control_weight=args.control_weight,
        lora=None if args.lora is None else ", ".join(args.lora),
        private=args.private or None,
        label=args.label or None,
    )


def _engine(settings: Settings, model: str | None, *, edits: bool) -> Engine:
    """Return the engine of the request's model; an edit that names none gets the one for edits if the default can't.

    Raises Refusal.
    """
    config = environment.engine_config(settings, model)
    try:
        if not devices.local(settings.device):
            return server_of_one_model(settings, model)
        engine = ProcessEngine(config)
        if edits and model is None and engine.edit_model() and Capability.EDIT not in engine.profiles()[0].can:
            engine = ProcessEngine(replace(config, model=config.edit_model))
    except EngineError as error:
        raise refusal_of(error) from None
    return engine


def _source(folder: str, image: str | None, mask: str | None) -> SourceImage | None:
    """Normalise the source picture and its mask into the folder. Raises BadInput."""
    if image is None:
        if mask is not None:
            raise BadInput("refusal.mask.no_image")
        return None
    given = _read(image)
    plain = source_image.normalize_image(given)
    source = SourceImage(_put(folder, "image.png", plain, given), plain.width, plain.height)
    if mask is None:
        return source
    plain_mask = source_image.normalize_mask(_read(mask), given)
    return replace(source, mask=_put(folder, "mask.png", plain_mask), white=plain_mask.white)


def _references(folder: str, paths: Sequence[str]) -> tuple[ReferenceImage, ...]:
    """Normalise the reference pictures into the folder. Raises BadInput."""
    check_count(len(paths))
    found = []
    for number, path in enumerate(paths, 1):
        given = _read(path)
        plain = source_image.normalize_reference(given, number)
        found.append(ReferenceImage(_put(folder, f"reference-{number}.png", plain, given), plain.width, plain.height))
    return tuple(found)


def _read(path: str) -> bytes:
    try:
        return environment.given_path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput("cli.image.unreadable", path=path, reason=reason) from None


def _put(folder: str, name: str, picture: source_image.NormalizedImage, given: bytes = b"") -> str:
    path = Path(folder, name)
    path.write_bytes(keep_marks(picture.data, given, manifest=True))
    return str(path)


async def _draw(engine: Engine, request: DrawRequest, wanted: dict[Recipe, Path], marker: Marker) -> int:
    failed = 0
    noted: set[str] = set()
    jobs = list(wanted)
    by_id = {job.id: job for job in jobs}
    size = engine.batch(jobs[0])
    # Only a terminal gets a progress bar; a pipe or a log gets the paths alone.
    total = len(jobs) * requests.steps_of(request)
    with tqdm(total=total, unit="step", leave=False, disable=None, file=sys.stderr) as bar:
        async with _warm(engine):
            for batch in (jobs[i : i + size] for i in range(0, len(jobs), size)):
                async for event in _events(engine, batch):
                    match event:
                        case Step():
                            bar.update(1)
                        case Image(recipe_id=name):
                            recipe = by_id[name]
                            data, _ = await asyncio.to_thread(
                                marker.mark, event, request, recipe, drawn_at=time.time(), locale=language()
                            )
                            await _write(wanted[recipe], data)
                            noted.update(f"note.engine.{code}" for code in event.notes)
                        case Failed(error=error):
                            failed += 1
                            report_error(refusal_of(error))
    for key in sorted(noted):
        if known(key):
            warn(key)
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


async def _write(path: Path, data: bytes) -> None:
    # The file is outside the data folder: the person's umask decides who may read it.
    await data_files.write(path.parent, path.name, data, mode=0o666)
    try:
        tqdm.write(str(path), file=sys.stdout)
        sys.stdout.flush()
    except OSError:
        # The reader of the paths is gone (`| head -1`); the other pictures are still drawn.
        silence(sys.stdout)
        warn("cli.draw.unread", path=str(path.parent))


SUFFIX = ".png"


def plan_paths(output: str, seeds: Sequence[int]) -> tuple[Path, ...]:
    """Return a path for each picture, in a folder that exists and can be written to.

    A path that ends in ``.png`` names the file (``a-1.png``, ``a-2.png`` for several); a folder, or a path without a
    suffix, is a folder that gets ``<time>-<seed>.png``.

    Raises:
        BadInput: It can't be written to, or it names a file of another kind.
        Unavailable: Hardly any disk space is left.
    """
    path = given_path(output)
    if _is_folder(path) or output.endswith(("/", os.sep)) or not path.suffix:
        now = datetime.now().astimezone()
        paths = tuple(path / f"{now:%Y%m%d-%H%M%S}-{seed}{SUFFIX}" for seed in seeds)
    elif path.suffix.lower() != SUFFIX:
        raise BadInput("cli.output.suffix", path=output, suffix=path.suffix)
    elif len(seeds) == 1:
        paths = (path,)
    else:
        paths = tuple(path.with_name(f"{path.stem}-{n}{path.suffix}") for n in range(1, len(seeds) + 1))
    _check_writable(paths, output)
    return paths


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # such as a name that is too long: creating it reports why


def _check_writable(paths: Sequence[Path], output: str) -> None:
    folder = paths[0].parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Writing detects more than checking permissions: read-only mounts, quotas, names that are too long.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".easel-"):
            pass
        if any(path.is_dir() for path in paths):
            raise IsADirectoryError(21, "Is a directory")
        free = shutil.disk_usage(folder).free
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput("cli.output.unwritable", path=output, reason=reason) from None
    if free < MIN_FREE_BYTES:
        raise Unavailable("unavailable.disk_full")

"""The checks of `easel doctor`: each is one function that returns a finding."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from platform import python_implementation, python_version

from adapters.cli import environment, lock
from adapters.cli.environment import AppSettings
from adapters.cli.output import text
from adapters.platform import CatalogueMessage, CheckContext, ConfiguredPlatform
from bot.core.access import guarded
from bot.maintenance import store
from bot.settings import Settings
from bot.storage import data_files
from bot.storage.data_files import MIN_FREE_BYTES
from engine import catalogue, models_file, upscaler_file
from engine.contract import EngineError

OLDEST = (3, 11)
GIB = 2**30
_PROBE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `easel doctor`: the thing that was checked, its state, and what to do if it is not well."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def python() -> Finding:
    """Check the interpreter."""
    found = f"{python_implementation()} {python_version()}"
    return Finding("python", sys.version_info >= OLDEST, found, text("cli.doctor.python.do"))


async def torch(settings: Settings) -> tuple[Finding, Finding, str]:
    """Check PyTorch and its device, the model's memory plan, and the upscaler, in a separate process."""
    seen = await _probe(settings)
    plan = Finding("plan", True, text("cli.doctor.plan.none"))
    if isinstance(seen, Finding):
        return seen, plan, ""
    refused = seen.get("upscaler", "")
    if "problem" in seen:
        problem = f"PyTorch {seen['torch']}: {seen['problem']}"
        return Finding("torch", False, problem, text("cli.doctor.device.do")), plan, refused
    if "plan" in seen:
        plan = Finding("plan", True, seen["plan"])
    elif "unplanned" in seen:
        # The engine's sentence includes the advice.
        plan = Finding("plan", False, seen["unplanned"])
    return Finding("torch", True, f"PyTorch {seen['torch']}, {seen['device']}"), plan, refused


async def _probe(settings: Settings) -> dict[str, str] | Finding:
    config = environment.engine_config(settings)
    asked = (config.device, config.precision, config.model, config.models_dir, config.models_file, config.upscaler)
    command = (sys.executable, "-P", "-m", "adapters.cli.probe", *asked)
    here = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
    )
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return Finding("torch", False, text("cli.doctor.torch.slow", n=_PROBE_SECONDS), text("cli.doctor.torch.do"))
    if process.returncode != 0:
        last = (err.decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        return Finding("torch", False, last, text("cli.doctor.torch.do"))
    seen: dict[str, str] = json.loads(out)
    return seen


def model(settings: Settings) -> Finding:
    """Check the model that EASEL_MODEL names. Blocking: reads its small files."""
    try:
        profile = _catalogue(settings).specs[0].profile
    except EngineError as error:
        return Finding("model", False, str(error), text("cli.doctor.model.do"))
    if not Path(profile.source).exists():
        return Finding("model", True, text("cli.doctor.model.hub", title=profile.title, source=profile.source))
    return Finding("model", True, f"{profile.title} ({profile.source})")


def models(settings: Settings) -> Finding | None:
    """Check the operator's own models; None if none is left out."""
    try:
        problems = _catalogue(settings).problems
    except EngineError:
        problems = models_file.read(settings.data_dir / environment.MODELS_FILE).problems
    return Finding("models", False, " ".join(problems), text("cli.doctor.models.do")) if problems else None


def _catalogue(settings: Settings) -> catalogue.Catalogue:
    return catalogue.read_catalogue(settings.model, "", str(settings.data_dir / environment.MODELS_FILE))


def upscaler(settings: Settings, refused: str = "") -> Finding | None:
    """Check the upscaler that EASEL_UPSCALER names, and its library; None if none is named.

    Args:
        settings: The settings.
        refused: Error of loading it; empty if it was loaded, or could not be tried.
    """
    if settings.upscaler is None:
        return None
    # The engine's sentences include the advice.
    if refused:
        return Finding("upscaler", False, refused)
    try:
        upscaler_file.check(settings.upscaler.absolute())
        upscaler_file.check_library()
    except EngineError as error:
        return Finding("upscaler", False, str(error))
    return Finding("upscaler", True, text("cli.doctor.upscaler", path=str(settings.upscaler)))


def folder(settings: Settings) -> Finding:
    """Check the data folder and its free disk space."""
    path = settings.data_dir.absolute()
    try:
        for place in (path, path / environment.PICTURES):
            data_files.make_folder(place)
            with tempfile.NamedTemporaryFile(dir=place, prefix=".easel-"):
                pass
        free = shutil.disk_usage(path).free
    except OSError as error:
        return Finding("folder", False, f"{path}: {error.strerror or error}", text("cli.doctor.folder.do"))
    found = text("cli.doctor.folder.free", path=str(path), free=f"{free / GIB:.1f}")
    return Finding("folder", free >= MIN_FREE_BYTES, found, text("cli.doctor.space.do"))


async def database(settings: Settings) -> Finding:
    """Check the database's version and integrity."""
    path = settings.data_dir / environment.DATABASE
    health = await store.health(path)
    if health is None:
        return Finding("database", True, text("cli.doctor.database.none"))
    if health.problem:
        return Finding("database", False, f"{path}: {health.problem}", text("cli.doctor.database.do"))
    state = "newer" if health.version > health.known else "older" if health.version < health.known else "version"
    found = text(f"cli.doctor.database.{state}", version=health.version, known=health.known)
    return Finding("database", health.version <= health.known, found, text("cli.doctor.database.newer.do"))


async def clock(settings: Settings) -> Finding | None:
    """Check the machine's clock; None if it is not doubted."""
    known = await store.clock_doubted_since(settings.data_dir / environment.DATABASE)
    if known is None:
        return None
    last = f"{datetime.fromtimestamp(known, UTC):%Y-%m-%d %H:%M} UTC"
    return Finding("clock", False, text("cli.doctor.clock.doubted", known=last), text("cli.doctor.clock.do"))


async def ledger(settings: Settings) -> Finding:
    """Check that reservations, charges and refunds balance for every job and credit."""
    faults = await store.ledger_faults(settings.data_dir / environment.DATABASE)
    if faults is None:
        return Finding("ledger", True, text("cli.doctor.ledger.none"))
    if faults:
        first = f"{faults[0].what} ({faults[0].number})"
        return Finding(
            "ledger", False, text("cli.doctor.ledger.faults", n=len(faults), first=first), text("cli.doctor.ledger.do")
        )
    return Finding("ledger", True, text("cli.doctor.ledger.ok"))


async def newcomers(app: AppSettings) -> Finding | None:
    """Count the newcomers who wait for an owner's answer; None if there are none."""
    guarded_platforms = guarded(app.access(enabled_only=False))
    waiting = await store.count_newcomers(app.core.data_dir / environment.DATABASE, guarded_platforms)
    return Finding("newcomers", True, text("cli.newcomers", n=waiting)) if waiting else None


async def platform(settings: Settings, one: ConfiguredPlatform) -> AsyncIterator[Finding]:
    """Run a platform's own checks."""
    context = CheckContext(settings, lambda: lock.holder_of(settings.data_dir))
    async for result in one.check(context):
        advice = "" if result.advice is None else _sentence(result.advice)
        yield Finding(result.name, result.ok, _sentence(result.found), advice)


def _sentence(message: CatalogueMessage) -> str:
    return text(message.key, **message.params)

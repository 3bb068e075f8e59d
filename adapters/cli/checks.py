"""What `easel doctor` looks at: each check is one function that returns one finding."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from adapters.cli import lock, surroundings
from adapters.cli.platforms import PLATFORMS, Platform
from adapters.cli.say import text
from bot.model.access import guarded
from bot.model.errors import Unavailable
from bot.settings import Settings
from bot.store import check, private
from bot.store.blobs import MIN_FREE_BYTES
from engine import catalogue, models_file, upscaler_file
from engine.contract import EngineError

OLDEST = (3, 11)
GIB = 2**30
_PROBE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, what was found, and what to do when it is not well."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def python() -> Finding:
    """The interpreter."""
    found = f"{platform.python_implementation()} {platform.python_version()}"
    return Finding("python", sys.version_info >= OLDEST, found, text("cli.doctor.python.do"))


async def torch(settings: Settings) -> tuple[Finding, Finding, str]:
    """PyTorch with its device, how the model is fitted to it, and what is wrong with the upscaler.

    They are looked at in a process of its own.
    """
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
        # The engine's sentence says what to do as well.
        plan = Finding("plan", False, seen["unplanned"])
    return Finding("torch", True, f"PyTorch {seen['torch']}, {seen['device']}"), plan, refused


async def _probe(settings: Settings) -> dict[str, str] | Finding:
    config = surroundings.engine_config(settings)
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
    """The model that EASEL_MODEL names, and the operator's own; small files of folders are read."""
    try:
        profile = _catalogue(settings).specs[0].profile
    except EngineError as error:
        return Finding("model", False, str(error), text("cli.doctor.model.do"))
    if not Path(profile.source).exists():
        return Finding("model", True, text("cli.doctor.model.hub", title=profile.title, source=profile.source))
    return Finding("model", True, f"{profile.title} ({profile.source})")


def models(settings: Settings) -> Finding | None:
    """What is left out of the operator's own models, and why; None where nothing is."""
    try:
        problems = _catalogue(settings).problems
    except EngineError:
        problems = models_file.read(settings.data_dir / surroundings.MODELS_FILE).problems
    return Finding("models", False, " ".join(problems), text("cli.doctor.models.do")) if problems else None


def _catalogue(settings: Settings) -> catalogue.Catalogue:
    return catalogue.read_catalogue(settings.model, "", str(settings.data_dir / surroundings.MODELS_FILE))


def upscaler(settings: Settings, refused: str = "") -> Finding | None:
    """The upscaler that EASEL_UPSCALER names, and what loads it; None where none is named.

    Args:
        settings: Where it is named.
        refused: What was wrong when it was loaded; empty where nothing was, or where it could not be tried.
    """
    if settings.upscaler is None:
        return None
    # The engine's sentences say what to do as well.
    if refused:
        return Finding("upscaler", False, refused)
    try:
        upscaler_file.check(settings.upscaler.absolute())
        upscaler_file.check_library()
    except EngineError as error:
        return Finding("upscaler", False, str(error))
    return Finding("upscaler", True, text("cli.doctor.upscaler", path=str(settings.upscaler)))


def folder(settings: Settings) -> Finding:
    """The data folder, and room on its disk."""
    path = settings.data_dir.absolute()
    try:
        for place in (path, path / surroundings.PICTURES):
            private.make_folder(place)
            with tempfile.NamedTemporaryFile(dir=place, prefix=".easel-"):
                pass
        free = shutil.disk_usage(path).free
    except OSError as error:
        return Finding("folder", False, f"{path}: {error.strerror or error}", text("cli.doctor.folder.do"))
    found = text("cli.doctor.folder.free", path=str(path), free=f"{free / GIB:.1f}")
    return Finding("folder", free >= MIN_FREE_BYTES, found, text("cli.doctor.space.do"))


async def database(settings: Settings) -> Finding:
    """The database's version, and whether it is whole."""
    path = settings.data_dir / surroundings.DATABASE
    health = await check.look(path)
    if health is None:
        return Finding("database", True, text("cli.doctor.database.none"))
    if health.problem:
        return Finding("database", False, f"{path}: {health.problem}", text("cli.doctor.database.do"))
    state = "newer" if health.version > health.known else "older" if health.version < health.known else "version"
    found = text(f"cli.doctor.database.{state}", version=health.version, known=health.known)
    return Finding("database", health.version <= health.known, found, text("cli.doctor.database.newer.do"))


async def clock(settings: Settings) -> Finding | None:
    """Whether the machine's clock can be believed; None where nothing speaks against it."""
    known = await check.doubted_since(settings.data_dir / surroundings.DATABASE)
    if known is None:
        return None
    last = f"{datetime.fromtimestamp(known, UTC):%Y-%m-%d %H:%M} UTC"
    return Finding("clock", False, text("cli.doctor.clock.doubted", known=last), text("cli.doctor.clock.do"))


async def ledger(settings: Settings) -> Finding:
    """Whether what was asked for, charged and given back comes out, for every job and every credit."""
    faults = await check.ledger(settings.data_dir / surroundings.DATABASE)
    if faults is None:
        return Finding("ledger", True, text("cli.doctor.ledger.none"))
    if faults:
        first = f"{faults[0].what} ({faults[0].number})"
        return Finding(
            "ledger", False, text("cli.doctor.ledger.faults", n=len(faults), first=first), text("cli.doctor.ledger.do")
        )
    return Finding("ledger", True, text("cli.doctor.ledger.ok"))


async def newcomers(settings: Settings) -> Finding | None:
    """Who waits for an owner's answer; None when nobody does: there is nothing to say then."""
    platforms = guarded({platform.name: platform.access(settings) for platform in PLATFORMS})
    waiting = await check.newcomers(settings.data_dir / surroundings.DATABASE, platforms)
    return Finding("newcomers", True, text("cli.newcomers", n=waiting)) if waiting else None


async def token(settings: Settings, platform: Platform) -> Finding:
    """A platform's token: the platform itself is asked whether it is good."""
    if not platform.is_on(settings):
        return Finding(platform.name, True, text("cli.doctor.token.off", setting=platform.setting))
    try:
        name = await platform.check(settings)
    except Unavailable as error:
        # The platform's sentence says what to do as well.
        return Finding(platform.name, False, text(error.key, **error.params))
    return Finding(platform.name, True, text("cli.doctor.token.ok", name=name))


def port(settings: Settings) -> Finding:
    """The page's port: free, or held by the Easel of this data folder."""
    if settings.web_port == 0:
        return Finding("port", True, text("cli.doctor.port.off"))
    where = f"{settings.web_host}:{settings.web_port}"
    if problem := port_problem(settings.web_host, settings.web_port):
        if (holder := lock.holder_of(settings.data_dir)) is not None:
            return Finding("port", True, text("cli.doctor.port.own", where=where, holder=holder))
        return Finding("port", False, f"{where}: {problem}", text("cli.doctor.port.do"))
    return Finding("port", True, text("cli.doctor.port.free", where=where))


def page(settings: Settings) -> Finding | None:
    """Who can reach the page; None where this machine alone can, or where it is off."""
    if settings.web_port == 0:
        return None
    access = import_module("adapters.web.access")
    if not access.is_exposed(settings):
        return None
    where = f"{settings.web_host}:{settings.web_port}"
    kept = "EASEL_WEB_TOKEN" if settings.web_token is not None else str(settings.data_dir / access.TOKEN_FILE)
    return Finding("page", True, text("cli.doctor.page.open", where=where, kept=kept))


def port_problem(host: str, number: int) -> str:
    """Return why nothing can listen there; empty when it can."""
    try:
        found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                if os.name == "posix":
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return ""

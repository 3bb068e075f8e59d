"""`easel doctor`: one line for each thing that can be wrong, and what to do about it."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from platform import python_implementation, python_version
from typing import Any

from adapters.cli import engines, environment, lock, moderation, ray_settings, styles
from adapters.cli.environment import AppSettings
from adapters.cli.output import text
from adapters.cli.version import described
from adapters.platform import CatalogueMessage, CheckContext, ConfiguredPlatform
from bot.core.access import guarded
from bot.core.errors import BadInput
from bot.core.preferences import RecipeRule
from bot.maintenance import store
from bot.provenance.seal import SealUnavailable
from bot.provenance.sealing import load_seal
from bot.settings import EngineKind, LabelPlace, SealMode, Settings
from bot.storage import data_files
from bot.storage.data_files import MIN_FREE_BYTES
from engine import catalogue, lora_catalogue, models_file, text_folder, upscaler_file
from engine.contract import EngineError
from engine.host import devices
from engine.hub.needs import ready

OLDEST = (3, 11)
GIB = 2**30
_PROBE_SECONDS = 120
_SERVER_SECONDS = 25
_TOLD = {
    RecipeRule.PUBLIC: "cli.doctor.provenance.public",
    RecipeRule.ALWAYS: "cli.doctor.provenance.always",
    RecipeRule.NEVER: "cli.doctor.provenance.never",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `easel doctor`: the thing that was checked, its state, and what to do if it is not well."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def check_python() -> Finding:
    """Check the interpreter."""
    found = f"{python_implementation()} {python_version()}"
    return Finding("python", sys.version_info >= OLDEST, found, text("cli.doctor.python.do"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCheck:
    """What the separate process found of a device.

    Attributes:
        slot: Id of the slot, such as ``cuda:1``; empty where there is one device.
        title: Its name for people; empty where there is no such device.
        total: Bytes of its memory; 0 if unknown.
        free: Bytes of it that are free.
        problem: Why it can't be used; empty if it can.
        plan: The model's memory plan with its reasons; empty if there is none.
        unplanned: Why there is none, with advice; empty also where the model can't be found.
    """

    slot: str
    title: str = ""
    total: int = 0
    free: int = 0
    problem: str = ""
    plan: str = ""
    unplanned: str = ""


async def check_torch(settings: Settings) -> tuple[Finding, Sequence[Finding], str]:
    """Check PyTorch and its devices, the model's memory plan on each, and the upscaler, in a separate process."""
    seen = await _probe(settings)
    if isinstance(seen, Finding):
        return seen, (Finding("plan", True, text("cli.doctor.plan.none")),), ""
    found = [DeviceCheck(**one) for one in seen["devices"]]
    version, titles = f"PyTorch {seen['torch']}", [one.title for one in found if not one.problem]
    if titles:
        torch = Finding("torch", True, f"{version}, {', '.join(titles)}")
    else:
        torch = Finding("torch", False, f"{version}: {found[0].problem}", text("cli.doctor.device.do"))
    return torch, [_plan(one) for one in found], seen.get("upscaler", "")


def _plan(one: DeviceCheck) -> Finding:
    """Return the finding of a device's plan; where there are several devices, it has the slot's name and its memory."""
    # The engine's sentences include the advice.
    said = one.unplanned or one.plan or text("cli.doctor.plan.none")
    if not one.slot:
        return Finding("plan", not one.unplanned, said)
    if one.problem:
        return Finding(one.slot, False, one.problem)
    memory = text("cli.doctor.plan.memory", total=f"{one.total / GIB:.1f}", free=f"{one.free / GIB:.1f}")
    title = one.title.removeprefix(one.slot).strip()
    return Finding(one.slot, not one.unplanned, f"{title}: {memory} {said}".removeprefix(": "))


async def _probe(settings: Settings) -> dict[str, Any] | Finding:
    config = environment.engine_config(settings)
    slots = await asyncio.to_thread(devices.slot_names, devices.local(settings.device))
    named = ",".join(slots) or config.device
    asked = (named, config.precision, config.model, config.models_dir, config.models_file, config.upscaler)
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
    seen: dict[str, Any] = json.loads(out)
    return seen


async def check_ray(settings: Settings) -> Finding:
    """Check Ray, the cluster's token and versions, and whether it has GPUs; in less than 30 s."""
    ok, found = await ray_settings.check(settings)
    return Finding("ray", ok, found, text("cli.doctor.ray.do"))


async def check_comfy(settings: Settings) -> AsyncIterator[Finding]:
    """Check the ComfyUI servers that EASEL_DEVICE names, and the workflows for them; less than 30 s for each."""
    urls = devices.servers(settings.device)
    if not urls:
        return
    if settings.engine is EngineKind.RAY:
        yield Finding("comfy", False, text("cli.comfy.ray"))
        return
    # Where no server is named, no HTTP client is imported.
    from engine.comfy import catalogue as workflow_catalogue  # noqa: PLC0415
    from engine.comfy import probe  # noqa: PLC0415

    read = await asyncio.to_thread(engines.workflows, settings)
    if not devices.local(settings.device):
        try:
            workflow_catalogue.alone(read, settings.model)
        except EngineError as error:
            # The engine's sentences include the advice.
            yield Finding("model", False, str(error))
    if read.problems:
        # The engine's sentences include the advice.
        yield Finding("workflows", False, " ".join(read.problems))
    for url in urls:
        name = devices.server_name(url)
        try:
            async with asyncio.timeout(_SERVER_SECONDS):
                seen = await probe.look(url, read.found)
        except TimeoutError:
            yield Finding(name, False, text("cli.doctor.comfy.slow", n=_SERVER_SECONDS), text("cli.doctor.comfy.do"))
            continue
        if seen.info is None:
            yield Finding(name, False, seen.problem, text("cli.doctor.comfy.do"))
            continue
        found = [text("cli.doctor.comfy.draws", server=seen.info.title, models=", ".join(seen.drawable))]
        if not seen.drawable:
            found = [text("cli.doctor.comfy.none", server=seen.info.title)]
        for model, fit in seen.fits.items():
            if fit.lacks:
                found.append(text("cli.doctor.comfy.lacks", model=model, lacks=fit.lacks))
            elif fit.no_output:
                found.append(text("cli.doctor.comfy.no_output", where=read.found[model].where))
        own = all(fit.ok or read.found[model].shipped for model, fit in seen.fits.items())
        yield Finding(name, own and bool(seen.drawable), " ".join(found), text("cli.doctor.comfy.files.do"))


def check_model(settings: Settings) -> Finding:
    """Check the model that EASEL_MODEL names. Blocking: reads its small files."""
    try:
        spec = _catalogue(settings).specs[0]
    except EngineError as error:
        return Finding("model", False, str(error), text("cli.doctor.model.do"))
    profile = spec.profile
    if not Path(profile.source).exists() and not ready(spec, _models_dir(settings)):
        return Finding("model", True, text("cli.doctor.model.hub", title=profile.title, source=profile.source))
    return Finding("model", True, f"{profile.title} ({profile.source})")


def check_edit_model(settings: Settings) -> Finding | None:
    """Check the model that EASEL_EDIT_MODEL names; None if none is named, or if EASEL_MODEL is wrong already."""
    if settings.edit_model is None:
        return None
    try:
        _catalogue(settings)
    except EngineError:
        return None
    try:
        found = _catalogue(settings, settings.edit_model)
    except EngineError as error:
        # The engine's sentence includes the advice.
        return Finding("editing", False, str(error))
    spec = next(spec for spec in found.specs if spec.profile.name == found.edit_model)
    profile = spec.profile
    if not Path(profile.source).exists() and not ready(spec, _models_dir(settings)):
        return Finding("editing", True, text("cli.doctor.edit_model.hub", title=profile.title, source=profile.source))
    return Finding("editing", True, f"{profile.title} ({profile.source})")


def check_models(settings: Settings) -> Finding | None:
    """Check the operator's own models; None if none is left out."""
    try:
        problems = _catalogue(settings).problems
    except EngineError:
        problems = models_file.read(settings.data_dir / environment.MODELS_FILE, _models_dir(settings)).problems
    return Finding("models", False, " ".join(problems), text("cli.doctor.models.do")) if problems else None


def _catalogue(settings: Settings, edit_model: str = "") -> catalogue.Catalogue:
    return catalogue.read_catalogue(
        settings.model,
        _models_dir(settings),
        str(settings.data_dir / environment.MODELS_FILE),
        edit_model=edit_model,
    )


def _models_dir(settings: Settings) -> str:
    return str(settings.data_dir / environment.MODELS)


def check_loras(settings: Settings) -> Finding | None:
    """Check the LoRAs that requests may name; None where there are none. Blocking: reads the header of each."""
    config = environment.engine_config(settings)
    found = lora_catalogue.read_loras(config.lora_dir, config.models_file)
    if not found.specs and not found.problems:
        return None
    said = " ".join([text("cli.doctor.loras", n=len(found.specs)), *found.problems])
    return Finding("loras", not found.problems, said, text("cli.doctor.loras.do"))


def check_upscaler(settings: Settings, refused: str = "") -> Finding | None:
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


def check_texts(settings: Settings) -> Finding | None:
    """Check the models of EASEL_TEXT_MODEL and EASEL_CAPTION_MODEL; None if neither is named."""
    config = environment.engine_config(settings)
    named = {text_folder.TEXT: config.text_model, text_folder.CAPTION: config.caption_model}
    named = {setting: source for setting, source in named.items() if source}
    if not named:
        return None
    try:
        found = [str(text_folder.locate(setting, source, config.models_dir)) for setting, source in named.items()]
    except EngineError as error:  # with advice
        return Finding("texts", False, str(error))
    return Finding("texts", True, text("cli.doctor.texts", paths=", ".join(found)))


def check_folder(settings: Settings) -> Finding:
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


async def check_database(settings: Settings) -> Finding:
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


async def check_clock(settings: Settings) -> Finding | None:
    """Check the machine's clock; None if it is not doubted."""
    known = await store.clock_doubted_since(settings.data_dir / environment.DATABASE)
    if known is None:
        return None
    last = f"{datetime.fromtimestamp(known, UTC):%Y-%m-%d %H:%M} UTC"
    return Finding("clock", False, text("cli.doctor.clock.doubted", known=last), text("cli.doctor.clock.do"))


async def check_ledger(settings: Settings) -> Finding:
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


async def check_newcomers(app: AppSettings) -> Finding | None:
    """Count the newcomers who wait for an owner's answer; None if there are none."""
    guarded_platforms = guarded(app.access(enabled_only=False))
    waiting = await store.count_newcomers(app.core.data_dir / environment.DATABASE, guarded_platforms)
    return Finding("newcomers", True, text("cli.newcomers", n=waiting)) if waiting else None


def check_moderation(settings: Settings) -> Finding | None:
    """The operator's words and the picture classifier; None where neither is set up."""
    try:
        own = moderation.read_words(settings.data_dir / moderation.WORDS_FILE)
        labels = moderation.unsafe_labels(settings)
    except (BadInput, EngineError) as error:
        return Finding(
            "moderation", False, text(error.key, **error.params) if isinstance(error, BadInput) else str(error)
        )
    if own is None and not labels:
        return None
    added, removed = (0, 0) if own is None else (len(own.added), len(own.removed))
    pictures = ", ".join(labels) or text("cli.doctor.moderation.none")
    found = text("cli.doctor.moderation", added=added, removed=removed, pictures=pictures)
    if own is not None and own.bad:
        lines = ", ".join(str(number) for number, _ in own.bad)
        advice = text("cli.doctor.moderation.do", file=moderation.WORDS_FILE, lines=lines)
        return Finding("moderation", False, found, advice)
    return Finding("moderation", True, found)


def check_provenance(settings: Settings) -> Finding:
    """What picture files say, and whether they are signed."""
    told = text(_TOLD[settings.provenance_recipe])
    try:
        seal = load_seal(settings)
        if seal is not None:
            seal.check()
    except BadInput as refusal:
        return Finding("provenance", False, text(refusal.key, **refusal.params), text("cli.doctor.provenance.do"))
    except SealUnavailable as error:
        unusable = text("refusal.seal.unusable", reason=str(error))
        return Finding("provenance", False, unusable, text("cli.doctor.provenance.do"))
    if seal is not None:
        signed = "cli.doctor.provenance.signed"
    elif importlib.util.find_spec("c2pa") is None:
        signed = "cli.doctor.provenance.no_package"
    else:
        off = settings.provenance_c2pa is SealMode.OFF
        signed = "cli.doctor.provenance.off" if off else "cli.doctor.provenance.no_keys"
    seen = ""
    if settings.provenance_label is LabelPlace.CORNER:
        seen = text("cli.doctor.provenance.label")
    elif settings.provenance_aigc_producer:
        seen = text("cli.doctor.provenance.no_label")
    named = text("cli.doctor.provenance.name", name=settings.provenance_name) if settings.provenance_name else ""
    return Finding("provenance", True, " ".join(filter(None, (told, named, seen, text(signed)))))


def check_styles(data_dir: Path) -> Finding | None:
    """The operator's styles; None where there are no files."""
    found = styles.load(data_dir)
    if not found.own and not found.problems:
        return None
    said = [text("cli.doctor.styles", n=found.own), *(text(each.key, **each.params) for each in found.replaced)]
    problems = [text(each.key, **each.params) for each in found.problems]
    advice = text("cli.doctor.styles.do") if problems else ""
    return Finding("styles", not problems, " ".join([*said, *problems]), advice)


async def check_platform(settings: Settings, one: ConfiguredPlatform) -> AsyncIterator[Finding]:
    """Run a platform's own checks."""
    context = CheckContext(settings, lambda: lock.holder_of(settings.data_dir))
    async for result in one.check(context):
        advice = "" if result.advice is None else _sentence(result.advice)
        yield Finding(result.name, result.ok, _sentence(result.found), advice)


def _sentence(message: CatalogueMessage) -> str:
    return text(message.key, **message.params)


def main(args: argparse.Namespace) -> int:
    """Print the findings. Returns 0 when all is well, else 1; raises Refusal when the settings can't be read."""
    return asyncio.run(_main(as_json=args.json))


async def _main(*, as_json: bool) -> int:
    findings = []
    async for finding in _findings():
        findings.append(finding)
        if not as_json:
            _print(finding)
    ok = all(finding.ok for finding in findings)
    if as_json:
        print(json.dumps({"ok": ok, "checks": [asdict(f) for f in findings]}, ensure_ascii=False))  # noqa: T201 - its output
    return 0 if ok else 1


async def _findings() -> AsyncIterator[Finding]:
    app = environment.load()
    settings = app.core
    yield Finding("easel", True, await asyncio.to_thread(described))
    yield check_python()
    draws_here = settings.engine is EngineKind.RAY or bool(devices.local(settings.device))
    plans: Sequence[Finding] = ()
    refused = ""
    if settings.engine is EngineKind.RAY:
        yield await check_ray(settings)
    elif draws_here:
        torch_found, plans, refused = await check_torch(settings)
        yield torch_found
    async for finding in check_comfy(settings):
        yield finding
    if draws_here:
        yield await asyncio.to_thread(check_model, settings)
    optional = [
        await asyncio.to_thread(check_edit_model, settings),
        await asyncio.to_thread(check_models, settings),
        await asyncio.to_thread(check_loras, settings),
        *plans,
        await asyncio.to_thread(check_upscaler, settings, refused),
        await asyncio.to_thread(check_texts, settings),
    ]
    for finding in filter(None, optional):
        yield finding
    yield await asyncio.to_thread(check_folder, settings)
    yield await check_database(settings)
    yield await check_ledger(settings)
    optional = [
        await check_clock(settings),
        await check_newcomers(app),
        await asyncio.to_thread(check_moderation, settings),
        await asyncio.to_thread(check_provenance, settings),
        await asyncio.to_thread(check_styles, settings.data_dir),
    ]
    for finding in filter(None, optional):
        yield finding
    for one in app.platforms:
        async for finding in check_platform(settings, one):
            yield finding


def _print(finding: Finding) -> None:
    mark = text("cli.doctor.ok") if finding.ok else text("cli.doctor.fail")
    print(f"{mark}  {finding.name:<9} {finding.found}", flush=True)  # noqa: T201 - its output
    if not finding.ok and finding.advice:
        print(f"      {'':<9} {finding.advice}", flush=True)  # noqa: T201 - its output

"""`easel model list | pull NAME | remove NAME`: the models and their files on this disk."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from adapters.cli import environment, lock
from adapters.cli.output import echo, refusal_of, report_error, text, warn
from bot.core.errors import BadInput, NotAllowed, NotFound, Refusal, Unavailable
from bot.settings import Settings
from engine import catalogue, models_file
from engine.contract import Capability, EngineConfig, EngineError, Profile, UnknownModel
from engine.families.registry import DEMO, known_models
from engine.hub import cache, fetch, lockfile, pipelines
from engine.hub import needs as hub_needs
from engine.hub.errors import DiskFull, FetchError
from engine.hub.names import is_repo, split_file
from engine.hub.needs import Need
from engine.hub.progress import DownloadProgress, size
from engine.spec import ModelSpec

QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_VERBOSITY": "error"}
_SHORT = 8
"""Shown digits of a commit."""


def main(args: argparse.Namespace) -> int:
    """List, fetch or remove. Returns 0; raises Refusal."""
    settings = environment.settings()
    # The hub's library reads its environment at import, which happens later.
    os.environ.update({**environment.hub(), **QUIET})
    models = KnownModels.of(settings)
    try:
        match args.action:
            case "list":
                _list(models)
            case "pull":
                _pull(models, args.name)
            case _:
                _remove(models, args.name)
    except FetchError as error:
        kind: type[Refusal] = Unavailable if error.passing or isinstance(error, DiskFull) else BadInput
        raise kind("cli.model.cant", reason=str(error)) from None
    return 0


@dataclass(frozen=True, slots=True)
class KnownModels:
    """The models that are known here.

    Attributes:
        settings: The settings.
        config: The engine's configuration.
        specs: All named models: the operator's own, then the built-in ones.
        default: The model that EASEL_MODEL names; None if it does not exist.
        problem: The error if there is no default.
        rejected: Errors of rejected tables of the operator's file, by name.
        left_out: All errors of that file.
    """

    settings: Settings
    config: EngineConfig
    specs: tuple[ModelSpec, ...]
    default: ModelSpec | None
    problem: EngineError | None
    rejected: Mapping[str, str]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings) -> KnownModels:
        """Read the operator's file and the catalogue."""
        config = environment.engine_config(settings)
        own = models_file.read(Path(config.models_file), config.models_dir)
        specs = {spec.profile.name: spec for spec in (*known_models(), *own.specs)}
        for name in own.rejected:
            specs.pop(name, None)
        try:
            found = catalogue.read_catalogue(config.model, config.models_dir, config.models_file)
        except EngineError as error:
            return cls(settings, config, tuple(specs.values()), None, error, own.rejected, own.problems)
        default = found.specs[0]
        specs.setdefault(default.profile.name, default)
        return cls(settings, config, tuple(specs.values()), default, None, own.rejected, found.problems)

    def named(self, name: str) -> ModelSpec | None:
        """Return the model of that name or hub id."""
        by_name = (spec for spec in self.specs if spec.profile.name == name.lower())
        by_source = (spec for spec in self.specs if spec.profile.source.lower() == name.lower() and not spec.base)
        return next(by_name, None) or next(by_source, None)

    def needs(self, name: str) -> tuple[Need, ...]:
        """Return the downloads of a name, a hub id or a file on a hub. Raises Refusal if it is unknown."""
        if name in self.rejected:
            raise refusal_of(UnknownModel(self.rejected[name]))
        if (spec := self.named(name)) is not None:
            found = hub_needs.needs(spec)
            if not found:
                bundled = spec.profile.name == DEMO
                raise BadInput("cli.model.bundled" if bundled else "cli.model.local", name=name)
            if spec == self.default and spec.profile.source == self.config.model and spec not in known_models():
                # EASEL_MODEL is the hub id of a model that only its own files describe.
                return tuple(replace(need, known=False) for need in found)
            return found
        if Path(name).exists():
            raise BadInput("cli.model.local", name=name)
        if is_repo(name) or split_file(name) is not None:
            return (Need(name, known=False),)
        raise NotFound("cli.model.unknown", name=name, names=", ".join(spec.profile.name for spec in self.specs))


def _list(models: KnownModels) -> None:
    folder = models.config.models_dir
    width = max(len(spec.profile.name) for spec in models.specs)
    known = set()
    for spec in models.specs:
        known |= {need.repo for need in hub_needs.needs(spec)}
        mark = "*" if models.default is not None and spec.profile.name == models.default.profile.name else " "
        source = "" if spec.profile.name == DEMO else spec.transformer or spec.profile.source
        facts = (spec.profile.title, source, _edits(spec.profile), licence_of(spec.profile))
        line = f"{mark} {spec.profile.name:<{width}}  {_state(spec, folder)}  [{'; '.join(filter(None, facts))}]"
        print(line, flush=True)  # noqa: T201 - its output
    for repo in cache.repos(folder):
        if repo not in known:
            echo("cli.model.other", repo=repo, size=size(cache.disk_usage(repo, folder)))
    echo("cli.model.folder", folder=str(cache.cache_root(folder)))
    for sentence in models.left_out:
        report_error(refusal_of(UnknownModel(sentence)))
    if models.problem is not None and str(models.problem) not in models.left_out:
        report_error(refusal_of(models.problem))


def _edits(profile: Profile) -> str:
    """Return how many reference pictures a model takes; empty where it takes none."""
    if Capability.EDIT not in profile.can:
        return ""
    return text("cli.model.only_edits" if profile.needs_reference else "cli.model.edits", n=profile.references)


def licence_of(profile: Profile) -> str:
    """Return the licence of a model's weights and what an operator should know of it."""
    terms = ", ".join(text(f"licence.{term}") for term in profile.licence_terms)
    return text("cli.model.licence", licence=profile.licence, terms=terms) if terms else profile.licence


def _state(spec: ModelSpec, folder: str) -> str:
    needed = hub_needs.needs(spec)
    if not needed:
        return text("cli.model.state.bundled" if spec.profile.name == DEMO else "cli.model.state.local")
    held = hub_needs.disk_usage(spec, folder)
    if hub_needs.ready(spec, folder):
        own = next((need for need in needed if need.own), needed[0])
        commit = lockfile.pinned(own.repo, folder)[:_SHORT]
        return text("cli.model.state.here", size=size(held), commit=commit)
    return text("cli.model.state.part", size=size(held)) if held else text("cli.model.state.absent")


def _pull(models: KnownModels, name: str) -> None:
    folder = models.config.models_dir
    running = lock.holder_of(models.settings.data_dir)
    changed = False
    needed = models.needs(name)
    if (spec := models.named(name)) is not None and spec.profile.licence_terms:
        echo("cli.model.pull.licence", title=spec.profile.title, licence=licence_of(spec.profile))
    for need in needed:
        pulled = _fetched(need, folder)
        commit, before = pulled.revision[:_SHORT], pulled.before[:_SHORT]
        if pulled.before not in {"", pulled.revision}:
            changed = True
            echo("cli.model.pull.newer", source=need.source, commit=commit, before=before, size=size(pulled.fetched))
        elif pulled.fetched:
            echo("cli.model.pull.done", source=need.source, commit=commit, size=size(pulled.fetched))
        else:
            echo("cli.model.pull.same", source=need.source, commit=commit)
        # A running service may still read the old commit's files; the next pull removes them.
        if running is None and (freed := cache.prune(need.repo, folder)):
            echo("cli.model.pull.freed", size=size(freed))
    if changed and running is not None:
        warn("cli.model.pull.restart", holder=running)


def _fetched(need: Need, folder: str) -> fetch.Pulled:
    """Fetch with a progress bar on a terminal, else with progress lines; both on stderr."""
    check = None if need.known else pipelines.check
    try:
        if not sys.stderr.isatty():
            return fetch.pull(
                need.source,
                folder,
                _Lines(need.source),
                selection=need.selection,
                check=check,
                announce=partial(_announce, need),
            )
        with tqdm(desc=need.source, unit="B", unit_scale=True, leave=False, file=sys.stderr) as bar:

            def report(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            def announce(missing: int, total: int) -> None:
                bar.clear()
                _announce(need, missing, total)

            return fetch.pull(need.source, folder, report, selection=need.selection, check=check, announce=announce)
    except KeyboardInterrupt:
        warn("cli.model.pull.stopped", source=need.source)
        raise


def _announce(need: Need, missing: int, total: int) -> None:
    """Say how large a download is before it begins."""
    if missing:
        echo("cli.model.pull.size", source=need.source, size=size(missing), total=size(total))


class _Lines:
    """Reports a download as lines."""

    def __init__(self, source: str) -> None:
        self._progress = DownloadProgress(source)

    def __call__(self, done: int, total: int) -> None:
        if line := self._progress.line(done, total, time.monotonic()):
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - its voice where there is no terminal


def _remove(models: KnownModels, name: str) -> None:
    folder = models.config.models_dir
    # A base model stays: other models use it, and it has its own name.
    doomed = list(dict.fromkeys(need.repo for need in models.needs(name) if need.own))
    running = lock.holder_of(models.settings.data_dir)
    if running is not None:
        edits = models.named(models.config.edit_model) if models.config.edit_model else None
        for setting, spec in (("EASEL_MODEL", models.default), ("EASEL_EDIT_MODEL", edits)):
            used = set() if spec is None else {need.repo for need in hub_needs.needs(spec)}
            if used & set(doomed):
                raise NotAllowed("cli.model.remove.running", name=name, holder=running, setting=setting)
    held = [repo for repo in doomed if cache.disk_usage(repo, folder)]
    if not held:
        raise NotFound("cli.model.remove.none", name=name, folder=str(cache.cache_root(folder)))
    for repo in held:
        echo("cli.model.remove.done", repo=repo, size=size(cache.remove(repo, folder)))

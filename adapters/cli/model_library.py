"""The models on this disk for the owner's pages: what is here, downloads in a thread, and removal."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from adapters.cli import environment
from adapters.cli.model import QUIET, KnownModels
from bot.cards import i18n
from bot.core.errors import BadInput, NotAllowed, NotFound, Unavailable
from bot.owner.ports import Library, LibraryModel, ModelState, PullProgress
from bot.settings import Settings
from engine.families.registry import DEMO
from engine.hub import cache, fetch, lockfile, pipelines
from engine.hub import needs as hub_needs
from engine.hub.errors import FetchCancelled, FetchError
from engine.hub.needs import Need
from engine.spec import ModelSpec

KEPT_SECONDS = 10.0
"""Seconds for which an answer is kept where nothing was changed here: it measures the files of every model."""

_SHORT = 8
"""Shown digits of a commit."""

log = logging.getLogger(__name__)


class DiskLibrary:
    """Implements ``bot.owner.ports.ModelLibrary`` for the models folder. One model is downloaded at a time.

    The download runs in a daemon thread, so that a stop of the service does not wait for a slow server; what is here is
    kept, and the next download resumes it.
    """

    def __init__(self, settings: Settings) -> None:
        """Args:
        settings: The settings.
        """
        self._settings = settings
        self._folder = environment.engine_config(settings).models_dir
        self._found: dict[str, Library] = {}
        self._found_at = float("-inf")
        self._pull: PullProgress | None = None
        self._stop = threading.Event()

    async def read(self, locale: str) -> Library:
        """See ModelLibrary."""
        now = time.monotonic()
        if now - self._found_at > KEPT_SECONDS:
            self._found, self._found_at = {}, now
        found = self._found.get(locale)
        if found is None:
            found = self._found[locale] = await asyncio.to_thread(self._read, locale)
        return replace(found, pull=self._pull)

    def _read(self, locale: str) -> Library:
        known = KnownModels.of(self._settings)
        models = [self._model(spec, locale) for spec in known.specs]
        named = {need.repo for spec in known.specs for need in hub_needs.needs(spec)}
        for repo in cache.repos(self._folder):
            if repo not in named:
                size, commit = cache.disk_usage(repo, self._folder), lockfile.pinned(repo, self._folder)[:_SHORT]
                models.append(LibraryModel(repo, "", repo, ModelState.HERE, size, commit, removable=True))
        return Library(str(cache.cache_root(self._folder)), models, problems=known.left_out)

    def _model(self, spec: ModelSpec, locale: str) -> LibraryModel:
        profile, needed = spec.profile, hub_needs.needs(spec)
        held, commit = 0, ""
        if not needed:
            state = ModelState.BUNDLED if profile.name == DEMO else ModelState.LOCAL
        else:
            held = hub_needs.disk_usage(spec, self._folder)
            own = next((need for need in needed if need.own), needed[0])
            commit = lockfile.pinned(own.repo, self._folder)[:_SHORT]
            here = hub_needs.ready(spec, self._folder)
            state = ModelState.HERE if here else ModelState.PART if held else ModelState.ABSENT
        return LibraryModel(
            profile.name,
            profile.title,
            "" if profile.name == DEMO else spec.transformer or profile.source,
            state,
            held,
            commit,
            profile.licence,
            [i18n.text(locale, f"licence.{term}") for term in profile.licence_terms],
            removable=bool(held),
        )

    async def pull(self, name: str) -> None:
        """See ModelLibrary."""
        if self._pull is not None and self._pull.running:
            raise Unavailable("unavailable.models.busy", name=self._pull.name)
        needs = await asyncio.to_thread(lambda: KnownModels.of(self._settings).needs(name))
        # Another call may have begun a download meanwhile.
        if self._pull is not None and self._pull.running:
            raise Unavailable("unavailable.models.busy", name=self._pull.name)
        # The hub's library reads its environment at import, which happens later.
        os.environ.update({**environment.hub(), **QUIET})
        self._pull = PullProgress(name)
        self._stop = threading.Event()
        threading.Thread(target=self._work, args=(name, needs, self._stop), name="pull", daemon=True).start()

    def _work(self, name: str, needs: Sequence[Need], stop: threading.Event) -> None:
        def report(done: int, total: int) -> None:
            if stop.is_set():
                raise FetchCancelled
            self._pull = PullProgress(name, done, total)

        fetched = 0
        try:
            for need in needs:
                check = None if need.known else pipelines.check
                pulled = fetch.pull(need.source, self._folder, report, selection=need.selection, check=check)
                fetched += pulled.fetched
        except FetchCancelled:
            self._end(stopped=True)
        except FetchError as error:
            self._end(problem=str(error))
        except Exception as error:  # whatever the hub's library raises: the page must say that it ended
            log.exception("the download of %s ended unexpectedly", name)
            self._end(problem=f"It ended unexpectedly ({type(error).__name__}); the log says more.")
        else:
            self._end(fetched=fetched)

    def _end(self, *, stopped: bool = False, problem: str = "", fetched: int = 0) -> None:
        assert self._pull is not None
        self._found_at = float("-inf")
        self._pull = replace(self._pull, running=False, stopped=stopped, problem=problem, fetched=fetched)

    async def stop_pull(self) -> None:
        """See ModelLibrary."""
        self._stop.set()

    async def remove(self, name: str) -> int:
        """See ModelLibrary."""
        try:
            return await asyncio.to_thread(self._remove, name)
        except FetchError as error:
            raise BadInput("cli.model.cant", reason=str(error)) from None

    def _remove(self, name: str) -> int:
        known = KnownModels.of(self._settings)
        # A base model stays: other models use it, and it has its own name.
        doomed = dict.fromkeys(need.repo for need in known.needs(name) if need.own)
        edits = known.named(known.config.edit_model) if known.config.edit_model else None
        for spec in (known.default, edits):
            if spec is not None and {need.repo for need in hub_needs.needs(spec)} & doomed.keys():
                raise NotAllowed("refusal.models.served", name=name)
        held = [repo for repo in doomed if cache.disk_usage(repo, self._folder)]
        if not held:
            raise NotFound("cli.model.remove.none", name=name, folder=str(cache.cache_root(self._folder)))
        freed = sum(cache.remove(repo, self._folder) for repo in held)
        self._found_at = float("-inf")
        return freed

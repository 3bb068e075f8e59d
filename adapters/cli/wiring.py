"""The composition root: builds everything from the settings, and owns what runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector

from adapters.cli import environment, styles, tracing
from adapters.cli.clock import SystemClock
from adapters.cli.engines import engine_of
from adapters.cli.environment import AppSettings
from adapters.cli.machine import LocalMachine
from adapters.cli.model_library import DiskLibrary
from adapters.cli.moderation import classifier, words
from adapters.cli.output import refusal_of
from adapters.cli.setting_list import all_settings
from adapters.platform import PlatformContext, PlatformService
from bot.access.claims import refresh_owners
from bot.core.access import Owners
from bot.core.file_marks import unsigned
from bot.core.preferences import Preferences
from bot.core.waits import ExponentialBackoff
from bot.dispatch.service import Dispatch
from bot.observability.metrics import Metrics
from bot.owner.ports import Surroundings
from bot.provenance.facts import marking_rules
from bot.provenance.inspector import Inspector, root_certificate
from bot.provenance.sealing import Sealing, load_seal
from bot.quotas.rules.terms import parse_terms
from bot.storage import data_files
from bot.storage.database import Database
from bot.storage.preferences import refresh as refresh_preferences
from bot.studio import Studio
from engine.contract import Engine, EngineConfig, EngineError

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds until a platform that ended unexpectedly is restarted."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Easel:
    """The running service, built and wired.

    Attributes:
        title: The model's proper name.
        studio: What people can do.
        dispatch: Draws and delivers.
        services: The platforms that are on.
        db: The database.
        owners: The owners that are known.
    """

    title: str
    studio: Studio
    dispatch: Dispatch
    services: Sequence[PlatformService]
    db: Database
    owners: Owners

    def status(self) -> str:
        """Return one line for operators: the engine's phase, and how many jobs wait."""
        return f"{self.title}: {self.studio.engine().phase}, {self.studio.load().waiting} waiting"

    async def run(self, stop: asyncio.Event) -> int:
        """Serve until ``stop`` is set. Returns the exit code: 1 when no platform is left that could serve anybody."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.dispatch.ended(), name="dispatch")
            running = {tasks.create_task(self._keep(service), name=service.name) for service in self.services}
            stopped = tasks.create_task(stop.wait(), name="stop")
            left = set(running)
            while not stopped.done() and left:
                await asyncio.wait({stopped, *left}, return_when=asyncio.FIRST_COMPLETED)
                left = {task for task in left if not task.done()}
            failed = not stopped.done()
            if failed:
                log.critical("nothing is left to serve: every platform is off")
            # Dispatch stops first: messages that are being sent need the platforms.
            await self.dispatch.stop()
            for task in (stopped, *running):
                task.cancel()
        return int(failed)

    async def _keep(self, service: PlatformService) -> None:
        """Run one platform and restart it after an unexpected error; the other platforms are not affected."""
        backoff = ExponentialBackoff(FIRST_PAUSE, LONGEST_PAUSE)
        try:
            while True:
                try:
                    if service.surface is not None:
                        await self.dispatch.attach(service.name, service.surface)
                    return await service.run()
                except Exception:  # whatever its library raises
                    pause = backoff.fail()
                    log.exception("%s ended unexpectedly; again in %g s", service.name, pause)
                problem = f"{service.name} ended unexpectedly; Easel starts it again by itself, see the log."
                self.studio.connection_problem(service.name, problem)
                await asyncio.sleep(pause)
        finally:
            if service.surface is not None:
                self.dispatch.detach(service.name)


@asynccontextmanager
async def opened(app: AppSettings, make_engine: Callable[[EngineConfig], Engine] | None = None) -> AsyncIterator[Easel]:
    """Build everything, start it, and close it again in the opposite order.

    Args:
        app: The settings.
        make_engine: Builds an engine of one device; None: ``engine_of`` builds the one of the settings.

    Raises:
        Refusal: The quota, the model, the database, the port, the classifier or the file of words can't be used.
    """
    settings = app.core
    clock = SystemClock()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    quota = parse_terms(settings.quota)
    try:
        # In a thread, since it reads the model's small files.
        if make_engine is None:
            engine = await asyncio.to_thread(engine_of, settings)
        else:
            engine = await asyncio.to_thread(make_engine, environment.engine_config(settings))
    except EngineError as error:
        raise refusal_of(error) from None
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(data_files.restrict_permissions, settings.data_dir, environment.PICTURES)
        db = await stack.enter_async_context(await Database.open(settings.data_dir / environment.DATABASE))
        owners = app.owners()
        await refresh_owners(db, owners)
        preferences = Preferences()
        await refresh_preferences(db, preferences)
        pictures = settings.data_dir / environment.PICTURES
        access = app.access()
        traces = await asyncio.to_thread(tracing.traces, settings)
        stack.push_async_callback(asyncio.to_thread, traces.close)
        metrics = Metrics(registry, traces)
        moderator = await stack.enter_async_context(classifier(settings))
        seal = await asyncio.to_thread(load_seal, settings)
        sealing = None if seal is None else Sealing(seal, count=metrics.signed)
        dispatch = Dispatch(
            db,
            pictures,
            engine,
            clock=clock,
            metrics=metrics,
            keep_free=settings.keep_free,
            owners=owners,
            access=access,
            limit=settings.queue_limit,
            preferences=preferences,
            moderator=moderator,
            marking=marking_rules(settings),
            sealing=sealing,
        )
        studio = Studio(
            db,
            engine,
            dispatch,
            dispatch.live,
            thumbnails=dispatch.thumbnails,
            clock=clock,
            pictures=pictures,
            sheets=settings.data_dir / environment.SHEETS,
            quota=quota,
            max_counts={one.name: one.platform.limits.max_count for one in app.platforms},
            link=next((link for one in app.enabled if (link := one.settings.public_link)), ""),
            owners=owners,
            access=access,
            words=await words(settings.data_dir),
            styles=(await asyncio.to_thread(styles.logged, settings.data_dir)).styles,
            preferences=preferences,
            metrics=metrics,
            keeps_manifests=sealing is not None,
            sign_copy=unsigned if sealing is None else sealing.sign_copy,
            surroundings=Surroundings(
                DiskLibrary(settings),
                LocalMachine(),
                await asyncio.to_thread(all_settings, app),
                settings.keep_free,
                version("easel"),
            ),
            inspector=Inspector(partial(root_certificate, settings)),
            surfaces=dispatch.surfaces,
        )
        context = PlatformContext(settings, studio, registry)
        services = [platform.build(context) for platform in app.enabled]
        # Before a model is loaded: a port that is taken is reported at once.
        for service in services:
            stack.push_async_callback(service.stop)
            await service.start()
        stack.push_async_callback(engine.aclose)
        await engine.start()
        stack.push_async_callback(dispatch.stop)
        await dispatch.start(studio.picture_fetcher(dispatch.surfaces), studio.draft_writer(dispatch.surfaces))
        await studio.release_held_jobs()
        yield Easel(engine.profiles()[0].title, studio, dispatch, services, db, owners)

"""The composition root: builds everything from the settings, and owns what runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Protocol

from prometheus_client import CollectorRegistry

from adapters.cli import styles, surroundings
from adapters.cli.clock import SystemClock
from adapters.cli.moderation import classifier, words
from adapters.cli.platforms import PLATFORMS, Service
from adapters.cli.say import refusal_of
from bot.backoff import Backoff
from bot.dispatch.service import Dispatch
from bot.model.errors import BadInput
from bot.observe.metrics import Metrics
from bot.policy.owners import Owners
from bot.policy.quotas import parse_terms
from bot.settings import Settings
from bot.store import private
from bot.store.database import Database
from bot.studio import Studio
from bot.usecases.owners import refresh
from engine.contract import Engine, EngineConfig, EngineError
from engine.host.process_engine import ProcessEngine

MAX_COUNT = 16
"""Most pictures in one request on the page."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds until a platform that ended unexpectedly is run again."""

log = logging.getLogger(__name__)


class Page(Protocol):
    """The page as `easel serve` runs it."""

    async def start(self) -> str:
        """Listen; returns the address that people open. Raises OSError when the port can't be had."""

    async def stop(self) -> None:
        """Stop listening and end what is open, within 3 s."""

    @property
    def link(self) -> str | None:
        """Once it listens: the address that lets others than this machine in; None where nobody else can reach it."""


@dataclass(frozen=True, slots=True)
class Easel:
    """Everything that runs, built and wired.

    Attributes:
        title: The model's proper name.
        url: Where the page is; None when it is off.
        studio: What people can do.
        dispatch: Draws and delivers.
        platforms: The chat platforms whose token is set.
        db: Where the rows are.
        owners: Whose it is, as far as that is known.
        link: The page's address with its token, where others than this machine can reach it; None otherwise.
    """

    title: str
    url: str | None
    studio: Studio
    dispatch: Dispatch
    platforms: Sequence[Service]
    db: Database
    owners: Owners
    link: str | None = None

    async def run(self, stop: asyncio.Event) -> int:
        """Work until ``stop`` is set. Returns the exit code: 1 when nothing is left that could serve anybody."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.dispatch.ended(), name="dispatch")
            running = {tasks.create_task(self._keep(p), name=p.name) for p in self.platforms}
            stopped = tasks.create_task(stop.wait(), name="stop")
            left = set(running)
            while not stopped.done() and (left or self.url is not None):
                await asyncio.wait({stopped, *left}, return_when=asyncio.FIRST_COMPLETED)
                left = {task for task in left if not task.done()}
            failed = not stopped.done()
            if failed:
                log.critical("nothing is left to serve: every platform is off, and so is the page")
            # First of all, what is being sent is sent to its end; for that the platforms must be there still.
            await self.dispatch.stop()
            for task in (stopped, *running):
                task.cancel()
        return int(failed)

    async def _keep(self, service: Service) -> None:
        """Run one platform, again and again if it fails unexpectedly: the others go on whatever happens to it."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        try:
            while True:
                try:
                    await self.dispatch.attach(service.name, service.surface)
                    return await service.run()
                except Exception:  # whatever its library raises
                    pause = backoff.fail()
                    log.exception("%s ended unexpectedly; again in %g s", service.name, pause)
                problem = f"{service.name} ended unexpectedly; Easel starts it again by itself, see the log."
                self.studio.connection_problem(service.name, problem)
                await asyncio.sleep(pause)
        finally:
            self.dispatch.detach(service.name)


@asynccontextmanager
async def _page(
    settings: Settings, studio: Studio, registry: CollectorRegistry
) -> AsyncIterator[tuple[str | None, str | None]]:
    """Serve the page while the block runs; yields its address and its link (see Easel), None when it is off."""
    if settings.web_port == 0:
        yield None, None
        return
    web: Page = import_module("adapters.web.service").build(settings, studio, registry)
    try:
        url = await web.start()
    except OSError as error:
        await web.stop()
        raise BadInput(
            "cli.port.in_use",
            host=settings.web_host,
            port=str(settings.web_port),
            reason=error.strerror or str(error),
        ) from None
    try:
        yield url, web.link
    finally:
        await web.stop()


async def _owners_changed(db: Database, owners: Owners, dispatch: Dispatch) -> None:
    """Another process may have made or removed an owner."""
    await refresh(db, owners)
    dispatch.asked()


@asynccontextmanager
async def opened(
    settings: Settings, make_engine: Callable[[EngineConfig], Engine] = ProcessEngine
) -> AsyncIterator[Easel]:
    """Build everything, start it, and close it again in the opposite order.

    Args:
        settings: What to build.
        make_engine: Builds what draws; benchmarks put an engine without a device here.

    Raises:
        Refusal: The quota, the model, the database, the port, the classifier or the file of words can't be used.
    """
    clock = SystemClock()
    registry = CollectorRegistry()
    quota = parse_terms(settings.quota)
    try:
        # In a thread, since it reads the model's small files.
        engine = await asyncio.to_thread(make_engine, surroundings.engine_config(settings))
    except EngineError as error:
        raise refusal_of(error) from None
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(private.tighten, settings.data_dir, surroundings.PICTURES)
        db = await stack.enter_async_context(await Database.open(settings.data_dir / surroundings.DATABASE))
        owners = Owners(
            {platform.name: platform.owners(settings) for platform in PLATFORMS if platform.is_on(settings)}
        )
        await refresh(db, owners)
        pictures = settings.data_dir / surroundings.PICTURES
        access = {platform.name: platform.access(settings) for platform in PLATFORMS if platform.is_on(settings)}
        moderator = await stack.enter_async_context(classifier(settings))
        dispatch = Dispatch(
            db,
            pictures,
            engine,
            clock=clock,
            metrics=Metrics(registry),
            keep_free=settings.keep_free,
            owners=owners,
            access=access,
            limit=settings.queue_limit,
            moderator=moderator,
        )
        dispatch.refresh.append(partial(_owners_changed, db, owners, dispatch))
        studio = Studio(
            db,
            engine,
            dispatch,
            dispatch.live,
            clock=clock,
            pictures=pictures,
            sheets=settings.data_dir / surroundings.SHEETS,
            quota=quota,
            max_counts={"web": MAX_COUNT},
            link=settings.web_public_url or "",
            owners=owners,
            access=access,
            words=await words(settings.data_dir),
            styles=(await asyncio.to_thread(styles.logged, settings.data_dir)).styles,
        )
        # The port first: whoever takes it from us shall be named before a model is loaded.
        url, link = await stack.enter_async_context(_page(settings, studio, registry))
        stack.push_async_callback(engine.aclose)
        await engine.start()
        stack.push_async_callback(dispatch.stop)
        await dispatch.start()
        await studio.let_in()
        platforms = [platform.build(settings, studio) for platform in PLATFORMS if platform.is_on(settings)]
        yield Easel(engine.profiles()[0].title, url, studio, dispatch, platforms, db, owners, link)

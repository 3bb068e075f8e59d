"""`easel serve`: one service for one data folder, from its lock to its graceful end."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from adapters.cli import claim, limits, lock, surroundings
from adapters.cli.platforms import PLATFORMS
from adapters.cli.say import say, text
from adapters.cli.wiring import Easel, opened
from bot.model.access import Access, guarded
from bot.model.errors import BadInput
from bot.observe import logs
from bot.settings import Settings
from bot.store import access

STOP_SECONDS = 9.5
"""After a signal, the process ends within this time whatever hangs: rows and files stand a kill at any moment."""

IMPATIENCE_SECONDS = 1.0
"""A second signal counts from so much later on: timeout(1) and some terminals send each one twice."""

UNOWNED: Mapping[Access, str] = MappingProxyType(
    {
        Access.OPEN: "cli.serve.unowned.open",
        Access.APPROVE: "cli.serve.unowned",
        Access.LIST: "cli.serve.unowned.list",
    }
)
"""What is said of a platform without an owner, by who may come in there."""

log = logging.getLogger(__name__)


def main(_args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. Returns the exit code; raises Refusal when it can't start."""
    settings = surroundings.settings()
    if settings.web_port == 0 and not any(platform.is_on(settings) for platform in PLATFORMS):
        raise BadInput("cli.serve.nothing")
    # What is made from here on, models and files of libraries among it, is for its owner alone.
    os.umask(0o077)
    logs.set_up(settings, more_secrets=surroundings.secrets())
    limits.raise_files()
    limits.return_memory()
    with lock.held(settings.data_dir):
        return asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    with _signals(stop):
        async with opened(settings) as easel:
            _announce(easel, settings)
            await _newcomers(easel, settings)
            return await easel.run(stop)


def _announce(easel: Easel, settings: Settings) -> None:
    if easel.url is None:
        say("cli.serve.page_off")
    else:
        say("cli.serve.page", url=easel.url)
    if easel.link is not None:
        # On standard output alone: the token must not reach a log file.
        say("cli.serve.open", where=f"{settings.web_host}:{settings.web_port}", link=easel.link)
    say("cli.serve.model", title=easel.title, folder=str(settings.data_dir.absolute()))
    on = {
        platform.name: text("cli.serve.on")
        if platform.is_on(settings)
        else text("cli.serve.off", setting=platform.setting)
        for platform in PLATFORMS
    }
    say("cli.serve.platforms", **on)


async def _newcomers(easel: Easel, settings: Settings) -> None:
    """Say who waits to come in, and how the bot gets an owner where it has none."""
    async with easel.db.read() as tx:
        waiting = await access.count_open(tx, guarded({p.name: p.access(settings) for p in PLATFORMS}))
    if waiting:
        say("cli.newcomers", n=waiting)
    unowned: dict[Access, list[str]] = {}
    for platform in PLATFORMS:
        if platform.is_on(settings) and not platform.tells_owner and not easel.owners.ids(platform.name):
            unowned.setdefault(platform.access(settings), []).append(platform.title)
    for rule, titles in unowned.items():
        say(UNOWNED[rule], platforms=", ".join(titles))
    if unowned:
        await claim.offer(easel.db)


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Set ``stop`` at the first signal; a second one, or a stop that takes too long, ends the process at once."""
    loop = asyncio.get_running_loop()
    watchdog = threading.Timer(STOP_SECONDS, _give_up)
    watchdog.daemon = True

    first_at = 0.0

    def asked() -> None:
        nonlocal first_at
        if not stop.is_set():
            first_at = loop.time()
            log.info("stopping")
            stop.set()
            watchdog.start()
        elif loop.time() - first_at > IMPATIENCE_SECONDS:
            os._exit(1)

    wanted = [signal.SIGINT, signal.SIGTERM]
    for number in wanted:
        try:
            loop.add_signal_handler(number, asked)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(asked))
    try:
        yield
    finally:
        watchdog.cancel()


def _give_up() -> None:
    log.critical("the stop took over %g s; ending now, the next start puts right what was left", STOP_SECONDS)
    os._exit(1)

"""`easel serve`: the service of one data folder, from its lock to its graceful stop; `easel claim`: a code for its owner."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from types import MappingProxyType

from adapters.cli import environment, lock
from adapters.cli.clock import SystemClock
from adapters.cli.environment import AppSettings
from adapters.cli.output import echo, text, write
from adapters.cli.systemd import Systemd
from adapters.cli.wiring import Easel, opened
from bot.access import claims
from bot.access.store import newcomers as access_rows
from bot.access.store.codes import CODE_SECONDS, CODE_TRIES
from bot.core.access import AccessMode, guarded
from bot.core.errors import BadInput
from bot.observability import logs
from bot.storage.database import Database
from engine.host.imports import collect_rarely, large_imports

log = logging.getLogger(__name__)

STOP_SECONDS = 9.5
"""Seconds after a signal until the process is ended by force; rows and files survive a kill at any moment."""

IMPATIENCE_SECONDS = 1.0
"""Seconds until a second signal counts: timeout(1) and some terminals send each one twice."""

UNOWNED: Mapping[AccessMode, str] = MappingProxyType(
    {
        AccessMode.OPEN: "cli.serve.unowned.open",
        AccessMode.APPROVE: "cli.serve.unowned",
        AccessMode.LIST: "cli.serve.unowned.list",
    }
)
"""Keys of the sentences about a platform without an owner, by access rule."""


def main(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, or print a code. Returns the exit code; raises Refusal when it can't start."""
    if args.command == "claim":
        asyncio.run(_claim())
        return 0
    app = environment.load()
    if not app.enabled:
        variables = sorted(one.platform.variable for one in app.platforms)
        raise BadInput("cli.serve.nothing", settings=", ".join(variables))
    # Files made from here on, those of libraries and models included, are readable by this user alone.
    os.umask(0o077)
    logs.configure(app.core, more_secrets=app.secrets())
    raise_files()
    return_memory()
    systemd = Systemd.from_environment()
    with lock.held(app.core.data_dir):
        return asyncio.run(_serve(app, systemd))


async def _serve(app: AppSettings, systemd: Systemd) -> int:
    stop = asyncio.Event()
    with _signals(stop):
        async with AsyncExitStack() as stack:
            # The libraries of platforms are imported, and what is built lives as long as the process.
            with large_imports():
                easel = await stack.enter_async_context(opened(app))
            collect_rarely()
            _announce(easel, app)
            await _newcomers(easel, app)
            await stack.enter_async_context(systemd.serving(easel.dispatch.is_alive, easel.status))
            return await easel.run(stop)


def _announce(easel: Easel, app: AppSettings) -> None:
    for one in app.platforms:
        if not one.enabled and one.platform.off_notice:
            echo(one.platform.off_notice)
    # On standard output alone: a link may hold a token, which must not reach a log file.
    for notice in (notice for service in easel.services for notice in service.notices):
        echo(notice.key, **notice.params)
    echo("cli.serve.model", title=easel.title, folder=str(app.core.data_dir.absolute()))
    states = [
        text("cli.serve.on", platform=one.platform.title)
        if one.enabled
        else text("cli.serve.off", platform=one.platform.title, setting=one.platform.variable)
        for one in app.platforms
        if not one.platform.off_notice
    ]
    write(" ".join(states), sys.stdout)


async def _newcomers(easel: Easel, app: AppSettings) -> None:
    """Say how many newcomers wait, and how a bot without an owner gets one."""
    async with easel.db.read() as tx:
        waiting = await access_rows.count_open(tx, guarded(app.access(enabled_only=False)))
    if waiting:
        echo("cli.newcomers", n=waiting)
    rules = app.access()
    unowned: dict[AccessMode, list[str]] = {}
    for one in app.enabled:
        if one.name in rules and not one.platform.tells_owner and not easel.owners.ids(one.name):
            unowned.setdefault(rules[one.name], []).append(one.platform.title)
    for rule, titles in unowned.items():
        echo(UNOWNED[rule], platforms=", ".join(titles))
    if unowned:
        await _offer_claim(easel.db)


async def _claim() -> None:
    """Print a new claim code, which ends the one before; a service may be running."""
    async with await Database.open(environment.settings().data_dir / environment.DATABASE) as db:
        await _offer_claim(db)


async def _offer_claim(db: Database) -> None:
    """Create a code that makes its sender an owner, and print it on stdout alone."""
    code = await claims.claim_code(db, SystemClock())
    echo("cli.claim", code=code, minutes=round(CODE_SECONDS / 60), tries=CODE_TRIES)


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Set ``stop`` at the first signal. A second one, or a stop that takes too long, ends the process at once."""
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


MOST_FILES = 65_536
"""Most open files that are requested; some systems allow millions."""

LARGE_BLOCK = 2**20
"""Bytes from which a freed block is returned to the system at once."""

_M_MMAP_THRESHOLD = -3


def return_memory() -> bool:
    """Have the C library return large blocks to the system when they are freed; returns whether it will.

    By default glibc adapts to keep blocks of up to 32 MiB: after large uploads the process would stay hundreds of MiB
    larger.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK))


def raise_files() -> None:
    """Raise the soft limit of open files to the hard limit: every connection and child process needs some."""
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("the limit of %d open files can't be raised: %s", soft, error)

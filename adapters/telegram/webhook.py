"""Webhook: receives a bot's updates at an address that Telegram calls, and keeps that address set."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
import socket
from collections import deque
from http import HTTPStatus

from aiogram import Bot
from aiogram.types import Update
from aiohttp import web
from yarl import URL

from adapters.telegram.client import ApiRetrier, PollingOptions
from adapters.telegram.updates import KINDS, UpdateHandler, UpdateScheduler, read_update

log = logging.getLogger(__name__)

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header's name
MAX_BODY = 2**20
"""Most bytes of an update; the longest that Telegram sends have some ten thousand."""

_CONNECTIONS = 40
"""Most updates that Telegram sends at one time."""
_REMEMBERED = 1000
_CROWDED = _CONNECTIONS // 2
_SECONDS = 15
_CLOSE_SECONDS = 2.0


class Webhook:
    """Receives updates. Each is answered once it is saved; Telegram sends the others again.

    The secret token is a new one at each start: Telegram sends it with every update, and nobody else knows it.

    Args:
        url: The public address, which Telegram calls.
        bot: The API client.
        handler: Handles an update until it is saved.
        retrier: Repeats calls until Telegram answers, and reports problems.
        options: Pauses.
    """

    def __init__(
        self, url: str, bot: Bot, handler: UpdateHandler, retrier: ApiRetrier, options: PollingOptions
    ) -> None:
        self._url = url
        self._bot = bot
        self._handler = handler
        self._retrier = retrier
        self._options = options
        self._secret = secrets.token_urlsafe(32)
        self._turns = UpdateScheduler(lambda update: handler.handle(update, self._crowded))
        self._running: dict[int, asyncio.Task[None]] = {}
        self._saved: deque[int] = deque(maxlen=_REMEMBERED)
        self._reached = False  # since Telegram was asked last

    async def run(self, listening: socket.socket) -> None:
        """Receive until cancelled, at a socket that listens."""
        async with asyncio.TaskGroup() as group:
            app = web.Application(client_max_size=MAX_BODY)

            async def receive(request: web.Request) -> web.Response:
                return await self._receive(request, group)

            app.router.add_post(URL(self._url).path or "/", receive)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_SECONDS)
            await runner.setup()
            try:
                await web.SockSite(runner, listening).start()
                while True:
                    await self._retrier.persist(self._set)
                    log.info("Telegram sends updates to %s", self._url)
                    await self._watch()
            finally:
                await runner.cleanup()

    async def _set(self) -> None:
        await self._bot.set_webhook(
            self._url,
            secret_token=self._secret,
            max_connections=_CONNECTIONS,
            allowed_updates=KINDS,
            drop_pending_updates=False,
            request_timeout=_SECONDS,
        )

    async def _watch(self) -> None:
        """Report what Telegram says of the webhook; return when it is not set any more.

        Telegram tries again after growing pauses, so a failure holds until an update comes or none is pending.
        """
        failed_at, why = 0.0, ""
        while True:
            await asyncio.sleep(self._options.webhook_check)
            info = await self._retrier.persist(lambda: self._bot.get_webhook_info(request_timeout=_SECONDS))
            if info.url != self._url:
                log.warning("another program has set or removed the webhook of this bot; it is set again")
                return
            error = info.last_error_date
            if error is not None and info.pending_update_count > 0 and error.timestamp() > failed_at:
                failed_at, why = error.timestamp(), info.last_error_message or "?"
                log.warning("Telegram can't reach the webhook: %s", why)
            elif self._reached or not info.pending_update_count:
                why = ""
            self._reached = False
            if why:
                self._retrier.report("telegram.problem.webhook_away", url=self._url, why=why)

    def _crowded(self) -> bool:
        return len(self._running) > _CROWDED

    async def _receive(self, request: web.Request, group: asyncio.TaskGroup) -> web.Response:
        given = request.headers.get(SECRET_HEADER, "")
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), self._secret.encode()):
            return web.Response(status=HTTPStatus.UNAUTHORIZED)
        self._reached = True
        try:
            update = read_update(json.loads(await request.read()), self._bot)
        except ValueError:
            update = None
        if update is None:
            return web.Response(status=HTTPStatus.BAD_REQUEST)
        saved = await self._save(update, group)
        return web.Response(status=HTTPStatus.OK if saved else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _save(self, update: Update, group: asyncio.TaskGroup) -> bool:
        """Handle an update once, however often it comes; returns whether it needs not come again."""
        update_id = update.update_id
        if update_id in self._saved:
            return True
        task = self._running.get(update_id)
        if task is None:
            self._handler.arrived(update)
            task = self._running[update_id] = self._turns.begin(update, group)
            task.add_done_callback(lambda done: self._end(update_id, done))
        # The handler goes on when Telegram gives up this connection.
        await asyncio.wait([task])
        return not task.cancelled()

    def _end(self, update_id: int, task: asyncio.Task[None]) -> None:
        del self._running[update_id]
        if not task.cancelled():
            self._saved.append(update_id)


async def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises OSError."""
    loop = asyncio.get_running_loop()
    family, kind, protocol, _, address = (
        await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening

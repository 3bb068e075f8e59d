"""The Discord service: connects, registers commands, listens, and gives delivery its surface."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import aiohttp
import discord
import yarl
from aiohttp_socks import ProxyConnector
from discord.gateway import DiscordWebSocket
from discord.http import Route

from adapters.discord.client import EaselClient, SessionsUsedUp
from adapters.discord.errors import NETWORK
from adapters.discord.identity import NAME
from adapters.discord.replies import InteractionReplies
from adapters.discord.settings import DiscordSettings
from adapters.discord.surface import DiscordSurface
from adapters.discord.webhooks import use_once
from adapters.platform import PlatformService
from bot.core.errors import Unavailable
from bot.core.waits import ExponentialBackoff
from bot.settings import Settings
from bot.studio import Studio

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between tries to reach Discord."""
FIRST_REFUSED, LONGEST_REFUSED = 5.0, 300.0
"""Seconds between tries after a refusal: Discord allows 1,000 sessions to be begun in a day."""
MOST_SHARDS = 1024
"""Most shards; the count is doubled where Discord requires more and does not say how many."""
LASTING = 60.0
"""Seconds after which a connection counts as a success, which resets the back-off."""
DRAIN_SECONDS = 3.0
CLOSE_SECONDS = 3.0
CHECK_SECONDS = 15.0
DIGEST_FILE = "discord-commands.sha256"
BAD_TOKEN, SHARDS_WANTED = 4004, 4011
TOKEN_REFUSED = "its token was refused; set EASEL_DISCORD_TOKEN to the bot's present one"  # noqa: S105 - a sentence

PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    # Also what opens an archived thread again.
    send_messages_in_threads=True,
    attach_files=True,
)
"""What the bot needs in a channel.

Answers to commands need none of them; cards of jobs that are drawn for longer than 15 minutes do.
"""
SCOPES = ("bot", "applications.commands")

AWAY = (*NETWORK, discord.HTTPException, discord.GatewayNotFound)


class Refused(Exception):
    """Discord refuses this bot as it is configured. The cause may be temporary, so it is retried."""


class ShardsWanted(Exception):
    """Discord requires more shards."""


def use_endpoints(settings: DiscordSettings) -> None:
    """Point discord.py to the settings' addresses, if any; it keeps them in class attributes."""
    if settings.api_url is not None:
        Route.BASE = settings.api_url.rstrip("/")
    if settings.gateway_url is not None:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.gateway_url)
    # Easel uses no voice, so discord.py's warnings about voice libraries are turned off.
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False


class DiscordService(PlatformService):
    """Discord as `easel serve` runs it.

    Attributes:
        name: The platform's name in addresses.
        surface: Where delivery sends cards.
    """

    name = NAME
    surface: DiscordSurface

    def __init__(
        self,
        settings: DiscordSettings,
        core: Settings,
        studio: Studio,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        assert settings.token is not None, "built only when a token is set"
        self._settings = settings
        self._core = core
        self._token = settings.token.get_secret_value()
        self._studio = studio
        self._sleep = sleep
        self._shards = 1
        self._lasted = False
        self.surface = DiscordSurface(studio.profiles, studio.text, sign=studio.sign_copy)

    async def run(self) -> None:
        """Serve until cancelled. Refusals are logged as critical and retried with back-off."""
        use_endpoints(self._settings)
        use_once()
        _quieten()
        away = ExponentialBackoff(FIRST_PAUSE, LONGEST_PAUSE)
        refused = ExponentialBackoff(FIRST_REFUSED, LONGEST_REFUSED)
        while True:
            try:
                await self._serve()
            except ShardsWanted:
                self._shards = min(MOST_SHARDS, self._shards * 2)
                backoff, problem = self._counted(away), "Discord asks for more shards"
                level = logging.INFO
            except SessionsUsedUp as error:
                log.critical("%s; next try then", error)
                self._studio.connection_problem(NAME, f"{error}; Easel tries again by itself.", refused=True)
                await self._sleep(error.seconds)
                continue
            except Refused as error:
                backoff, problem = self._counted(refused), f"Discord is off: {error}"
                level = logging.CRITICAL
            except AWAY as error:
                backoff, problem = self._counted(away), f"Discord can't be reached ({_words(error)})"
                level = logging.WARNING
            pause = backoff.fail()
            log.log(level, "%s; next try in %g s", problem, pause)
            is_refused = level == logging.CRITICAL
            self._studio.connection_problem(NAME, f"{problem}; Easel tries again by itself.", refused=is_refused)
            await self._sleep(pause)

    def _counted(self, backoff: ExponentialBackoff) -> ExponentialBackoff:
        """Return the back-off of one kind of failure, reset if the last connection lasted."""
        if self._lasted:
            backoff.succeed()
        return backoff

    async def _serve(self) -> None:
        """Log in and listen until an error or a cancellation."""
        self._lasted = False
        replies = InteractionReplies(self._studio)
        client = self._client(replies)
        connection: asyncio.Task[None] | None = None
        presence: asyncio.Task[None] | None = None
        try:
            await _login(client, self._token)
            self.surface.use(client)
            presence = asyncio.create_task(client.presence.run(), name="discord presence")
            # discord.py reconnects and resumes by itself, with back-off.
            connection = asyncio.create_task(client.connect(reconnect=True), name="discord gateway")
            await _listen(connection)
        finally:
            since = client.connected_at
            self._lasted = since is not None and client.loop.time() - since > LASTING
            await replies.drain(DRAIN_SECONDS)
            self.surface.use(None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await client.close()
            for task in filter(None, (presence, connection)):
                await _end(task)

    def _client(self, replies: InteractionReplies) -> EaselClient:
        settings = self._settings
        proxy, connector = _proxy(settings, self._core)
        return EaselClient(
            self._studio,
            replies,
            self._studio.owners(self.name),
            self._core.data_dir / DIGEST_FILE,
            shards=self._shards,
            own_gateway=settings.gateway_url is not None,
            proxy=proxy,
            connector=connector,
        )


def build(settings: DiscordSettings, core: Settings, studio: Studio) -> DiscordService:
    """Build the service; no network access before ``run``."""
    return DiscordService(settings, core, studio)


async def identify(settings: DiscordSettings, core: Settings) -> tuple[str, str]:
    """Log in to Discord once, for ``easel doctor``.

    Returns:
        The bot's name, and the link that adds it to a server.

    Raises:
        Unavailable: The token was refused, or Discord can't be reached.
    """
    assert settings.token is not None, "asked only when a token is set"
    use_endpoints(settings)
    try:
        proxy, connector = _proxy(settings, core)
    except Refused as error:
        raise Unavailable("discord.check.proxy") from error
    client = discord.Client(intents=discord.Intents.none(), proxy=proxy, connector=connector)
    try:
        async with asyncio.timeout(CHECK_SECONDS), client:
            await _login(client, settings.token.get_secret_value())
            assert client.application_id is not None, "known after the login"
            link = discord.utils.oauth_url(client.application_id, permissions=PERMISSIONS, scopes=SCOPES)
            return str(client.user), link
    except Refused as error:
        raise Unavailable("discord.check.refused") from error
    except AWAY as error:
        raise Unavailable("discord.check.away", why=_words(error)) from error


async def _login(client: discord.Client, token: str) -> None:
    try:
        await client.login(token)
    except discord.LoginFailure as error:
        raise Refused(TOKEN_REFUSED) from error


async def _listen(connection: asyncio.Task[None]) -> None:
    try:
        # Shielded: discord.py swallows a cancellation in the middle of a reconnect and waits on, unless it is closed.
        await asyncio.shield(connection)
    except discord.PrivilegedIntentsRequired as error:
        raise Refused("it asked for intents that are not switched on") from error
    except discord.ConnectionClosed as error:
        if error.code == SHARDS_WANTED:
            raise ShardsWanted from error
        if error.code == BAD_TOKEN:
            raise Refused(TOKEN_REFUSED) from error
        raise Refused(f"its gateway closed the connection (code {error.code})") from error
    # discord.py returns without an error where Discord closes the connection normally.
    raise ConnectionError("its gateway ended the connection")


async def _end(task: asyncio.Task[None]) -> None:
    """End a task of a closed client. Its error was already raised by ``_listen``, or comes too late."""
    task.cancel()
    await asyncio.wait({task}, timeout=CLOSE_SECONDS)
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        log.debug("%s has ended: %s", task.get_name(), error)


def _proxy(settings: DiscordSettings, core: Settings) -> tuple[str | None, aiohttp.BaseConnector | None]:
    """Return discord.py's proxy arguments: an address (http) or a connector (socks)."""
    url = settings.proxy_url(core)
    if url is None:
        return None, None
    scheme = urlsplit(url).scheme.lower()
    if scheme in ("http", "https"):
        return url, None
    try:
        return None, ProxyConnector.from_url(url)
    except ValueError as error:
        raise Refused("its proxy must be an http:// or socks5:// address (EASEL_DISCORD_PROXY, EASEL_PROXY)") from error


def _quieten() -> None:
    library = logging.getLogger("discord")
    if library.getEffectiveLevel() < logging.INFO:
        # Its DEBUG lines hold interactions' tokens and people's messages.
        library.setLevel(logging.INFO)
    logging.getLogger("discord.shard").addFilter(_in_a_sentence)


def _in_a_sentence(record: logging.LogRecord) -> bool:
    """Replace discord.py's tracebacks about an unreachable gateway with one sentence."""
    if record.exc_info and str(record.msg).startswith(("Attempting a reconnect", "Failed to connect")):
        error = record.exc_info[1]
        words = "" if error is None else f" ({_words(error)})"
        record.msg, record.args = f"Discord's gateway is away{words}; {record.getMessage().lower()}", ()
        record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
    return True


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__

"""The Discord service: connects, offers its commands, listens, and tells delivery where to speak."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Container
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import discord
import yarl
from aiohttp_socks import ProxyConnector
from discord.gateway import DiscordWebSocket
from discord.http import Route

from adapters.discord.buttons import Buttons
from adapters.discord.commands import Tree, Words
from adapters.discord.faults import NETWORK
from adapters.discord.identity import PLATFORM, owners_of
from adapters.discord.replies import Replies
from adapters.discord.surface import DiscordSurface
from bot.model.errors import Unavailable
from bot.settings import Settings
from bot.studio import Studio

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between tries to reach Discord; each pause is twice the last."""
DRAIN_SECONDS = 3.0
CLOSE_SECONDS = 3.0
CHECK_SECONDS = 15.0
DIGEST_FILE = "discord-commands.sha256"
BAD_TOKEN = 4004
TOKEN_REFUSED = "its token was refused; set EASEL_DISCORD_TOKEN to the bot's present one"  # noqa: S105 - a sentence

AWAY = (*NETWORK, discord.HTTPException, discord.GatewayNotFound)


class Refused(Exception):
    """Discord will not take this bot as it is set up; trying again would change nothing."""


def use_endpoints(settings: Settings) -> None:
    """Lead discord.py to other addresses where the settings name some; it keeps all of this in class attributes."""
    if settings.discord_api_url is not None:
        Route.BASE = settings.discord_api_url.rstrip("/")
    if settings.discord_gateway_url is not None:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.discord_gateway_url)
    # Easel never speaks aloud; an operator shall not wonder about what voice would need.
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False


class Client(discord.Client):
    """One connection's life: the command tree, one listener for presses and forms, no privileged intents."""

    def __init__(
        self,
        studio: Studio,
        replies: Replies,
        owners: Container[str],
        digest_file: Path,
        *,
        proxy: str | None = None,
        connector: aiohttp.BaseConnector | None = None,
    ) -> None:
        super().__init__(
            # Servers alone: their names, and whether a thread's channel is for adults.
            intents=discord.Intents(guilds=True),
            allowed_mentions=discord.AllowedMentions.none(),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            proxy=proxy,
            connector=connector,
        )
        self._studio = studio
        self._digest_file = digest_file
        self._buttons = Buttons(studio, replies, owners)
        self.tree = Tree(self, studio, replies, owners)

    async def setup_hook(self) -> None:
        """Offer the commands, when they differ from what was offered last."""
        self._studio.owned(PLATFORM, owners_of(self.application))
        await self.tree.set_translator(Words(self._studio))
        digest = await self.tree.digest()
        known = await asyncio.to_thread(_read, self._digest_file)
        if digest == known:
            return
        try:
            await self.tree.sync()
        except (discord.DiscordException, *NETWORK):
            # People keep the commands that they have; the next start tries again.
            log.exception("Discord did not take the slash commands")
            return
        await asyncio.to_thread(_write, self._digest_file, digest)
        log.info("Discord took %d slash commands", len(self.tree.get_commands()))

    async def on_connect(self) -> None:
        """Say so; not in on_ready, over which discord.py trips when it is closed within two seconds."""
        log.info("Discord is connected as %s", self.user)

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Answer presses and forms."""
        await self._buttons.handle(interaction)


class DiscordService:
    """Discord as the composition root runs it.

    Attributes:
        name: The platform's name in addresses.
        surface: Where delivery speaks.
    """

    name = PLATFORM

    def __init__(
        self, settings: Settings, studio: Studio, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        assert settings.discord_token is not None, "built only when a token is set"
        self._settings = settings
        self._token = settings.discord_token.get_secret_value()
        self._studio = studio
        self._sleep = sleep
        self.surface = DiscordSurface(studio.profiles)

    async def run(self) -> None:
        """Serve until cancelled. Returns early, after a loud line, when Discord refuses the token."""
        use_endpoints(self._settings)
        _quieten()
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._serve()
            except Refused as error:
                log.critical("Discord is off: %s", error)
                return None
            except AWAY as error:
                log.warning("Discord can't be reached (%s); next try in %g s", _words(error), pause)
            await self._sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _serve(self) -> None:
        """One login and what follows from it; ends by an error or by being cancelled."""
        replies = Replies(self._studio)
        client = self._client(replies)
        try:
            await _login(client, self._token)
            self.surface.use(client)
            await _listen(client)
        finally:
            await replies.drain(DRAIN_SECONDS)
            self.surface.use(None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await client.close()

    def _client(self, replies: Replies) -> Client:
        settings = self._settings
        proxy, connector = _proxy(settings)
        digest_file = settings.data_dir / DIGEST_FILE
        owners = self._studio.owners(self.name)
        return Client(self._studio, replies, owners, digest_file, proxy=proxy, connector=connector)


def build(settings: Settings, studio: Studio) -> DiscordService:
    """Build the service; nothing is asked of Discord before ``run``."""
    return DiscordService(settings, studio)


async def check(settings: Settings) -> str:
    """Ask Discord who the bot is, for ``easel doctor``.

    Returns:
        The bot's name.

    Raises:
        Unavailable: The token was refused, or Discord can't be reached.
    """
    assert settings.discord_token is not None, "asked only when a token is set"
    use_endpoints(settings)
    try:
        proxy, connector = _proxy(settings)
    except Refused as error:
        raise Unavailable("discord.check.proxy") from error
    client = discord.Client(intents=discord.Intents.none(), proxy=proxy, connector=connector)
    try:
        async with asyncio.timeout(CHECK_SECONDS), client:
            await _login(client, settings.discord_token.get_secret_value())
            return str(client.user)
    except Refused as error:
        raise Unavailable("discord.check.refused") from error
    except AWAY as error:
        raise Unavailable("discord.check.away", why=_words(error)) from error


async def _login(client: discord.Client, token: str) -> None:
    try:
        await client.login(token)
    except discord.LoginFailure as error:
        raise Refused(TOKEN_REFUSED) from error


async def _listen(client: discord.Client) -> None:
    try:
        # Reconnects and resumes by itself, with a growing pause.
        await client.connect(reconnect=True)
    except discord.PrivilegedIntentsRequired as error:
        raise Refused("it asked for intents that are not switched on") from error
    except discord.ConnectionClosed as error:
        if error.code == BAD_TOKEN:
            raise Refused(TOKEN_REFUSED) from error
        raise Refused(f"its gateway closed the connection for good (code {error.code})") from error
    except AttributeError as error:
        if client.ws is not None:
            raise
        # discord.py 2.7 trips over its own missing socket when the very first connection fails.
        raise ConnectionError("its gateway does not answer") from error


def _proxy(settings: Settings) -> tuple[str | None, aiohttp.BaseConnector | None]:
    """Return what discord.py takes for the proxy: an address (http) or a connector (socks)."""
    url = settings.discord_proxy or settings.proxy
    if url is None:
        return None, None
    scheme = urlsplit(url).scheme.lower()
    if scheme in ("http", "https"):
        return url, None
    try:
        # Names are looked up by the proxy either way; curl's spelling for that is known to many.
        return None, ProxyConnector.from_url(url.replace("socks5h://", "socks5://", 1))
    except ValueError as error:
        raise Refused("its proxy must be an http:// or socks5:// address (EASEL_DISCORD_PROXY, EASEL_PROXY)") from error


def _quieten() -> None:
    library = logging.getLogger("discord")
    if library.getEffectiveLevel() < logging.INFO:
        # Its finest lines hold interactions' tokens and people's words.
        library.setLevel(logging.INFO)
    logging.getLogger("discord.client").addFilter(_in_a_sentence)


def _in_a_sentence(record: logging.LogRecord) -> bool:
    """discord.py logs a gateway that is away with a long trace each time; a sentence says as much."""
    if record.exc_info and str(record.msg).startswith("Attempting a reconnect"):
        error = record.exc_info[1]
        record.msg, record.args = f"Discord's gateway is away ({error}); {record.getMessage().lower()}", ()
        record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
    return True


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="ascii")

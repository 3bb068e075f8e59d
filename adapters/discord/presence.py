"""The bot's presence: what it says below its name, which is how much there is to draw."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

import discord

from adapters.discord.errors import NETWORK
from adapters.discord.identity import locale_of
from bot.studio import Studio

log = logging.getLogger(__name__)

EVERY = 20.0
"""Shortest time between two changes in seconds. Discord allows 5 in 20 s for each shard."""


class Presence:
    """Keeps the presence of all shards up to date."""

    def __init__(
        self, client: discord.AutoShardedClient, studio: Studio, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        """Args:
        client: The client; not connected yet.
        studio: The core.
        sleep: Waits this many seconds.
        """
        self._client = client
        self._studio = studio
        self._sleep = sleep
        self._shown: dict[int, str] = {}
        self._connected = asyncio.Event()

    def is_new(self, shard_id: int) -> None:
        """Show it again on a shard: a session begins without one."""
        self._shown.pop(shard_id, None)
        self._connected.set()

    async def run(self) -> None:
        """Work until cancelled, from the first session on."""
        await self._connected.wait()
        while True:
            try:
                await self._show()
            except Exception:
                log.exception("Discord's presence was not updated; Easel tries again in %g s", EVERY)
            await self._sleep(EVERY)

    async def _show(self) -> None:
        words = self._words()
        activity = discord.CustomActivity(words)
        for shard_id, shard in list(self._client.shards.items()):
            if shard.is_closed() or self._shown.get(shard_id) == words:
                continue
            try:
                await self._client.change_presence(activity=activity, shard_id=shard_id)
            except (discord.DiscordException, *NETWORK) as error:
                # The shard has just lost its connection.
                log.debug("the presence of shard %d was not set: %s", shard_id, error)
            else:
                self._shown[shard_id] = words

    def _words(self) -> str:
        load = self._studio.load()
        locale = self._locale()
        if not load.waiting and not load.drawing:
            return self._studio.text("discord.presence.idle", locale)
        return self._studio.text("card.queue", locale, drawing=load.drawing, waiting=load.waiting)

    def _locale(self) -> str:
        """Return the language of most servers: everybody sees the same presence."""
        found = Counter(locale_of(guild.preferred_locale) for guild in self._client.guilds)
        return found.most_common(1)[0][0] if found else "en"

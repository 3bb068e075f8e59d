"""Messages by an interaction's token: a new one is asked for once, since Discord has no key that makes a second try safe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import discord
from discord.http import Route, json_or_text
from discord.webhook.async_ import AsyncWebhookAdapter, async_context


class OnceAdapter(AsyncWebhookAdapter):
    """discord.py's adapter repeats every request that a 5xx answers, also those that were carried out.

    Edits and first answers may be repeated; a follow-up that arrived would be there twice.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # discord.py's has no annotations

    async def request(self, route: Route, session: aiohttp.ClientSession, **options: Any) -> Any:
        """Ask, and ask again only where that does no harm.

        Raises:
            discord.DiscordServerError: It may have been carried out.
            aiohttp.ClientConnectionError: The same.
        """
        if route.method == "POST" and route.path == "/webhooks/{webhook_id}/{webhook_token}":
            session = cast("aiohttp.ClientSession", _Once(session))
        return await super().request(route, session, **options)


class _Once:
    """A session whose failures end the adapter's tries."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @asynccontextmanager
    async def request(self, method: str, url: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(method, url, **options) as response:
                if response.status >= 500:
                    raise discord.DiscordServerError(response, await json_or_text(response))
                yield response
        except OSError as error:
            # The adapter tries again after an OSError of a reset connection.
            raise aiohttp.ClientConnectionError(str(error)) from error


_ADAPTER = OnceAdapter()


def use_once() -> None:
    """Send the follow-ups of this task, and of the tasks that it starts, once."""
    async_context.set(_ADAPTER)

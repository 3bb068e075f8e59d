"""Messages by an interaction's token. A new one is sent once: Discord has no idempotency key for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import discord
from discord.http import Route, json_or_text
from discord.webhook.async_ import AsyncWebhookAdapter, async_context

_CALLBACK = "/interactions/{webhook_id}/{webhook_token}/callback"


class OnceAdapter(AsyncWebhookAdapter):
    """discord.py's adapter retries every request after a 5xx, also one that was carried out.

    Edits and first answers are safe to repeat; a follow-up would be shown twice.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # discord.py's has no annotations

    async def request(self, route: Route, session: aiohttp.ClientSession, **options: Any) -> Any:
        """Send a request; retry only requests that are safe to repeat.

        Raises:
            discord.DiscordServerError: It may have been carried out.
            aiohttp.ClientConnectionError: The same, or the client was closed before.
        """
        if session.closed:
            # aiohttp raises a RuntimeError, which no caller expects.
            raise aiohttp.ClientConnectionError("the client is closed")
        if route.method == "POST" and route.path == "/webhooks/{webhook_id}/{webhook_token}":
            session = cast("aiohttp.ClientSession", _Once(session))
        answer = await super().request(route, session, **options)
        if route.path == _CALLBACK and isinstance(answer, dict):
            # discord.py would build the whole message, which takes longer than the call. The response has its id as well.
            answer.pop("resource", None)
        return answer


class _Once:
    """A session whose errors stop the adapter's retries."""

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
    """Turn off retries of follow-ups in this task and the tasks that it starts."""
    async_context.set(_ADAPTER)

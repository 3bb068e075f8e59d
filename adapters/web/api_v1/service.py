"""The API as a part of the web server: its routes, its document, and the worker that sends webhooks."""

from __future__ import annotations

from adapters.web.api_v1.jobs import JobHandlers
from adapters.web.api_v1.listings import CatalogueHandlers, DocumentHandlers
from adapters.web.api_v1.webhooks import WebhookSender
from adapters.web.following import JobFollower
from adapters.web.outbound import OutboundClient
from adapters.web.request_checks import BodyReader
from adapters.web.routes import Route
from bot.studio import Studio


class NativeApi:
    """Everything under ``/api/v1``."""

    def __init__(
        self,
        studio: Studio,
        bodies: BodyReader,
        follower: JobFollower,
        outbound: OutboundClient,
    ) -> None:
        """Args:
        studio: The core.
        bodies: Reads bodies within the server's memory.
        follower: Waits for jobs.
        outbound: Makes requests to addresses that clients name.
        """
        self._webhooks = WebhookSender(studio, outbound)
        jobs = JobHandlers(studio, bodies, follower, outbound, self._webhooks.look)
        self._operations = [*jobs.operations(), *CatalogueHandlers(studio).operations()]

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [*(one.route for one in self._operations), *DocumentHandlers(self._operations).routes()]

    def start(self) -> None:
        """Begin to send webhooks."""
        self._webhooks.start()

    async def close(self) -> None:
        """Send no more webhooks; the rest is sent after the next start."""
        await self._webhooks.close()

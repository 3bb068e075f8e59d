"""Sends webhooks of ended jobs, signed as Standard Webhooks says (https://www.standardwebhooks.com).

Rows are the truth: what is not delivered is sent after the next start. So a receiver may get one twice, with the same
``webhook-id``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
import time

import aiohttp

from adapters.web.api_v1.answers import job_answer
from adapters.web.api_v1.schemas import key_of
from adapters.web.outbound import AddressRefused, OutboundClient, OutboundUse
from bot.core.errors import Refusal, Unavailable
from bot.studio import EndedJob, Studio

AT_ONCE = 4
"""Most webhooks that are sent at the same time."""

LOOK_SECONDS = 60.0
"""Most seconds between two looks at the rows."""

PACE_SECONDS = 0.1
"""Seconds between two looks at the rows: changes in between are one."""

_GONE = 410
"""The receiver wants no more."""

log = logging.getLogger(__name__)


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``.

    Args:
        secret: ``whsec_`` and the key in base64.
        message_id: The value of ``webhook-id``.
        timestamp: The value of ``webhook-timestamp``, in Unix seconds.
        body: The request's body.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode('ascii')}"


class WebhookSender:
    """A worker that sends webhooks as they become due."""

    def __init__(self, studio: Studio, outbound: OutboundClient) -> None:
        self._studio = studio
        self._outbound = outbound
        self._wake = asyncio.Event()
        self._exist = True
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send."""
        self._tasks = [
            asyncio.create_task(self._watch(), name="webhook changes"),
            asyncio.create_task(self._run(), name="webhooks"),
        ]

    async def close(self) -> None:
        """End the worker. What is not delivered is sent after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def look(self) -> None:
        """Look at the rows: a webhook was stored."""
        self._exist = True
        self._wake.set()

    async def _watch(self) -> None:
        """Wake the worker when jobs change. Without a webhook, the many changes of drawings cost nothing."""
        with self._studio.changed_jobs() as changes:
            async for _ in changes:
                if self._exist:
                    self._wake.set()

    async def _run(self) -> None:
        with contextlib.suppress(Unavailable):
            await self._studio.tidy_webhooks()
        while True:
            self._wake.clear()
            # True while it looks: a webhook that is stored meanwhile is not missed.
            self._exist = True
            wait = LOOK_SECONDS
            try:
                due = await self._studio.due_webhooks(AT_ONCE)
                await asyncio.gather(*(self._send(one) for one in due.ended))
            except Refusal as refusal:
                # The database logs the problem itself, once.
                log.debug("webhooks can't be sent now (%s)", refusal.key)
            except Exception:
                log.exception("webhooks could not be sent; again in %g s", LOOK_SECONDS)
            else:
                if due.ended:
                    continue
                self._exist = due.exist or self._wake.is_set()
                wait = LOOK_SECONDS if due.later is None else min(due.later, LOOK_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            await asyncio.sleep(PACE_SECONDS)

    async def _send(self, ended: EndedJob) -> None:
        """Send one, and record the outcome."""
        job_id = ended.snapshot.job.id
        try:
            final, problem = await self._post(ended)
        except Exception:  # one that can't be sent must not keep back those of others
            log.exception("the webhook of job %d could not be sent", job_id)
            final, problem = False, "a fault of this service"
        if not problem:
            await self._studio.webhook_delivered(ended)
            return
        given_up = await self._studio.webhook_failed(ended, final=final)
        # The address may hold a secret of its receiver, so the log does not name it.
        log.warning(
            "the webhook of job %d was not received (%s); %s",
            job_id,
            problem,
            "given up" if given_up else "again later",
        )

    async def _post(self, ended: EndedJob) -> tuple[bool, str]:
        """Send one; returns whether its receiver wants no more, and why it was not received (empty: it was)."""
        webhook, answer = ended.webhook, job_answer(ended.snapshot)
        body = json.dumps({"type": f"job.{answer.state}", "job": answer.model_dump(mode="json")}).encode()
        # The same for each attempt, so that a receiver knows one that comes twice.
        message_id, now = f"job_{answer.id}", int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(webhook.secret, message_id, now, body),
        }
        final, problem = False, ""
        try:
            url = self._outbound.check(webhook.url, OutboundUse.WEBHOOK)
            status = await self._outbound.post(url, body, headers)
            final, problem = status == _GONE, "" if 200 <= status < 300 else f"status {status}"
        except (AddressRefused, Refusal):
            # The name may have led elsewhere for a moment, or the owner has changed what is allowed.
            problem = "its address is not allowed"
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            problem = type(error).__name__
        return final, problem

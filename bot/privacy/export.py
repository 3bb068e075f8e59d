"""One's own pictures and rows to take along: asked for here, made and sent by dispatch, or fetched once by a link."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from pathlib import Path

from bot.context import AppContext
from bot.core.errors import BadInput, NotFound, OverQuota, Unavailable
from bot.core.messages import EventRef
from bot.core.people import Actor
from bot.core.pictures import PictureFile
from bot.privacy.store import exports
from bot.storage import inputs, paths, people
from bot.storage.database import Tx

AGAIN_AFTER = 3600.0
"""Seconds until somebody may ask again."""

PATH = "exports"
"""Where the page hands exports out: ``/exports/<token>``."""

_TOKEN_BYTES = 16


async def ask(ctx: AppContext, actor: Actor, ref: EventRef) -> str | None:
    """Have one's own data put together; returns the link that it can be fetched by, None where it is sent.

    Raises:
        NotFound: They have never drawn anything.
        BadInput: One is being made.
        OverQuota: They have asked within the hour.
        Unavailable: There is neither a chat to send it to nor an address of the page.
    """
    now = ctx.clock.now()
    token = secrets.token_urlsafe(_TOKEN_BYTES) if ctx.link else ""
    if not token and ref.address is None:
        raise Unavailable("refusal.export.nowhere")
    address = None if token else ref.address
    async with ctx.db.write() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            raise NotFound("refusal.export.nothing")
        last = await exports.last(tx, person.id)
        if last is not None and last.asked_at > now - exports.KEPT_SECONDS:
            if not last.ready:
                raise BadInput("refusal.export.running")
            # One of the future was asked for before the clock was set back.
            if now - AGAIN_AFTER < last.asked_at <= now:
                raise OverQuota("refusal.export.soon", wait=last.asked_at + AGAIN_AFTER - now)
        digest = _digest(token) if token else ""
        await exports.add(tx, person.id, address=address, digest=digest, locale=actor.locale, now=now)
    ctx.backlog.posted()
    return f"{ctx.link.rstrip('/')}/{PATH}/{token}" if token else None


async def look(ctx: AppContext, token: str) -> None:
    """Look at a link without using it.

    Raises:
        NotFound: There is no such link, it was used, or it is over.
        Unavailable: The file is still being made.
    """
    async with ctx.db.read() as tx:
        await _good(tx, ctx, token)


async def fetch(ctx: AppContext, token: str) -> PictureFile:
    """Use a link; returns the file behind it.

    Raises:
        NotFound: There is no such link, it was used, or it is over.
        Unavailable: The file is still being made.
    """
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        export, path = await _good(tx, ctx, token)
        await exports.use(tx, export.id, now=now)
    return PictureFile(path, "easel-export.zip", "application/zip", 0, 0)


async def _good(tx: Tx, ctx: AppContext, token: str) -> tuple[exports.Export, Path]:
    export = await exports.by_digest(tx, _digest(token))
    if export is None or export.used or abs(ctx.clock.now() - export.asked_at) >= exports.KEPT_SECONDS:
        raise NotFound("refusal.export.link")
    if not export.ready:
        raise Unavailable("refusal.export.not_ready")
    folder = inputs.data_folder(ctx.pictures) / exports.FOLDER
    path = await asyncio.to_thread(paths.regular, folder, f"{export.id}-1.zip")
    if path is None:
        raise NotFound("refusal.export.link")
    return export, path


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()

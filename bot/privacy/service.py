"""Privacy: export and deletion of a person's data, and the retention of pictures."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from bot.audit import changes
from bot.context import AppContext
from bot.core.durations import is_for_good, parse_span
from bot.core.errors import BadInput, NotFound, OverQuota, Unavailable
from bot.core.jobs import JobState
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.pictures import PictureFile
from bot.places.options import set_option
from bot.privacy.store import deletion, exports
from bot.privacy.store.deletion import Forgotten, Losses
from bot.quotas.store import ledger
from bot.storage import data_files, inputs, jobs, people
from bot.storage.database import Tx

EXPORT_INTERVAL = 3600.0
"""Seconds until a person may request another export."""

PATH = "exports"
"""Path of exports on the page: ``/exports/<token>``."""

_TOKEN_BYTES = 16


DAYS = "keep_days"
"""Option of a place or of the whole service: retention in days; unlimited if not set."""

_DAY = 86400


async def request_export(ctx: AppContext, actor: Actor, ref: EventRef) -> str | None:
    """Request an export of the actor's data; return its link, or None if it will be sent to the chat.

    Raises:
        NotFound: The actor has never drawn anything.
        BadInput: An export is being made.
        OverQuota: The last export was requested within the hour.
        Unavailable: There is neither a chat to send it to nor a public address of the page.
    """
    now = ctx.clock.now()
    token = secrets.token_urlsafe(_TOKEN_BYTES) if ctx.public_url else ""
    if not token and ref.address is None:
        raise Unavailable("refusal.export.nowhere")
    address = None if token else ref.address
    async with ctx.db.write() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            raise NotFound("refusal.export.nothing")
        last = await exports.latest(tx, person.id)
        if last is not None and last.asked_at > now - exports.KEPT_SECONDS:
            if not last.ready:
                raise BadInput("refusal.export.running")
            # A request in the future was made before the clock was set back.
            if now - EXPORT_INTERVAL < last.asked_at <= now:
                raise OverQuota("refusal.export.soon", wait=last.asked_at + EXPORT_INTERVAL - now)
        digest = _digest(token) if token else ""
        await exports.add(tx, person.id, address=address, digest=digest, locale=actor.locale, now=now)
    ctx.backlog.messages_added()
    return f"{ctx.public_url.rstrip('/')}/{PATH}/{token}" if token else None


async def check_export(ctx: AppContext, token: str) -> None:
    """Check a link without using it.

    Raises:
        NotFound: There is no such link, it was used, or it has expired.
        Unavailable: The file is still being made.
    """
    async with ctx.db.read() as tx:
        await _valid_export(tx, ctx, token)


async def fetch_export(ctx: AppContext, token: str) -> PictureFile:
    """Use a link, which works once; return the file.

    Raises:
        NotFound: There is no such link, it was used, or it has expired.
        Unavailable: The file is still being made.
    """
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        export, path = await _valid_export(tx, ctx, token)
        await exports.mark_used(tx, export.id, now=now)
    return PictureFile(path, "easel-export.zip", "application/zip", 0, 0)


async def _valid_export(tx: Tx, ctx: AppContext, token: str) -> tuple[exports.Export, Path]:
    export = await exports.by_digest(tx, _digest(token))
    if export is None or export.used or abs(ctx.clock.now() - export.asked_at) >= exports.KEPT_SECONDS:
        raise NotFound("refusal.export.link")
    if not export.ready:
        raise Unavailable("refusal.export.not_ready")
    folder = inputs.data_folder(ctx.pictures) / exports.FOLDER
    path = await asyncio.to_thread(data_files.regular_file, folder, f"{export.id}-1.zip")
    if path is None:
        raise NotFound("refusal.export.link")
    return export, path


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def losses(ctx: AppContext, actor: Actor) -> Losses:
    """Count what ``forget`` would delete. Raises NotFound if the actor has never drawn anything."""
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            raise NotFound("refusal.forget.nothing")
        return await deletion.losses(tx, person.id)


async def forget(ctx: AppContext, actor: Actor) -> Losses:
    """Delete a person's pictures, prompts and history, of all their accounts; return the counts.

    Unfinished jobs are cancelled and refunded first. After a crash behind the commit, the next start removes the
    remaining files and messages.

    Raises:
        NotFound: The actor has never drawn anything.
    """
    now = ctx.clock.now()
    stopped: list[int] = []
    async with ctx.db.write() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            raise NotFound("refusal.forget.nothing")
        lost = await deletion.losses(tx, person.id)
        for job_id, state in await deletion.open_jobs(tx, person.id):
            if await jobs.move(tx, job_id, state, JobState.CANCELLED, now=now):
                await ledger.refund(tx, job_id, now=now)
                stopped.append(job_id)
        removed = await deletion.forget(tx, person.id)
    for job_id in stopped:
        ctx.backlog.job_cancelled(job_id)
    for job_id in removed.jobs:
        ctx.backlog.job_changed(job_id)
    await _remove_files(ctx, removed)
    return lost


async def _remove_files(ctx: AppContext, removed: Forgotten) -> None:
    await data_files.remove_pictures(ctx.pictures, removed.pictures)
    await exports.remove_files(ctx.pictures, removed.exports)
    await deletion.remove_source_files(ctx.db, ctx.pictures, removed.inputs)


@dataclass(frozen=True, slots=True)
class Retention:
    """Retention of pictures in days; None is unlimited.

    Attributes:
        here: The place's rule.
        everywhere: The owners' rule.
        whole: Whether this is the retention of the whole service, not of a place.
    """

    here: float | None
    everywhere: float | None
    whole: bool

    @property
    def days(self) -> float | None:
        """The effective retention: the shorter one."""
        rules = [days for days in (self.here, self.everywhere) if days is not None]
        return min(rules) if rules else None


async def show_retention(ctx: AppContext, place: Place) -> Retention:
    """Return the retention of this place; in a direct message, that of the whole service."""
    async with ctx.db.read() as tx:
        return await _retention(tx, place, await people.find_place(tx, place))


async def set_retention(ctx: AppContext, actor: Actor, place: Place, typed: str) -> Retention:
    """Set the retention of this place; in a direct message, of the whole service. The caller has checked permissions.

    Raises:
        BadInput: It is no duration, or less than a day.
    """
    days: float | None = None
    if not is_for_good(typed):
        days = parse_span(typed) / _DAY
        if days < 1:
            raise BadInput("refusal.keep.short")
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        place_id = await people.remember_place(tx, place, now=now)
        by = changes.actor_label(actor)
        await set_option(tx, place_id, DAYS, days, action="easel keep", place=place, by=by, now=now)
        return await _retention(tx, place, place_id)


async def _retention(tx: Tx, place: Place, place_id: int | None) -> Retention:
    found = await people.read_options(tx, place_id)
    return Retention(_days(found.here.get(DAYS)), _days(found.everywhere.get(DAYS)), whole=place.guild is None)


def _days(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None

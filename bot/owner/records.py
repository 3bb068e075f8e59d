"""Records for an owner: reports of pictures with their answers, and the audit log with undo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.admin import cards as admin_cards
from bot.admin import service as admin
from bot.audit import changes
from bot.audit import store as audit_rows
from bot.audit.changes import AuditLine
from bot.audit.store import AuditEntry
from bot.cards.job_card import file_of
from bot.context import AppContext
from bot.core.cards import ButtonPress
from bot.core.errors import NotFound
from bot.core.people import Actor, Place
from bot.core.pictures import PictureFile
from bot.core.strictness import SPOILER, Strictness
from bot.moderation import reports
from bot.moderation import store as moderation_rows
from bot.moderation.cards import HIDE
from bot.moderation.checks import STRICTNESS_OPTION
from bot.moderation.store import Report
from bot.owner import store
from bot.owner.people import everywhere
from bot.owner.store import QueuedJob
from bot.places.options import set_option
from bot.quotas.changes import QUOTA_RULE
from bot.storage import data_files, jobs, people, pictures
from bot.storage.database import Tx

WORDS_ACTION = "owner words"
"""Name in the audit log of a change of the strictness: that of the command."""

MOST_REPORTS = 50
"""Most reports that are listed."""


@dataclass(frozen=True, slots=True)
class ReportLine:
    """A report with its job; ``job`` is None once the job is gone. ``pictures``: 0-based, those that are stored."""

    report: Report
    job: QueuedJob | None
    pictures: Sequence[int]
    hidden: bool


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """A change of the audit log in words; see AuditLine.

    Attributes:
        number: Its number.
        at: Unix seconds.
        action: The command.
        who: Who made it.
        whom: Whom it concerns; empty for nobody.
        place: The place's name; empty for the whole service.
        before: What was there, in words.
        after: What is there since, in words.
        undone: It was undone.
        undoable: It can be undone.
    """

    number: int
    at: float
    action: str
    who: str
    whom: str
    place: str
    before: str
    after: str
    undone: bool
    undoable: bool


async def list_reports(ctx: AppContext) -> tuple[ReportLine, ...]:
    """Return the last reports, those without an answer first."""
    async with ctx.db.read() as tx:
        found = await moderation_rows.recent_reports(tx, limit=MOST_REPORTS)
        numbers = tuple(dict.fromkeys(report.job_id for report in found))
        by_id = {job.id: job for job in await store.jobs_of(tx, numbers)}
        stored = await pictures.of_jobs(tx, numbers)
    lines = []
    for report in found:
        about = [p for p in stored.get(report.job_id, ()) if report.index in {-1, p.index}]
        hidden = bool(about) and all(p.flag == SPOILER for p in about)
        lines.append(ReportLine(report, by_id.get(report.job_id), [p.index for p in about], hidden))
    return tuple(lines)


async def answer_report(ctx: AppContext, actor: Actor, number: int, *, hide: bool) -> None:
    """Hide the pictures of a report wherever they are shown, or dismiss it. Raises NotFound."""
    if not hide:
        await reports.dismiss(ctx, actor, number)
        return
    async with ctx.db.read() as tx:
        report = await moderation_rows.get_report(tx, number)
    if report is None:
        raise NotFound("refusal.report.not_found", number=number)
    index = None if report.index < 0 else report.index
    await reports.hide(ctx, actor, ButtonPress(HIDE, report.job_id, index))


async def get_strictness(ctx: AppContext) -> Strictness | None:
    """Return the owners' strictness for places that have set none; None where the usual one holds.

    See ``bot.moderation.checks.strictness_of_place``.
    """
    async with ctx.db.read() as tx:
        options = await people.read_options(tx, None)
    return moderation_rows.parse_strictness(options.everywhere.get(STRICTNESS_OPTION))


async def set_strictness(ctx: AppContext, actor: Actor, level: Strictness | None) -> None:
    """Set the strictness for places that have set none; None: the usual one."""
    now, by = ctx.clock.now(), changes.actor_label(actor)
    value = None if level is None else level.value
    async with ctx.db.write() as tx:
        if await people.get_option(tx, people.SERVICE, STRICTNESS_OPTION) != value:
            where = everywhere(actor)
            await set_option(tx, None, STRICTNESS_OPTION, value, action=WORDS_ACTION, place=where, by=by, now=now)


async def reported_picture(ctx: AppContext, number: int, index: int) -> PictureFile:
    """Return the file of a picture that a report is about. Raises NotFound."""
    async with ctx.db.read() as tx:
        report = await moderation_rows.get_report(tx, number)
        job = None if report is None else await jobs.get(tx, report.job_id)
        stored = () if job is None else await pictures.of_job(tx, job.id)
    found = next((p for p in stored if p.index == index and report is not None and report.index in {-1, index}), None)
    if found is None or job is None or not await data_files.exists(ctx.pictures, found.path):
        raise NotFound("refusal.picture.not_found")
    return file_of(job, found, ctx.pictures)


async def list_changes(
    ctx: AppContext, actor: Actor, locale: str, *, limit: int, before: int | None
) -> tuple[ChangeLine, ...]:
    """Return the last changes of all places, newest first; those before a number where one is given."""
    lines = await admin.list_changes(ctx, everywhere(actor), limit=limit, before=before)
    async with ctx.db.read() as tx:
        return tuple([_words(line, locale, await _scope(tx, line)) for line in lines])


async def undo(ctx: AppContext, actor: Actor, number: int, locale: str) -> ChangeLine:
    """Undo a change; returns it.

    Raises:
        NotFound: There is no such change, or it can't be undone.
        BadInput: It was undone already, or changed again since.
    """
    line = await admin.undo(ctx, actor, everywhere(actor), number)
    async with ctx.db.read() as tx:
        return _words(line, locale, await _scope(tx, line))


async def _scope(tx: Tx, line: AuditLine) -> str:
    """Return whom an owner's rule is for, where it is for no person: a place's name, or a platform."""
    platform, guild = line.subject.get("platform"), line.subject.get("place")
    if line.kind != QUOTA_RULE.name or not isinstance(platform, str):
        return ""
    if not isinstance(guild, str):
        return platform
    place_id = await people.find_place(tx, Place(platform, guild, ""))
    return guild if place_id is None else (await people.get_place(tx, place_id)).name or guild


async def note(ctx: AppContext, actor: Actor, action: str, what: str) -> None:
    """Write what an owner did to the audit log, where no row of the database changed."""
    async with ctx.db.write() as tx:
        await audit_rows.add(
            tx, AuditEntry(ctx.clock.now(), changes.actor_label(actor), action, before="–", after=what)
        )


def _words(line: AuditLine, locale: str, scope: str) -> ChangeLine:
    words = admin_cards.change_words(line, locale)
    return ChangeLine(
        line.number,
        line.at,
        line.action,
        words.who,
        words.whom or ("" if line.place else scope),
        line.place,
        words.before,
        words.after,
        line.undone,
        bool(line.kind) and not line.undone,
    )

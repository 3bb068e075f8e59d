"""Commands of moderation: bans, the strictness of a place, reports and their log channel."""

from __future__ import annotations

from bot.audit import changes
from bot.cards.i18n import text
from bot.cards.job_buttons import JobButton
from bot.commands.arguments import CHANNEL, PERSON, SPAN
from bot.commands.model import Arg, ArgType, Command, CommandResult, Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.durations import is_for_good, parse_span
from bot.core.errors import BadInput
from bot.core.jobs import Job
from bot.core.messages import Address
from bot.core.pictures import Picture
from bot.core.strictness import Strictness
from bot.moderation import bans, reports
from bot.moderation import cards as moderation_cards
from bot.moderation import store as moderation_rows
from bot.moderation.bans import BanTarget
from bot.moderation.cards import HIDE
from bot.moderation.word_check import STRICTNESS_OPTION
from bot.places.options import set_option
from bot.storage import people
from engine.contract import Profile


async def _words(ctx: AppContext, call: Invocation) -> Card:
    level = Strictness(call.args["level"])
    await _set(ctx, call, STRICTNESS_OPTION, level.value)
    return moderation_cards.words_card(level, call.actor.locale)


async def _log(ctx: AppContext, call: Invocation) -> Card:
    channel = call.args.get("channel", call.place.channel)
    if call.args.get("level") == moderation_rows.LOG_OFF:
        await _set(ctx, call, moderation_rows.LOG_CHANNEL, moderation_rows.LOG_OFF)
        return moderation_cards.log_card(None, call.actor.locale)
    here = channel == call.place.channel
    # Only a channel that the platform found in this place: an id alone may belong to another place.
    if not here and (call.place.guild is None or "channel" not in call.names):
        raise BadInput("refusal.log.channel")
    thread = call.place.thread if here else None
    alone = call.place.guild is None
    address = Address(
        call.actor.platform,
        call.actor.user_id if alone else channel,
        thread=thread,
        user=call.actor.user_id if alone else None,
        private=alone,
    )
    await _set(ctx, call, moderation_rows.LOG_CHANNEL, moderation_rows.log_channel_value(address))
    return moderation_cards.log_card("" if here else call.names["channel"], call.actor.locale)


async def _ban(ctx: AppContext, call: Invocation) -> Card:
    span = call.args.get("span", "")
    seconds = None if not span or is_for_good(span) else parse_span(span)
    cancelled = await bans.ban(
        ctx, call.actor, call.place, _target(call), seconds=seconds, reason=call.args.get("reason", "").strip()
    )
    return moderation_cards.banned_card(_name(call), seconds, cancelled, call.actor.locale)


async def _unban(ctx: AppContext, call: Invocation) -> Card:
    await bans.unban(ctx, call.actor, call.place, _target(call))
    return moderation_cards.unbanned_card(_name(call), call.actor.locale)


async def _bans(ctx: AppContext, call: Invocation) -> Card:
    now = ctx.clock.now()
    lines = []
    found = await bans.list_bans(ctx, call.place)
    async with ctx.db.read() as tx:
        for ban in found:
            person = await people.find(tx, ban.platform, ban.user_id)
            account = f"{ban.platform}:{ban.user_id}"
            name = f"{person.name} ({account})" if person is not None and person.name else account
            lines.append((name, None if ban.until is None else ban.until - now, ban.reason))
    return moderation_cards.bans_card(lines, call.actor.locale)


async def _report(ctx: AppContext, call: Invocation) -> CommandResult:
    await reports.report(ctx, call.actor, call.place, call.pressed)
    return CommandResult(notice=text(call.actor.locale, "studio.report.thanks"))


async def _hide(ctx: AppContext, call: Invocation) -> CommandResult:
    await reports.hide(ctx, call.pressed)
    return CommandResult(notice=text(call.actor.locale, "studio.hide.done"))


async def _set(ctx: AppContext, call: Invocation, name: str, value: object) -> None:
    """Set an option of the place, or, in an owner's direct message, of the whole service."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        place_id = await people.remember_place(tx, call.place, now=now)
        by = changes.actor_label(call.actor)
        await set_option(tx, place_id, name, value, action=call.command.name, place=call.place, by=by, now=now)


def _target(call: Invocation) -> BanTarget:
    typed = call.args["person"]
    platform, colon, user_id = typed.partition(":")
    if colon and user_id:
        return BanTarget(platform.lower(), user_id)
    if typed.startswith("@"):
        # Only a platform could tell whose name that is.
        raise BadInput("refusal.ban.person", person=typed)
    return BanTarget(call.actor.platform, typed)


def _name(call: Invocation) -> str:
    return call.names.get("person") or call.args["person"]


def _has_admins(job: Job, _picture: Picture | None, _profile: Profile | None) -> bool:
    """Whether others see the job's pictures, in a place that has admins."""
    return job.place_id is not None and not job.request.private


COMMANDS = (
    Command(
        name="easel log",
        permission=Permission.ADMIN,
        handler=_log,
        args=(CHANNEL, Arg("level", ArgType.CHOICE, required=False, choices=("off",))),
    ),
    Command(
        name="easel words",
        permission=Permission.ADMIN,
        handler=_words,
        args=(Arg("level", ArgType.CHOICE, choices=("off", "warn", "refuse", "spoiler")),),
    ),
    Command(
        name="easel ban",
        permission=Permission.ADMIN,
        handler=_ban,
        args=(PERSON, SPAN, Arg("reason", ArgType.TEXT, required=False)),
    ),
    Command(name="easel unban", permission=Permission.ADMIN, handler=_unban, args=(PERSON,)),
    Command(name="easel bans", permission=Permission.ADMIN, handler=_bans),
    Command(
        action="report",
        permission=Permission.ANYBODY,
        handler=_report,
        on_job=True,
        button=JobButton(row=1, offered=_has_admins),
    ),
    Command(action=HIDE, permission=Permission.ADMIN, handler=_hide, on_job=True),
)

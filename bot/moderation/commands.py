"""Commands of moderation: bans, the strictness of a place, reports and their log channel."""

from __future__ import annotations

from bot.audit import changes
from bot.cards.i18n import text
from bot.cards.job_buttons import JobButton
from bot.commands.arguments import CHANNEL, PERSON, SPAN
from bot.commands.model import Arg, ArgType, Command, CommandResult, Invocation, Permission, PickedOn
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
from bot.moderation.checks import STRICTNESS_OPTION
from bot.places.options import set_option
from bot.storage import people
from engine.contract import Profile


async def _words(ctx: AppContext, invocation: Invocation) -> Card:
    level = Strictness(invocation.args["level"])
    await _set(ctx, invocation, STRICTNESS_OPTION, level.value)
    return moderation_cards.words_card(level, invocation.actor.locale)


async def _log(ctx: AppContext, invocation: Invocation) -> Card:
    channel = invocation.args.get("channel", invocation.place.channel)
    if invocation.args.get("level") == moderation_rows.LOG_OFF:
        await _set(ctx, invocation, moderation_rows.LOG_CHANNEL, moderation_rows.LOG_OFF)
        return moderation_cards.log_card(None, invocation.actor.locale)
    here = channel == invocation.place.channel
    # Only a channel that the platform found in this place: an id alone may belong to another place.
    if not here and (invocation.place.guild is None or "channel" not in invocation.names):
        raise BadInput("refusal.log.channel")
    thread = invocation.place.thread if here else None
    alone = invocation.place.guild is None
    address = Address(
        invocation.actor.platform,
        invocation.actor.user_id if alone else channel,
        thread=thread,
        user=invocation.actor.user_id if alone else None,
        private=alone,
    )
    await _set(ctx, invocation, moderation_rows.LOG_CHANNEL, moderation_rows.log_channel_value(address))
    return moderation_cards.log_card("" if here else invocation.names["channel"], invocation.actor.locale)


async def _ban(ctx: AppContext, invocation: Invocation) -> Card:
    span = invocation.args.get("span", "")
    seconds = None if not span or is_for_good(span) else parse_span(span)
    cancelled = await bans.ban(
        ctx,
        invocation.actor,
        invocation.place,
        _target(invocation),
        seconds=seconds,
        reason=invocation.args.get("reason", "").strip(),
    )
    return moderation_cards.banned_card(_name(invocation), seconds, cancelled, invocation.actor.locale)


async def _unban(ctx: AppContext, invocation: Invocation) -> Card:
    await bans.unban(ctx, invocation.actor, invocation.place, _target(invocation))
    return moderation_cards.unbanned_card(_name(invocation), invocation.actor.locale)


async def _bans(ctx: AppContext, invocation: Invocation) -> Card:
    now = ctx.clock.now()
    lines = []
    found = await bans.list_bans(ctx, invocation.place)
    async with ctx.db.read() as tx:
        for ban in found:
            person = await people.find(tx, ban.platform, ban.user_id)
            account = f"{ban.platform}:{ban.user_id}"
            name = f"{person.name} ({account})" if person is not None and person.name else account
            lines.append((name, None if ban.until is None else ban.until - now, ban.reason))
    return moderation_cards.bans_card(lines, invocation.actor.locale)


async def _report(ctx: AppContext, invocation: Invocation) -> CommandResult:
    await reports.report(ctx, invocation.actor, invocation.place, invocation.pressed)
    return CommandResult(notice=text(invocation.actor.locale, "studio.report.thanks"))


async def _hide(ctx: AppContext, invocation: Invocation) -> CommandResult:
    await reports.hide(ctx, invocation.actor, invocation.pressed)
    return CommandResult(notice=text(invocation.actor.locale, "studio.hide.done"))


async def _set(ctx: AppContext, invocation: Invocation, name: str, value: object) -> None:
    """Set an option of the place, or, in an owner's direct message, of the whole service."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        place_id = await people.remember_place(tx, invocation.place, now=now)
        by = changes.actor_label(invocation.actor)
        await set_option(
            tx, place_id, name, value, action=invocation.command.name, place=invocation.place, by=by, now=now
        )


def _target(invocation: Invocation) -> BanTarget:
    typed = invocation.args["person"]
    platform, colon, user_id = typed.partition(":")
    if colon and user_id:
        return BanTarget(platform.lower(), user_id)
    if typed.startswith("@"):
        # Only a platform could tell whose name that is.
        raise BadInput("refusal.ban.person", person=typed)
    return BanTarget(invocation.actor.platform, typed)


def _name(invocation: Invocation) -> str:
    return invocation.names.get("person") or invocation.args["person"]


def _has_admins(job: Job, _picture: Picture | None, _profile: Profile | None) -> bool:
    """Whether others see the job's pictures, in a place that has admins."""
    return job.place_id is not None and not job.request.private


COMMANDS = (
    Command(
        name="easel log",
        permission=Permission.ADMIN,
        handler=_log,
        args=(CHANNEL, Arg("level", ArgType.CHOICE, required=False, choices=("off",))),
        place_only=True,
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
        button=JobButton(also_each=True, offered=_has_admins),
        picked_on=PickedOn.MESSAGE,
    ),
    Command(action=HIDE, permission=Permission.ADMIN, handler=_hide, on_job=True),
)

"""Commands of privacy and their cards: export and erase one's own data, delete a job, and the retention of a place."""

from __future__ import annotations

import math

from bot.cards import durations
from bot.cards.i18n import text
from bot.cards.job_buttons import JobButton
from bot.commands.arguments import SPAN
from bot.commands.model import Arg, ArgType, Command, CommandResult, Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Button, ButtonPress, Card, Fact, Menu, Tone
from bot.core.texts import fold
from bot.drawing.job_menu import back_button
from bot.privacy import deletion, exports

DELETE_NOW = "deletenow"
"""The action that deletes a job; ``delete`` asks for it."""

_YES = frozenset({"yes", "y", "是", "是的", "确认", "确定"})


async def _export(ctx: AppContext, invocation: Invocation) -> Card:
    return _export_card(await exports.request_export(ctx, invocation.actor, invocation.ref), invocation.actor.locale)


async def _forget(ctx: AppContext, invocation: Invocation) -> Card:
    if fold(invocation.args.get("confirm", "")).strip(' .!。！”“"') not in _YES:
        lost = await deletion.losses(ctx, invocation.actor)
        return _confirm_forget_card(
            invocation.actor.locale,
            jobs=lost.jobs,
            waiting=lost.waiting,
            pictures=lost.pictures,
            favourites=lost.favourites,
        )
    lost = await deletion.forget(ctx, invocation.actor)
    return _forgotten_card(invocation.actor.locale, jobs=lost.jobs, pictures=lost.pictures)


async def _keep(ctx: AppContext, invocation: Invocation) -> Card:
    typed = invocation.args.get("span", "")
    if typed:
        kept = await deletion.set_retention(ctx, invocation.actor, invocation.place, typed)
    else:
        kept = await deletion.show_retention(ctx, invocation.place)
    return _retention_card(invocation.actor.locale, days=kept.days, everywhere=kept.everywhere, whole=kept.whole)


async def _delete(_ctx: AppContext, invocation: Invocation) -> CommandResult:
    """Ask whether the job is to be deleted."""
    job_id, locale = invocation.pressed.job_id, invocation.actor.locale
    yes = Button(text(locale, f"button.{DELETE_NOW}"), ButtonPress(DELETE_NOW, job_id), danger=True)
    card = Card(
        Tone.PROBLEM,
        text(locale, "card.delete.ask", job=job_id),
        buttons=((yes,),),
        private=True,
        final=True,
        locale=locale,
    )
    return CommandResult(menu=Menu(card, back_button(job_id, locale), asks=True))


async def _delete_now(ctx: AppContext, invocation: Invocation) -> CommandResult:
    job_id, locale = invocation.pressed.job_id, invocation.actor.locale
    await deletion.delete_job(ctx, invocation.actor, invocation.place, job_id)
    done = Card(Tone.STOPPED, text(locale, "card.delete.done", job=job_id), private=True, final=True, locale=locale)
    return CommandResult(menu=Menu(done))


def _export_card(link: str | None, locale: str) -> Card:
    """Return the answer to an export request: its link, or that it will be sent."""
    if link is None:
        return Card(Tone.INFO, text(locale, "card.export.sent"), private=True, final=True)
    facts = (Fact(text(locale, "fact.export.link"), link),)
    return Card(Tone.INFO, text(locale, "card.export.link"), facts=facts, private=True, final=True)


def _confirm_forget_card(locale: str, *, jobs: int, waiting: int, pictures: int, favourites: int) -> Card:
    """Return the card that asks for confirmation: what the deletion would remove."""
    counts = (
        ("fact.forget.jobs", jobs),
        ("fact.forget.waiting", waiting),
        ("fact.forget.pictures", pictures),
        ("fact.forget.favourites", favourites),
    )
    return Card(
        Tone.PROBLEM,
        text(locale, "card.forget.ask"),
        notes=(
            text(locale, "card.forget.stays"),
            text(locale, "card.forget.sign_ins"),
            text(locale, "card.forget.export"),
        ),
        facts=tuple(Fact(text(locale, label), str(n)) for label, n in counts),
        private=True,
        final=True,
    )


def _forgotten_card(locale: str, *, jobs: int, pictures: int) -> Card:
    """Return the card of a completed deletion."""
    return Card(
        Tone.STOPPED,
        text(locale, "card.forget.done", n=pictures, jobs=jobs),
        notes=(text(locale, "card.forget.messages"),),
        private=True,
        final=True,
    )


def _retention_card(locale: str, *, days: float | None, everywhere: float | None, whole: bool) -> Card:
    """Return the card of a place's retention.

    Args:
        locale: The person's locale.
        days: The effective retention in days; None is unlimited.
        everywhere: The owners' rule for the whole service.
        whole: Whether this is the retention of the whole service.
    """
    if days is None:
        status = text(locale, "card.keep.everywhere_for_good" if whole else "card.keep.for_good")
    else:
        # In days, as typed: Babel would round 30 days to 4 weeks.
        span = text(locale, "duration.days", n=math.ceil(days), days=durations.number(days, locale))
        status = text(locale, "card.keep.everywhere" if whole else "card.keep.here", span=span)
    notes = [text(locale, "card.keep.favourites")]
    if not whole and days is not None and days == everywhere:
        notes.append(text(locale, "card.keep.by_owner"))
    return Card(Tone.INFO, status, notes=tuple(notes), private=True, final=True)


# What is stored of somebody is theirs, also while they are banned.
COMMANDS = (
    Command(name="easel keep", permission=Permission.ADMIN, handler=_keep, args=(SPAN,)),
    Command(name="export", permission=Permission.ANYBODY, handler=_export, personal=True, while_banned=True),
    Command(
        name="forget",
        permission=Permission.ANYBODY,
        handler=_forget,
        args=(Arg("confirm", ArgType.WORD, required=False),),
        personal=True,
        while_banned=True,
    ),
    Command(
        action="delete",
        permission=Permission.AUTHOR,
        handler=_delete,
        on_job=True,
        updates=True,
        button=JobButton(danger=True),
    ),
    Command(action=DELETE_NOW, permission=Permission.AUTHOR, handler=_delete_now, on_job=True, updates=True),
)

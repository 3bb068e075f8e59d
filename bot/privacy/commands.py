"""Commands of privacy: export and erase one's own data, and the retention of a place."""

from __future__ import annotations

from bot.commands.arguments import SPAN
from bot.commands.model import Arg, ArgType, Command, Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.texts import fold
from bot.privacy import cards as privacy_cards
from bot.privacy import service as privacy_service

_YES = frozenset({"yes", "y", "是", "是的", "确认", "确定"})


async def _export(ctx: AppContext, invocation: Invocation) -> Card:
    return privacy_cards.export_card(
        await privacy_service.request_export(ctx, invocation.actor, invocation.ref), invocation.actor.locale
    )


async def _forget(ctx: AppContext, invocation: Invocation) -> Card:
    if fold(invocation.args.get("confirm", "")).strip(' .!。！”“"') not in _YES:
        lost = await privacy_service.losses(ctx, invocation.actor)
        return privacy_cards.confirm_forget_card(
            invocation.actor.locale,
            jobs=lost.jobs,
            waiting=lost.waiting,
            pictures=lost.pictures,
            favourites=lost.favourites,
        )
    lost = await privacy_service.forget(ctx, invocation.actor)
    return privacy_cards.forgotten_card(invocation.actor.locale, jobs=lost.jobs, pictures=lost.pictures)


async def _keep(ctx: AppContext, invocation: Invocation) -> Card:
    typed = invocation.args.get("span", "")
    if typed:
        kept = await privacy_service.set_retention(ctx, invocation.actor, invocation.place, typed)
    else:
        kept = await privacy_service.show_retention(ctx, invocation.place)
    return privacy_cards.retention_card(
        invocation.actor.locale, days=kept.days, everywhere=kept.everywhere, whole=kept.whole
    )


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
)

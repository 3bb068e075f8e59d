"""Commands that link and unlink the accounts of one person."""

from __future__ import annotations

from bot.accounts import linking
from bot.cards.i18n import text
from bot.commands.model import Arg, ArgType, Command, Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Card, Tone


async def _link(ctx: AppContext, invocation: Invocation) -> Card:
    locale, typed = invocation.actor.locale, invocation.args.get("code", "")
    if not typed:
        code = await linking.create_code(ctx, invocation.actor)
        return _card(text(locale, "card.link.code", code=code), text(locale, "card.link.careful"))
    name = await linking.link(ctx, invocation.actor, typed)
    if not name:
        return _card(text(locale, "card.link.joined"))
    return _card(text(locale, "card.link.joined_with", name=name))


async def _unlink(ctx: AppContext, invocation: Invocation) -> Card:
    await linking.unlink(ctx, invocation.actor)
    return _card(text(invocation.actor.locale, "card.unlinked"))


def _card(status: str, *notes: str) -> Card:
    return Card(Tone.INFO, status, notes=notes, private=True, final=True)


COMMANDS = (
    Command(
        name="link",
        permission=Permission.ANYBODY,
        handler=_link,
        args=(Arg("code", ArgType.WORD, required=False),),
        personal=True,
    ),
    Command(
        name="unlink", permission=Permission.ANYBODY, handler=_unlink, personal=True, listed=False, while_banned=True
    ),
)

"""Commands of accounts: a code from one account links the other, accounts are unlinked, and a link signs in to the page."""

from __future__ import annotations

from bot.access import newcomers
from bot.access.store import codes as code_rows
from bot.access.store.codes import CodeKind
from bot.accounts.sessions import LINK_SECONDS, create_chat_link
from bot.accounts.store import linking as account_rows
from bot.cards.i18n import text
from bot.commands import permissions
from bot.commands.model import Arg, ArgType, Command, Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Card, Fact, Tone
from bot.core.errors import BadInput, NotAllowed, Unavailable, Uninvited
from bot.core.people import Actor
from bot.storage import people, preferences
from bot.storage.database import Tx


async def create_code(ctx: AppContext, actor: Actor) -> str:
    """Return a new code that links another account to this one. It is secret: never log it."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        return await code_rows.create_code(tx, CodeKind.LINK, person.account_id, now)


async def link(ctx: AppContext, actor: Actor, typed: str) -> str:
    """Link the actor's account with the account of the typed code; return that account's name.

    Raises:
        BadInput: The code is wrong (it says how many attempts are left), or the accounts are linked already.
        NotAllowed: Both people have an account on the same platform, or too many wrong codes were typed.
    """
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        tries, wait = await code_rows.attempts_left(tx, person.account_id, now)
        if not tries:
            raise NotAllowed("refusal.link.wait", wait=wait)
        redeemed = await code_rows.redeem_code(tx, CodeKind.LINK, typed, now)
        if redeemed.found and redeemed.account_id is not None:
            return await _link_people(tx, person.id, redeemed.account_id)
        tries = await code_rows.count_wrong_code(tx, person.account_id, now)
        _, wait = await code_rows.attempts_left(tx, person.account_id, now)
    # After the commit, so that the wrong attempt is counted.
    if tries:
        raise BadInput("refusal.link.wrong", n=tries)
    raise NotAllowed("refusal.link.wait", wait=wait)


async def unlink(ctx: AppContext, actor: Actor) -> None:
    """Give the actor's account a person of its own, with its jobs. Raises NotAllowed if it is not linked."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        person = await people.remember(tx, actor, now=now)
        if await account_rows.count_accounts(tx, person.id) < 2:
            raise NotAllowed("refusal.unlink.single")
        await account_rows.split_account(tx, person.account_id, now=now)


async def _link_people(tx: Tx, person_id: int, account_id: int) -> str:
    # A refusal rolls the transaction back, so the code is not used up.
    other = await account_rows.person_of(tx, account_id)
    if other == person_id:
        raise BadInput("refusal.link.same")
    if await account_rows.platforms(tx, other) & await account_rows.platforms(tx, person_id):
        raise NotAllowed("refusal.link.platform")
    await account_rows.merge_people(tx, other, person_id)
    return (await people.get_account(tx, account_id)).name


async def _link(ctx: AppContext, invocation: Invocation) -> Card:
    locale, typed = invocation.actor.locale, invocation.args.get("code", "")
    if not typed:
        code = await create_code(ctx, invocation.actor)
        return _card(text(locale, "card.link.code", code=code), text(locale, "card.link.careful"))
    name = await link(ctx, invocation.actor, typed)
    await preferences.refresh(ctx.db, ctx.preferences)
    if not name:
        return _card(text(locale, "card.link.joined"))
    return _card(text(locale, "card.link.joined_with", name=name))


async def _unlink(ctx: AppContext, invocation: Invocation) -> Card:
    await unlink(ctx, invocation.actor)
    await preferences.refresh(ctx.db, ctx.preferences)
    return _card(text(invocation.actor.locale, "card.unlinked"))


async def _studio(ctx: AppContext, invocation: Invocation) -> Card:
    """Answer with a link that signs the account in to the page."""
    actor, place, locale = invocation.actor, invocation.place, invocation.actor.locale
    if not ctx.public_url:
        raise Unavailable("refusal.studio.nowhere")
    if await newcomers.is_stranger(ctx, actor, place):
        raise Uninvited("refusal.access.studio")
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        admin = place.guild is not None and await permissions.is_admin(tx, actor, place)
        token = await create_chat_link(tx, actor, place, admin=admin, now=now)
    return Card(
        Tone.INFO,
        text(locale, "card.studio.link", minutes=round(LINK_SECONDS / 60)),
        notes=(text(locale, "card.studio.careful"),),
        facts=(Fact(text(locale, "fact.studio.link"), f"{ctx.public_url.rstrip('/')}/enter/{token}"),),
        private=True,
        final=True,
    )


def _card(status: str, *notes: str) -> Card:
    return Card(Tone.INFO, status, notes=notes, private=True, final=True)


COMMANDS = (
    Command(
        name="link",
        permission=Permission.ANYBODY,
        handler=_link,
        args=(Arg("code", ArgType.WORD, required=False),),
        personal=True,
        limited_tries=True,
    ),
    Command(
        name="studio",
        permission=Permission.ANYBODY,
        handler=_studio,
        personal=True,
        offered=lambda ctx: bool(ctx.public_url),
    ),
    Command(
        name="unlink", permission=Permission.ANYBODY, handler=_unlink, personal=True, listed=False, while_banned=True
    ),
)

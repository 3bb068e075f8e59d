"""Commands that find one's own pictures again, turn pages of them, show one, and mark favourites."""

from __future__ import annotations

from bot.cards.i18n import text
from bot.cards.job_buttons import JobButton
from bot.commands.model import Arg, ArgType, Command, CommandResult, Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.messages import MessageKind
from bot.history import listing, service
from bot.history.cards import PAGE, SHOW
from bot.storage import messages


async def _search(ctx: AppContext, invocation: Invocation) -> Card:
    return await listing.search(ctx, invocation.actor, invocation.args.get("words", ""))


async def _favourites(ctx: AppContext, invocation: Invocation) -> Card:
    return await listing.search(ctx, invocation.actor, listing.FAVOURITES)


async def _favourite(ctx: AppContext, invocation: Invocation) -> CommandResult:
    kept = await service.toggle_favourite(ctx, invocation.actor, invocation.pressed)
    return CommandResult(
        notice=text(invocation.actor.locale, "studio.favourite.kept" if kept else "studio.favourite.let_go")
    )


async def _page(ctx: AppContext, invocation: Invocation) -> Card:
    """Return the page before a job, of the history or of the search that the press names by its index."""
    press = invocation.pressed
    # Job 0 stands for the newest page.
    before = press.job_id or None
    if press.index is not None:
        return await listing.search_page(ctx, invocation.actor, press.index, before)
    if before is not None:
        # The button of somebody else's page turns nothing.
        await service.get_entry(ctx, invocation.actor, before)
    return await listing.history_page(ctx, invocation.actor, before)


async def _show(ctx: AppContext, invocation: Invocation) -> CommandResult:
    """Show one job of a page. Where delivery sends the answer, several pictures come as an album before it."""
    entry = await service.get_entry(ctx, invocation.actor, invocation.pressed.job_id)
    ref = invocation.ref
    apart = len(entry.pictures) > 1 and ref.address is not None and not ref.answered
    if apart and ref.address is not None:
        async with ctx.db.write() as tx:
            await messages.add_files(tx, f"{ref.event}:album", entry.job.id, ref.address, MessageKind.ALBUM)
        ctx.backlog.messages_added()
    return CommandResult(shown=entry.job, apart=apart)


def _is_history_page(invocation: Invocation) -> bool:
    """Whether the page is of the history, which is one's own data and stays open to the banned. Searches do not."""
    return invocation.pressed.index is None


COMMANDS = (
    Command(
        name="search", permission=Permission.ANYBODY, handler=_search, args=(Arg("words", ArgType.TEXT),), personal=True
    ),
    Command(name="favourites", permission=Permission.ANYBODY, handler=_favourites, personal=True),
    Command(
        action="favourite",
        permission=Permission.ANYBODY,
        handler=_favourite,
        on_job=True,
        button=JobButton(also_each=True),
    ),
    Command(
        action=SHOW,
        permission=Permission.ANYBODY,
        handler=_show,
        on_job=True,
        on_private_card=True,
        while_banned=True,
    ),
    Command(
        action=PAGE,
        permission=Permission.ANYBODY,
        handler=_page,
        updates=True,
        on_private_card=True,
        while_banned=_is_history_page,
    ),
)

"""Where a place is told of reports and refusals: in the channel that its admins have named, or its owners themselves."""

from __future__ import annotations

from collections.abc import Callable

from bot.context import AppContext
from bot.core.cards import Card
from bot.core.messages import Address
from bot.moderation.store import log_channel
from bot.storage import messages, owners
from bot.storage.codec import dump_card
from bot.storage.database import Tx


async def log(
    tx: Tx, event: str, place_id: int | None, card: Callable[[str], Card], *, locale: str, job_id: int | None = None
) -> bool:
    """Post a notice in the log of a place, or in the owners' where it has none. Returns whether there is any.

    Args:
        tx: A writing transaction.
        event: Unique name of what is told; the same again is told once.
        place_id: Of the server or group; None in direct messages.
        card: Makes the notice in a language.
        locale: The log's language.
        job_id: The job that it is about, so that its buttons work there.
    """
    address = await log_channel.find(tx, place_id)
    if address is None:
        return False
    await messages.add_notice(tx, event, address, dump_card(card(locale)), job_id)
    return True


async def admins(
    tx: Tx,
    ctx: AppContext,
    event: str,
    place_id: int,
    card: Callable[[str], Card],
    *,
    locale: str,
    job_id: int | None = None,
) -> bool:
    """The same, but where no log is named the owners are told in direct messages. Returns whether anybody is told."""
    if await log_channel.is_off(tx, place_id):
        return False
    if await log(tx, event, place_id, card, locale=locale, job_id=job_id):
        return True
    everybody = ctx.owners.everybody()
    for platform, user_id in everybody:
        theirs = await owners.language(tx, platform, user_id)
        address = Address(platform, user_id, user=user_id, private=True)
        await messages.add_notice(tx, f"{event}:{platform}:{user_id}", address, dump_card(card(theirs)), job_id)
    return bool(everybody)

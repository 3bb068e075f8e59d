"""What is written down of a message that is shown, and when a job whose pictures are painted counts as delivered."""

from __future__ import annotations

from dataclasses import replace

from bot.core.jobs import JobState
from bot.core.messages import Address, Message, MessageKind, MessageState
from bot.delivery.items import Item
from bot.storage import jobs, messages
from bot.storage.database import Tx


def alone(address: Address) -> Address | None:
    """The asker's own chat, where what has no place at ``address`` can go; None where it is that chat already."""
    if address.private or address.elsewhere or not address.user or address.user == address.chat:
        return None
    return replace(address, private=True, elsewhere=True, message=None, reply_to=None, token=None, expires=None)


async def record(
    tx: Tx, item: Item, address: Address, digest: str, room: int, *, now: float, apart: Address | None = None
) -> bool:
    """Write down that a message is shown.

    Args:
        tx: A writing transaction.
        item: What is shown.
        address: Where.
        digest: What of it, as ``Item.digest`` says.
        room: How many pictures a card has room for; of a finished job, the others go beside it as an album.
        now: Unix seconds.
        apart: Where the pictures of a card go that was shown without them (its digest ends in ``messages.BARE``).

    Returns:
        Whether more is to be done about its job.
    """
    message, job = item.message, item.job
    if (message.state, message.address, message.shown) != (MessageState.SHOWN, address, digest):
        await messages.shown(tx, message.id, address, digest)
    if job is not None and await messages.unwanted(tx, job.id):
        return True  # it was forgotten while this was being sent
    if job is None or not item.ended:
        return False
    if digest.endswith(messages.BARE):
        event = f"apart:{message.id}"
        album = apart is not None and await messages.by_event(tx, event) is None
        if album and apart is not None:
            await messages.add_files(tx, event, job.id, apart, MessageKind.ALBUM)
        return await settle(tx, job.id, now=now) or album
    beside = [p.index for p in item.stored[room:]] if message.kind is MessageKind.CARD else []
    album = bool(beside) and job.state is JobState.PAINTED
    if album:
        await messages.add_files(tx, f"album:{message.id}", job.id, address, MessageKind.ALBUM, indexes=beside)
    return await settle(tx, job.id, now=now) or album


async def settle(tx: Tx, job_id: int, *, now: float) -> bool:
    """Make a painted job delivered once nothing of it is left to show; returns whether this call did that."""
    job = await jobs.get(tx, job_id)
    if job is None or job.state is not JobState.PAINTED:
        return False
    if not all(_over(message) for message in await messages.of_job(tx, job_id)):
        return False
    return await jobs.move(tx, job_id, JobState.PAINTED, JobState.DELIVERED, now=now)


def _over(message: Message) -> bool:
    """Nothing has to happen to this message before its job counts as delivered."""
    if message.kind not in {MessageKind.CARD, MessageKind.ALBUM}:
        return True
    if message.state is MessageState.SHOWN:
        return message.kind is MessageKind.ALBUM or message.shown.startswith(messages.FINAL)
    return message.state in {MessageState.UNCLEAR, MessageState.GONE}

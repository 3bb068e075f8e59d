"""Brings a message in a chat in line with its row, so that a kill at any moment shows nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from bot.core.cards import Card
from bot.core.events import EventBus, InChats, JobChanged, MessagesAdded
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, Message, MessageKind, MessageState, at_new_message
from bot.core.pictures import PictureFile
from bot.core.ports import Clock, Gone, NoPictures, QueuePositions, RetryLater, Surface
from bot.core.waits import persist
from bot.delivery.cards import JobPresenter
from bot.delivery.live import Live
from bot.delivery.previews import ChatPreviews, ShownPreview
from bot.delivery.store import (
    Follows,
    MessageItem,
    SendIntents,
    album_event,
    is_first_card,
    load_item,
    mark_missed,
    order_album,
    private_address,
    record_shown,
    shows_result,
)
from bot.observability.log_context import job_context
from bot.observability.metrics import Metrics
from bot.storage import data_files, jobs, messages
from bot.storage.database import Database
from bot.storage.sql import load_card

TEXT_TRIES = 5
"""How often the send of a text card may end without an answer: it may be repeated, but must not fill a chat."""

log = logging.getLogger(__name__)


class MessageSync:
    """The rules of edits and sends. Rows are read before and written after; memory only saves work."""

    def __init__(
        self,
        db: Database,
        surfaces: Mapping[str, Surface],
        presenter: JobPresenter,
        previews: ChatPreviews,
        folder: Path,
        *,
        queue: QueuePositions,
        live: Live,
        bus: EventBus,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """Args:
        db: Where the rows are.
        surfaces: The platforms that are on; they come and go.
        presenter: Makes the cards.
        previews: Chooses the previews on the cards of jobs that are being drawn.
        folder: Where pictures are kept.
        queue: Has the position of a job that waits.
        live: Has the progress of a job that is being drawn.
        bus: Told when a row has changed and more is to be done, and of new messages.
        clock: Time.
        metrics: Counts what could not be shown.
        """
        self._db = db
        self._surfaces = surfaces
        self._presenter = presenter
        self._previews = previews
        self._intents = SendIntents(db, presenter, clock)
        self._folder = folder
        self._queue = queue
        self._live = live
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        # Messages that may show their final card though no row says so. At start they are taken from the rows.
        self._maybe_final: set[int] = set()
        # By message, until its job ends: the digest shown last, the address that can't be reached, the tries to send a
        # text card, and whether its chat takes no pictures. Each only saves work and may be lost at any time.
        self._last_shown: dict[int, str] = {}
        self._unreachable: dict[int, Address] = {}
        self._tries: dict[int, int] = {}
        self._without_pictures: set[int] = set()

    async def sync(self, message_id: int, item: MessageItem | None = None) -> int:
        """Bring one message up to date; returns how many messages its platform was sent, 0 without a call to it.

        Args:
            message_id: The message.
            item: What was read of it a moment ago, in one of the states ``SYNCED``; None: it is read now.

        Raises:
            RetryLater: The chat must be left alone for a while.
            Exception: Any other fault; try again later.
        """
        if item is None:
            item = await self._db.run_read(lambda tx: load_item(tx, message_id, self._folder))
        if item is None:
            return 0
        with job_context(None if item.job is None else item.job.id), self._traced(item):
            sent = await self._sync_item(item)
            log.debug("message %d: its platform was sent %d messages", message_id, sent)
            return sent

    def _traced(self, item: MessageItem) -> AbstractContextManager[object]:
        """Trace the delivery of a job that has ended; progress is no part of it."""
        if item.job is None or item.job.state is not JobState.PAINTED:
            return nullcontext()
        return self._metrics.traces.part(item.job.id, "deliver", {"easel.platform": item.message.address.platform})

    async def _sync_item(self, item: MessageItem) -> int:
        message, job = item.message, item.job
        surface = self._surfaces.get(message.address.platform)
        if surface is None:
            return 0
        if message.unwanted:
            await self._remove(surface, item)
            return 1
        if message.kind is MessageKind.CARD:
            return int(job is not None and await self._sync_card(surface, item, job))
        if message.state is MessageState.SHOWN:
            replaced = message.kind is MessageKind.NOTICE and bool(message.card)
            return int(replaced and await self._edit_notice(surface, item))
        if message.kind is MessageKind.NOTICE:
            return int(await self._send_notice(surface, item))
        if job is None:
            return await self._send_export(surface, item)
        return await self._send_job_files(surface, item, job)

    async def settle(self, job_id: int) -> None:
        """Make a painted job delivered if none of its messages is left to show (the page's jobs have none)."""
        await self._db.run_write(lambda tx: jobs.deliver(tx, job_id))

    def mark_maybe_final(self, message_ids: Iterable[int]) -> None:
        """At start: the process before may have shown the final card of these messages."""
        self._maybe_final.update(message_ids)

    async def recover_interrupted(self, message: Message) -> None:
        """At start: the process before ended between this message's intent and its outcome; it is not sent again."""
        if is_first_card(message):
            log.warning("message %d may have been sent or not; the job's last card comes as a new one", message.id)
            await self._intents.lose_card(message)
        else:
            await self._mark_unclear(message)

    async def _mark_unclear(self, message: Message, old: MessageState = MessageState.SENDING) -> None:
        """It is unknown whether these pictures were shown: post a text card that offers them."""
        moved, job = await self._intents.mark_unclear(message, old)
        if not moved:
            return
        self._count_failure(message, "unclear")
        if job is not None:
            self._bus.publish(JobChanged(job.id))

    async def _send_notice(self, surface: Surface, item: MessageItem) -> bool:
        card = await self._stored_card(item)
        return card is not None and await self._send(
            surface, item, replace(card, pictures=card.pictures[: _limit(surface)])
        )

    async def _edit_notice(self, surface: Surface, item: MessageItem) -> bool:
        """Make a shown notice show the card that has replaced its first one."""
        message = item.message
        card = await self._stored_card(item)
        if card is None:
            return False
        card = replace(card, pictures=card.pictures[: _limit(surface)])
        address, digest = message.address, item.digest(card)
        asked = digest != message.shown
        if asked:
            try:
                if address.message is None:
                    raise Gone("no message is known")
                address = await surface.edit(address, card)
            except (Gone, NoPictures):
                async with self._db.write() as tx:
                    await messages.resend(tx, message.id, at_new_message(message.address))
                self._bus.publish(MessagesAdded())
                return True
        await self._record_shown(item, address, digest)
        return asked

    async def _stored_card(self, item: MessageItem) -> Card | None:
        """Return the card that is stored with a message; None where it can't be read, and the message is given up."""
        try:
            card = load_card(item.message.card)
        except ValueError:
            log.exception("message %d can't be read and is left", item.message.id)
            await self._give_up(item)
            return None
        if not card.pictures:
            return card
        # The row may come from a foreign backup: only files of the data folder, not behind a link, are sent.
        own = await asyncio.to_thread(
            lambda: tuple(f for f in card.pictures if data_files.is_sendable(self._folder, f.path))
        )
        return _with_files(card, own, item.message.id)

    async def _sync_card(self, surface: Surface, item: MessageItem, job: Job) -> bool:
        message = item.message
        if self._unreachable.get(message.id) == message.address and not item.ended:
            return False
        if message.state is MessageState.SHOWN and message.address.replaces is not None:
            await self._remove_replaced(surface, item, job)
            return True
        card = await self._job_card(surface, item, job)
        if card is None:
            return False
        if message.state is MessageState.WANTED:
            return await self._send(surface, item, card)
        digest, seen = item.digest(card), self._last_shown.get(message.id, message.shown)
        if seen in {digest, digest + messages.BARE}:
            await self._record_shown(item, message.address, seen)
            return False
        if message.address.message is None:
            await self._handle_uneditable(item, job)
            return False
        return await self._edit_card(surface, item, job, card, digest)

    async def _edit_card(self, surface: Surface, item: MessageItem, job: Job, card: Card, digest: str) -> bool:
        message = item.message
        card, digest = self._adapt_to_chat(item, card, digest)
        try:
            address = await surface.edit(message.address, card)
        except NoPictures:
            if card.preview is None:
                return self._retry_without_pictures(item)
            # Whether the finished pictures are taken is for their own try to find out.
            log.info("message %d can't show previews; its card goes without", message.id)
            self._previews.refuse(job.id)
            self._bus.publish(JobChanged(job.id))
        except Gone:
            if card.pictures and message.id in self._maybe_final:
                log.warning("message %d may have shown its pictures, and can't be reached any more", message.id)
                await self._mark_unclear(message, MessageState.SHOWN)
            else:
                await self._handle_uneditable(item, job)
        except Exception as e:
            if item.ended and (not isinstance(e, RetryLater) or e.unclear):
                self._maybe_final.add(message.id)
            raise
        else:
            await self._record_shown(item, address, digest)
        return True

    async def _job_card(self, surface: Surface, item: MessageItem, job: Job) -> Card | None:
        """Return a job's card as its chat can show it now; None while its pictures go before it."""
        seen = await self._preview(surface, item, job)
        progress = self._live.progress(job.id) if seen is None else seen.progress
        card = self._presenter.job(job, item.stored, self._queue.position(job.id), progress)
        if seen is not None:
            card = replace(card, preview=seen.preview)
        # A private card that can't be sent is given up, and its album with it.
        new_private = card.private and item.message.state is MessageState.WANTED
        unsendable = new_private and not surface.abilities().private_send
        if item.ended and len(card.pictures) > _limit(surface) and not unsendable:
            below = await self._below_album(item, job, card, _limit(surface))
            if below is None:
                return None
            card = below
        card = replace(card, pictures=card.pictures[: _limit(surface)])
        card = _without_foreign(card, item)
        return self._presenter.elsewhere(card) if item.message.address.elsewhere else card

    async def _preview(self, surface: Surface, item: MessageItem, job: Job) -> ShownPreview | None:
        """Return the preview of a card that is edited; new messages come without."""
        every = surface.abilities().preview_every
        if every is None or item.ended or item.message.state is not MessageState.SHOWN or item.message.unwanted:
            return None
        return await self._previews.of(job, every)

    async def _below_album(self, item: MessageItem, job: Job, card: Card, room: int) -> Card | None:
        """Return the card of a job whose pictures go before it as an album; None while they do not stand in the chat.

        A card that people have seen while they waited is above the album: it is sent again below, and then removed.
        A card that can't be sent again shows what it has room for; the album has the other pictures.
        """
        message, fixed = item.message, item.message.address.fixed
        async with self._db.read() as tx:
            album = await messages.by_event(tx, album_event(message))
        if album is None:
            beside = [picture.index for picture in item.stored[room:]] if fixed else []
            async with self._db.write() as tx:
                await order_album(tx, message, job, beside)
            self._bus.publish(MessagesAdded())
            return card if fixed else None
        if messages.indexes_of(album):
            return card  # the album is without the pictures that the card shows
        if album.state in {MessageState.WANTED, MessageState.SENDING}:
            return None
        if message.state is MessageState.SHOWN and not message.shown.startswith(messages.FINAL):
            address = replace(at_new_message(message.address), replaces=message.address.message)
            async with self._db.write() as tx:
                await messages.resend(tx, message.id, address)
            self._last_shown.pop(message.id, None)
            self._bus.publish(JobChanged(job.id))
            return None
        lost = album.state is MessageState.GONE
        apart = not lost and album.address.elsewhere and not message.address.elsewhere
        if lost or apart:
            return self._presenter.without_pictures(card, apart=apart)
        return replace(card, pictures=())

    async def _remove_replaced(self, surface: Surface, item: MessageItem, job: Job) -> None:
        """Remove the message above, which the card has replaced."""
        message = item.message
        old, *_ = messages.addresses_of(message)
        try:
            await surface.remove(old, replace(self._presenter.job(job, (), None, None), buttons=()))
        except Gone:
            log.info("the card that message %d has replaced can't be taken away", message.id)

        async def write() -> None:
            async with self._db.write() as tx:
                await messages.mark_shown(tx, message.id, replace(message.address, replaces=None), message.shown)

        await persist(write, self._clock)
        self._bus.publish(JobChanged(job.id))

    async def _handle_uneditable(self, item: MessageItem, job: Job) -> None:
        """The message was deleted or can't be edited: a first card is left alone, a final card is sent as a new message."""
        if not item.ended:
            self._unreachable[item.message.id] = item.message.address
        elif job.state is JobState.CANCELLED:
            # The person who cancelled it knows; a new message would only disturb.
            await self._give_up(item)
        else:
            async with self._db.write() as tx:
                await messages.resend(tx, item.message.id, at_new_message(item.message.address))
            self._bus.publish(JobChanged(job.id))

    def _retry_without_pictures(self, item: MessageItem) -> bool:
        """The chat takes no pictures: have the card synced again, without them."""
        log.warning("the chat of message %d takes no pictures; its card goes without", item.message.id)
        self._without_pictures.add(item.message.id)
        if item.job is None:
            self._bus.publish(MessagesAdded())
        else:
            self._bus.publish(JobChanged(item.job.id))
        return True

    def _adapt_to_chat(self, item: MessageItem, card: Card, digest: str) -> tuple[Card, str]:
        """Return the card and its digest; for a chat that takes no pictures, without them and with a note."""
        if item.message.id not in self._without_pictures or not card.pictures:
            return card, digest
        apart = item.job is not None and private_address(item.message.address) is not None
        return self._presenter.without_pictures(card, apart=apart), digest + messages.BARE

    async def _send(self, surface: Surface, item: MessageItem, card: Card) -> bool:
        message, able = item.message, surface.abilities()
        card, digest = self._adapt_to_chat(item, card, item.digest(card))
        if card.private and not able.private_send:
            await self._give_up(item)
            return False
        # A refusal, a failure or the card below an album may come twice rather than never. Pictures may not, and neither
        # may a first card: the copy would never be edited.
        once = not able.safe_resend and bool(card.pictures or not item.ended)
        if once and not await self._intents.begin(message, digest):
            return False
        # The first card and the final card are two sends; each keeps its key in every try.
        key = f"{message.id}:{'end' if item.ended else 'now'}"
        try:
            address = await surface.send(message.address, card, key)
        except Gone:
            await self._show_elsewhere(surface, item, card, digest)
        except NoPictures:
            if once:
                await self._intents.take_back(message)
            return self._retry_without_pictures(item)
        except RetryLater:
            if once:
                await self._intents.take_back(message)
            raise
        except Exception as e:
            if once and item.ended:
                log.warning("message %d may have been sent or not", message.id, exc_info=e)
                await self._mark_unclear(message)
            elif able.safe_resend or not await self._tries_exhausted(item):
                if once:
                    await self._intents.take_back(message)
                raise
        else:
            await self._record_shown(item, address, digest)
        return True

    async def _show_elsewhere(self, surface: Surface, item: MessageItem, card: Card, digest: str) -> None:
        """The card can't be sent to its chat: show it in the message that it was to replace, or see ``_redirect``."""
        if item.message.address.replaces is not None:
            old, *_ = messages.addresses_of(item.message)
            with contextlib.suppress(Gone):
                await self._record_shown(item, await surface.edit(old, card), digest)
                return
        await self._redirect(surface, item)

    async def _redirect(self, surface: Surface, item: MessageItem) -> None:
        """The chat can't be written to: send to the asker alone, or else to the chat outside its thread."""
        message, job = item.message, item.job
        address = private_address(message.address) if surface.abilities().private_send else None
        if address is None and message.address.elsewhere and message.address.private and message.address.thread:
            address = replace(message.address, private=False, thread=None, replaces=None)
        stopped = job is not None and (job.forgotten or job.request.private or job.state is JobState.CANCELLED)
        if address is None or stopped:
            await self._give_up(item)
            return
        async with self._db.write() as tx:
            sent_again = await messages.redirect(tx, message.id, address)
        if sent_again:
            log.warning("message %d goes elsewhere: its chat can't be written to", message.id)
            self._forget(message.id)
            self._bus.publish(MessagesAdded())

    async def _send_job_files(self, surface: Surface, item: MessageItem, job: Job) -> int:
        message = item.message
        asked = messages.indexes_of(message)
        files = _without_foreign(self._presenter.job(job, item.stored, None, None), item).pictures
        # A job that is not finished, or was forgotten meanwhile, has no files on its card.
        chosen = [f for f in files if not asked or f.index in asked]
        return await self._send_files(surface, item, chosen)

    async def _send_export(self, surface: Surface, item: MessageItem) -> int:
        """Send files that belong to no job."""
        card = await self._stored_card(item)
        if card is None:
            return 0
        # They are kept for a day. A person who was not reachable meanwhile can request a new export.
        there = [f for f in card.pictures if await asyncio.to_thread(f.path.is_file)]
        return await self._send_files(surface, item, there)

    async def _send_files(self, surface: Surface, item: MessageItem, chosen: Sequence[PictureFile]) -> int:
        message = item.message
        if not chosen:
            await self._give_up(item)
            return 0
        if not await self._intents.begin(message, messages.FINAL):
            return 0
        try:
            sent = await surface.send_files(message.address, chosen, originals=message.kind is MessageKind.DOCUMENT)
        except (Gone, NoPictures):
            await self._redirect(surface, item)
        except RetryLater:
            await self._intents.take_back(message)
            raise
        except Exception as e:  # it may have arrived, and must not be repeated
            log.warning("files of message %d may have been sent or not", message.id, exc_info=e)
            await self._mark_unclear(message)
        else:
            await self._record_shown(item, message.address, messages.FINAL + ",".join(sent))
            self._album_ended(item)
        return len(chosen)

    async def _remove(self, surface: Surface, item: MessageItem) -> None:
        """The job was forgotten: remove one of its messages; the others follow, each in a sync of its own."""
        message, job = item.message, item.job
        shown = message.state is MessageState.SHOWN or message.address.replaces is not None
        places = messages.addresses_of(message) if shown and job is not None else ()
        if places and job is not None:
            try:
                await surface.remove(places[0], self._presenter.job(job, (), None, None))
            except Gone:
                log.info("a message about job %d can't be taken away any more", job.id)
        async with self._db.write() as tx:
            if len(places) > 1 and message.address.replaces is not None:
                await messages.mark_shown(tx, message.id, replace(message.address, replaces=None), message.shown)
            elif len(places) > 1:
                left = messages.FINAL + ",".join(place.message or "" for place in places[1:])
                await messages.mark_shown(tx, message.id, message.address, left)
            else:
                await messages.mark_gone(tx, message.id)
                if job is not None:
                    await jobs.deliver(tx, job.id)
        self._forget(message.id)
        if job is not None:
            self._bus.publish(JobChanged(job.id))

    async def _record_shown(self, item: MessageItem, address: Address, digest: str) -> None:
        """Record that the message is up to date; see ``record_shown``."""
        message = item.message
        if not item.ended:
            self._last_shown[message.id] = digest
            if message.state is MessageState.SHOWN and address == message.address:
                return  # progress is not worth a durable write

        async def write() -> Follows:
            apart = private_address(message.address)
            return await self._db.run_write(lambda tx: record_shown(tx, item, address, digest, apart=apart))

        # The platform's answer is known here alone.
        follows = await persist(write, self._clock)
        if item.ended:
            self._forget(message.id)
        if follows is Follows.MORE or address.replaces is not None:
            await self._sync_again(item)
        elif follows is Follows.DELIVERED and item.job is not None:
            self._bus.publish(JobChanged(item.job.id, InChats.SHOWN))

    def _album_ended(self, item: MessageItem) -> None:
        """The card of an album that was sent, or can't be, may follow."""
        if item.message.kind is MessageKind.ALBUM and item.job is not None:
            self._bus.publish(JobChanged(item.job.id))

    async def _sync_again(self, item: MessageItem) -> None:
        """More is to be done about a message: about its job, or about a notice that was replaced meanwhile."""
        job_id = None if item.job is None else item.job.id
        if job_id is None:
            async with self._db.read() as tx:
                now = await messages.get(tx, item.message.id)
            job_id = None if now is None else now.job_id
        if job_id is None:
            self._bus.publish(MessagesAdded())
        else:
            self._bus.publish(JobChanged(job_id))

    async def _give_up(self, item: MessageItem) -> None:
        """The message can't be shown; the pictures are in the history, and the person is told at the next command."""
        more = False
        async with self._db.write() as tx:
            now = await messages.get(tx, item.message.id)
            if now is not None and now.kind is not item.message.kind and now.job_id is not None:
                # It has become the card of a job, which is shown with all that belongs to it.
                self._bus.publish(JobChanged(now.job_id))
                return
            await messages.move(tx, item.message.id, MessageState.WANTED, MessageState.GONE)
            await messages.move(tx, item.message.id, MessageState.SENDING, MessageState.GONE)
            await messages.move(tx, item.message.id, MessageState.SHOWN, MessageState.GONE)
            if item.job is not None:
                if await shows_result(tx, item):
                    await mark_missed(tx, item.job.id)
                more = await jobs.deliver(tx, item.job.id)
        log.warning(
            "message %d (%s of job %s) can be shown nowhere", item.message.id, item.message.kind, item.message.job_id
        )
        self._count_failure(item.message, "gone")
        if more and item.job is not None:
            self._bus.publish(JobChanged(item.job.id))
        else:
            self._album_ended(item)

    async def _tries_exhausted(self, item: MessageItem) -> bool:
        """Count a try of a text card, which may have arrived each time; give up after TEXT_TRIES."""
        tries = self._tries[item.message.id] = self._tries.get(item.message.id, 0) + 1
        if tries < TEXT_TRIES:
            return False
        log.warning("message %d could not be sent %d times and is left", item.message.id, tries)
        if item.ended:
            await self._give_up(item)
        else:
            await self._intents.lose_card(item.message)
        return True

    def _count_failure(self, message: Message, why: str) -> None:
        self._forget(message.id)
        self._metrics.delivery_failures.labels(message.address.platform, why).inc()

    def _forget(self, message_id: int) -> None:
        self._last_shown.pop(message_id, None)
        self._unreachable.pop(message_id, None)
        self._tries.pop(message_id, None)
        self._without_pictures.discard(message_id)
        self._maybe_final.discard(message_id)


def _without_foreign(card: Card, item: MessageItem) -> Card:
    """Return a job's card without the files that must not be sent."""
    if not item.foreign:
        return card
    return _with_files(card, tuple(f for f in card.pictures if f.index not in item.foreign), item.message.id)


def _with_files(card: Card, own: tuple[PictureFile, ...], message_id: int) -> Card:
    """Return the card with those of its files that are Easel's own."""
    if len(own) == len(card.pictures):
        return card
    log.warning("message %d names files that are not Easel's; they are not sent", message_id)
    return replace(card, pictures=own)


def _limit(surface: Surface) -> int:
    return surface.abilities().pictures_in_card

"""Shows one stored message as it should look now, so that a kill at any point shows nothing twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bot.core.cards import Card
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, Message, MessageKind, MessageState, at_new_message
from bot.core.pictures import PictureFile
from bot.core.ports import Clock, Gone, NoPictures, QueuePosition, RetryLater, Surface
from bot.delivery import store as missed_rows
from bot.delivery.delivery_state import (
    Intents,
    Item,
    alone,
    is_first_card,
    load_item,
    record_shown,
    settle_job,
    shows_ending,
)
from bot.delivery.presenter import JobPresenter
from bot.observability.metrics import Metrics
from bot.storage import messages, paths
from bot.storage.codec import load_card
from bot.storage.database import Database
from bot.storage.retry import persist

TEXT_TRIES = 5
"""How often the sending of one text card may end unclearly: it may be sent again, but must not fill a chat."""

log = logging.getLogger(__name__)


class MessageSync:
    """The rules of editing and sending. Rows are read before and written after; nothing else remembers what matters."""

    def __init__(
        self,
        db: Database,
        surfaces: Mapping[str, Surface],
        presenter: JobPresenter,
        folder: Path,
        *,
        waiting: Callable[[int], QueuePosition | None],
        progress: Callable[[int], float | None],
        follow: Callable[[int], None],
        posted: Callable[[], None],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """Args:
        db: Where the rows are.
        surfaces: Who speaks to which platform; a platform may come and go.
        presenter: Makes the cards.
        folder: Where pictures are kept.
        waiting: Where a job stands in the queue.
        progress: How much of a job is drawn.
        follow: Called with a job's id when its rows have changed and more is to be done about them.
        posted: Called when there is something new to send.
        clock: Time.
        metrics: Counts what could not be shown.
        """
        self._db = db
        self._surfaces = surfaces
        self._presenter = presenter
        self._intents = Intents(db, presenter, clock)
        self._folder = folder
        self._waiting = waiting
        self._progress = progress
        self._follow = follow
        self._posted = posted
        self._clock = clock
        self._metrics = metrics
        # Which messages may show their last card though no row says so. A new process takes them from the rows.
        self._perhaps_edited: set[int] = set()
        # By message, until its job ends: what was shown last, which can't be reached for now, how often sending was tried,
        # and whose chats take no pictures. Only to save work: each may be lost at any time.
        self._last: dict[int, str] = {}
        self._unreachable: set[int] = set()
        self._tries: dict[int, int] = {}
        self._bare: set[int] = set()

    async def show(self, message_id: int) -> int:
        """Bring one message up to date; returns how many messages its platform was sent: 0 where it was not spoken to.

        Raises:
            Busy: The chat must be left alone for a while.
            Exception: Whatever else went wrong; to be tried again.
        """
        async with self._db.read() as tx:
            item = await load_item(tx, message_id)
        if item is None:
            return False
        message, job = item.message, item.job
        surface = self._surfaces.get(message.address.platform)
        if surface is None:
            return False
        if message.unwanted:
            await self._take_away(surface, item)
            return True
        if message.kind is MessageKind.CARD:
            return job is not None and await self._card(surface, item, job)
        if message.state is MessageState.SHOWN:
            return False
        if message.kind is MessageKind.NOTICE:
            return await self._notice(surface, item)
        if job is None:
            return await self._parcel(surface, item)
        return await self._files(surface, item, job)

    async def settle(self, job_id: int) -> None:
        """Make a painted job delivered if it is shown nowhere, or everywhere already (as the page's jobs are)."""
        async with self._db.write() as tx:
            await settle_job(tx, job_id, now=self._clock.now())

    def may_be_edited(self, message_ids: Iterable[int]) -> None:
        """At start: a process that ended may have shown the last card of these messages."""
        self._perhaps_edited.update(message_ids)

    async def interrupted(self, message: Message) -> None:
        """At start: a process ended between this message's intent and what came of it; it is not sent again."""
        if is_first_card(message):
            log.warning("message %d may have been sent or not; the job's last card comes as a new one", message.id)
            await self._intents.out_of_reach(message)
        else:
            await self._unclear(message)

    async def _unclear(self, message: Message, old: MessageState = MessageState.SENDING) -> None:
        """Nobody knows whether these pictures were shown: say so by a text card that offers them."""
        moved, job = await self._intents.unclear(message, old)
        if not moved:
            return
        self._failed(message, "unclear")
        if job is not None:
            self._follow(job.id)

    async def _notice(self, surface: Surface, item: Item) -> bool:
        card = await self._stored_card(item)
        return card is not None and await self._send(
            surface, item, replace(card, pictures=card.pictures[: _room(surface)])
        )

    async def _stored_card(self, item: Item) -> Card | None:
        """The card that was stored with a message; None where it can't be read, and the message is given up."""
        try:
            card = load_card(item.message.card)
        except ValueError:
            log.exception("message %d can't be read and is left", item.message.id)
            await self._gone(item)
            return None
        return await self._own_files(card, item.message.id)

    async def _own_files(self, card: Card, message_id: int) -> Card:
        """The card with those of its files that Easel makes for cards and that lie in its folders, reached without links.

        Its row may come out of a foreign backup.
        """
        if not card.pictures:
            return card
        own = await asyncio.to_thread(lambda: tuple(f for f in card.pictures if paths.sendable(self._folder, f.path)))
        if len(own) == len(card.pictures):
            return card
        log.warning("message %d names files that are not Easel's; they are not sent", message_id)
        return replace(card, pictures=own)

    async def _card(self, surface: Surface, item: Item, job: Job) -> bool:
        message = item.message
        if message.id in self._unreachable and not item.ended:
            return False
        card = self._presenter.job(job, item.stored, self._waiting(job.id), self._progress(job.id))
        card = await self._own_files(replace(card, pictures=card.pictures[: _room(surface)]), message.id)
        if message.address.elsewhere:
            card = self._presenter.elsewhere(card)
        if message.state is MessageState.WANTED:
            return await self._send(surface, item, card)
        digest, seen = item.digest(card), self._last.get(message.id, message.shown)
        if seen in {digest, digest + messages.BARE}:
            await self._shown(item, message.address, seen, _room(surface))
            return False
        if message.address.message is None:
            await self._edit_gone(item, job)
            return False
        card, digest = self._as_taken(item, card)
        try:
            address = await surface.edit(message.address, card)
        except NoPictures:
            return self._again_bare(item)
        except Gone:
            if card.pictures and message.id in self._perhaps_edited:
                log.warning("message %d may have shown its pictures, and can't be reached any more", message.id)
                await self._unclear(message, MessageState.SHOWN)
            else:
                await self._edit_gone(item, job)
        except Exception as e:
            if item.ended and (not isinstance(e, RetryLater) or e.unclear):
                self._perhaps_edited.add(message.id)
            raise
        else:
            await self._shown(item, address, digest, _room(surface))
        return True

    async def _edit_gone(self, item: Item, job: Job) -> None:
        """It was deleted, or can't be edited (any more): what is not final waits, what is final is sent anew."""
        if not item.ended:
            self._unreachable.add(item.message.id)
        elif job.state is JobState.CANCELLED:
            # Whoever cancelled it knows; a new message would only disturb.
            await self._gone(item)
        else:
            async with self._db.write() as tx:
                await messages.wanted_again(tx, item.message.id, at_new_message(item.message.address))
            self._follow(job.id)

    def _again_bare(self, item: Item) -> bool:
        """The chat does not take a card's pictures: it is shown without them, in a showing of its own."""
        log.warning("the chat of message %d takes no pictures; its card goes without", item.message.id)
        self._bare.add(item.message.id)
        if item.job is None:
            self._posted()
        else:
            self._follow(item.job.id)
        return True

    def _as_taken(self, item: Item, card: Card) -> tuple[Card, str]:
        """The card as its chat takes it, and its digest: never without its pictures and without a reason for that."""
        digest = item.digest(card)
        if item.message.id not in self._bare or not card.pictures:
            return card, digest
        apart = item.job is not None and alone(item.message.address) is not None
        return self._presenter.without_pictures(card, apart=apart), digest + messages.BARE

    async def _send(self, surface: Surface, item: Item, card: Card) -> bool:
        message, able = item.message, surface.abilities()
        card, digest = self._as_taken(item, card)
        if card.private and not able.private_send:
            await self._gone(item)
            return False
        # A refusal or a failure may come twice rather than never. Pictures may not, and neither may a card that a later
        # one replaces: what is left of it would never be edited.
        once = not able.safe_resend and bool(card.pictures or not item.ended)
        if once and not await self._intents.begin(message, digest):
            return False
        # The first card and the finished one that replaces it are two sends; each keeps its key in every try.
        key = f"{message.id}:{'end' if item.ended else 'now'}"
        try:
            address = await surface.send(message.address, card, key)
        except Gone:
            await self._redirect(surface, item)
        except NoPictures:
            if once:
                await self._intents.take_back(message)
            return self._again_bare(item)
        except RetryLater:
            if once:
                await self._intents.take_back(message)
            raise
        except Exception as e:
            if once and item.ended:
                log.warning("message %d may have been sent or not", message.id, exc_info=e)
                await self._unclear(message)
            elif able.safe_resend or not await self._too_often(item):
                if once:
                    await self._intents.take_back(message)
                raise
        else:
            await self._shown(item, address, digest, _room(surface))
        return True

    async def _redirect(self, surface: Surface, item: Item) -> None:
        """Nothing can be sent there: the asker gets it alone, else it goes to the chat outside its thread."""
        message, job = item.message, item.job
        address = alone(message.address) if surface.abilities().private_send else None
        if address is None and message.address.elsewhere and message.address.private and message.address.thread:
            address = replace(message.address, private=False, thread=None)
        stopped = job is not None and (job.forgotten or job.request.private or job.state is JobState.CANCELLED)
        if address is None or stopped:
            await self._gone(item)
            return
        async with self._db.write() as tx:
            sent_again = await messages.redirected(tx, message.id, address)
        if sent_again:
            log.warning("message %d goes elsewhere: its chat can't be written to", message.id)
            self._forget(message.id)
            self._posted()

    async def _files(self, surface: Surface, item: Item, job: Job) -> int:
        message = item.message
        asked = messages.indexes_of(message)
        files = (await self._own_files(self._presenter.job(job, item.stored, None, None), message.id)).pictures
        # A job that is not finished yet (or that was forgotten meanwhile) has no files on its card.
        chosen = [f for f in files if not asked or f.index in asked]
        return await self._send_files(surface, item, chosen)

    async def _parcel(self, surface: Surface, item: Item) -> int:
        """Files that belong to no job."""
        card = await self._stored_card(item)
        if card is None:
            return 0
        # They are kept for a day: whoever could not be reached so long may ask again.
        there = [f for f in card.pictures if await asyncio.to_thread(f.path.is_file)]
        return await self._send_files(surface, item, there)

    async def _send_files(self, surface: Surface, item: Item, chosen: Sequence[PictureFile]) -> int:
        message = item.message
        if not chosen:
            await self._gone(item)
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
        except Exception as e:  # a send that can't be repeated: whatever went wrong, it may have arrived
            log.warning("files of message %d may have been sent or not", message.id, exc_info=e)
            await self._unclear(message)
        else:
            await self._shown(item, message.address, messages.FINAL + ",".join(sent), len(chosen))
        return len(chosen)

    async def _take_away(self, surface: Surface, item: Item) -> None:
        """What it shows was forgotten: its messages are taken away one by one, each in a showing of its own."""
        message, job = item.message, item.job
        places = messages.places_of(message) if message.state is MessageState.SHOWN and job is not None else ()
        if places and job is not None:
            try:
                await surface.remove(places[0], self._presenter.job(job, (), None, None))
            except Gone:
                log.info("a message about job %d can't be taken away any more", job.id)
        async with self._db.write() as tx:
            if len(places) > 1:
                left = messages.FINAL + ",".join(place.message or "" for place in places[1:])
                await messages.shown(tx, message.id, message.address, left)
            else:
                await messages.taken_away(tx, message.id)
                if job is not None:
                    await settle_job(tx, job.id, now=self._clock.now())
        self._forget(message.id)
        if job is not None:
            self._follow(job.id)

    async def _shown(self, item: Item, address: Address, digest: str, room: int) -> None:
        """The message shows what it should; of a finished job, what its card has no room for goes beside it."""
        message, job = item.message, item.job
        if not item.ended:
            self._last[message.id] = digest
            if message.state is MessageState.SHOWN and address == message.address:
                return  # progress that is not worth a durable write

        async def write() -> bool:
            async with self._db.write() as tx:
                return await record_shown(
                    tx, item, address, digest, room, now=self._clock.now(), apart=alone(message.address)
                )

        # What the platform has answered is known here alone.
        more = await persist(write, self._clock)
        if item.ended:
            self._forget(message.id)
        if more and job is not None:
            self._follow(job.id)

    async def _gone(self, item: Item) -> None:
        """It can't be shown here any more; its pictures are in the history, and the person is told at the next command."""
        more = False
        async with self._db.write() as tx:
            await messages.move(tx, item.message.id, MessageState.WANTED, MessageState.GONE)
            await messages.move(tx, item.message.id, MessageState.SENDING, MessageState.GONE)
            await messages.move(tx, item.message.id, MessageState.SHOWN, MessageState.GONE)
            if item.job is not None:
                if await shows_ending(tx, item):
                    await missed_rows.add(tx, item.job.id)
                more = await settle_job(tx, item.job.id, now=self._clock.now())
        log.warning(
            "message %d (%s of job %s) can be shown nowhere", item.message.id, item.message.kind, item.message.job_id
        )
        self._failed(item.message, "gone")
        if more and item.job is not None:
            self._follow(item.job.id)

    async def _too_often(self, item: Item) -> bool:
        """Count the tries of a text card, which may have arrived each time; after some it is left alone."""
        tries = self._tries[item.message.id] = self._tries.get(item.message.id, 0) + 1
        if tries < TEXT_TRIES:
            return False
        log.warning("message %d could not be sent %d times and is left", item.message.id, tries)
        if item.ended:
            await self._gone(item)
        else:
            await self._intents.out_of_reach(item.message)
        return True

    def _failed(self, message: Message, why: str) -> None:
        self._forget(message.id)
        self._metrics.delivery_failures.labels(message.address.platform, why).inc()

    def _forget(self, message_id: int) -> None:
        self._last.pop(message_id, None)
        self._unreachable.discard(message_id)
        self._tries.pop(message_id, None)
        self._bare.discard(message_id)
        self._perhaps_edited.discard(message_id)


def _room(surface: Surface) -> int:
    return surface.abilities().pictures_in_card

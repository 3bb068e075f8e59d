"""Requests with pictures on a platform: saved at once; a worker fetches the pictures and admits the request.

The row is the truth: it is written before anything is fetched, and deleted once the request is a job or was refused. Both
have the event's name, so a kill in between makes no second job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bot.cards import job_card
from bot.cards.i18n import text
from bot.context import AppContext
from bot.core.cards import Card, Tone
from bot.core.errors import BadInput, OverQuota, Refusal, Unavailable
from bot.core.events import MessagesAdded
from bot.core.jobs import Job
from bot.core.messages import EventRef, MessageState
from bot.core.people import Actor, Place
from bot.core.ports import Gone, RetryLater, Surface, TooLarge
from bot.core.requests import (
    MAX_PICTURE_BYTES,
    MAX_PICTURES_BYTES,
    DrawForm,
    DrawRequest,
    PictureSource,
    PictureUse,
    ReferenceImage,
    SourceImage,
)
from bot.core.waits import ExponentialBackoff, shield
from bot.delivery.store import digest_of
from bot.drawing import admission, flags, store
from bot.drawing.defaults import NO_DEFAULTS, RequestDefaults, defaults_of, with_model
from bot.drawing.model_rules import check_count, choose_model
from bot.drawing.request_rules import check_form
from bot.drawing.store import DueRequest, NewPictureRequest, PictureRequest
from bot.storage import jobs, messages
from bot.storage.database import Tx
from bot.storage.sql import dump_card
from engine.contract import Capability

MAX_WAITING = 4
"""Most requests of one person that wait for their pictures."""

ALBUM_SECONDS = 1.5
"""Seconds after a picture of an album in which the next one is expected; each comes as an event of its own."""

ALBUM_PICTURES = 10
"""Most pictures of an album that are kept: more than any model takes, so that the request is refused with a sentence."""

MAX_TRIES = 3
"""A request is refused after it has ended this many processes."""

AT_ONCE = 8
"""Most requests of one platform whose pictures are fetched at once: each holds up to MAX_PICTURES_BYTES in memory."""

FETCH_SECONDS = 60.0
"""Seconds in which one picture has to arrive."""

PATIENCE_SECONDS = 300.0
"""Seconds after which a request is refused whose pictures the platform does not hand out."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_RETRY = 5.0
_IDLE = 3600.0
_UNKNOWN_SIDE = 1024
"""Side of the square that stands for a picture before it is fetched: its size only chooses the result's ratio."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SavedRequest:
    """A request that waits for its pictures, and the card that says so."""

    card: Card


def choose_use(ctx: AppContext, form: DrawForm, defaults: RequestDefaults = NO_DEFAULTS) -> PictureUse:
    """Return what a form's pictures become: START or EDIT; ``defaults`` are those of its person and place.

    Words beside one picture are an instruction where the model edits pictures, else a prompt to start from it. A strength
    or a control picture only fits a start; several pictures only fit an edit.

    Raises BadInput if a flag or the model's name can't be read.
    """
    if form.use is not None:
        return form.use
    form = flags.parse(form)
    if len(form.sources) > 1:
        return PictureUse.EDIT
    if form.strength is not None or form.control is not None:
        return PictureUse.START
    profiles = ctx.profiles()
    profile = choose_model(with_model(form, defaults, profiles)[0].model, profiles)
    by_edit_model = form.model is None and ctx.edit_model in {one.name for one in profiles}
    return PictureUse.EDIT if Capability.EDIT in profile.can or by_edit_model else PictureUse.START


async def save(ctx: AppContext, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> Job | SavedRequest:
    """Save a request whose pictures are still to be fetched (``form.sources``). The same event again changes nothing.

    All that can be checked without the pictures is checked here, so that nothing is fetched for strangers, banned people
    and requests that would be refused anyway.

    Returns:
        The waiting request, or the event's job if it is admitted already.

    Raises:
        Refusal: As ``admission.draw``; also OverQuota if too many requests of the person wait for pictures.
    """
    checked = await _checked(ctx, actor, place, form)
    card = waiting_card(actor, form, checked)
    async with admission.recorded_refusals(ctx, actor, place, ref, checked), ctx.db.write() as tx:
        job = await jobs.by_event(tx, ref.event)
        if job is not None:
            return job
        if await store.by_event(tx, ref.event) is None:
            account_id = await _check_person(tx, ctx, actor, place, checked)
            await store.add(tx, _new(ctx, actor, place, form, ref, account_id=account_id))
            await announce(tx, ref, card)
    ctx.backlog.messages_added()
    return SavedRequest(card)


async def add_to_album(
    ctx: AppContext, actor: Actor, place: Place, form: DrawForm, ref: EventRef, *, begins: bool
) -> None:
    """Save one picture of an album, and the words that came with it; the pictures together are one request.

    Args:
        ctx: The use cases' context.
        actor: Who requests it.
        place: Where.
        form: Its words, empty if they come with another picture, and its source.
        ref: The event of the whole album.
        begins: Whether it may be the first one; else only an album that is known is added to.

    Raises:
        Refusal: As ``save``.
    """
    worded = bool(form.prompt.strip())
    if not begins:
        # Most albums of a group are none of the bot's.
        async with ctx.db.read() as tx:
            if await store.by_event(tx, ref.event) is None:
                return
    # Without words only the person and the place can be checked.
    checked = await _checked(ctx, actor, place, form if worded else replace(form, prompt="?"))
    async with admission.recorded_refusals(ctx, actor, place, ref, checked), ctx.db.write() as tx:
        if await jobs.by_event(tx, ref.event) is not None:
            return
        known = await store.by_event(tx, ref.event)
        if known is not None:
            form = _joined(known.form, form)
            await store.update_form(tx, known.id, form, due_at=ctx.clock.now() + ALBUM_SECONDS)
        elif begins:
            account_id = await _check_person(tx, ctx, actor, place, checked)
            new = _new(ctx, actor, place, form, ref, account_id=account_id)
            await store.add(tx, replace(new, due_at=new.due_at + ALBUM_SECONDS))
        else:
            return
        if worded:
            await announce(tx, ref, waiting_card(actor, form, checked))
    ctx.backlog.messages_added()


def _joined(known: DrawForm, form: DrawForm) -> DrawForm:
    """Return an album's form with the picture and the words of another of its messages."""
    worded = known if known.prompt.strip() else form
    more = tuple(source for source in form.sources if source not in known.sources)
    return replace(worded, sources=(*known.sources, *more)[:ALBUM_PICTURES])


async def _check_person(tx: Tx, ctx: AppContext, actor: Actor, place: Place, checked: DrawRequest) -> int:
    """Check a request as ``admission.check`` does, and that not too many wait; returns the row of the account."""
    person = await admission.check(tx, ctx, actor, place, checked)
    if await store.count_of_person(tx, person.id) >= MAX_WAITING:
        raise OverQuota("refusal.pictures.waiting", n=MAX_WAITING)
    return person.account_id


def _new(
    ctx: AppContext, actor: Actor, place: Place, form: DrawForm, ref: EventRef, *, account_id: int
) -> NewPictureRequest:
    assert ref.address is not None, "a platform whose pictures are fetched has chats"
    now = ctx.clock.now()
    return NewPictureRequest(
        event=ref.event,
        account_id=account_id,
        platform=ref.address.platform,
        actor=actor,
        place=place,
        address=ref.address,
        form=form,
        due_at=now,
        created_at=now,
    )


async def announce(tx: Tx, ref: EventRef, card: Card) -> None:
    """Add the message that becomes another card; until then it says what is being done."""
    assert ref.address is not None
    state = MessageState.OPENING if ref.answered else MessageState.WANTED
    shown = digest_of(card, final=True) if ref.answered else ""
    await messages.add_notice(tx, ref.event, ref.address, dump_card(card), state=state, shown=shown)


def waiting_card(actor: Actor, form: DrawForm, checked: DrawRequest) -> Card:
    """Return the card of a request whose pictures are being fetched."""
    return Card(
        Tone.WAITING,
        text(actor.locale, "card.fetching", n=len(form.sources)),
        prompt=checked.typed,
        asker=actor.name,
        private=checked.private,
        provisional=True,
        locale=actor.locale,
    )


async def _checked(ctx: AppContext, actor: Actor, place: Place, form: DrawForm) -> DrawRequest:
    """Return the request with squares in place of its pictures. Raises BadInput."""
    count = len(form.sources)
    if not form.prompt.strip():
        raise BadInput("refusal.pictures.words")
    check_count(count)
    sizes = [source.bytes for source in form.sources]
    for number, size in enumerate(sizes, 1):
        if size > MAX_PICTURE_BYTES:
            raise too_large(number, MAX_PICTURE_BYTES)
    if sum(sizes) > MAX_PICTURES_BYTES:
        raise BadInput("refusal.pictures.too_large_together", limit=MAX_PICTURES_BYTES // 2**20)
    defaults = await defaults_of(ctx, actor, place)
    use = choose_use(ctx, form, defaults)
    if use is PictureUse.START and count > 1:
        raise BadInput("refusal.pictures.one")
    if use is PictureUse.EDIT and count > 1 and not any(Capability.EDIT in one.can for one in ctx.profiles()):
        raise BadInput("refusal.pictures.one")
    start = SourceImage("unknown", _UNKNOWN_SIDE, _UNKNOWN_SIDE) if use is PictureUse.START else None
    # Files of no bytes in their place, by which the default model is chosen.
    form = replace(form, image=b"") if start else replace(form, references=(b"",) * count)
    return check_form(
        form,
        ctx.profiles(),
        ctx.max_count(actor.platform),
        ctx.rng,
        ctx.styles,
        loras=ctx.loras(),
        source=start,
        references=() if start else (ReferenceImage("unknown", _UNKNOWN_SIDE, _UNKNOWN_SIDE),) * count,
        edit_model=ctx.edit_model,
        defaults=defaults,
    )


def too_large(number: int, limit: int) -> BadInput:
    """Return the refusal of a picture, counted from 1, that is larger than ``limit`` bytes."""
    return BadInput("refusal.pictures.too_large", number=number, limit=limit // 2**20)


async def fetch(
    surface: Surface, source: PictureSource, number: int, limit: int, *, seconds: float = FETCH_SECONDS
) -> bytes:
    """Fetch one picture from its platform.

    Args:
        surface: The platform.
        source: The picture.
        number: Which one of the request, counted from 1.
        limit: Most bytes.
        seconds: In which it has to arrive.

    Raises:
        BadInput: It is gone.
        TooLarge: It has more bytes.
        RetryLater: The platform does not hand it out now.
    """
    try:
        async with asyncio.timeout(seconds):
            return await surface.fetch(source, limit)
    except TimeoutError:
        raise RetryLater(_FIRST_PAUSE) from None
    except Gone as gone:
        log.info("picture %d of a request is gone: %s", number, gone)
        raise BadInput("refusal.pictures.gone", number=number) from None


class PictureFetcher:
    """The worker that fetches pictures. A person's requests are fetched in turn; a slow one delays nobody else's."""

    def __init__(
        self,
        ctx: AppContext,
        surfaces: Mapping[str, Surface],
        *,
        seconds: float = FETCH_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Args:
        ctx: The use cases' context.
        surfaces: The platforms that are on; they come and go.
        seconds: Seconds in which one picture has to arrive.
        patience: Seconds after which a request is refused whose pictures the platform does not hand out.
        """
        self._ctx = ctx
        self._surfaces = surfaces
        self._seconds = seconds
        self._patience = patience
        self._wake = asyncio.Event()
        self._busy: set[tuple[str, int]] = set()
        self._slots: dict[str, asyncio.Semaphore] = {}

    def wake(self) -> None:
        """A request may have been saved, or a platform has come."""
        self._wake.set()

    def on_messages_added(self, _event: MessagesAdded) -> None:
        """A request may have been saved, with its notice."""
        self.wake()

    async def run(self) -> None:
        """Work until cancelled; the requests that are not ended then are found again at the next start."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                try:
                    pause = await self._begin_due(tasks)
                except Unavailable as e:
                    # The database logs its own fault once; this may go on for hours.
                    log.debug("requests for pictures can't be looked at (%s); again in %g s", e.key, _RETRY)
                    pause = _RETRY
                await self._ctx.clock.wait(self._wake, pause)

    async def _begin_due(self, tasks: asyncio.TaskGroup) -> float:
        """Begin with the people whose requests are due; returns the seconds until the next one is."""
        async with self._ctx.db.read() as tx:
            waiting = await store.waiting(tx, tuple(self._surfaces)) if self._surfaces else ()
        now, later = self._ctx.clock.now(), _IDLE
        due: dict[tuple[str, int], list[DueRequest]] = {}
        for request in waiting:
            key = (request.platform, request.account_id)
            wait = request.due_at - now
            if key in self._busy:
                continue
            # A time further ahead than any album's was written before the clock was set back.
            if 0 < wait <= ALBUM_SECONDS:
                later = min(later, wait)
            else:
                due.setdefault(key, []).append(request)
        for key, requests in due.items():
            self._busy.add(key)
            name = f"pictures {key[0]} {key[1]}"
            tasks.create_task(self._run_person(key, requests), name=name)
        return later

    async def _run_person(self, key: tuple[str, int], requests: list[DueRequest]) -> None:
        try:
            for request in requests:
                await self._handle(request)
        finally:
            self._busy.discard(key)
            self.wake()

    async def _handle(self, due: DueRequest) -> None:
        """Fetch one request's pictures and admit it, or refuse it."""
        clock, backoff = self._ctx.clock, ExponentialBackoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        began = clock.monotonic()
        slots = self._slots.setdefault(due.platform, asyncio.Semaphore(AT_ONCE))
        refusal: Refusal | None = None
        while True:
            try:
                if refusal is not None:
                    await self._refuse(due.id, refusal)
                    return
                async with slots:
                    await self._try(due)
            except RetryLater as later:
                pause = backoff.fail(later.seconds)
                if clock.monotonic() + pause - began > self._patience:
                    refusal, pause = Unavailable("refusal.pictures.unreachable"), 0.0
            except Unavailable as e:
                log.debug("the request %d for pictures has to wait (%s)", due.id, e.key)
                pause = backoff.fail(_RETRY)
            except Exception:  # other people's requests go on
                log.exception("the request %d for pictures failed", due.id)
                refusal, pause = Unavailable("refusal.unavailable.internal"), backoff.fail(_RETRY)
            else:
                return
            await clock.sleep(pause)

    async def _try(self, due: DueRequest) -> None:
        """Raises RetryLater, or Unavailable while the database can't be used."""
        ctx = self._ctx
        async with ctx.db.write() as tx:
            request = await store.begin(tx, due.id)
            if request is None:
                return
            if await jobs.by_event(tx, request.event) is not None:
                await store.delete(tx, request.id)
                return
        if request.tries > MAX_TRIES:
            await self._refuse(due.id, Unavailable("refusal.unavailable.internal"))
            return
        try:
            data = await self._checked_pictures(request)
            await shield(self._admit(request, data))
        except Refusal as refusal:
            await self._refuse(request.id, refusal)
        except BaseException:
            # Only a process that ended meanwhile leaves the try counted.
            await shield(self._end_try(request.id))
            raise

    async def _end_try(self, request_id: int) -> None:
        async with self._ctx.db.write() as tx:
            await store.end_try(tx, request_id)

    async def _checked_pictures(self, request: PictureRequest) -> tuple[bytes, ...]:
        """Check a request again, now that its album is complete and time may have passed; return its pictures."""
        ctx, actor, place, form = self._ctx, request.actor, request.place, request.form
        checked = await _checked(ctx, actor, place, form)
        ref = EventRef(request.event, request.address)
        async with admission.recorded_refusals(ctx, actor, place, ref, checked), ctx.db.write() as tx:
            await admission.check(tx, ctx, actor, place, checked)
        surface = self._surfaces.get(request.address.platform)
        if surface is None:
            raise RetryLater(_RETRY)
        found: list[bytes] = []
        for number, source in enumerate(form.sources, 1):
            left = MAX_PICTURES_BYTES - sum(map(len, found))
            limit = min(MAX_PICTURE_BYTES, left)
            try:
                found.append(await fetch(surface, source, number, limit, seconds=self._seconds))
            except TooLarge as large:
                if large.limit == left < MAX_PICTURE_BYTES:
                    limit = MAX_PICTURES_BYTES // 2**20
                    raise BadInput("refusal.pictures.too_large_together", limit=limit) from None
                raise too_large(number, large.limit) from None
        return tuple(found)

    async def _admit(self, request: PictureRequest, data: tuple[bytes, ...]) -> None:
        ctx, form = self._ctx, replace(request.form, sources=(), use=None)
        defaults = await defaults_of(ctx, request.actor, request.place)
        if choose_use(ctx, request.form, defaults) is PictureUse.START:
            form = replace(form, image=data[0])
        else:
            form = replace(form, references=data)
        # The card's message has the event's name already; this address is for one that was removed meanwhile.
        ref = EventRef(request.event, request.address)
        await admission.draw(ctx, request.actor, request.place, form, ref)
        async with ctx.db.write() as tx:
            await store.delete(tx, request.id)

    async def _refuse(self, request_id: int, refusal: Refusal) -> None:
        """Show why a request is not drawn, where its card is."""
        ctx = self._ctx
        async with ctx.db.write() as tx:
            request = await store.get(tx, request_id)
            if request is None or not await store.delete(tx, request_id):
                return
            # In place of the card that says that the pictures are fetched, so as private as that one is.
            private = request.address.private or bool(flags.parse(request.form).private)
            card = dump_card(replace(job_card.refused(refusal, request.actor.locale), private=private))
            if not await messages.replace_notice(tx, request.event, card):
                # An album without words has no message yet.
                await messages.add_notice(tx, request.event, request.address, card)
        ctx.backlog.messages_added()

"""Studio: the one object that adapters hold; each method delegates to a use case and shows its result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from bot import features, runner
from bot.access import newcomers
from bot.access import newcomers as gate
from bot.accounts.service import AccountService
from bot.cards import i18n, job_card
from bot.cards.inspection_card import InspectionWords, inspection_words
from bot.cards.job_buttons import Stage
from bot.commands import parser
from bot.commands.model import Arg, Command, CommandResult, Invocation
from bot.context import AppContext
from bot.core.access import AccessMode, Owners
from bot.core.cards import ButtonPress, Card, JobDetails, Menu, Tone
from bot.core.connections import ConnectionState, PlatformConnection
from bot.core.errors import BadInput, NotFound, Refusal, Unavailable
from bot.core.file_marks import SignCopy, unsigned
from bot.core.forms import Form
from bot.core.image_parts import NotAnImage
from bot.core.inspection import Inspection, OwnFile
from bot.core.jobs import Job
from bot.core.messages import Address, EventRef
from bot.core.people import Account, Actor, Place
from bot.core.pictures import FittedParameters, Picture, PictureFile, ReadParameters
from bot.core.ports import Backlog, Clock, QueueLoad, QueuePosition, Surface
from bot.core.preferences import Preferences, RecipeRule
from bot.core.quotas import Limit, QuotaStatus, RuleTerms
from bot.core.requests import DrawForm, PictureSource, steps_of
from bot.core.texts import shown
from bot.core.waits import shield
from bot.delivery import service as delivery_service
from bot.delivery.cards import JobPresenter
from bot.delivery.live import Live, PreviewFrame
from bot.delivery.service import MissedNotice
from bot.drawing import admission, defaults, drafts, flags, job_actions, picture_requests, suggestions
from bot.drawing.commands import example_buttons
from bot.drawing.draft_writer import DraftWriter
from bot.drawing.model_rules import EVERYONE, choose_model, fits
from bot.drawing.parameters import fit_parameters
from bot.drawing.picture_requests import PictureFetcher, SavedRequest
from bot.drawing.styles import BUILT_IN, Style
from bot.drawing.suggestions import Suggestion
from bot.history import cards as history_cards
from bot.history import listing, queries
from bot.history import service as history_service
from bot.history.service import HistoryEntry, SentPicture
from bot.inspection.service import inspect_file
from bot.moderation.word_list import WordList, shipped_words
from bot.observability.log_context import request_context
from bot.observability.metrics import Metrics
from bot.owner.console import OwnerConsole
from bot.owner.ports import Surroundings
from bot.places import options as place_options
from bot.privacy import exports, undoable_deletion
from bot.provenance.inspector import Inspector
from bot.provenance.reading import read_parameters
from bot.quotas import cards as quota_cards
from bot.quotas import service as quota_service
from bot.storage import data_files, people
from bot.storage.database import Database
from bot.storage.thumbnails import SIDES, Thumbnails
from bot.webhooks import service as webhooks
from bot.webhooks.store import JobWebhook
from engine.contract import READY, Engine, EngineState, LoraInfo, Profile

log = logging.getLogger(__name__)

THUMBNAIL_SIDES = SIDES
"""Longest sides of thumbnails in pixels."""

DRAW = "draw"
"""Name in the metrics of requests that come without a command, such as messages and those of the page."""


@dataclass(frozen=True, slots=True)
class ShownJob:
    """An admitted job and its current card."""

    job_id: int
    card: Card


@dataclass(frozen=True, slots=True)
class Feed:
    """A page of somebody's jobs, newest first; ``older`` says whether there are older ones."""

    cards: tuple[Card, ...]
    older: bool


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A job as programs read it.

    Attributes:
        job: The stored job, with its request.
        card: Its card as it is now, which has its pictures once it is finished.
        waiting: Its position in the queue; None when it does not wait.
        progress: 0 to 1 while it is being drawn; None otherwise.
    """

    job: Job
    card: Card
    waiting: QueuePosition | None
    progress: float | None


@dataclass(frozen=True, slots=True)
class UndoableDeletion:
    """A deletion that can be undone by its token until a moment, in Unix seconds."""

    token: str
    until: float


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A webhook that is to be sent, and its job."""

    webhook: JobWebhook
    snapshot: JobSnapshot


@dataclass(frozen=True, slots=True)
class DueJobs:
    """Webhooks that are to be sent now, the seconds until the next retry (None: none waits), and whether there are any."""

    ended: tuple[EndedJob, ...]
    later: float | None
    exist: bool


@dataclass(frozen=True, slots=True)
class InspectionAnswer:
    """What a file says of itself.

    Attributes:
        found: What was read.
        own: Whether it is one of this Easel's pictures; None where the reader may not know.
        words: The same in the reader's language.
        form: How it was drawn, as values for the form; None if its file does not tell.
    """

    found: Inspection
    own: OwnFile | None
    words: InspectionWords
    form: FittedParameters | None


@dataclass(frozen=True, slots=True)
class ButtonResult:
    """The result of a button or of a form: a new job, a card, a sentence for the presser, files, more buttons, or a form."""

    new: ShownJob | None = None
    card: Card | None = None
    notice: str = ""
    files: tuple[PictureFile, ...] = ()
    menu: Menu | None = None
    form: Form | None = None


class Studio:
    """The core's interface for adapters. Its cards are in the person's language.

    A call that changes something is completed even if its caller is cancelled, so a committed job is always queued.
    """

    def __init__(
        self,
        db: Database,
        engine: Engine,
        backlog: Backlog,
        live: Live,
        *,
        thumbnails: Thumbnails | None = None,
        clock: Clock,
        pictures: Path,
        sheets: Path,
        quota: Limit | RuleTerms,
        max_counts: Mapping[str, int] | None = None,
        owners: Owners | None = None,
        words: WordList | None = None,
        access: Mapping[str, AccessMode] | None = None,
        link: str = "",
        styles: Mapping[str, Style] = BUILT_IN,
        preferences: Preferences | None = None,
        metrics: Metrics | None = None,
        sign_copy: SignCopy = unsigned,
        keeps_manifests: bool = False,
        surroundings: Surroundings | None = None,
        inspector: Inspector | None = None,
        surfaces: Mapping[str, Surface] | None = None,
    ) -> None:
        """Args:
        db: Where the rows are.
        engine: Asked for its profiles, its LoRAs, its state and texts alone.
        backlog: The queue.
        live: Wakes those who watch a job.
        thumbnails: Makes thumbnails; its own object where it is not given.
        clock: Time.
        pictures: Folder of the pictures' files.
        sheets: Folder for contact sheets, which are thrown away after a day.
        quota: The owner's rule for everybody (``EASEL_QUOTA``).
        max_counts: Most pictures in one request, by platform; 4 where a platform says nothing.
        owners: Who runs this Easel; nobody where it is not given.
        words: Finds what is not drawn everywhere; the shipped list when not given.
        access: Who may come in, by platform; everybody where it says nothing.
        link: Address of the page for others; empty where it has none.
        styles: What ``--style`` may name, by name.
        preferences: What people and places have set; loaded by its owner.
        metrics: Counts commands; its own registry where it is not given.
        sign_copy: Signs copies of pictures in another format or size; they are not signed where it is not given.
        keeps_manifests: Whether the signed manifests of uploaded pictures are kept, for pictures that are signed.
        surroundings: What the owner's pages show of the machine; nothing where it is not given.
        inspector: Reads files of any origin; without a root certificate of its own where it is not given.
        surfaces: The platforms that are on, which come and go; nothing is fetched from chats where it is not given.
        """
        self.commands = features.COMMANDS
        """Every command: surfaces make their menus, help and buttons of it."""
        self.sign_copy = sign_copy
        """Signs copies of pictures that surfaces make, in a thread."""
        self._db = db
        self._engine = engine
        self._live = live
        self._thumbnails = thumbnails or Thumbnails(pictures)
        self._metrics = metrics or Metrics(CollectorRegistry())
        self._connections: dict[str, PlatformConnection] = {}
        known = owners or Owners()
        self.accounts = AccountService(db, clock, known)
        """Who is signed in to the page, and the API keys."""
        self._presenter = JobPresenter(pictures, engine, live, known, self.commands.job_buttons)
        self._ctx = AppContext(
            db=db,
            backlog=backlog,
            clock=clock,
            profiles=engine.profiles,
            pictures=pictures,
            default_quota=quota,
            max_counts=max_counts or {},
            sheets=sheets,
            owners=known,
            word_list=words or shipped_words(),
            access_modes=access or {},
            public_url=link,
            edit_model=engine.edit_model(),
            can_describe=engine.can_describe(),
            styles=styles,
            loras=engine.loras,
            preferences=preferences or Preferences(),
            job_buttons=self.commands.job_buttons,
            keeps_manifests=keeps_manifests,
            inspector=inspector or Inspector(),
            # The mapping is empty until the platforms are on, and is looked at later.
            surfaces={} if surfaces is None else surfaces,
        )
        self.owner = OwnerConsole(self._ctx, engine, self.problems, surroundings)
        """The use cases of the owner's pages."""

    async def draw(self, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> ShownJob:
        """Admit a request: saved, reserved and queued in one transaction. The same ``ref.event`` twice is one job.

        Raises Refusal.
        """
        with self._observed(ref, actor, DRAW):
            job = await shield(admission.draw(self._ctx, self._in_their_language(actor), place, form, ref))
        return await self._shown(job)

    async def draw_or_write(self, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> Card:
        """Admit a request as ``draw`` does, or with ``--expand`` save it: the card at ``ref.address`` says that its prompt
        is written, then shows it. Raises Refusal.
        """
        with self._observed(ref, actor, DRAW):
            saved = await shield(drafts.draw(self._ctx, self._in_their_language(actor), place, form, ref))
        return saved.card if isinstance(saved, SavedRequest) else (await self._shown(saved)).card

    @contextmanager
    def _observed(self, ref: EventRef, actor: Actor, name: str) -> Iterator[None]:
        """Count, time and trace a command; log lines of the block name its request."""
        traced = "admission" if name == DRAW else f"command {name}"
        with (
            request_context(ref.event),
            self._metrics.command(actor.platform, name),
            self._metrics.traces.span(traced, {"easel.platform": actor.platform}),
        ):
            yield

    async def revise(self, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> ShownJob | None:
        """Replace the request of the actor's job whose card answers the message of ``ref.address``, while it waits.

        Returns None if no job of the actor answers that message. Raises Refusal; then the job stays as it was.
        """
        job = await shield(admission.revise(self._ctx, self._in_their_language(actor), place, form, ref))
        return None if job is None else await self._shown(job)

    async def chat_closed(self, platform: str, chat: str) -> None:
        """Cancel and refund what waits in a chat that the bot was removed from; each person is told elsewhere."""
        await shield(job_actions.cancel_in_chat(self._ctx, platform, chat))

    async def place_closed(self, place: Place) -> None:
        """The same in a server or group that the bot was removed from."""
        await shield(job_actions.cancel_in_place(self._ctx, place))

    async def draw_from_sources(self, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> Card:
        """Save a request with ``form.sources``; it is admitted once these pictures are fetched.

        The card at ``ref.address`` says so, and becomes the job's card or the refusal. Raises Refusal.
        """
        with self._observed(ref, actor, DRAW):
            saved = await shield(picture_requests.save(self._ctx, self._in_their_language(actor), place, form, ref))
        return saved.card if isinstance(saved, SavedRequest) else (await self._shown(saved)).card

    async def add_to_album(self, actor: Actor, place: Place, form: DrawForm, ref: EventRef, *, begins: bool) -> None:
        """Save one picture of an album (``form.sources``) and the words with it; all of them are one request.

        ``ref.event`` names the album. ``begins``: it may be the first one; else only an album that is known is added to.
        Delivery shows the request's card. Raises Refusal.
        """
        await shield(
            picture_requests.add_to_album(self._ctx, self._in_their_language(actor), place, form, ref, begins=begins)
        )

    def picture_fetcher(self, surfaces: Mapping[str, Surface]) -> PictureFetcher:
        """Return the worker that fetches the pictures of saved requests from these platforms."""
        return PictureFetcher(self._ctx, surfaces)

    def draft_writer(self, surfaces: Mapping[str, Surface]) -> DraftWriter:
        """Return the worker that has longer prompts written, and pictures of these platforms described."""
        return DraftWriter(self._ctx, self._engine, surfaces)

    def offers(self, command: Command) -> bool:
        """Whether a command can do anything here; surfaces leave the others out where they can."""
        return command.offered(self._ctx)

    async def press(self, actor: Actor, place: Place, press: ButtonPress, ref: EventRef) -> ButtonResult:
        """Run the command of a button.

        The card of a new job belongs at ``ref.address``. Original files are in the result, or delivery sends them where
        the adapter makes no answer of its own. Raises Refusal; BadInput where no command has this action.
        """
        command = self.commands.by_action.get(press.action)
        if command is None:
            raise BadInput("refusal.press.unreadable")
        return await self._invoke(Invocation(actor, place, command, ref, press=press))

    async def submit(
        self, actor: Actor, place: Place, press: ButtonPress, values: Mapping[str, str], ref: EventRef
    ) -> ButtonResult:
        """Run the command of a form with the submitted values, by the field's name; names that it does not know are ignored.

        Rights are checked as for a press. Raises Refusal; BadInput where no form has this action.
        """
        command = self.commands.by_action.get(press.action)
        if command is None or not command.form:
            raise BadInput("refusal.press.unreadable")
        return await self._invoke(Invocation(actor, place, command, ref, press=press, submitted=values))

    async def choose_pictures(
        self, actor: Actor, place: Place, action: str, pictures: Sequence[PictureSource], ref: EventRef
    ) -> ButtonResult:
        """Run a command that is offered for messages with pictures (``Command.on_pictures``). Raises Refusal."""
        command = self.commands.by_action[action]
        return await self._invoke(Invocation(actor, place, command, ref, pictures=pictures))

    def typed_form(self, form: Form, locale: str) -> Card:
        """Return a form as a private card with the line to change and to send back, for surfaces without forms."""
        return Card(
            Tone.INFO,
            i18n.text(locale, "card.form"),
            prompt=form.line,
            notes=form.notes,
            buttons=form.buttons,
            private=True,
            final=True,
            locale=locale,
        )

    def locale(self, platform: str, user_id: str, reported: str) -> str:
        """Return the locale that somebody has chosen in their settings, else the one that their platform reports."""
        return self._ctx.preferences.locale(platform, user_id, reported)

    def _in_their_language(self, actor: Actor) -> Actor:
        """Return the actor with the language of their settings, where they have chosen one."""
        locale = self.locale(actor.platform, actor.user_id, actor.locale)
        return actor if locale == actor.locale else replace(actor, locale=locale)

    async def _invoke(self, invocation: Invocation) -> ButtonResult:
        result = await self._run(invocation)
        card = result.card
        if (job := result.changed or result.shown) is not None:
            card = (await self._shown(job)).card
            card = replace(card, pictures=()) if result.apart else card
        return ButtonResult(
            new=None if result.new is None else await self._shown(result.new),
            card=card,
            notice=result.notice,
            files=result.files,
            menu=result.menu,
            form=result.form,
        )

    async def _run(self, invocation: Invocation) -> CommandResult:
        actor, command = self._in_their_language(invocation.actor), invocation.command
        with self._observed(invocation.ref, actor, command.name or command.action):
            return await shield(runner.run(self._ctx, replace(invocation, actor=actor)))

    async def is_stranger(self, actor: Actor, place: Place) -> bool:
        """Return whether no owner has admitted the actor here. Adapters save each kind of answer to a stranger only once."""
        return await gate.is_stranger(self._ctx, actor, place)

    def depends_on_admins(self, actor: Actor, place: Place) -> bool:
        """Whether it matters for the actor's requests here that they may be an admin: a default model is for admins alone.

        For surfaces that ask their platform for the right only where it is needed.
        """
        return defaults.depends_on_admins(self._ctx, actor, place)

    async def place_moved(self, platform: str, old: str, new: str) -> None:
        """Move a place's rules, options and decisions to its new id."""
        await shield(place_options.place_moved(self._ctx, platform, old, new))

    async def release_held_jobs(self) -> None:
        """At start, queue the held jobs of platforms that are open to everybody now."""
        await shield(newcomers.admit_held_at_start(self._ctx))

    async def bind_answer(self, job_id: int | None, ref: EventRef, address: Address) -> None:
        """Record that the adapter has answered at ``address``, with its message id.

        The answer was the card of a job, or (None) of a request whose pictures are being fetched.
        """
        await shield(delivery_service.bind_answer(self._ctx, job_id, ref, address))

    async def bind_pressed_card(self, press: ButtonPress, address: Address) -> None:
        """Record the message whose button was pressed, if a kill has lost the id of this unfinished job's card.

        Delivery then edits the card again. The message at ``address`` has the button.
        """
        command = self.commands.by_action.get(press.action)
        if command is not None and command.button is not None and Stage.OPEN in command.button.stages:
            await shield(delivery_service.bind_lost_card(self._ctx, press.job_id, address))

    async def unbind_answer(self, job_id: int | None, ref: EventRef) -> None:
        """Record that the adapter could not give the answer of ``bind_answer``; delivery sends it."""
        await shield(delivery_service.unbind_answer(self._ctx, job_id, ref))

    async def post_notice(self, ref: EventRef, card: Card) -> None:
        """Save a card that delivery sends to ``ref.address``, once for each event."""
        await shield(delivery_service.post_notice(self._ctx, ref, card))

    async def find_missed(self, actor: Actor) -> MissedNotice | None:
        """Return the notice of the actor's jobs whose result could not be shown; None when there are none."""
        return await delivery_service.find_missed(self._ctx, actor)

    async def mark_told(self, actor: Actor, told: MissedNotice) -> None:
        """Record that the notice was sent or saved for delivery, so that it is not repeated."""
        await shield(delivery_service.mark_told(self._ctx, actor, told))

    async def history(self, actor: Actor, place: Place, before: int | None = None) -> Card:  # noqa: ARG002 - rules may come to differ by place
        """Return a page of the actor's pictures: a contact sheet, facts, and buttons to turn pages.

        It is private, and the same in every place.
        """
        return await listing.history_page(self._ctx, self._in_their_language(actor), before)

    async def items(
        self, actor: Actor, before: int | None = None, limit: int = 24, query: str | None = None
    ) -> tuple[Card, ...]:
        """Return the actor's jobs older than job ``before`` as cards, newest first, for the page's gallery.

        With ``query``, only jobs with pictures that match the search. Raises BadInput for an invalid query.
        """
        if query is None:
            page = await history_service.get_page(self._ctx, actor, before=before, limit=limit, pictured=False)
        else:
            sought = queries.parse_query(query)
            page = await history_service.search(self._ctx, actor, sought, before=before, limit=limit, others=False)
        return tuple(self._card(entry) for entry in page.entries)

    async def unfinished(self, actor: Actor, limit: int = 200) -> tuple[Card, ...]:
        """Return the actor's unfinished jobs as cards: running ones first, then the oldest first."""
        page = await history_service.unfinished(self._ctx, actor, limit=limit)
        return tuple(self._card(entry) for entry in page.entries)

    async def card(self, actor: Actor, job_id: int) -> Card:
        """Return the current card of the actor's job. Raises NotFound."""
        return self._card(await history_service.get_entry(self._ctx, actor, job_id))

    async def watch(self, actor: Actor, job_id: int, *, previews: bool = False) -> AsyncGenerator[Card]:
        """Yield the card now and after each change, until it is final. A slow reader misses only stale cards.

        With ``previews`` the card lists the previews; the engine makes them only while somebody watches.
        Raises NotFound.
        """
        # Checked first: the engine must make no previews for somebody else's job.
        await self.card(actor, job_id)
        async with aclosing(self.watch_all(actor, [job_id], previews=previews)) as watching:
            async for _, card in watching:
                if card is None:
                    raise NotFound("refusal.job.not_found")
                yield card

    async def watch_all(
        self, actor: Actor, job_ids: Collection[int], *, previews: bool = False
    ) -> AsyncGenerator[tuple[int, Card | None]]:
        """Yield the cards of several of the actor's jobs, as ``watch`` does, until all are final.

        A job that does not exist or is not the actor's comes once, with None.
        """
        last: dict[int, Card | None] = {}
        left = set(job_ids)
        own = await history_service.own_among(self._ctx, actor, left)
        with self._live.subscribe(own, previews=previews) as changes:
            for job_id in sorted(left - own):
                yield job_id, None
            left &= own
            while left:
                for job_id in await anext(changes):
                    if job_id not in left:
                        continue
                    card = await self._looked_at(actor, job_id, previews=previews)
                    if card is None or card.final:
                        left.discard(job_id)
                    if job_id not in last or card != last[job_id]:
                        last[job_id] = card
                        yield job_id, card

    async def _looked_at(self, actor: Actor, job_id: int, *, previews: bool) -> Card | None:
        """Return the card of the actor's job with its previews; None when the job is gone."""
        try:
            card = await self.card(actor, job_id)
        except NotFound:
            return None
        return self._with_previews(card) if previews else card

    def _with_previews(self, card: Card) -> Card:
        """Return the card with the numbers of its previews."""
        if card.coming is None or card.job_id is None:
            return card
        seen = tuple((index, frame.number) for index, frame in sorted(self._live.previews(card.job_id).items()))
        return replace(card, coming=replace(card.coming, previews=seen))

    async def feed(
        self,
        actor: Actor,
        *,
        before: int | None = None,
        limit: int = 24,
        query: str | None = None,
        kind: str = "",
        starred: bool = False,
    ) -> Feed:
        """Return the actor's jobs, newest first, unfinished ones included, and whether there are older ones.

        Args:
            actor: The actor.
            before: Only jobs with a smaller id; None for the newest.
            limit: Number of jobs at most.
            query: Only jobs with pictures that match this search.
            kind: Only jobs of this kind (``JobDetails.kind``); empty for all.
            starred: Only jobs with a favourite of the actor.

        Raises:
            BadInput: The query can't be read.
        """
        sought = None if query is None else queries.parse_query(query)
        page = await history_service.feed(
            self._ctx, actor, before=before, limit=limit, query=sought, kind=kind, starred=starred
        )
        return Feed(tuple(self._card(entry) for entry in page.entries), page.older)

    async def delete_jobs(self, actor: Actor, job_ids: Sequence[int], key: str) -> UndoableDeletion:
        """Delete the actor's jobs: they are hidden at once, and the deletion can be undone for a while.

        The same ``key`` again is the same deletion. Raises NotFound, and BadInput for a job that is not ended.
        """
        deletion = await shield(undoable_deletion.delete_jobs(self._ctx, actor, job_ids, key))
        return UndoableDeletion(deletion.token, deletion.due_at)

    async def undo_deletion(self, actor: Actor, token: str) -> tuple[int, ...]:
        """Show the jobs of a deletion again; return them. Raises NotFound if it can't be undone any more."""
        return await shield(undoable_deletion.undo_deletion(self._ctx, actor, token))

    async def pictures_of(
        self, actor: Actor, wanted: Sequence[tuple[int, int]]
    ) -> tuple[tuple[PictureFile, JobDetails], ...]:
        """Return these of the actor's pictures (job and index), with how they were requested. Raises NotFound for any other."""
        entries = await history_service.own_entries(self._ctx, actor, dict.fromkeys(job_id for job_id, _ in wanted))
        files = {
            (entry.job.id, picture.index): (
                job_card.file_of(entry.job, picture, self._ctx.pictures),
                self._details(entry, None, None),
            )
            for entry in entries
            for picture in entry.pictures
        }
        if any(one not in files for one in wanted):
            raise NotFound("refusal.picture.not_found")
        return tuple(files[one] for one in dict.fromkeys(wanted))

    def changed_jobs(self) -> AbstractContextManager[AsyncIterator[tuple[int, ...]]]:
        """Return a context whose iterator gives the ids of changed jobs, of everybody; see ``Live.subscribe_all``."""
        return self._live.subscribe_all()

    async def person_of(self, actor: Actor) -> int:
        """Return the id of the actor's person, whose jobs are in their feed; somebody new gets one."""
        return await shield(history_service.person_of(self._ctx, actor))

    async def owners_of(self, job_ids: Collection[int]) -> Mapping[int, int]:
        """Return the person of each of these jobs, by job; missing jobs are left out."""
        return await history_service.owners_of(self._ctx, job_ids)

    async def open_jobs(self, person_id: int, limit: int) -> tuple[int, ...]:
        """Return the ids of a person's unfinished jobs: running ones first, then the oldest first."""
        return await history_service.open_jobs(self._ctx, person_id, limit)

    async def cards_of(self, job_ids: Collection[int]) -> Mapping[int, Card]:
        """Return the cards of these jobs with their previews, as their authors see them, by job; deleted jobs are missing.

        The caller shows each to its own person alone (``owners_of``).
        """
        entries = await history_service.entries_of(self._ctx, job_ids)
        return {entry.job.id: self._with_previews(self._card(entry)) for entry in entries}

    def view_previews(self, job_id: int) -> None:
        """Have previews made of a job until ``leave_previews`` is called as often."""
        self._live.view_previews(job_id)

    def leave_previews(self, job_id: int) -> None:
        """End what one call of ``view_previews`` has begun."""
        self._live.leave_previews(job_id)

    async def thumbnail(self, actor: Actor, digest: str, side: int) -> Path:
        """Return the file of the thumbnail of one of the actor's own pictures. Raises NotFound.

        Args:
            actor: The actor.
            digest: See ``Picture.digest``.
            side: One of ``THUMBNAIL_SIDES``.
        """
        path = await history_service.find_picture(self._ctx, actor, digest)
        file = None if path is None else await self._thumbnails.get(digest, path, side)
        if file is None:
            raise NotFound("refusal.picture.not_found")
        return file

    async def source_file(self, actor: Actor, job_id: int, name: str) -> Path:
        """Return the file of a picture that the actor's job starts from or refers to. Raises NotFound.

        Args:
            actor: The actor.
            job_id: The job.
            name: ``start``, ``mask``, or the number of a reference picture, from 0.
        """
        return await history_service.find_source(self._ctx, actor, job_id, name)

    async def picture(self, actor: Actor, job_id: int, index: int) -> PictureFile:
        """Return the file of the actor's picture. Raises NotFound."""
        return await self._file(*await history_service.get_picture(self._ctx, actor, job_id, index))

    async def linked_picture(self, job_id: int, index: int) -> PictureFile:
        """Return the file of anybody's picture: the caller has checked a signed link to it. Raises NotFound."""
        return await self._file(*await history_service.get_linked_picture(self._ctx, job_id, index))

    async def _file(self, job: Job, picture: Picture) -> PictureFile:
        if not await data_files.exists(self._ctx.pictures, picture.path):
            raise NotFound("refusal.picture.not_found")
        return job_card.file_of(job, picture, self._ctx.pictures)

    async def read_parameters(self, actor: Actor, data: bytes) -> FittedParameters | None:
        """Return how a picture was drawn, as values for the form; None if its file does not tell.

        Raises:
            BadInput: The file is no PNG, JPEG or WebP.
        """
        try:
            read = await asyncio.to_thread(read_parameters, data)
        except NotAnImage:
            raise BadInput("refusal.parameters.file") from None
        return await self._fitted(read, self._in_their_language(actor).locale)

    async def _fitted(self, read: ReadParameters | None, locale: str) -> FittedParameters | None:
        if read is None:
            return None
        return await asyncio.to_thread(fit_parameters, read, self.profiles(), self.loras(), locale)

    async def inspect(self, actor: Actor, data: bytes) -> InspectionAnswer:
        """Return what a file of any origin says of itself; nothing is kept, and nothing is fetched.

        Raises:
            BadInput: The file is no PNG, JPEG or WebP, or it is larger than ``MAX_FILE`` bytes.
        """
        file = await inspect_file(self._ctx, actor, data)
        locale = self._in_their_language(actor).locale
        words = inspection_words(file.found, locale, own=file.own)
        return InspectionAnswer(file.found, file.own, words, await self._fitted(file.found.parameters, locale))

    async def root_certificate(self) -> bytes | None:
        """Return the root certificate of this Easel's signatures in PEM; None if it signs nothing."""
        return await self._ctx.inspector.root()

    async def snapshot(self, actor: Actor, job_id: int) -> JobSnapshot:
        """Return the actor's job as programs read it. Raises NotFound, also if it was deleted."""
        entry = await history_service.get_entry(self._ctx, actor, job_id)
        if entry.job.is_hidden:
            raise NotFound("refusal.job.not_found")
        return self._snapshot(entry)

    async def snapshots(
        self, actor: Actor, *, before: int | None = None, limit: int = 24, query: str | None = None
    ) -> tuple[tuple[JobSnapshot, ...], bool]:
        """Return the actor's jobs as programs read them, newest first, and whether there are older ones; see ``feed``."""
        sought = None if query is None else queries.parse_query(query)
        page = await history_service.feed(self._ctx, actor, before=before, limit=limit, query=sought)
        return tuple(self._snapshot(entry) for entry in page.entries), page.older

    async def want_webhook(self, ref: EventRef, url: str, secret: str) -> bool:
        """Store the webhook of a request that is about to be admitted as ``ref``; False if its job is there already."""
        return await shield(webhooks.want(self._ctx, ref.event, url, secret))

    async def withdraw_webhook(self, ref: EventRef) -> None:
        """Delete the webhook of a request that was refused."""
        await shield(webhooks.withdraw(self._ctx, ref.event))

    async def tidy_webhooks(self) -> None:
        """At start, delete webhooks whose request was never admitted."""
        await shield(webhooks.tidy(self._ctx))

    async def due_webhooks(self, limit: int) -> DueJobs:
        """Return webhooks of ended jobs that are to be sent now, at most ``limit``."""
        outlook = await webhooks.look(self._ctx, limit)
        ended = [
            EndedJob(one.webhook, self._snapshot(await history_service.entry_of(self._ctx, one.job)))
            for one in outlook.due
        ]
        return DueJobs(tuple(ended), outlook.later, outlook.exist)

    async def webhook_delivered(self, ended: EndedJob) -> None:
        """Record that a webhook was received."""
        await shield(webhooks.delivered(self._ctx, ended.webhook))
        self._metrics.webhooks.labels("delivered").inc()

    async def webhook_failed(self, ended: EndedJob, *, final: bool) -> bool:
        """Record that a webhook was not received; returns whether it is given up, as it is with ``final``."""
        given_up = await shield(webhooks.failed(self._ctx, ended.webhook, final=final))
        self._metrics.webhooks.labels("given_up" if given_up else "retried").inc()
        return given_up

    def outbound_refused(self, use: str) -> None:
        """Count a request to another server that was refused; ``use`` says what asked for it."""
        self._metrics.outbound_refused.labels(use).inc()

    def _snapshot(self, entry: HistoryEntry) -> JobSnapshot:
        job, backlog = entry.job, self._ctx.backlog
        card = self._card(entry)
        return JobSnapshot(job, card, backlog.position(job.id), backlog.progress(job.id))

    async def remember_sent(self, platform: str, path: Path, remote: str) -> None:
        """Record what a platform calls a stored picture that it was sent."""
        await shield(history_service.remember_sent(self._ctx, platform, path, remote))

    async def sent_pictures(self, actor: Actor, words: str, *, limit: int) -> tuple[SentPicture, ...]:
        """Return the actor's pictures that their platform was sent and that match the words, newest first.

        Words that are no query match nothing.
        """
        try:
            query = queries.parse_query(words) if words else None
        except BadInput:
            return ()
        return await history_service.sent_pictures(self._ctx, actor, query, limit=limit)

    async def export_ready(self, token: str) -> None:
        """Check the link of an export without using it. Raises NotFound, or Unavailable while it is being made."""
        await exports.check_export(self._ctx, token)

    async def export(self, token: str) -> PictureFile:
        """Return the file of an export and use up its link. Raises NotFound, or Unavailable while it is being made."""
        return await shield(exports.fetch_export(self._ctx, token))

    async def preview(self, actor: Actor, job_id: int, index: int) -> PreviewFrame | None:
        """Return the latest preview of a picture of the actor's job; None when there is none. Raises NotFound."""
        await history_service.get_entry(self._ctx, actor, job_id)
        return self._live.previews(job_id).get(index)

    async def command(self, invocation: Invocation) -> Card:
        """Run a typed command and return the card that answers it. Raises Refusal."""
        result = await self._run(invocation)
        if result.new is not None:
            return (await self._shown(result.new)).card
        assert result.card is not None, f"{invocation.command.name} has no answer"
        return result.card

    def recipe_rule(self, actor: Actor) -> RecipeRule:
        """Return how much of somebody's requests their picture files may tell, as they have chosen."""
        return self._ctx.preferences.recipe_rule(actor)

    async def suggest(
        self, actor: Actor, place: Place, arg: Arg, typed: str, *, given: Mapping[str, str]
    ) -> tuple[Suggestion, ...]:
        """Return values that fit what was typed of an argument so far; ``given`` has the other ones. Never raises."""
        try:
            return await suggestions.suggest(self._ctx, actor, place, arg, typed, given=given)
        except Exception:
            # A refusal is of no use while somebody types; what they send is checked.
            log.exception("nothing was suggested for %s", arg.name)
            return ()

    def find_command(self, name: str, typed: str) -> tuple[Command, str]:
        """Return the command that a typed line means (``quota``, ``set 20/day``) and the rest of it. Raises BadInput."""
        return parser.find(self.commands, name, typed)

    def parse_arguments(self, command: Command, typed: str, near: Mapping[str, str]) -> dict[str, str]:
        """Return a command's arguments by name; ``near`` has the values of those that are not typed. Raises BadInput."""
        return parser.parse(command, typed, near)

    async def find_account(self, platform: str, handle: str) -> Account:
        """Return the account that last used this handle (``@name``). Raises NotFound."""
        async with self._ctx.db.read() as tx:
            account = await people.find_by_handle(tx, platform, handle.removeprefix("@"))
        if account is None:
            raise NotFound("refusal.person_unknown", person=shown(handle))
        return account

    def owners(self, platform: str) -> Container[str]:
        """Return the user ids of the owners on a platform, as a live view: a claim takes effect at once."""
        return self._ctx.owners.of(platform)

    def add_owners(self, platform: str, ids: Iterable[str]) -> None:
        """Add the owners that the platform itself names, by user id."""
        self._ctx.owners.told(platform, ids)
        self._ctx.backlog.access_requested()

    async def quota_show(self, actor: Actor, place: Place) -> Card:
        """Return the actor's remaining quota, its next renewal, and the binding rule."""
        return quota_cards.quota_card(await quota_service.show_quota(self._ctx, actor, place), actor.locale)

    def max_count(self, actor: Actor) -> int:
        """Return the most pictures in one request of an account: its platform's limit, wherever it asks."""
        return self._ctx.max_count(actor.platform)

    async def quota(self, actor: Actor, place: Place) -> QuotaStatus:
        """Return the actor's quota status."""
        return await quota_service.show_quota(self._ctx, actor, place)

    def styles(self) -> tuple[str, ...]:
        """Return the names of the styles; the operator's own first."""
        return tuple(self._ctx.styles)

    def help(self, locale: str) -> Card:
        """Return the help card; each surface adds its own examples."""
        every = self.profiles()
        # Who may use the others is not for everybody to read.
        profiles = tuple(profile for profile in every if EVERYONE in profile.who) or every
        usable = (lora.name for lora in self.loras() if fits(lora, profiles[0]) and EVERYONE in lora.who)
        card = history_cards.help_card(
            profiles,
            self.styles(),
            tuple(profiles[0].presets),
            self._ctx.max_count(""),
            locale,
            lora=next(usable, ""),
        )
        return replace(card, buttons=(example_buttons(locale),))

    def start(self, locale: str) -> Card:
        """Return the greeting of a chat, with buttons that draw an example."""
        return history_cards.start_card(locale, example_buttons(locale))

    def refused(self, refusal: Refusal, locale: str, surface: str = "") -> Card:
        """Return a refusal as a private card, in the wording of a surface where it has its own (``i18n.own_key``)."""
        return job_card.refused(refusal, locale, surface, now=self._ctx.clock.now())

    def text(self, key: str, locale: str, **params: str | int | float) -> str:
        """Return a message of the catalogue."""
        return i18n.text(locale, key, **params)

    def texts(self, prefix: str, locale: str) -> dict[str, str]:
        """Return all messages whose key starts with ``prefix``, with their fields not filled in."""
        return i18n.texts(locale, prefix)

    def profiles(self) -> tuple[Profile, ...]:
        """Return the available models; the first is the default."""
        return self._engine.profiles()

    async def models_of(self, actor: Actor, place: Place) -> tuple[Profile, ...]:
        """Return the models that somebody may use in a place; the first is the one of a request that names none."""
        return await defaults.models_of(self._ctx, actor, place)

    def style_templates(self) -> tuple[tuple[str, str, str], ...]:
        """Return each style's name, its template for prompts and that for negative prompts; the operator's own first."""
        return tuple((style.name, style.prompt, style.negative) for style in self._ctx.styles.values())

    async def model_for(self, actor: Actor, place: Place, name: str | None, *, references: int = 0) -> Profile:
        """Return the model that draws a request of the actor which names this one, or none.

        Raises BadInput where it is unknown or can't take that many reference pictures.
        """
        profiles = self.profiles()
        # Only the number of references counts for the choice.
        form = DrawForm("", model=name, references=(b"",) * references)
        chosen, _ = defaults.with_model(form, await defaults.defaults_of(self._ctx, actor, place), profiles)
        return choose_model(chosen.model, profiles, references=references, edit_model=self._ctx.edit_model)

    def edit_model(self) -> str:
        """Return the name of the model that serves edits when the default one can't; empty for none."""
        return self._ctx.edit_model

    def loras(self) -> tuple[LoraInfo, ...]:
        """Return the LoRAs that requests may name, by name; some may be for certain people alone."""
        return self._engine.loras()

    def engine(self) -> EngineState:
        """Return the state of the engine."""
        return self._engine.state()

    def count_refused(self, reason: str) -> None:
        """Count a request to the page that was refused: ``host``, ``origin``, ``signed_out``, ``role``, ``credentials``,
        ``banned``, ``rate`` or ``slow``.
        """
        self._metrics.web_refused.labels(reason).inc()

    def traced_request(self, name: str, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """Trace the block as a request to the page or its APIs; ``name`` is its method and its address's pattern."""
        return self._metrics.traces.request(name, headers)

    def web_answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer of the page or its APIs; ``route`` is the address's pattern."""
        self._metrics.web_answered(route, status, seconds)

    def load(self) -> QueueLoad:
        """Return how much there is to draw, of everybody."""
        return self._ctx.backlog.load()

    def connection_problem(self, platform: str, problem: str | None, *, refused: bool = False) -> None:
        """Set or clear (None) the reason, a sentence for the operator, why a platform is not connected.

        ``refused``: the platform refuses this bot, so that the operator has to do something.
        """
        state = ConnectionState.CONNECTED
        if problem is not None:
            state = ConnectionState.REFUSED if refused else ConnectionState.RECONNECTING
        before = self._connections.get(platform)
        since = before.since if before is not None and before.state is state else self._ctx.clock.now()
        self._connections[platform] = PlatformConnection(state, since, problem or "")

    @property
    def connections(self) -> Mapping[str, PlatformConnection]:
        """The connections of the platforms that have reported them, by the platform's name."""
        return self._connections

    async def problems(self) -> tuple[str, ...]:
        """Return the reasons, sentences for the operator, why this Easel is not ready; empty when it is."""
        problems = []
        state = self._engine.state()
        if state.phase not in READY:
            problems.append(state.problem or self.text(f"health.engine.{state.phase}", "en"))
        try:
            await self._db.probe()
            if await data_files.free_bytes(self._ctx.pictures) < data_files.MIN_FREE_BYTES:
                raise Unavailable("unavailable.disk_full")
        except Unavailable as e:
            problems.append(self.text(e.key, "en", **e.params))
        return (*problems, *(one.problem for one in self._connections.values() if one.problem))

    def device_problems(self) -> dict[str, str]:
        """Return why single devices do not draw, sentences for the operator by slot; empty where there is one device.

        The others draw, so that Easel is ready all the same.
        """
        slots = self._engine.slots()
        lost = [slot for slot in slots if len(slots) > 1 and not slot.ready]
        return {one.id: one.state.problem or self.text(f"health.engine.{one.state.phase}", "en") for one in lost}

    async def _shown(self, job: Job) -> ShownJob:
        return ShownJob(job.id, self._card(await history_service.entry_of(self._ctx, job)))

    def _card(self, entry: HistoryEntry) -> Card:
        job, backlog = entry.job, self._ctx.backlog
        position, progress = backlog.position(job.id), backlog.progress(job.id)
        card = self._presenter.job(job, entry.pictures, position, progress)
        if entry.platform and not job.forgotten:
            card = replace(card, details=self._details(entry, position, card.progress))
        if not entry.favourites:
            return card
        kept = {picture.index for picture in entry.pictures if picture.id in entry.favourites}
        return replace(card, pictures=tuple(replace(file, favourite=file.index in kept) for file in card.pictures))

    def _details(self, entry: HistoryEntry, position: QueuePosition | None, progress: float | None) -> JobDetails:
        job, request = entry.job, entry.job.request
        negative, loras = flags.without_style(request, self._ctx.styles.get(request.style), self._ctx.loras())
        steps = steps_of(request)
        left = self._ctx.backlog.seconds_left(job.id)
        if position is not None and position.eta is not None:
            left = (position.eta.low + position.eta.high) / 2
        return JobDetails(
            created_at=job.created_at,
            kind=job.kind,
            platform=entry.platform,
            request=request,
            negative=negative,
            loras=loras,
            parent=entry.parent,
            started_at=job.started_at,
            step=None if progress is None else int(progress * steps + 1e-6),
            steps=steps,
            seconds_left=left,
        )

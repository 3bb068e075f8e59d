"""Studio: the one object that adapters hold; every method delegates to a use case and shows what came of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Container, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from bot import features, runner
from bot.access import newcomers
from bot.access import newcomers as gate
from bot.cards import i18n, job_card
from bot.cards.job_buttons import Stage
from bot.commands import parser
from bot.commands.model import Command, Invocation
from bot.context import AppContext
from bot.core.access import AccessMode, Owners
from bot.core.answers import ButtonResult, ShownJob
from bot.core.cards import ButtonPress, Card
from bot.core.errors import BadInput, NotFound, Refusal, Unavailable
from bot.core.jobs import Job
from bot.core.messages import Address, EventRef
from bot.core.people import Account, Actor, Place
from bot.core.pictures import PictureFile
from bot.core.ports import Backlog, Clock
from bot.core.quotas import Limit, RuleTerms
from bot.core.requests import DrawForm
from bot.core.texts import shown
from bot.core.waits import shield
from bot.delivery import messages
from bot.delivery.cards import JobPresenter
from bot.delivery.live import Live, PreviewFrame
from bot.delivery.messages import MissedNotice
from bot.drawing import admission
from bot.drawing.styles import BUILT_IN, Style
from bot.history import cards as history_cards
from bot.history import listing, queries
from bot.history import service as history_service
from bot.history.service import HistoryEntry
from bot.moderation.word_list import WordList, shipped_words
from bot.places import options as place_options
from bot.privacy import service as privacy_service
from bot.quotas import cards as quota_cards
from bot.quotas import service as quota_service
from bot.storage import data_files, people
from bot.storage.database import Database
from engine.contract import READY, Engine, EngineState, Profile


class Studio:
    """What people can do, for whatever surface they do it on. Its cards are in the person's language.

    What changes something is carried to its end even when the caller is cancelled meanwhile: a committed job is
    always in the queue too.
    """

    def __init__(
        self,
        db: Database,
        engine: Engine,
        backlog: Backlog,
        live: Live,
        *,
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
    ) -> None:
        """Args:
        db: Where the rows are.
        engine: Asked for its profiles and its state alone.
        backlog: The queue.
        live: Wakes those who watch a job.
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
        """
        self.commands = features.COMMANDS
        """Every command: surfaces make their menus, help and buttons of it."""
        self._db = db
        self._engine = engine
        self._live = live
        self._connection_problems: dict[str, str] = {}
        known = owners or Owners()
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
            styles=styles,
        )

    async def draw(self, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> ShownJob:
        """Admit a request: saved, reserved and queued in one transaction. The same ``ref.event`` twice is one job.

        Raises Refusal.
        """
        return await self._shown(await shield(admission.draw(self._ctx, actor, place, form, ref)))

    async def press(self, actor: Actor, place: Place, press: ButtonPress, ref: EventRef) -> ButtonResult:
        """Run the command of a button.

        The card of a new job belongs at ``ref.address``. Original files are in the result, or delivery sends them where
        the adapter makes no answer of its own. Raises Refusal; BadInput where no command has this action.
        """
        command = self.commands.by_action.get(press.action)
        if command is None:
            raise BadInput("refusal.press.unreadable")
        call = Invocation(actor, place, command, ref, press=press)
        result = await shield(runner.run(self._ctx, call))
        return ButtonResult(
            new=None if result.new is None else await self._shown(result.new),
            card=result.card if result.changed is None else (await self._shown(result.changed)).card,
            notice=result.notice,
            files=result.files,
        )

    async def is_stranger(self, actor: Actor, place: Place) -> bool:
        """Whether no owner has let them in here. They may write for ever: what keeps its answers keeps each but once."""
        return await gate.is_stranger(self._ctx, actor, place)

    async def moved(self, platform: str, old: str, new: str) -> None:
        """A server or group has another id from now on: what was set and decided there goes on holding."""
        await shield(place_options.place_moved(self._ctx, platform, old, new))

    async def let_in(self) -> None:
        """At start: what has waited for an owner's answer on a platform that is open to all now is drawn."""
        await shield(newcomers.admit_held_at_start(self._ctx))

    async def bound(self, job_id: int, ref: EventRef, address: Address) -> None:
        """The adapter has made the first answer: the job's card is shown at ``address`` (message id now known)."""
        await shield(messages.bind_answer(self._ctx, job_id, ref, address))

    async def card_pressed(self, press: ButtonPress, address: Address) -> None:
        """A person has pressed a button of the message at ``address``, which has this button.

        Where this is the card of an unfinished job whose message's id was lost by a kill, the card is edited again.
        """
        command = self.commands.by_action.get(press.action)
        if command is not None and command.button is not None and Stage.OPEN in command.button.stages:
            await shield(messages.bind_lost_card(self._ctx, press.job_id, address))

    async def unbound(self, job_id: int, ref: EventRef) -> None:
        """The adapter could not make the first answer: delivery sends the card by itself."""
        await shield(messages.unbind_answer(self._ctx, job_id, ref))

    async def post(self, ref: EventRef, card: Card) -> None:
        """Save a notice (a refusal, an answer) for delivery at ``ref.address``; the same event twice is one notice.
        For surfaces that only save while they handle an event.
        """
        await shield(messages.post_notice(self._ctx, ref, card))

    async def missed(self, actor: Actor) -> MissedNotice | None:
        """What to tell this person of their jobs whose end could be shown nowhere; None when there is nothing."""
        return await messages.find_missed(self._ctx, actor)

    async def heard(self, actor: Actor, told: MissedNotice) -> None:
        """The person was told, or the telling is saved for delivery: it is not said again."""
        await shield(messages.mark_told(self._ctx, actor, told))

    async def history(self, actor: Actor, place: Place, before: int | None = None) -> Card:  # noqa: ARG002 - rules may come to differ by place
        """One's own last pictures as a contact sheet with facts, and buttons to turn pages.

        It is the same in every place, and always private.
        """
        return await listing.history_page(self._ctx, actor, before)

    async def items(
        self, actor: Actor, before: int | None = None, limit: int = 24, query: str | None = None
    ) -> tuple[Card, ...]:
        """One's own last jobs as cards, newest first, older than job ``before`` (the page's gallery).

        With ``query``, only those with pictures that a search for it finds. Raises BadInput when it can't be read.
        """
        if query is None:
            page = await history_service.get_page(self._ctx, actor, before=before, limit=limit, pictured=False)
        else:
            sought = queries.parse_query(query)
            page = await history_service.search(self._ctx, actor, sought, before=before, limit=limit, others=False)
        return tuple(self._card(entry) for entry in page.entries)

    async def unfinished(self, actor: Actor, limit: int = 200) -> tuple[Card, ...]:
        """One's own jobs that have not ended, as cards: those that are drawn first, then the oldest first."""
        page = await history_service.unfinished(self._ctx, actor, limit=limit)
        return tuple(self._card(entry) for entry in page.entries)

    async def card(self, actor: Actor, job_id: int) -> Card:
        """The card of one's own job as it is now. Raises NotFound."""
        return self._card(await history_service.get_entry(self._ctx, actor, job_id))

    async def watch(self, actor: Actor, job_id: int, *, previews: bool = False) -> AsyncGenerator[Card]:
        """The card now and after each change, until it is final; coalesced: a slow reader misses only what is stale.

        With ``previews`` the card says of which pictures there is one: they are only made for those who look.
        Raises NotFound.
        """
        # Nobody looks at what is not theirs: the engine would make previews for nothing.
        await self.card(actor, job_id)
        async with aclosing(self.watch_all(actor, [job_id], previews=previews)) as watching:
            async for _, card in watching:
                if card is None:
                    raise NotFound("refusal.job.not_found")
                yield card

    async def watch_all(
        self, actor: Actor, job_ids: Collection[int], *, previews: bool = False
    ) -> AsyncGenerator[tuple[int, Card | None]]:
        """The cards of several of one's own jobs now and after each change, until all are final, as in ``watch``.

        A job that is not there (any more), or is not one's own, comes once with None.
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
        """The card of one's own job with what can be seen of its pictures so far; None when it is not there any more."""
        try:
            card = await self.card(actor, job_id)
        except NotFound:
            return None
        if not previews or card.coming is None:
            return card
        seen = tuple((index, frame.number) for index, frame in sorted(self._live.previews(job_id).items()))
        return replace(card, coming=replace(card.coming, previews=seen))

    async def picture(self, actor: Actor, job_id: int, index: int) -> PictureFile:
        """The file of one's own picture. Raises NotFound."""
        job, picture = await history_service.get_picture(self._ctx, actor, job_id, index)
        if not await data_files.exists(self._ctx.pictures, picture.path):
            raise NotFound("refusal.picture.not_found")
        return job_card.file_of(job, picture, self._ctx.pictures)

    async def export_ready(self, token: str) -> None:
        """Look at the link of an export without using it. Raises NotFound, or Unavailable while it is still being made."""
        await privacy_service.check_export(self._ctx, token)

    async def export(self, token: str) -> PictureFile:
        """The file behind the link of an export, once. Raises NotFound, or Unavailable while it is still being made."""
        return await shield(privacy_service.fetch_export(self._ctx, token))

    async def preview(self, actor: Actor, job_id: int, index: int) -> PreviewFrame | None:
        """How a picture of one's own job looks so far; None where nothing is known of it (any more). Raises NotFound."""
        await history_service.get_entry(self._ctx, actor, job_id)
        return self._live.previews(job_id).get(index)

    async def command(self, call: Invocation) -> Card:
        """Run a typed command and return the card that answers it. Raises Refusal."""
        result = await shield(runner.run(self._ctx, call))
        if result.new is not None:
            return (await self._shown(result.new)).card
        assert result.card is not None, f"{call.command.name} has no answer"
        return result.card

    def find_command(self, name: str, typed: str) -> tuple[Command, str]:
        """Return the command that a typed line means (``quota``, ``set 20/day``) and the rest of it. Raises BadInput."""
        return parser.find(self.commands, name, typed)

    def parse_arguments(self, command: Command, typed: str, near: Mapping[str, str]) -> dict[str, str]:
        """Return a command's arguments by name; ``near`` has the values of those that are not typed. Raises BadInput."""
        return parser.parse(command, typed, near)

    async def named(self, platform: str, handle: str) -> Account:
        """The account that was seen last with this handle (``@name``). Raises NotFound, which says what else to do."""
        async with self._ctx.db.read() as tx:
            account = await people.find_by_handle(tx, platform, handle.removeprefix("@"))
        if account is None:
            raise NotFound("refusal.person_unknown", person=shown(handle))
        return account

    def owners(self, platform: str) -> Container[str]:
        """The user ids of this Easel's owners on a platform: live, a claim counts at once."""
        return self._ctx.owners.of(platform)

    def owned(self, platform: str, ids: Iterable[str]) -> None:
        """The platform says whose the bot is: these user ids are owners from now on."""
        self._ctx.owners.told(platform, ids)
        self._ctx.backlog.access_requested()

    async def quota_show(self, actor: Actor, place: Place) -> Card:
        """What is left, when more come back, and which rule binds."""
        return quota_cards.quota_card(await quota_service.show_quota(self._ctx, actor, place), actor.locale)

    def styles(self) -> tuple[str, ...]:
        """Names of the styles that can be asked for; the operator's own first."""
        return tuple(self._ctx.styles)

    def help(self, locale: str) -> Card:
        """What people can do here, with this surface's own examples left to it."""
        profiles = self.profiles()
        return history_cards.help_card(
            profiles, self.styles(), tuple(profiles[0].presets), self._ctx.max_count(""), locale
        )

    def refused(self, refusal: Refusal, locale: str) -> Card:
        """A refusal as a private card in the person's language."""
        return job_card.refused(refusal, locale)

    def text(self, key: str, locale: str, **params: str | int | float) -> str:
        """One message of the catalogue (labels of commands, of the page)."""
        return i18n.text(locale, key, **params)

    def texts(self, prefix: str, locale: str) -> dict[str, str]:
        """Every message whose key starts with ``prefix``, for a surface that fills in the fields by itself."""
        return i18n.texts(locale, prefix)

    def profiles(self) -> tuple[Profile, ...]:
        """The models that can be asked for; the first is the default."""
        return self._engine.profiles()

    def engine(self) -> EngineState:
        """What the engine is doing."""
        return self._engine.state()

    def connection_problem(self, platform: str, problem: str | None) -> None:
        """A platform's adapter says, in a sentence for the operator, why it serves nobody; None once it serves again."""
        if problem is None:
            self._connection_problems.pop(platform, None)
        else:
            self._connection_problems[platform] = problem

    async def healthy(self) -> tuple[str, ...]:
        """What keeps this Easel from drawing, as sentences for the operator; empty when it is ready."""
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
        return (*problems, *self._connection_problems.values())

    async def _shown(self, job: Job) -> ShownJob:
        return ShownJob(job.id, self._card(await history_service.entry_of(self._ctx, job)))

    def _card(self, entry: HistoryEntry) -> Card:
        job, backlog = entry.job, self._ctx.backlog
        card = self._presenter.job(job, entry.pictures, backlog.position(job.id), backlog.progress(job.id))
        if not entry.favourites:
            return card
        kept = {picture.index for picture in entry.pictures if picture.id in entry.favourites}
        return replace(card, pictures=tuple(replace(file, favourite=file.index in kept) for file in card.pictures))

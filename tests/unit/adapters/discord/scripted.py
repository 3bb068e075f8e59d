"""A Studio whose answers a test sets, and that records its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from bot.cards import i18n
from bot.commands.model import Arg, Command, Invocation
from bot.commands.registry import Registry
from bot.core.cards import Button, ButtonPress, Card, Tone
from bot.core.errors import Refusal
from bot.core.file_marks import unsigned
from bot.core.forms import Form
from bot.core.messages import Address, EventRef
from bot.core.people import Actor, Place
from bot.core.ports import QueueLoad
from bot.core.requests import DrawForm
from bot.delivery.service import MissedNotice
from bot.drawing.options import form_of
from bot.drawing.suggestions import Suggestion
from bot.features import COMMANDS
from bot.studio import ButtonResult, ShownJob, Studio
from engine.contract import NegativePromptSupport, Profile, Range

PROFILE = Profile(
    name="tiny",
    title="Tiny",
    source="",
    family="",
    multiple=16,
    side=Range(64, 32, 128),
    presets={"square": (64, 64), "wide": (128, 64)},
    steps=Range(4, 1, 8),
    guidance=Range(0.0, 0.0, 0.0),
    negative=NegativePromptSupport.NEVER,
    enlarge=2,
)


def waiting(job_id: int, *, private: bool = False, prompt: str = "an apple") -> Card:
    """A card as it looks when a job was admitted."""
    cancel = Button("Cancel", ButtonPress("cancel", job_id), danger=True)
    return Card(Tone.WAITING, "Next in line.", prompt, "Ada", job_id, buttons=((cancel,),), private=private)


@dataclass
class Scripted:
    """Answers by its fields; ``delay`` holds every answer back until it is set."""

    commands: Registry = COMMANDS
    refusal: Refusal | None = None
    fault: Exception | None = None
    pressed: ButtonResult = field(default_factory=ButtonResult)
    shown: ShownJob | None = None
    card: Card | None = None
    delay: asyncio.Event | None = None
    drawn: list[tuple[Actor, Place, DrawForm, EventRef]] = field(default_factory=list)
    presses: list[tuple[Actor, Place, ButtonPress, EventRef]] = field(default_factory=list)
    submissions: list[tuple[ButtonPress, dict[str, str]]] = field(default_factory=list)
    calls: list[Invocation] = field(default_factory=list)
    suggestions: tuple[Suggestion, ...] = ()
    suggested: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    application: frozenset[str] = frozenset()
    told: MissedNotice | None = None
    problems: list[str | None] = field(default_factory=list)
    is_refused: bool = False
    closed: list[Place] = field(default_factory=list)
    queue: QueueLoad = field(default_factory=lambda: QueueLoad(0, 0))
    bindings: list[tuple[int | None, Address]] = field(default_factory=list)
    unbindings: list[int | None] = field(default_factory=list)
    languages: dict[str, str] = field(default_factory=dict)

    async def _turn(self) -> None:
        if self.delay is not None:
            await self.delay.wait()
        if self.refusal is not None:
            raise self.refusal
        if self.fault is not None:
            raise self.fault

    async def draw(self, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> ShownJob:
        self.drawn.append((actor, place, form, ref))
        await self._turn()
        return self.shown or ShownJob(7, waiting(7, private=bool(form.private), prompt=form.prompt))

    async def press(self, actor: Actor, place: Place, press: ButtonPress, ref: EventRef) -> ButtonResult:
        self.presses.append((actor, place, press, ref))
        await self._turn()
        return self.pressed

    async def submit(
        self, actor: Actor, place: Place, press: ButtonPress, values: Mapping[str, str], ref: EventRef
    ) -> ButtonResult:
        self.submissions.append((press, dict(values)))
        await self._turn()
        return self.pressed

    def typed_form(self, form: Form, locale: str) -> Card:
        return Card(Tone.INFO, i18n.text(locale, "card.form"), prompt=form.line, private=True, final=True)

    async def bind_answer(self, job_id: int | None, ref: EventRef, address: Address) -> None:
        self.bindings.append((job_id, address))

    async def unbind_answer(self, job_id: int | None, ref: EventRef) -> None:
        self.unbindings.append(job_id)

    async def history(self, actor: Actor, place: Place, before: int | None = None) -> Card:
        await self._turn()
        return self.card or Card(Tone.INFO, "Your last drawings.", private=True)

    async def command(self, call: Invocation) -> Card:
        if call.command.prompted:
            return (await self.draw(call.actor, call.place, form_of(call.args), call.ref)).card
        self.calls.append(call)
        await self._turn()
        return self.card or Card(Tone.INFO, f"Done: {call.command.name}.")

    async def suggest(
        self, actor: Actor, place: Place, arg: Arg, typed: str, *, given: Mapping[str, str]
    ) -> tuple[Suggestion, ...]:
        self.suggested.append((arg.name, typed, dict(given)))
        return self.suggestions

    async def find_missed(self, actor: Actor) -> MissedNotice | None:
        return self.told

    async def mark_told(self, actor: Actor, told: MissedNotice) -> None:
        assert told == self.told
        self.told = None

    def connection_problem(self, platform: str, problem: str | None, *, refused: bool = False) -> None:
        assert platform == "discord"
        self.problems.append(problem)
        self.is_refused = refused

    def locale(self, platform: str, user_id: str, reported: str) -> str:
        """What the test has chosen for an account, else what its platform reports."""
        return self.languages.get(user_id, reported)

    async def place_closed(self, place: Place) -> None:
        self.closed.append(place)

    def load(self) -> QueueLoad:
        return self.queue

    def owners(self, platform: str) -> Container[str]:
        return self.application

    def add_owners(self, platform: str, ids: Iterable[str]) -> None:
        self.application = frozenset(ids)

    def help(self, locale: str) -> Card:
        return Card(Tone.INFO, i18n.text(locale, "help.title"), private=True)

    def refused(self, refusal: Refusal, locale: str) -> Card:
        text = i18n.text(locale, refusal.key, **dict(refusal.params))
        return Card(Tone.PROBLEM, text, private=True, final=True)

    def text(self, key: str, locale: str, **params: str | int | float) -> str:
        return i18n.text(locale, key, **params)

    def sign_copy(self, data: bytes, mime: str, original: bytes) -> bytes:
        return unsigned(data, mime, original)

    def profiles(self) -> tuple[Profile, ...]:
        return (PROFILE,)

    def offers(self, _command: Command) -> bool:
        return True

    @property
    def studio(self) -> Studio:
        """Itself, as the adapter is given it."""
        return cast("Studio", self)

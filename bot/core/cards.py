"""Cards, free of any platform's markup, and their buttons."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from bot.core.pictures import PictureFile
from bot.core.requests import DrawRequest
from engine.contract import LoraRequest

MAX_BYTES = 64
"""Telegram's limit for ``callback_data``, the smallest of all platforms."""

_PATTERN = re.compile(r"easel:([a-z]{1,16}):(\d{1,18})(?::(\d{1,3}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ButtonPress:
    """A button that was pressed, or that can be: its action, and what the action is about.

    Attributes:
        action: Names the command in the registry: 1 to 16 small letters.
        job_id: The number of a job; some actions have another number there, such as that of an access request.
        index: One of the job's pictures, from 0; None for all. Some actions have another number there.
    """

    action: str
    job_id: int
    index: int | None = None

    def pack(self) -> str:
        """Return ``easel:<action>:<job id>[:<index>]``; raises ValueError when it is over 64 bytes."""
        text = f"easel:{self.action}:{self.job_id}" + ("" if self.index is None else f":{self.index}")
        if len(text.encode()) > MAX_BYTES:
            raise ValueError(f"button text of {len(text.encode())} bytes; {MAX_BYTES} are allowed")
        return text

    @classmethod
    def unpack(cls, text: str) -> ButtonPress | None:
        """Read a button's text; None when it has another form. The registry knows which actions there are."""
        found = _PATTERN.fullmatch(text)
        if found is None:
            return None
        return cls(found[1], int(found[2]), None if found[3] is None else int(found[3]))


class Tone(StrEnum):
    """The kind of a card; surfaces choose a colour or a sign by it."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    PROBLEM = "problem"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Button:
    """A button in the person's language.

    Attributes:
        label: A short word, or a sign where little room is left.
        press: What a press means.
        danger: It takes something away.
        title: The word, where the label is a sign; empty where the label says it.
    """

    label: str
    press: ButtonPress
    danger: bool = False
    title: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """One labelled value under a picture (Seed: 7). Both are data, never markup."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment that a card names in words, such as "in 2 hours". Surfaces that show moments by themselves replace them.

    Attributes:
        words: Stand in the card's status, notes or facts.
        at: Unix seconds.
    """

    words: str
    at: float


@dataclass(frozen=True, slots=True)
class PendingImages:
    """Pictures that are not drawn yet.

    Attributes:
        count: How many.
        width: Pixels.
        height: Pixels.
        enlarge: Integer factor by which the model's pictures are enlarged when shown.
        previews: Pairs of index and version of each preview; only for viewers.
    """

    count: int
    width: int
    height: int
    enlarge: int = 1
    previews: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class CardPreview:
    """What a job's pictures look like while they are drawn, as one small picture. It is never stored.

    Attributes:
        data: A JPEG of at most 256 pixels a side and 40 kB.
        number: Another one for each preview of a job.
    """

    data: bytes = field(repr=False)
    number: int


@dataclass(frozen=True, slots=True)
class ParentPicture:
    """The picture that a job was made from.

    Attributes:
        job_id: Its job.
        index: 0-based within the job.
        digest: Names its thumbnails; empty if it is not stored any more.
    """

    job_id: int
    index: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class JobDetails:
    """What surfaces without limits on space show of a job besides its card. It is never stored with a card.

    Attributes:
        created_at: Unix seconds.
        kind: See ``Job.kind``.
        platform: The platform of the account that requested it.
        request: The request.
        negative: Its negative prompt without the words of its style.
        loras: Its LoRAs as its author could name them; the weight 0 leaves out one of the style's.
        parent: The picture that it was made from; None if there is none, or it is another person's.
        started_at: Unix seconds; None until it is begun.
        step: Steps that are done of each picture, on average; None while it is not drawn.
        steps: Steps of each picture.
        seconds_left: Expected seconds until its pictures are drawn; None where unknown.
    """

    created_at: float
    kind: str
    platform: str
    request: DrawRequest
    negative: str
    loras: tuple[LoraRequest, ...] = ()
    parent: ParentPicture | None = None
    started_at: float | None = None
    step: int | None = None
    steps: int = 0
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One message on any surface. All text is data: surfaces escape it, and it mentions nobody.

    Attributes:
        tone: See Tone.
        status: One sentence about the current state.
        quiet: The pictures show what the status says; chats leave it out.
        prompt: The prompt as its author wrote it; empty where there is none.
        asker: Name of the person who asked; empty where there is none.
        job_id: The job behind it, if there is one.
        progress: 0 to 1 while drawing, else None.
        notes: Further sentences, each on a line of its own.
        summary: What matters most of the facts, in short parts for one line; chats show it instead of the facts.
        facts: Labelled values, in order.
        instants: Moments that the sentences, the summary and the facts name.
        pictures: What to show, in order.
        buttons: Rows of buttons.
        more: Buttons that chats have behind one of ``buttons`` (see Menu), for surfaces that show all at once.
        private: Shown to the asker alone.
        final: It will not change by itself any more.
        provisional: It has no job yet, and becomes the card of one.
        coming: The pictures that are not drawn yet, for surfaces that reserve space; None when there are none.
        preview: Shown until there are pictures, by surfaces with ``Abilities.preview_every``.
        details: More about its job, for surfaces that show a feed; None where nobody asked for it.
        locale: The language of its sentences, for text that a surface adds.
    """

    tone: Tone
    status: str
    prompt: str = ""
    asker: str = ""
    job_id: int | None = None
    progress: float | None = None
    notes: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    pictures: tuple[PictureFile, ...] = ()
    buttons: tuple[tuple[Button, ...], ...] = ()
    more: tuple[Button, ...] = ()
    private: bool = False
    final: bool = False
    provisional: bool = False
    coming: PendingImages | None = None
    locale: str = "en"
    quiet: bool = False
    summary: tuple[str, ...] = ()
    instants: tuple[Instant, ...] = ()
    preview: CardPreview | None = None
    details: JobDetails | None = field(default=None, repr=False)

    @property
    def headline(self) -> str:
        """The status, as far as a chat has to say it."""
        return "" if self.quiet else self.status


@dataclass(frozen=True, slots=True)
class Menu:
    """Further buttons about a card, for somebody who has pressed one of its own.

    Surfaces that can answer the presser alone show ``card``. Others put its buttons, with ``back`` below them, in the
    place of those of the pressed message; where it has none, they leave the message alone and say ``card.status``.

    Attributes:
        card: A private card.
        back: Brings the message's own buttons back; None where these are its own.
        asks: Its status is a question that has to be read before a button is pressed.
    """

    card: Card
    back: Button | None = None
    asks: bool = False

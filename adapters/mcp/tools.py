"""The tools of the MCP server: draw, edit and history. Their results are words, small pictures and addresses."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import importlib.util
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.core.cards import ButtonPress, Card, Tone
from bot.core.errors import BadInput, NotFound, Refusal
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.pictures import PictureFile
from bot.core.requests import MAX_PICTURE_BYTES, DrawForm
from bot.core.texts import clip
from bot.studio import THUMBNAIL_SIDES, Studio
from engine.contract import Capability, Profile

LISTED_SIDE, SHOWN_SIDE = THUMBNAIL_SIDES
"""Longest sides in pixels of a picture in a list, and of one that was drawn; originals have addresses."""

MAX_LISTED = 20
"""Most jobs of one list."""

WEBP = "image/webp"

PATH = "/mcp"
"""Path of the page below which the tools are served."""

_PROMPT_CHARS = 200
_JOB = re.compile(r"([0-9]{1,18})(?::([0-9]{1,3}))?", re.ASCII)

log = logging.getLogger(__name__)

Report = Callable[[float, str], Awaitable[None]]
"""Tells a caller how far their job is: 0 to 1, and in words."""


_LABEL = "Draw a visible label into the pictures: AI generated."


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DrawArguments(_Arguments):
    """Arguments of ``draw``."""

    prompt: str = Field(description="What to draw, in plain words.")
    negative: str | None = Field(None, description="What not to draw.")
    size: str | None = Field(
        None, description="square, portrait, landscape, tall, wide, a ratio such as 3:4, or pixels such as 1024x768."
    )
    count: int = Field(1, ge=1, le=4, description="How many pictures.")
    seed: int | None = Field(None, ge=0, le=2**63 - 1, description="The same seed draws the same picture.")
    model: str | None = Field(None, description="A model's name; the person's default without it.")
    style: str | None = Field(None, description="A style's name.")
    lora: str | None = Field(None, description="LoRAs as NAME:WEIGHT, with commas between.")
    steps: int | None = Field(None, ge=1, description="Denoising steps; the model's default without it.")
    guidance: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Guidance scale; the model's default without it."
    )
    label: bool = Field(False, description=_LABEL)


class EditArguments(_Arguments):
    """Arguments of ``edit``."""

    instruction: str = Field(description="What to change in the picture, or what it should become.")
    job: str | None = Field(
        None, description="The picture to change, from the history: a job's number, or 12:2 for its second picture."
    )
    image: str | None = Field(None, description="The picture to change, as base64, in the place of job.")
    mask: str | None = Field(
        None, description="A picture of the same size as base64: only what is white in it is drawn anew."
    )
    strength: float | None = Field(
        None, ge=0.05, le=1, description="How far to move away from the picture, for models that draw it anew."
    )
    count: int = Field(1, ge=1, le=4, description="How many pictures.")
    seed: int | None = Field(None, ge=0, le=2**63 - 1, description="The same seed draws the same picture.")
    model: str | None = Field(None, description="A model's name; one that edits without it.")
    label: bool = Field(False, description=_LABEL)


class HistoryArguments(_Arguments):
    """Arguments of ``history``."""

    query: str = Field("", description="Words to search for in the prompts; everything without it.")
    limit: int = Field(10, ge=1, le=MAX_LISTED, description="How many jobs, newest first.")
    before: int | None = Field(None, ge=1, le=2**63 - 1, description="Only jobs before this number, to read on.")
    pictures: bool = Field(True, description="Whether each job comes with a small picture.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls a tool.

    Attributes:
        actor: The person.
        place: Where they ask.
        address: The page's address as they reach it, which originals are below; None where no page is served.
    """

    actor: Actor
    place: Place
    address: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a tool.

    Attributes:
        text: What it is, in words.
        pictures: WebP files.
        data: The same for programs.
        failed: Whether the text is an error.
    """

    text: str
    pictures: Sequence[bytes] = field(default=(), repr=False)
    data: Mapping[str, object] | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class ToolDescription:
    """A tool as it is listed.

    Attributes:
        name: What it is called by.
        title: Its name for people.
        description: What it does.
        arguments: Its arguments.
        reads_only: Whether it changes nothing.
    """

    name: str
    title: str
    description: str
    arguments: type[_Arguments]
    reads_only: bool = False


TOOLS = (
    ToolDescription(
        "draw",
        "Draw a picture",
        "Draw pictures from a prompt, and wait until they are there. Small copies come back, with the originals' addresses.",
        DrawArguments,
    ),
    ToolDescription(
        "edit",
        "Change a picture",
        "Change a picture of the history, or one that is sent, as the instruction says. Without either, the newest one.",
        EditArguments,
    ),
    ToolDescription(
        "history",
        "List pictures",
        "List the person's own drawings, newest first, with their prompts and numbers; edit takes these numbers.",
        HistoryArguments,
        reads_only=True,
    ),
)
"""All tools."""


def is_installed() -> bool:
    """Whether the protocol's package is there: the extra ``mcp``."""
    return importlib.util.find_spec("mcp") is not None


class Tools:
    """Runs the tools."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._cancelling: set[asyncio.Task[None]] = set()
        self._stopping = False

    def stop(self) -> None:
        """Leave the jobs of calls that end from now on alone: the service stops, and draws them later."""
        self._stopping = True

    async def close(self) -> None:
        """Wait for the jobs that are being cancelled with their calls."""
        await asyncio.gather(*self._cancelling, return_exceptions=True)

    async def call(self, caller: Caller, name: str, arguments: Mapping[str, object], report: Report) -> ToolResult:
        """Run a tool. Every refusal is a result with ``failed``; the sentence is in the caller's language.

        A call that is cancelled cancels its job, unless the service stops.

        Args:
            caller: Who calls.
            name: The tool.
            arguments: Its arguments as sent.
            report: Is told of progress.
        """
        try:
            match name:
                case "draw":
                    return await self._draw(caller, DrawArguments.model_validate(arguments), report)
                case "edit":
                    return await self._edit(caller, EditArguments.model_validate(arguments), report)
                case "history":
                    return await self._history(caller, HistoryArguments.model_validate(arguments))
                case _:
                    known = ", ".join(tool.name for tool in TOOLS)
                    return ToolResult(f"There is no tool {clip(name, 60)!r}. There are: {known}.", failed=True)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)[:10]
            problems = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in found)
            return ToolResult(f"The arguments of {name} are wrong. {problems}.", failed=True)
        except Refusal as refusal:
            return ToolResult(self._studio.refused(refusal, caller.actor.locale, "web").status, failed=True)

    async def _draw(self, caller: Caller, args: DrawArguments, report: Report) -> ToolResult:
        form = DrawForm(
            prompt=args.prompt,
            negative=args.negative,
            size=args.size,
            count=str(args.count),
            seed=None if args.seed is None else str(args.seed),
            model=args.model,
            style=args.style,
            lora=args.lora,
            steps=None if args.steps is None else str(args.steps),
            guidance=None if args.guidance is None else f"{args.guidance:g}",
            label=args.label or None,
        )
        return await self._drawn(caller, form, report)

    async def _edit(self, caller: Caller, args: EditArguments, report: Report) -> ToolResult:
        picture = await self._source(caller, args)
        mask = None if args.mask is None else _decoded(args.mask, "mask")
        profile = _editing(
            await self._studio.models_of(caller.actor, caller.place), args.model, masked=mask is not None
        )
        form = DrawForm(
            prompt=args.instruction,
            count=str(args.count),
            seed=None if args.seed is None else str(args.seed),
            model=args.model if profile is None else profile.name,
            label=args.label or None,
        )
        if profile is not None and Capability.EDIT in profile.can and mask is None:
            values: dict[str, object] = {"references": (picture,)}
        else:
            strength = None if args.strength is None else f"{args.strength:g}"
            values = {"image": picture, "mask": mask, "strength": strength}
        return await self._drawn(caller, _with(form, values), report)

    async def _source(self, caller: Caller, args: EditArguments) -> bytes:
        """Return the picture to change. Raises NotFound and BadInput."""
        if args.image is not None:
            return _decoded(args.image, "image")
        job, index = await self._newest(caller) if args.job is None else _numbers(args.job)
        file = await self._studio.picture(caller.actor, job, index)
        return await asyncio.to_thread(file.path.read_bytes)

    async def _newest(self, caller: Caller) -> tuple[int, int]:
        before: int | None = None
        while True:
            page = await self._studio.feed(caller.actor, before=before, limit=MAX_LISTED)
            for card in page.cards:
                if card.pictures and card.job_id is not None:
                    return card.job_id, 0
                before = card.job_id
            if not page.older:
                raise BadInput("refusal.mcp.no_picture")

    async def _drawn(self, caller: Caller, form: DrawForm, report: Report) -> ToolResult:
        actor = caller.actor
        admitted = await self._studio.draw(actor, caller.place, form, _event_of(actor))
        card = admitted.card
        try:
            async with aclosing(self._studio.watch(actor, admitted.job_id)) as cards:
                async for card in cards:
                    await report(card.progress or 0.0, card.status)
        except asyncio.CancelledError:
            if self._stopping:
                raise
            task = asyncio.create_task(self._cancel(caller, admitted.job_id), name=f"cancel job {admitted.job_id}")
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)
            raise
        if card.tone is not Tone.DONE or not card.pictures:
            return ToolResult("\n".join((card.status, *card.notes)), failed=True)
        small = await self._copies(caller, card.pictures, SHOWN_SIDE)
        shown = [_described(caller, admitted.job_id, file) for file in card.pictures]
        lines = [
            f"Job {admitted.job_id}: {card.prompt}",
            *(f"{one['address']} ({one['width']}x{one['height']}, seed {one['seed']})" for one in shown),
            *card.notes,
        ]
        return ToolResult("\n".join(lines), small, {"job": admitted.job_id, "pictures": shown, "notes": [*card.notes]})

    async def _copies(self, caller: Caller, files: Sequence[PictureFile], side: int) -> list[bytes]:
        """Return small WebP copies; pictures from before there were any are left out."""
        copies = []
        for file in files:
            with contextlib.suppress(NotFound):
                path = await self._studio.thumbnail(caller.actor, file.digest, side)
                copies.append(await asyncio.to_thread(path.read_bytes))
        return copies

    async def _cancel(self, caller: Caller, job_id: int) -> None:
        press = ButtonPress("cancel", job_id)
        try:
            await self._studio.press(caller.actor, caller.place, press, _event_of(caller.actor))
        except Refusal as refusal:  # mostly, it has just ended by itself
            log.info("job %d of a cancelled call goes on (%s)", job_id, refusal.key)

    async def _history(self, caller: Caller, args: HistoryArguments) -> ToolResult:
        query = args.query.strip() or None
        page = await self._studio.feed(caller.actor, before=args.before, limit=args.limit, query=query)
        cards = page.cards
        firsts = [card.pictures[0] for card in cards if card.pictures] if args.pictures else []
        small = await self._copies(caller, firsts, LISTED_SIDE)
        lines = [_line(card) for card in cards] or ["There is nothing."]
        if page.older:
            lines.append(f"There are older ones: before={cards[-1].job_id}.")
        jobs = [
            {
                "job": card.job_id,
                "prompt": card.prompt,
                "status": card.status,
                "pictures": [_described(caller, card.job_id or 0, file) for file in card.pictures],
            }
            for card in cards
        ]
        return ToolResult("\n".join(lines), small, {"jobs": jobs, "older": page.older})


def _event_of(actor: Actor) -> EventRef:
    """Return the event of a call: each call is one request."""
    return EventRef(f"{actor.platform}:mcp:{uuid.uuid4()}")


def _with(form: DrawForm, values: Mapping[str, object]) -> DrawForm:
    return replace(form, **values)  # type: ignore[arg-type]  # the names are fields of DrawForm


def _editing(models: Sequence[Profile], name: str | None, *, masked: bool) -> Profile | None:
    """Return the model that changes a picture: the named one, else the first that can; None where none is found."""
    if name is not None:
        wanted = name.casefold()
        return next((one for one in models if wanted in {one.name.casefold(), one.title.casefold()}), None)
    for can in (Capability.MASK,) if masked else (Capability.EDIT, Capability.IMAGE):
        if (found := next((one for one in models if can in one.can), None)) is not None:
            return found
    return None


def _decoded(text: str, name: str) -> bytes:
    """Return a picture in base64, with or without ``data:image/png;base64,``. Raises BadInput."""
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or len(data) > MAX_PICTURE_BYTES:
        raise BadInput("refusal.mcp.base64", name=name, limit=MAX_PICTURE_BYTES // 2**20)
    return data


def _numbers(text: str) -> tuple[int, int]:
    """Return job and index of ``12`` or ``12:2``. Raises BadInput."""
    found = _JOB.fullmatch(text.strip().lstrip("#"))
    if found is None or found[2] == "0":
        raise BadInput("refusal.mcp.job", value=clip(text, 40))
    return int(found[1]), int(found[2] or 1) - 1


def _described(caller: Caller, job_id: int, file: PictureFile) -> dict[str, object]:
    address = file.path.as_uri() if caller.address is None else f"{caller.address}/pictures/{job_id}/{file.index}.png"
    seed = None if file.seed is None else str(file.seed)
    return {"address": address, "width": file.width, "height": file.height, "seed": seed}


def _line(card: Card) -> str:
    count = len(card.pictures)
    state = f"{count} picture{'' if count == 1 else 's'}" if count else card.status
    return f"{card.job_id}: {clip(' '.join(card.prompt.split()), _PROMPT_CHARS)} ({state})"

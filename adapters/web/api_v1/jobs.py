"""Handlers of jobs: create, read, list, wait, follow, act on them, delete them, and fetch their pictures."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack

from aiohttp import web

from adapters.web.api import MAX_ID, MAX_PAGE, number_of, query_of
from adapters.web.api_v1.answers import PICTURE_PATH, is_ended, job_answer
from adapters.web.api_v1.operations import (
    DELETE,
    GET,
    IDEMPOTENCY_KEY,
    INDEX,
    JOB,
    POST,
    WAIT,
    WHOLE,
    Operation,
    Parameter,
)
from adapters.web.api_v1.schemas import (
    Action,
    ActionAnswer,
    CreatedJob,
    JobAnswer,
    JobPage,
    JobRequest,
    Schema,
    WebhookTarget,
)
from adapters.web.errors import BodyTooLarge
from adapters.web.event_writer import EventWriter
from adapters.web.following import JobFollower, Stopping
from adapters.web.identity import actor_of, place_of, ref_of
from adapters.web.outbound import OutboundClient, OutboundUse
from adapters.web.person_limits import MOST_STREAMS as MOST_OWN_STREAMS
from adapters.web.person_limits import PersonLimit
from adapters.web.request_checks import BodyReader, checked_object, digest
from bot.core.cards import ButtonPress
from bot.core.errors import BadInput, NotFound, Refusal, Unavailable
from bot.core.messages import EventRef
from bot.core.people import Actor
from bot.core.requests import MAX_PICTURE_BYTES, MAX_PICTURES_BYTES, DrawForm, fitted_size
from bot.studio import Studio

MAX_WAIT = 60.0
"""Most seconds that an answer waits; proxies close silent connections after a minute or so."""

MOST_STREAMS = 128
"""Most streams of events; the other connections serve everything else."""

MOST_FETCHING = 2
"""Most requests whose pictures are fetched at once: their files are in memory until the job is stored."""

_SECRET_BYTES = 32
_EVENTS = "text/event-stream"
_STREAMED = "Events are `job` with a job in `job`, `gone` with a `job_id`, and `end` after the last one."


class JobHandlers:
    """Handlers of jobs. Errors are raised as Refusals."""

    def __init__(
        self,
        studio: Studio,
        bodies: BodyReader,
        follower: JobFollower,
        outbound: OutboundClient,
        webhook_stored: Callable[[], None],
    ) -> None:
        """Args:
        studio: The core.
        bodies: Reads bodies within the server's memory.
        follower: Waits for jobs.
        outbound: Fetches the pictures that requests name.
        webhook_stored: Called when a webhook was stored.
        """
        self._webhook_stored = webhook_stored
        self._studio = studio
        self._bodies = bodies
        self._follower = follower
        self._outbound = outbound
        self._streams = 0
        self._own_streams = PersonLimit(MOST_OWN_STREAMS)
        self._fetching = asyncio.Semaphore(MOST_FETCHING)

    def operations(self) -> list[Operation]:
        """Return the operations."""
        pages = (
            Parameter("before", "query", "Only jobs with a smaller id.", WHOLE),
            Parameter("limit", "query", f"Number of jobs, 1 to {MAX_PAGE}; 24 if not given.", WHOLE),
            Parameter("q", "query", "A search; only jobs with pictures are found.", {"type": "string"}),
        )
        return [
            Operation(
                POST,
                "/api/v1/jobs",
                self.create_job,
                "Draw pictures.",
                CreatedJob,
                status=201,
                body=JobRequest,
                parameters=(WAIT, IDEMPOTENCY_KEY),
            ),
            Operation(GET, "/api/v1/jobs", self.list_jobs, "List your jobs, newest first.", JobPage, parameters=pages),
            Operation(GET, "/api/v1/jobs/{job}", self.read_job, "Read a job.", JobAnswer, parameters=(JOB, WAIT)),
            Operation(
                GET,
                "/api/v1/jobs/{job}/events",
                self.follow_job,
                "Follow a job until it has ended.",
                content=_EVENTS,
                parameters=(JOB,),
                about=_STREAMED,
            ),
            Operation(
                POST,
                "/api/v1/jobs/{job}/cancel",
                self.cancel_job,
                "Cancel a job that is not finished.",
                JobAnswer,
                parameters=(JOB,),
            ),
            Operation(
                POST,
                "/api/v1/jobs/{job}/actions",
                self.act_on_job,
                "Press a button of a job's card: draw it again, vary or enlarge a picture, mark it.",
                ActionAnswer,
                body=Action,
                parameters=(JOB, IDEMPOTENCY_KEY),
            ),
            Operation(
                DELETE,
                "/api/v1/jobs/{job}",
                self.delete_job,
                "Delete a job with its pictures, for good.",
                status=204,
                parameters=(JOB,),
            ),
            Operation(
                GET,
                PICTURE_PATH,
                self.fetch_picture,
                "Fetch the file of a picture.",
                content="image/png",
                parameters=(JOB, INDEX),
            ),
            Operation(
                GET,
                "/api/v1/events",
                self.follow_jobs,
                "Follow all of your jobs.",
                content=_EVENTS,
                about=f"{_STREAMED} The stream tells of changes from now on, and does not end by itself.",
            ),
        ]

    async def create_job(self, request: web.Request) -> web.Response:
        """Admit a request; answers 201 with its job, at once or when it has ended."""
        wait = _wait_of(request)
        actor, place = actor_of(request), place_of(request)
        async with AsyncExitStack() as stack:
            body = checked_object(await stack.enter_async_context(self._bodies.large_json(request)), JobRequest)
            if any(_is_url(text) for text in (body.image, body.mask, *body.references)):
                await stack.enter_async_context(self._fetching)
            form = await self._form(request, actor, body)
            ref = await asyncio.to_thread(_ref_of, request, actor, body)
            secret = await self._want_webhook(ref, body.webhook)
            try:
                admitted = await self._studio.draw(actor, place, form, ref)
            except Refusal:
                if body.webhook is not None:
                    await self._studio.withdraw_webhook(ref)
                raise
        answer = await self._waited(request, actor, admitted.job_id, wait)
        created = CreatedJob(**answer.model_dump(), webhook_secret=secret)
        return _json(created, status=201, headers={"Location": f"/api/v1/jobs/{answer.id}"})

    async def list_jobs(self, request: web.Request) -> web.Response:
        """Return the person's jobs, newest first."""
        before = query_of(request, "before", None, MAX_ID)
        limit = query_of(request, "limit", 24, MAX_PAGE)
        query = request.query.get("q", "").strip() or None
        found, older = await self._studio.snapshots(actor_of(request), before=before, limit=limit, query=query)
        return _json(JobPage(jobs=[job_answer(one) for one in found], older=older))

    async def read_job(self, request: web.Request) -> web.Response:
        """Return a job, at once or when it has ended."""
        return _json(await self._waited(request, actor_of(request), number_of(request, "job"), _wait_of(request)))

    async def follow_job(self, request: web.Request) -> web.StreamResponse:
        """Stream a job now and after each change, until it has ended."""
        actor, job_id = actor_of(request), number_of(request, "job")
        writer = EventWriter(request)
        with self._stream(actor):
            async with contextlib.aclosing(self._follower.follow(request, actor, job_id)) as cards:
                try:
                    async for card in cards:
                        if card is None:
                            await writer.beat()
                        else:
                            await self._send(writer, actor, job_id)
                except Unavailable:
                    if not writer.response.prepared:
                        raise
                    return writer.response
            await writer.event("end", {})
        return writer.response

    async def follow_jobs(self, request: web.Request) -> web.StreamResponse:
        """Stream the changes of all jobs of the person."""
        actor = actor_of(request)
        writer = EventWriter(request)
        with self._stream(actor), contextlib.suppress(Stopping):
            async with contextlib.aclosing(self._changes(actor)) as changes:
                await writer.comment()
                async with contextlib.aclosing(self._follower.items(request, changes)) as followed:
                    async for job_id in followed:
                        if job_id is None:
                            await writer.beat()
                        else:
                            await self._send(writer, actor, job_id)
        return writer.response

    async def cancel_job(self, request: web.Request) -> web.Response:
        """Cancel a job; one that has ended stays as it is."""
        actor, job_id = actor_of(request), number_of(request, "job")
        answer = await self._answer(actor, job_id)
        if not is_ended(answer):
            await self._studio.press(actor, place_of(request), ButtonPress("cancel", job_id), _new_ref(actor))
        return _json(await self._answer(actor, job_id))

    async def act_on_job(self, request: web.Request) -> web.Response:
        """Press a button of a job's card. Raises BadInput where no button has this action."""
        actor, job_id = actor_of(request), number_of(request, "job")
        body = checked_object(await self._bodies.json_object(request), Action)
        if body.action not in self._studio.commands.by_action:
            raise BadInput("refusal.web.button")
        await self._answer(actor, job_id)
        press = ButtonPress(body.action, job_id, body.index)
        pressed = await self._studio.press(actor, place_of(request), press, _ref_of(request, actor, body, str(job_id)))
        texts = [pressed.notice, *(card.status for card in (pressed.card, pressed.menu and pressed.menu.card) if card)]
        about = job_id if pressed.new is None else pressed.new.job_id
        try:
            answer = await self._answer(actor, about)
        except NotFound:
            answer = None  # the action has deleted it
        text = next((text for text in texts if text), "")
        return _json(ActionAnswer(job=answer, new=pressed.new is not None, text=text))

    async def delete_job(self, request: web.Request) -> web.Response:
        """Delete a job with its pictures."""
        actor, job_id = actor_of(request), number_of(request, "job")
        await self._answer(actor, job_id)
        await self._studio.press(actor, place_of(request), ButtonPress("deletenow", job_id), _new_ref(actor))
        return web.Response(status=204)

    async def fetch_picture(self, request: web.Request) -> web.StreamResponse:
        """Return a picture's stored file."""
        file = await self._studio.picture(actor_of(request), number_of(request, "job"), number_of(request, "index"))
        return web.FileResponse(
            file.path,
            headers={
                "Content-Type": file.mime,
                "Content-Disposition": f'inline; filename="{file.name}"',
                "Cache-Control": "private, no-cache",
            },
        )

    @contextlib.contextmanager
    def _stream(self, actor: Actor) -> Iterator[None]:
        """Count a stream while the block runs. Raises Unavailable and TooManyRequests if the most are open."""
        if self._streams >= MOST_STREAMS:
            raise Unavailable("unavailable.web.streams", wait=2.0)
        self._streams += 1
        try:
            with self._own_streams.hold(actor):
                yield
        finally:
            self._streams -= 1

    async def _send(self, writer: EventWriter, actor: Actor, job_id: int) -> None:
        try:
            answer = await self._answer(actor, job_id)
        except NotFound:
            await writer.event("gone", {"job_id": job_id})
        else:
            await writer.event("job", {"job": answer.model_dump(mode="json")})

    async def _changes(self, actor: Actor) -> AsyncGenerator[int]:
        """Yield the ids of the person's jobs as they change."""
        person_id = await self._studio.person_of(actor)
        with self._studio.changed_jobs() as changes:
            async for changed in changes:
                owners = await self._studio.owners_of(changed)
                for job_id in changed:
                    if owners.get(job_id) == person_id:
                        yield job_id

    async def _answer(self, actor: Actor, job_id: int) -> JobAnswer:
        """Return a job of the actor. Raises NotFound."""
        return job_answer(await self._studio.snapshot(actor, job_id))

    async def _waited(self, request: web.Request, actor: Actor, job_id: int, seconds: float) -> JobAnswer:
        """Return a job when it has ended, or after this many seconds."""
        if seconds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._follower.wait(request, actor, job_id)
        return await self._answer(actor, job_id)

    async def _want_webhook(self, ref: EventRef, target: WebhookTarget | None) -> str | None:
        """Store the webhook of a request; returns the secret that was made for it, if it is new and had none."""
        if target is None:
            return None
        url = self._outbound.check(target.url, OutboundUse.WEBHOOK)
        secret = target.secret or f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode('ascii')}"
        stored = await self._studio.want_webhook(ref, str(url), secret)
        self._webhook_stored()
        return secret if stored and target.secret is None else None

    async def _form(self, request: web.Request, actor: Actor, body: JobRequest) -> DrawForm:
        """Return the request for pictures; the pictures that it names are read or fetched."""
        pictures = [body.image, body.mask, *body.references]
        files: list[bytes | None] = []
        for text, name in zip(pictures, ("image", "mask", *(["references"] * len(body.references))), strict=True):
            left = MAX_PICTURES_BYTES - sum(len(data or b"") for data in files)
            files.append(await self._picture(text, name, min(left, MAX_PICTURE_BYTES)))
        image, mask, *references = files
        return DrawForm(
            body.prompt,
            size=await self._size(request, actor, body),
            seed=body.seed,
            count=_text(body.count),
            steps=_text(body.steps),
            guidance=_text(body.guidance),
            negative=body.negative,
            style=body.style,
            model=body.model,
            strength=_text(body.strength),
            private=body.private,
            label=body.label,
            lora=_loras(body),
            sampler=body.sampler,
            clip_skip=_text(body.clip_skip),
            control=body.control,
            control_weight=_text(body.control_weight),
            start=body.start,
            image=image,
            mask=mask,
            mask_by_alpha=body.mask_by == "alpha",
            references=tuple(data for data in references if data is not None),
        )

    async def _size(self, request: web.Request, actor: Actor, body: JobRequest) -> str | None:
        """Return the size as it could be typed; with ``snap`` it is one that the model can draw."""
        if body.width is None and body.height is None and not body.snap:
            return body.size
        size = (body.width, body.height)
        if size == (None, None) and body.size is not None:
            across, _, down = body.size.lower().partition("x")
            if not (across.isdecimal() and down.isdecimal() and len(body.size) <= 11):
                return body.size
            size = (int(across), int(down))
        elif body.size is not None:
            raise _bad("size: not with width and height")
        if size[0] is None or size[1] is None:
            if size != (None, None):
                raise _bad("width: together with height")
            return None
        width, height = size[0], size[1]
        if body.snap:
            profile = await self._studio.model_for(
                actor, place_of(request), body.model, references=len(body.references)
            )
            width, height = fitted_size(width, height, profile)
        return f"{width}x{height}"

    async def _picture(self, text: str | None, name: str, limit: int) -> bytes | None:
        """Return the file of a picture: fetched, or from base64. Raises BadInput."""
        if not text:
            return None
        if _is_url(text):
            return await self._outbound.fetch(text, limit)
        encoded = text.partition(",")[2] if text.startswith("data:") else text
        try:
            data = await asyncio.to_thread(base64.b64decode, encoded, validate=True)
        except (binascii.Error, ValueError):
            raise _bad(f"{name}: base64") from None
        if len(data) > limit:
            limit, together = MAX_PICTURE_BYTES // 2**20, MAX_PICTURES_BYTES // 2**20
            raise BodyTooLarge("refusal.web.pictures_too_large", limit=limit, together=together)
        return data


def _is_url(text: str | None) -> bool:
    return text is not None and text.startswith(("http://", "https://"))


def _bad(problem: str) -> BadInput:
    return BadInput("refusal.web.body", problem=problem)


def _text(number: float | None) -> str | None:
    """Return a number as a person would type it, without an exponent."""
    if number is None or isinstance(number, int):
        return None if number is None else str(number)
    return f"{number:.10f}".rstrip("0").rstrip(".")


def _loras(body: JobRequest) -> str | None:
    if body.loras is None:
        return None
    return ", ".join(lora.name if lora.weight is None else f"{lora.name}:{_text(lora.weight)}" for lora in body.loras)


def _wait_of(request: web.Request) -> float:
    """Return the seconds that the answer waits. Raises BadInput."""
    text = request.query.get("wait", "0")
    whole, _, part = text.partition(".")
    if not (text.isascii() and whole.isdigit() and (part.isdigit() or not part) and len(text) <= 8):
        raise _bad(f"wait: 0 … {MAX_WAIT:g}")
    return min(float(text), MAX_WAIT)


def _ref_of(request: web.Request, actor: Actor, body: Schema, about: str = "") -> EventRef:
    """Return the event of a request: one for each idempotency key, and a new one where there is none. Raises BadInput."""
    key = request.headers.get(IDEMPOTENCY_KEY.name)
    if key is None:
        return _new_ref(actor)
    if not 1 <= len(key) <= 255:
        raise _bad(f"{IDEMPOTENCY_KEY.name}: 1 … 255")
    name = hashlib.sha256(f"{about} {key}".encode(errors="replace")).hexdigest()
    return ref_of(actor, f"v1:{name}", digest({"path": request.path, "body": body.model_dump(mode="json")}))


def _new_ref(actor: Actor) -> EventRef:
    return ref_of(actor, f"v1:{secrets.token_hex(16)}", "")


def _json(answer: Schema, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        text=answer.model_dump_json(), status=status, content_type="application/json", headers=headers or {}
    )

"""Handlers of the OpenAI-compatible API: models, generations, edits, and the files of signed addresses."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from aiohttp import hdrs, web

from adapters.web.following import Disconnected, JobFollower
from adapters.web.identity import actor_of, place_of, ref_of
from adapters.web.openai.errors import BadParameter, ContentRejected
from adapters.web.openai.parameters import EditParameters, ImageParameters, checked
from adapters.web.openai.streaming import ImageStream
from adapters.web.picture_links import LINK_PATH, FileLinks, LinkedFile, encoded
from adapters.web.request_checks import BodyReader, digest
from adapters.web.routes import Role, Route
from bot.core.cards import ButtonPress
from bot.core.errors import BadInput, NotFound, Refusal, Unavailable
from bot.core.jobs import JobState
from bot.core.messages import EventRef
from bot.core.people import Actor
from bot.core.pictures import PictureFile
from bot.core.requests import DrawForm
from bot.studio import JobSnapshot, Studio
from engine.contract import Capability, Profile

log = logging.getLogger(__name__)

_IMAGES = frozenset({"image", "image[]"})
_MASK = "mask"
_KEY = "Idempotency-Key"
_MAX_KEY = 255
_NO_TOKENS = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}
"""Easel counts pictures, not tokens; clients expect the fields."""


class OpenAiApi:
    """Handlers under ``/v1``. Errors are raised as Refusals and written by ``adapters.web.openai.errors``."""

    def __init__(
        self, studio: Studio, bodies: BodyReader, follower: JobFollower, origin_of: Callable[[web.Request], str]
    ) -> None:
        """Args:
        studio: The core.
        bodies: Reads bodies within the server's memory.
        follower: Waits for jobs.
        origin_of: Returns how the client has called the page, such as ``https://easel.example``.
        """
        self._studio = studio
        self._bodies = bodies
        self._follower = follower
        self._origin_of = origin_of
        self._links = FileLinks(time.time)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/v1/models", self.models, Role.MEMBER),
            Route("GET", "/v1/models/{model:.+}", self.model, Role.MEMBER),
            Route("POST", "/v1/images/generations", self.generations, Role.MEMBER),
            Route("POST", "/v1/images/edits", self.edits, Role.MEMBER),
            Route("GET", LINK_PATH, self.file, Role.ANYONE),
        ]

    async def models(self, request: web.Request) -> web.Response:
        """Return the models that the person may use; the first is the default."""
        allowed = await self._studio.models_of(actor_of(request), place_of(request))
        found = [_model(profile) for profile in allowed]
        return web.json_response({"object": "list", "data": found})

    async def model(self, request: web.Request) -> web.Response:
        """Return one model, by its name, its title or its source. Raises BadInput, which clients see as 404."""
        wanted = request.match_info["model"]
        return web.json_response(_model(await self._studio.model_for(actor_of(request), place_of(request), wanted)))

    async def generations(self, request: web.Request) -> web.StreamResponse:
        """Draw from a prompt."""
        parameters = checked(await self._bodies.json_object(request), ImageParameters)
        actor = actor_of(request)
        profile = await self._studio.model_for(actor, place_of(request), parameters.named_model)
        form = parameters.form(profile)
        ref = _ref(request, actor, parameters, ())
        job_id = (await self._studio.draw(actor, place_of(request), form, ref)).job_id
        return await self._answer(request, actor, parameters, job_id, "image_generation")

    async def edits(self, request: web.Request) -> web.StreamResponse:
        """Change one picture, or draw from several, as a prompt says; a mask limits what changes."""
        actor = actor_of(request)
        async with self._bodies.multipart(request, _IMAGES | {_MASK}) as body:
            parameters = checked(body.fields, EditParameters)
            images = [data for name, data in body.files if name in _IMAGES]
            masks = [data for name, data in body.files if name == _MASK]
            if not images:
                raise BadParameter("image", "missing_required_parameter", "image: Field required")
            if len(masks) > 1:
                raise BadParameter(_MASK, "invalid_value", "mask: given twice")
            form = await self._edit_form(request, actor, parameters, images, next(iter(masks), None))
            ref = await asyncio.to_thread(_ref, request, actor, parameters, body.files)
            job_id = (await self._studio.draw(actor, place_of(request), form, ref)).job_id
        return await self._answer(request, actor, parameters, job_id, "image_edit")

    async def file(self, request: web.Request) -> web.Response:
        """Return the file of a signed address."""
        linked = self._links.file_of(request)
        stored = await self._studio.linked_picture(linked.job_id, linked.index)
        return web.Response(
            body=await self._encoded(stored, linked),
            content_type=f"image/{linked.kind}",
            headers={
                "Cache-Control": "private, max-age=3600",
                "Content-Disposition": f'inline; filename="{stored.path.stem}.{linked.kind}"',
                # Clients show it in pages of their own.
                "Cross-Origin-Resource-Policy": "cross-origin",
            },
        )

    async def _edit_form(
        self,
        request: web.Request,
        actor: Actor,
        parameters: EditParameters,
        images: Sequence[bytes],
        mask: bytes | None,
    ) -> DrawForm:
        """Return the request of an edit.

        A model that edits takes the pictures as references; with a mask, only that part of the first one changes.
        Another model starts from a single picture, or draws a part of it anew.
        """
        place, name = place_of(request), parameters.named_model
        try:
            # For a single picture with a mask, the person's usual model comes first: it may draw a part anew.
            count = len(images) if mask is None or len(images) > 1 else 0
            profile = await self._studio.model_for(actor, place, name, references=count)
        except BadInput as refusal:
            if len(images) > 1 or not refusal.key.startswith("refusal.references."):
                raise
            profile = await self._studio.model_for(actor, place, name)
        form = parameters.form(profile)
        editing = count > 0 or (Capability.MASK not in profile.can and Capability.EDIT in profile.can)
        if Capability.EDIT in profile.can and editing:
            form = replace(form, references=tuple(images))
            return form if mask is None else replace(form, image=images[0], mask=mask, mask_by_alpha=True)
        return replace(form, image=images[0], mask=mask, mask_by_alpha=mask is not None)

    async def _answer(
        self, request: web.Request, actor: Actor, parameters: ImageParameters, job_id: int, kind: str
    ) -> web.StreamResponse:
        """Wait for a job and return its pictures, or stream them.

        The job of a client that disconnects is cancelled, since nobody would get it; with an idempotency key it is
        drawn, since the client may ask again.
        """
        try:
            if parameters.stream:
                return await self._stream(request, actor, parameters, job_id, kind)
            await self._follower.wait(request, actor, job_id)
            return await self._pictures(request, actor, parameters, job_id)
        except Disconnected:
            if _KEY not in request.headers:
                await self._cancel(request, actor, job_id)
            raise

    async def _cancel(self, request: web.Request, actor: Actor, job_id: int) -> None:
        press = ButtonPress("cancel", job_id)
        try:
            await self._studio.press(actor, place_of(request), press, _ref_of_key(actor, secrets.token_hex(16), ""))
        except Refusal as refusal:
            log.info("job %d of a disconnected client goes on (%s)", job_id, refusal.key)

    async def _ended(self, actor: Actor, job_id: int) -> JobSnapshot:
        """Return a job that has ended with pictures. Raises Refusal where it has none."""
        snapshot = await self._studio.snapshot(actor, job_id)
        job = snapshot.job
        if snapshot.card.pictures:
            return snapshot
        if job.error.startswith("error.moderation."):
            raise ContentRejected(job.error)
        if job.state is JobState.CANCELLED:
            raise BadInput(job.error or "card.cancelled")
        raise Unavailable(job.error or "error.engine.failed")

    async def _pictures(
        self, request: web.Request, actor: Actor, parameters: ImageParameters, job_id: int
    ) -> web.StreamResponse:
        snapshot = await self._ended(actor, job_id)
        job = snapshot.job
        head: dict[str, object] = {
            "created": int(job.created_at),
            "background": "opaque",
            "output_format": parameters.format,
            "quality": parameters.quality or "auto",
            "size": f"{job.request.width}x{job.request.height}",
            "usage": _NO_TOKENS,
            "safety_identifier": parameters.identifier,
            "easel": {
                "job_id": job.id,
                "model": job.request.model,
                "seeds": [str(file.seed) for file in snapshot.card.pictures],
                "notes": list(snapshot.card.notes),
            },
        }
        # One picture after the other: 16 large ones in base64 would take a hundred megabytes.
        pictures = self._entries(request, snapshot, parameters)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json; charset=utf-8"})
        async with contextlib.aclosing(pictures):
            first = await anext(pictures)
            await response.prepare(request)
            await response.write((json.dumps(head)[:-1] + ', "data": [').encode() + first)
            async for picture in pictures:
                await response.write(b", " + picture)
            await response.write(b"]}")
        await response.write_eof()
        return response

    async def _entries(
        self, request: web.Request, snapshot: JobSnapshot, parameters: ImageParameters
    ) -> AsyncGenerator[bytes]:
        drawn = snapshot.job.request
        for file in snapshot.card.pictures:
            linked = _linked(snapshot.job.id, file, parameters)
            if parameters.response_format == "url":
                entry = {"url": self._origin_of(request) + self._links.path(linked)}
            else:
                entry = {"b64_json": base64.b64encode(await self._encoded(file, linked)).decode("ascii")}
            if drawn.prompt != drawn.typed:
                entry["revised_prompt"] = drawn.prompt
            yield json.dumps(entry).encode()

    async def _stream(
        self, request: web.Request, actor: Actor, parameters: ImageParameters, job_id: int, kind: str
    ) -> web.StreamResponse:
        wanted = parameters.partial_images or 0
        stream = ImageStream(request, kind, parameters)
        try:
            cards = self._follower.follow(request, actor, job_id, previews=wanted > 0)
            async with contextlib.aclosing(cards):
                async for card in cards:
                    if card is None or card.coming is None:
                        await stream.beat()
                        continue
                    for index, number in card.coming.previews:
                        if stream.wants(index, number, card.progress):
                            frame = await self._studio.preview(actor, job_id, index)
                            if frame is not None:
                                await stream.partial(index, number, frame.data, card.coming)
            snapshot = await self._ended(actor, job_id)
            for file in snapshot.card.pictures:
                data = await self._encoded(file, _linked(job_id, file, parameters))
                await stream.completed(data, f"{file.width}x{file.height}", _NO_TOKENS)
        except Refusal as refusal:
            if not stream.response.prepared:
                raise
            await stream.failed(refusal, self._studio.refused(refusal, "en", "web").status)
        return stream.response

    async def _encoded(self, file: PictureFile, linked: LinkedFile) -> bytes:
        """Return the bytes of a picture in its kind. Raises NotFound where the file is gone."""
        sign = self._studio.sign_copy
        try:
            return await asyncio.to_thread(encoded, file.path, linked.kind, linked.compression, sign)
        except FileNotFoundError:
            raise NotFound("refusal.picture.not_found") from None


def _model(profile: Profile) -> dict[str, object]:
    return {"id": profile.name, "object": "model", "created": 0, "owned_by": "easel", "name": profile.title}


def _linked(job_id: int, file: PictureFile, parameters: ImageParameters) -> LinkedFile:
    if file.index is None:
        raise NotFound("refusal.picture.not_found")
    return LinkedFile(job_id, file.index, parameters.format, parameters.output_compression)


def _ref(
    request: web.Request, actor: Actor, parameters: ImageParameters, files: Sequence[tuple[str, bytes]]
) -> EventRef:
    """Return the event of a request: one for each idempotency key, and a new one where there is none.

    Raises BadParameter where the key is empty or too long.
    """
    key = request.headers.get(_KEY)
    if key is None:
        return _ref_of_key(actor, secrets.token_hex(16), "")
    if not 1 <= len(key) <= _MAX_KEY:
        raise BadParameter(_KEY, "invalid_value", f"{_KEY}: 1 … {_MAX_KEY}")
    asked: dict[str, object] = parameters.model_dump(exclude_none=True, exclude={"stream", "partial_images"})
    asked["files"] = [(name, hashlib.sha256(data).hexdigest()) for name, data in files]
    return _ref_of_key(actor, hashlib.sha256(key.encode(errors="replace")).hexdigest(), digest(asked))


def _ref_of_key(actor: Actor, key: str, asked: str) -> EventRef:
    return ref_of(actor, f"openai:{key}", asked)

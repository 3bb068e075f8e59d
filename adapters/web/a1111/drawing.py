"""A1111's txt2img, img2img, progress, interrupt and skip: each request is one job, which its answer waits for."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version

from aiohttp import web

from adapters.web.a1111.bodies import A1111DrawBody, Img2ImgBody, Txt2ImgBody, checked
from adapters.web.a1111.errors import FieldProblem, InvalidBody
from adapters.web.a1111.options import remember_model
from adapters.web.a1111.pictures import read_files
from adapters.web.a1111.translation import Translated, translate
from adapters.web.identity import actor_of, place_of, ref_of
from adapters.web.request_checks import BodyReader
from adapters.web.routes import Role, Route
from bot.core.cards import ButtonPress, Card, Tone
from bot.core.errors import NotFound, Refusal, Unavailable
from bot.core.people import Actor
from bot.studio import Studio

PREVIEW_SECONDS = 10.0
"""Seconds for which previews are made after a client has asked for one; clients ask every second or so."""

NOTES_HEADER = "X-Easel-Notes"
"""Header with the notes of ``info``: what was changed or left out."""

CANCEL = "cancel"

_MAX_HEADER = 2000
_JSON = "application/json"

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _OpenJob:
    """A job that an answer waits for.

    Attributes:
        actor: Who asked for it.
        job_id: Its number.
        body: The request, without its pictures.
        translated: What is drawn.
        card: Its latest card.
        begun: Event loop time at which drawing began; None before.
        interrupted: A client has ended it.
        previews: Ends the previews that are made of it; None while none are.
    """

    actor: Actor
    job_id: int
    body: A1111DrawBody
    translated: Translated
    card: Card
    begun: float | None = None
    interrupted: bool = False
    previews: asyncio.TimerHandle | None = None

    @property
    def steps(self) -> int:
        """Steps of a picture."""
        return int(self.translated.form.steps or self.translated.profile.steps.default)


class DrawingHandlers:
    """Handlers that draw. A person's requests are those of their own key: nobody sees or ends those of others."""

    def __init__(self, studio: Studio, bodies: BodyReader) -> None:
        self._studio = studio
        self._bodies = bodies
        self._open: list[_OpenJob] = []
        self._closing = asyncio.Event()
        # One after the other: the fitting of a mask of 50 million pixels takes 600 MB for a second.
        self._translating = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("POST", "/sdapi/v1/txt2img", self.txt2img, Role.MEMBER),
            Route("POST", "/sdapi/v1/img2img", self.img2img, Role.MEMBER),
            Route("GET", "/sdapi/v1/progress", self.progress, Role.MEMBER),
            Route("POST", "/sdapi/v1/interrupt", self.interrupt, Role.MEMBER),
            Route("POST", "/sdapi/v1/skip", self.interrupt, Role.MEMBER),
        ]

    def close(self) -> None:
        """Answer the requests that are open; their jobs go on."""
        self._closing.set()

    async def txt2img(self, request: web.Request) -> web.Response:
        """Draw from a prompt, and answer with the pictures."""
        return await self._draw(request, Txt2ImgBody)

    async def img2img(self, request: web.Request) -> web.Response:
        """Draw from a picture, and answer with the pictures."""
        return await self._draw(request, Img2ImgBody)

    async def _draw(self, request: web.Request, form: type[A1111DrawBody]) -> web.Response:
        actor, place = actor_of(request), place_of(request)
        async with self._bodies.large_json(request) as sent:
            body = checked(sent, form)
            models = await self._studio.models_of(actor, place)
            async with self._translating:
                translated = await translate(body, models)
            ref = ref_of(actor, f"a1111-{uuid.uuid4()}", "")
            admitted = await self._studio.draw(actor, place, translated.form, ref)
        if translated.model is not None and body.override_settings_restore_afterwards is False:
            await remember_model(self._studio, actor, place, translated.profile)
        echoed = _echoed(body)
        # While the answer waits, the uploaded pictures take no memory.
        body = body.model_copy(update=dict.fromkeys(("init_images", "mask", "alwayson_scripts")))
        translated.form = replace(translated.form, image=None, mask=None, references=())
        with self._tracked(_OpenJob(actor, admitted.job_id, body, translated, admitted.card)) as job:
            await self._finish(job)
        if job.card.tone is Tone.PROBLEM:
            return _failed(job.card.status)
        return await self._answer(job, echoed)

    @contextmanager
    def _tracked(self, job: _OpenJob) -> Iterator[_OpenJob]:
        self._open.append(job)
        try:
            yield job
        finally:
            self._open.remove(job)
            self._leave_previews(job)

    async def _finish(self, job: _OpenJob) -> None:
        """Wait for the job's final card. Raises Unavailable when the service stops before; the job goes on."""
        closing = asyncio.ensure_future(self._closing.wait())
        following = asyncio.ensure_future(self._follow(job))
        try:
            await asyncio.wait({closing, following}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                raise Unavailable("unavailable.web.stopping", job=job.job_id)
            await following
        finally:
            for task in (closing, following):
                task.cancel()
            await asyncio.gather(closing, following, return_exceptions=True)

    async def _follow(self, job: _OpenJob) -> None:
        async with aclosing(self._studio.watch(job.actor, job.job_id)) as cards:
            async for card in cards:
                job.card = card
                if job.begun is None and card.progress is not None:
                    job.begun = asyncio.get_running_loop().time()

    async def _answer(self, job: _OpenJob, echoed: Mapping[str, object]) -> web.Response:
        files = job.card.pictures
        drawn = await asyncio.to_thread(read_files, [file.path for file in files])
        notes = [*job.translated.notes, *job.card.notes]
        if not drawn:
            notes.append(job.card.status)
        answer = {
            "images": [] if job.body.send_images is False else [one.encoded for one in drawn],
            "parameters": echoed,
            "info": json.dumps(_info(job, [one.infotext for one in drawn], notes), ensure_ascii=False),
        }
        # In a thread: sixteen large pictures are tens of megabytes.
        text = await asyncio.to_thread(json.dumps, answer)
        headers = {NOTES_HEADER: header_of(notes)} if notes else None
        return web.Response(text=text, content_type=_JSON, headers=headers)

    async def progress(self, request: web.Request) -> web.Response:
        """Tell how far the person's current request is, with a preview unless it is left out."""
        skips = _switch(request, "skip_current_image")
        job = self._current(actor_of(request))
        if job is None:
            return web.json_response(_progress(None, None))
        preview = None if skips else await self._preview(job)
        return web.json_response(_progress(job, preview))

    async def interrupt(self, request: web.Request) -> web.Response:
        """End the person's current request. Its pictures are drawn together, so that ``skip`` ends it too."""
        actor = actor_of(request)
        if (job := self._current(actor)) is not None:
            press = ButtonPress(CANCEL, job.job_id)
            try:
                await self._studio.press(actor, place_of(request), press, ref_of(actor, f"a1111-{uuid.uuid4()}", ""))
            except Refusal as refusal:  # mostly, it has just ended by itself
                log.info("job %d was not interrupted (%s)", job.job_id, refusal.key)
            job.interrupted = True
        return web.json_response({})

    def _current(self, actor: Actor) -> _OpenJob | None:
        """Return the person's job that is being drawn, else the first that waits."""
        own = [job for job in self._open if (job.actor.platform, job.actor.user_id) == (actor.platform, actor.user_id)]
        return next((job for job in own if job.card.progress is not None), own[0] if own else None)

    async def _preview(self, job: _OpenJob) -> str | None:
        """Return the latest preview of a job in base64, and have previews made for a while."""
        if job.previews is None:
            self._studio.view_previews(job.job_id)
        else:
            job.previews.cancel()
        job.previews = asyncio.get_running_loop().call_later(PREVIEW_SECONDS, self._leave_previews, job)
        for index in range(job.body.count):
            try:
                seen = await self._studio.preview(job.actor, job.job_id, index)
            except NotFound:
                return None
            if seen is not None:
                return base64.b64encode(seen.data).decode("ascii")
        return None

    def _leave_previews(self, job: _OpenJob) -> None:
        if job.previews is not None:
            job.previews.cancel()
            job.previews = None
            self._studio.leave_previews(job.job_id)


def header_of(notes: Sequence[str]) -> str:
    """Return notes as a header's value: one line of ASCII."""
    line = " ".join(" ".join(note.split()) for note in notes)
    return line.encode("ascii", "replace").decode("ascii")[:_MAX_HEADER]


def _switch(request: web.Request, name: str) -> bool:
    """Return a switch of the query; off where it is missing. Raises InvalidBody."""
    text = request.query.get(name, "false")
    if text.casefold() in {"true", "1", "yes", "on"}:
        return True
    if text.casefold() in {"false", "0", "no", "off"}:
        return False
    message = "Input should be a valid boolean, unable to interpret input"
    raise InvalidBody([FieldProblem("bool_parsing", ("query", name), message, text[:80])])


def _echoed(body: A1111DrawBody) -> dict[str, object]:
    """Return the declared fields of a request as ``parameters`` repeats them, without pictures unless they are wanted."""
    found = body.model_dump(include=set(type(body).model_fields))
    if isinstance(body, Img2ImgBody) and not body.include_init_images:
        found |= {"init_images": None, "mask": None}
    return found


def _failed(sentence: str) -> web.Response:
    """Return the answer of a job that could not be drawn."""
    return web.json_response({"error": "Failed", "detail": sentence, "errors": sentence}, status=500)


def _info(job: _OpenJob, infotexts: Sequence[str], notes: Sequence[str]) -> dict[str, object]:
    """Return what A1111 tells of the pictures in ``info``."""
    form, profile, body, files = job.translated.form, job.translated.profile, job.body, job.card.pictures
    seeds = [file.seed for file in files]
    negative = form.negative or ""
    return {
        "prompt": form.prompt,
        "all_prompts": [form.prompt] * len(files),
        "negative_prompt": negative,
        "all_negative_prompts": [negative] * len(files),
        "seed": seeds[0] if seeds else -1,
        "all_seeds": seeds,
        "subseed": seeds[0] if seeds else -1,
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": files[0].width if files else None,
        "height": files[0].height if files else None,
        "sampler_name": form.sampler or profile.sampler,
        "cfg_scale": float(form.guidance or profile.guidance.default),
        "steps": job.steps,
        "batch_size": body.batch_size or 1,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": profile.title,
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": None if form.strength is None else float(form.strength),
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": list(infotexts),
        "styles": [form.style] if form.style else [],
        "job_timestamp": _timestamp(),
        "clip_skip": int(form.clip_skip or profile.clip_skip or 1),
        "is_using_inpainting_conditioning": False,
        "version": f"Easel {version('easel')}",
        "notes": list(notes),
        "job_id": job.job_id,
    }


def _progress(job: _OpenJob | None, preview: str | None) -> dict[str, object]:
    share = 0.0 if job is None else job.card.progress or 0.0
    left = 0.0
    if job is not None and job.begun is not None and share > 0:
        elapsed = asyncio.get_running_loop().time() - job.begun
        left = elapsed / share - elapsed
    return {
        "progress": share,
        "eta_relative": left,
        "state": {
            "skipped": False,
            "interrupted": job is not None and job.interrupted,
            "stopping_generation": False,
            "job": "" if job is None else f"job {job.job_id}",
            "job_count": 0 if job is None else 1,
            "job_timestamp": _timestamp(),
            "job_no": 0,
            "sampling_step": 0 if job is None else round(share * job.steps),
            "sampling_steps": 0 if job is None else job.steps,
        },
        "current_image": preview,
        "textinfo": None if job is None else job.card.status,
    }


def _timestamp() -> str:
    return time.strftime("%Y%m%d%H%M%S")

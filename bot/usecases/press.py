"""What buttons do with a job that was drawn: again, from a seed upward, varied, enlarged; its original files."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from bot.model.actions import Press
from bot.model.errors import BadInput, NotFound
from bot.model.jobs import Job
from bot.model.messages import MessageKind, Ref
from bot.model.people import Actor, Place
from bot.model.pictures import Picture
from bot.model.requests import DrawRequest
from bot.policy import again as same
from bot.policy import recipes
from bot.store import blobs, inputs, messages, paths, pictures
from bot.usecases import access
from bot.usecases.draw import admit
from bot.usecases.house import House
from engine.contract import Can, Profile


@dataclass(frozen=True, slots=True)
class Originals:
    """Pictures whose files were asked for; ``sent`` when delivery sends them by itself."""

    job: Job
    pictures: tuple[Picture, ...]
    sent: bool


async def reroll(house: House, actor: Actor, place: Place, press: Press, ref: Ref) -> Job:
    """Admit the same request with a new seed. Raises Refusal."""
    job = await _visible(house, actor, place, press)
    return await _again(house, actor, place, ref, parent=job, request=recipes.reroll(job.request, house.rng))


async def again(house: House, actor: Actor, place: Place, job_id: int, ref: Ref) -> Job:
    """Admit a job's recipe once more, seed and all: the same pictures where model, precision and device are the same.

    Raises Refusal.
    """
    async with house.db.read() as tx:
        job = await access.visible(tx, actor, place, job_id)
    request = job.request
    if not request.prompt:
        raise NotFound("refusal.job.not_found")
    return await _again(house, actor, place, ref, parent=job, request=request, note=same.NOTE)


async def from_seed(house: House, actor: Actor, place: Place, press: Press, ref: Ref) -> Job:
    """Admit the request that begins with this picture's seed: it again, then its neighbours. Raises Refusal."""
    job = await _visible(house, actor, place, press)
    index = press.index or 0
    if index >= job.request.count:
        raise NotFound("refusal.picture.not_found")
    return await _again(house, actor, place, ref, parent=job, request=recipes.from_seed(job.request, index))


async def vary(house: House, actor: Actor, place: Place, press: Press, ref: Ref) -> Job:
    """Admit small changes of this picture, each around its seed. Raises Refusal."""
    job = await _visible(house, actor, place, press)
    index = press.index or 0
    if index >= job.request.count:
        raise NotFound("refusal.picture.not_found")
    profile = _profile(house, job.request.model)
    if Can.VARY not in profile.can:
        raise BadInput("refusal.vary.model", model=profile.title)
    return await _again(house, actor, place, ref, parent=job, request=recipes.vary(job.request, index, house.rng))


async def upscale(house: House, actor: Actor, place: Place, press: Press, ref: Ref) -> Job:
    """Admit this picture drawn again from its own file, twice as large or as large as the model allows. Raises Refusal."""
    async with house.db.read() as tx:
        job = await access.visible(tx, actor, place, press.job_id)
        found = await pictures.of_job(tx, job.id)
    picture = next((p for p in found if p.index == (press.index or 0)), None)
    if picture is None or not await blobs.is_there(house.pictures, picture.path):
        raise NotFound("refusal.picture.not_found")
    profile = _profile(house, job.request.model)
    if Can.IMAGE not in profile.can:
        raise BadInput("refusal.upscale.model", model=profile.title)
    size = recipes.upscaled(picture.width, picture.height, profile)
    if size is None:
        raise BadInput("refusal.upscale.largest", value=f"{picture.width}x{picture.height}", high=profile.side.high)
    image = inputs.of_picture(house.pictures, picture.path)
    request = recipes.upscale(job.request, picture.index, image, size)
    return await _again(house, actor, place, ref, parent=job, request=request)


async def originals(house: House, actor: Actor, place: Place, press: Press, ref: Ref) -> Originals:
    """Find the files of a job, or of one picture of it; where the adapter only saves, delivery is asked to send them.

    Raises NotFound.
    """
    async with house.db.read() as tx:
        job = await access.visible(tx, actor, place, press.job_id)
        found = await pictures.of_job(tx, job.id)
    if press.index is not None:
        found = tuple(p for p in found if p.index == press.index)
    found = tuple([p for p in found if await blobs.is_there(house.pictures, p.path)])
    if not found:
        raise NotFound("refusal.picture.not_found")
    if ref.address is None or ref.answered:
        return Originals(job, found, sent=False)
    indexes = () if press.index is None else (press.index,)
    async with house.db.write() as tx:
        await messages.add_files(tx, ref.event, job.id, ref.address, MessageKind.DOCUMENT, indexes=indexes)
    house.backlog.posted()
    return Originals(job, found, sent=True)


def _profile(house: House, model: str) -> Profile:
    profiles = house.profiles()
    for profile in profiles:
        if profile.name == model:
            return profile
    raise BadInput("refusal.model.unknown", value=model, known=", ".join(profile.name for profile in profiles))


async def _visible(house: House, actor: Actor, place: Place, press: Press) -> Job:
    async with house.db.read() as tx:
        return await access.visible(tx, actor, place, press.job_id)


async def _again(
    house: House, actor: Actor, place: Place, ref: Ref, *, parent: Job, request: DrawRequest, note: str = ""
) -> Job:
    _profile(house, request.model)
    for name in (request.image, request.mask):
        if name and await asyncio.to_thread(paths.locate, house.pictures, name) is None:
            raise NotFound("refusal.again.start_gone")
    # What the parent repeated says nothing of its child.
    notes = (*(n for n in request.notes if n != same.NOTE), *((note,) if note else ()))
    # A job of the page may have had more pictures than a chat takes.
    request = replace(request, count=min(request.count, house.max_count(actor.platform)), notes=notes)
    return await admit(house, actor, place, request, ref, parent_id=parent.id)

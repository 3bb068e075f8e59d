"""Stored pictures that requests start from: ``--from JOB:PICTURE``, and the button of a picture."""

from __future__ import annotations

import re

from bot.context import AppContext
from bot.core.errors import BadInput, NotFound
from bot.core.people import Actor, Place
from bot.core.pictures import Picture
from bot.core.requests import DrawForm, SourceImage
from bot.core.texts import shown
from bot.storage import data_files, inputs, jobs, pictures

_START = re.compile(r"#?(?P<job>[0-9]{1,18})(?:[:.](?P<picture>[0-9]{1,3}))?", re.ASCII)


async def picture_of(ctx: AppContext, job_id: int, index: int) -> Picture:
    """Return a stored picture (``index`` from 0) whose file is there. Raises NotFound. The caller has checked access."""
    async with ctx.db.read() as tx:
        found = await pictures.of_job(tx, job_id)
    for picture in found:
        if picture.index == index and await data_files.exists(ctx.pictures, picture.path):
            return picture
    raise NotFound("refusal.picture.not_found")


def source_of(ctx: AppContext, picture: Picture) -> SourceImage:
    """Return a stored picture as the source image of a request."""
    return SourceImage(inputs.from_picture(ctx.pictures, picture.path), picture.width, picture.height)


async def find_start(ctx: AppContext, actor: Actor, place: Place, form: DrawForm) -> SourceImage | None:
    """Return the stored picture that ``form.start`` names; None where it names none.

    Raises:
        BadInput: It is no number of a picture, or the form has an image as well.
        NotFound: There is no such picture, or the actor may not see it here.
    """
    if form.start is None:
        return None
    if form.image is not None:
        raise BadInput("refusal.from.image")
    return source_of(ctx, await find_picture(ctx, actor, place, form.start))


async def find_parent(ctx: AppContext, actor: Actor, place: Place, form: DrawForm) -> Picture | None:
    """Return the stored picture that ``form.parent`` names; None if it names none that the actor may see here."""
    if form.parent is None or (form.image is None and not form.references):
        return None
    try:
        return await find_picture(ctx, actor, place, form.parent)
    except (BadInput, NotFound):
        # It may have been deleted meanwhile; the request has its own copy.
        return None


async def find_picture(ctx: AppContext, actor: Actor, place: Place, named: str) -> Picture:
    """Return the stored picture that is named by its job and its number there, which is 1 if it is left out.

    Raises:
        BadInput: It is no number of a picture.
        NotFound: There is no such picture, or the actor may not see it here.
    """
    number = _START.fullmatch(named.strip())
    if number is None:
        raise BadInput("refusal.from.not_number", value=shown(named))
    async with ctx.db.read() as tx:
        job = await jobs.get_visible(tx, actor, place, int(number["job"]))
    return await picture_of(ctx, job.id, int(number["picture"] or 1) - 1)

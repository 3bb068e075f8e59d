"""Stages the pictures of a request as files before its job is stored: the source image, its mask, the references."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bot.context import AppContext
from bot.core.errors import BadInput
from bot.core.requests import DrawForm, ReferenceImage, SourceImage
from bot.drawing.model_choice import check_count
from bot.drawing.source_image import NormalizedImage, normalize_image, normalize_mask, normalize_reference
from bot.storage import inputs
from bot.storage.inputs import Staged


@dataclass(frozen=True, slots=True)
class StagedSources:
    """The pictures of a form, decoded and staged.

    Attributes:
        source: The source image; None if there is none.
        references: The reference pictures, in the form's order.
        files: All of their files, to be committed with the job.
    """

    source: SourceImage | None
    references: tuple[ReferenceImage, ...]
    files: tuple[Staged, ...]


@asynccontextmanager
async def staged_sources(ctx: AppContext, form: DrawForm) -> AsyncIterator[StagedSources]:
    """Normalize a form's pictures and stage them as files; yields them, and removes files that were not kept.

    Raises:
        BadInput: There is a mask without an image, there are too many references, or a file is no image, damaged or
            too large.
        Unavailable: The disk is full.
    """
    image, mask = form.image, form.mask
    if image is None and mask is not None:
        raise BadInput("refusal.mask.no_image")
    check_count(len(form.references))
    async with AsyncExitStack() as stack:
        files: list[Staged] = []

        async def stage(normalize: Callable[[], NormalizedImage]) -> tuple[str, NormalizedImage]:
            # One after the other: a large picture takes much memory until its file is written.
            async with ctx.image_lock:
                plain = await asyncio.to_thread(normalize)
            files.append(await inputs.stage(ctx.pictures, plain.data))
            stack.push_async_callback(inputs.discard, files[-1])
            return files[-1].name, plain

        source = None
        if image is not None:
            name, plain = await stage(lambda: normalize_image(image))
            source = SourceImage(name, plain.width, plain.height)
            if mask is not None:
                mask_name, plain_mask = await stage(lambda: normalize_mask(mask, image))
                source = SourceImage(name, plain.width, plain.height, mask=mask_name, white=plain_mask.white)
        references = []
        for number, data in enumerate(form.references, 1):
            name, plain = await stage(lambda data=data, number=number: normalize_reference(data, number))  # type: ignore[misc]
            references.append(ReferenceImage(name, plain.width, plain.height))
        yield StagedSources(source, tuple(references), tuple(files))

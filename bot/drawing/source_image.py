"""The picture that a request starts from: read, made plain, and on the disk before its job is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bot.context import AppContext
from bot.core.errors import BadInput
from bot.core.requests import SourceImage
from bot.drawing import source_image_rules
from bot.storage import inputs
from bot.storage.inputs import Staged


@asynccontextmanager
async def given(
    ctx: AppContext, image: bytes | None, mask: bytes | None
) -> AsyncIterator[tuple[SourceImage, tuple[Staged, ...]]]:
    """Read what was given; yields the start and its files, which whoever stores the job keeps.

    Args:
        ctx: What use cases work with.
        image: The picture's file.
        mask: Its mask's file, if there is one.

    Raises:
        BadInput: A mask without a picture; no picture, a damaged one, one that is far too large.
        Unavailable: The disk is full.
    """
    if image is None:
        raise BadInput("refusal.mask.no_image")
    async with ctx.reading:
        plain = await asyncio.to_thread(source_image_rules.plain, image)
        plain_mask = None if mask is None else await asyncio.to_thread(source_image_rules.plain_mask, mask, image)
    async with AsyncExitStack() as stack:
        files = []
        for one in (plain, plain_mask):
            if one is not None:
                files.append(await inputs.stage(ctx.pictures, one.data))
                stack.push_async_callback(inputs.discard, files[-1])
        yield (
            SourceImage(
                files[0].name,
                plain.width,
                plain.height,
                mask=files[1].name if plain_mask else "",
                white=plain_mask.white if plain_mask else None,
            ),
            tuple(files),
        )

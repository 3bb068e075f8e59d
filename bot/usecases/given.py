"""The picture that a request starts from: read, made plain, and on the disk before its job is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bot.model.errors import BadInput
from bot.model.requests import Start
from bot.policy import starts
from bot.store import inputs
from bot.store.inputs import Staged
from bot.usecases.house import House


@asynccontextmanager
async def given(
    house: House, image: bytes | None, mask: bytes | None
) -> AsyncIterator[tuple[Start, tuple[Staged, ...]]]:
    """Read what was given; yields the start and its files, which whoever stores the job keeps.

    Args:
        house: What use cases work with.
        image: The picture's file.
        mask: Its mask's file, if there is one.

    Raises:
        BadInput: A mask without a picture; no picture, a damaged one, one that is far too large.
        Unavailable: The disk is full.
    """
    if image is None:
        raise BadInput("refusal.mask.no_image")
    async with house.reading:
        plain = await asyncio.to_thread(starts.plain, image)
        plain_mask = None if mask is None else await asyncio.to_thread(starts.plain_mask, mask, image)
    async with AsyncExitStack() as stack:
        files = []
        for one in (plain, plain_mask):
            if one is not None:
                files.append(await inputs.stage(house.pictures, one.data))
                stack.push_async_callback(inputs.discard, files[-1])
        yield (
            Start(
                files[0].name,
                plain.width,
                plain.height,
                mask=files[1].name if plain_mask else "",
                white=plain_mask.white if plain_mask else None,
            ),
            tuple(files),
        )

"""Inspects one file for somebody: its marks, and for owners and admins whether it is one of this Easel's pictures."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from bot.context import AppContext
from bot.core.inspection import Inspection, OwnFile
from bot.core.people import Actor
from bot.storage import data_files, pictures


@dataclass(frozen=True, slots=True)
class InspectedFile:
    """What a file says, and whether it is one of this Easel's pictures; None where the reader may not know."""

    found: Inspection
    own: OwnFile | None


async def inspect_file(ctx: AppContext, actor: Actor, data: bytes) -> InspectedFile:
    """Inspect a file.

    Args:
        ctx: The use cases' context.
        actor: Who asks. Owners and admins of places are told whether the file is one of this Easel's pictures.
        data: The file.

    Raises:
        BadInput: It is no PNG, JPEG or WebP, or it is too large.
    """
    found = await ctx.inspector.inspect(data)
    if not (actor.is_owner or actor.is_admin):
        return InspectedFile(found, None)
    digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest()[: data_files.DIGEST_CHARS])
    async with ctx.db.read() as tx:
        return InspectedFile(found, await pictures.own_file(tx, digest, found.document))

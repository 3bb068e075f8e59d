"""Inspects files in threads, a few at once, and knows the root certificate whose signatures are this Easel's own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from bot.core.errors import BadInput
from bot.core.image_parts import NotAnImage
from bot.core.inspection import Inspection
from bot.provenance.inspection import inspect
from bot.provenance.sealing import FOLDER, ROOT
from bot.settings import Settings

AT_ONCE = 2
"""Most files that are read at once: one that was made to be slow must not take all threads of the process."""

FETCHED_AT_ONCE = 4
"""Most files of chats that are in memory at once to be inspected."""

_MAX_CERTIFICATES = 2**20
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


class Inspector:
    """Says what files of any origin say of themselves. Nothing is ever fetched."""

    def __init__(self, root: Callable[[], bytes | None] = lambda: None) -> None:
        """Args:
        root: Returns this Easel's root certificate in PEM, or None; called in a thread, each time anew.
        """
        self._root = root
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.fetches = asyncio.Semaphore(FETCHED_AT_ONCE)
        """Held while a file of a chat is fetched and read."""

    async def inspect(self, data: bytes) -> Inspection:
        """Return what a file says; a signature by this Easel's own root is trusted.

        Raises:
            BadInput: It is no PNG, JPEG or WebP, or it is larger than MAX_FILE.
        """
        async with self._slots:
            try:
                return await asyncio.to_thread(self._inspect, data)
            except NotAnImage:
                raise BadInput("refusal.parameters.file") from None

    def _inspect(self, data: bytes) -> Inspection:
        root = self._root()
        return inspect(data, () if root is None else (root,))

    async def root(self) -> bytes | None:
        """Return this Easel's root certificate in PEM; None if it has none."""
        return await asyncio.to_thread(self._root)


def root_certificate(settings: Settings) -> bytes | None:
    """Return the root certificate of this Easel's signatures in PEM; None if there is none. Blocks: reads a file.

    Of ``EASEL_PROVENANCE_C2PA_CERT`` it is the last certificate. Nothing else of the file is returned, since a key may
    stand in it too.
    """
    path = settings.provenance_c2pa_cert or settings.data_dir / FOLDER / ROOT
    try:
        with path.open("rb") as file:
            found = certificates_in(file.read(_MAX_CERTIFICATES))
    except OSError:
        return None
    return found[-1] if found else None


def certificates_in(data: bytes) -> list[bytes]:
    """Return the certificates of a PEM file in order; none where it is another kind of file."""
    return [found + b"\n" for found in _CERTIFICATE.findall(data)]

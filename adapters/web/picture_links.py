"""Files of pictures for clients: in other formats, and by signed addresses that need no key."""

from __future__ import annotations

import hashlib
import hmac
import io
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from aiohttp import web
from PIL import Image

from bot.core.errors import NotFound
from bot.core.file_marks import SignCopy, copied_marks, unsigned

Format = Literal["png", "jpeg", "webp"]
"""Kinds of files that pictures are sent as."""

LINK_SECONDS = 3600
"""Seconds that an address of a picture is valid, as OpenAI's are."""

LINK_PATH = "/v1/images/files/{name}"

_NAME = re.compile(r"(\d{1,18})-(\d{1,3})\.(png|jpeg|webp)", re.ASCII)
_DIGITS = re.compile(r"\d{1,12}", re.ASCII)
_BEST = {"jpeg": 95, "webp": 90}
"""Quality where no compression is given: more makes files larger and no picture better."""


def encoded(path: Path, kind: Format, compression: int | None, sign: SignCopy = unsigned) -> bytes:
    """Return a stored picture as a file of this kind, with its metadata. Blocking.

    Args:
        path: A PNG.
        kind: The file's kind; a PNG is returned as it is stored.
        compression: Quality of JPEG and WebP, 0 to 100; None for a good one.
        sign: Signs a file of another kind.

    Raises OSError.
    """
    if kind == "png":
        return path.read_bytes()
    with Image.open(path, formats=("PNG",)) as picture:
        out = io.BytesIO()
        quality = _BEST[kind] if compression is None else compression
        picture.convert("RGB").save(out, kind.upper(), quality=quality, **copied_marks(picture.info))
    return sign(out.getvalue(), f"image/{kind}", path.read_bytes())


@dataclass(frozen=True, slots=True)
class LinkedFile:
    """What a signed address names: a picture, and the file that it is sent as."""

    job_id: int
    index: int
    kind: Format
    compression: int | None


class FileLinks:
    """Makes and checks signed addresses of pictures. They expire, and end with the process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Args:
        clock: The time in Unix seconds.
        """
        self._clock = clock
        self._secret = secrets.token_bytes(32)

    def path(self, file: LinkedFile) -> str:
        """Return the path and query of a file's address."""
        name = f"{file.job_id}-{file.index}.{file.kind}"
        expires = str(int(self._clock()) + LINK_SECONDS)
        quality = "" if file.compression is None else str(file.compression)
        signature = self._signature(name, expires, quality)
        return f"{LINK_PATH.format(name=name)}?expires={expires}&quality={quality}&signature={signature}"

    def file_of(self, request: web.Request) -> LinkedFile:
        """Return the file of a request. Raises NotFound where its address is not signed or has expired."""
        name, query = request.match_info["name"], request.query
        expires, quality = query.get("expires", ""), query.get("quality", "")
        found = _NAME.fullmatch(name)
        right = hmac.compare_digest(
            self._signature(name, expires, quality).encode(), query.get("signature", "").encode(errors="replace")
        )
        if found is None or not right or not _DIGITS.fullmatch(expires) or int(expires) < self._clock():
            raise NotFound("refusal.web.link")
        kind = cast("Format", found[3])
        return LinkedFile(int(found[1]), int(found[2]), kind, int(quality) if quality else None)

    def _signature(self, *parts: str) -> str:
        return hmac.new(self._secret, "\n".join(parts).encode(errors="replace"), hashlib.sha256).hexdigest()

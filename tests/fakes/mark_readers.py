"""Programs of others that read what picture files say: exiftool, sd-parsers and piexif."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import piexif
import piexif.helper
import pytest
from PIL import Image
from sd_parsers import ParserManager
from sd_parsers.extractors import _jpeg_usercomment

_END = b"{ready}\n"


def need_exiftool() -> None:
    """Skip the test where there is no exiftool."""
    if shutil.which("exiftool") is None:
        pytest.skip("there is no exiftool (Debian: apt install libimage-exiftool-perl)")


class ExifTool:
    """One process of exiftool that answers many questions."""

    def __init__(self) -> None:
        need_exiftool()
        self._process = subprocess.Popen(
            ["exiftool", "-stay_open", "True", "-@", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def run(self, *arguments: str) -> bytes:
        """Run exiftool with these arguments, none of which has a line break; returns what it prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("".join(f"{one}\n" for one in (*arguments, "-execute")).encode())
        self._process.stdin.flush()
        lines: list[bytes] = []
        while (line := self._process.stdout.readline()) != _END:
            assert line, "exiftool has ended"
            if line.endswith(_END):
                # Binary values end without a line break.
                lines.append(line.removesuffix(_END))
                break
            lines.append(line)
        return b"".join(lines)

    def tags(self, paths: Sequence[Path], *options: str) -> list[dict[str, Any]]:
        """Return the tags of each file as ``group:name``, in the files' order; numbers as their text.

        A name that comes again is followed by ``#2`` and so on.
        """
        # -U also shows tags that it has no name for, -a those that come twice.
        said = self.run("-j", "-G1:4", "-a", "-U", *options, *map(str, paths))
        found = json.loads(said, parse_int=str, parse_float=str)
        assert [one["SourceFile"] for one in found] == [str(path) for path in paths]
        return [{_name(said): value for said, value in one.items()} for one in found]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"-stay_open\nFalse\n")
        self._process.stdin.close()
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _name(said: str) -> str:
    """Return ``group:name#2`` for exiftool's ``group:Copy1:name``."""
    match said.split(":"):
        case [group, copy, name]:
            return f"{group}:{name}#{int(copy.removeprefix('Copy')) + 1}"
    return said


def exiftool_text(tags: dict[str, Any]) -> str | None:
    """Return A1111's text in the tags of a PNG, JPEG or WebP; None if there is none."""
    return cast("str | None", tags.get("PNG:Parameters", tags.get("ExifIFD:UserComment")))


def exif_comment(data: bytes) -> bytes:
    """Return the bytes of the user comment of a JPEG or WebP as piexif finds them; empty if there is none."""
    with Image.open(io.BytesIO(data)) as opened:
        block = opened.info.get("exif")
    return cast("bytes", piexif.load(block)["Exif"].get(piexif.ExifIFD.UserComment, b"")) if block else b""


def piexif_text(data: bytes) -> str:
    """Return the user comment of a JPEG or WebP as A1111 reads it, with piexif; empty if there is none."""
    comment = exif_comment(data)
    return str(piexif.helper.UserComment.load(comment)) if comment else ""


@dataclass(frozen=True)
class SdParsed:
    """What sd-parsers reads."""

    prompt: str
    negative: str
    sampler: str
    model: str | None
    model_hash: str | None
    settings: dict[str, Any]


def sd_parsers_read(data: bytes) -> SdParsed | None:
    """Return what sd-parsers reads of a file; None if it finds nothing."""
    # It remembers the last picture by its address in memory, which the next one can have.
    _jpeg_usercomment._image_id = None
    with Image.open(io.BytesIO(data)) as opened:
        found = ParserManager().parse(opened)
    if found is None:
        return None
    (sampler,) = found.samplers
    return SdParsed(
        prompt=", ".join(one.value for one in sampler.prompts),
        negative=", ".join(one.value for one in sampler.negative_prompts),
        sampler=sampler.name,
        model=sampler.model.name if sampler.model else None,
        model_hash=sampler.model.hash if sampler.model else None,
        settings=dict(sampler.parameters),
    )

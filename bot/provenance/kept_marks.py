"""Marks of uploaded pictures that are kept: the AIGC label and the signed manifest, in the file that is stored of each.

An upload is stored as a plain PNG without its metadata, which may name places and people. These two marks go beside the
pixels: the label as XMP, the manifest as an ingredient in a private chunk. Pictures that are drawn from it get both.
"""

from __future__ import annotations

import json
import logging
import re
import uuid

from pydantic_core import from_json

from bot.core.file_marks import XMP, drop_chunks, embed_chunk, embed_texts, read_chunk
from bot.core.image_parts import NotAnImage
from bot.provenance import aigc, xmp
from bot.provenance.image_texts import USER_COMMENT, read_texts
from bot.provenance.seal import Ingredient, SealUnavailable, archive_of

MAX_MANIFEST = 128 * 1024
"""Largest manifest that goes into another picture, in bytes: it makes each of them larger."""

CHUNK = b"ezIN"
"""Private chunk of a stored upload, as PNG names them: its ingredient's label, a zero byte, and C2PA's archive of it."""

_MANIFEST = b"caBX"
"""Chunk of a PNG's own manifest."""

_TOLD = frozenset({CHUNK, _MANIFEST, b"tEXt", b"zTXt", b"iTXt", b"eXIf"})
"""Chunks that tell what a picture is: XMP among them has its random id, which C2PA's package notes of an ingredient."""

_AIGC_KEYWORD = "AIGC"
_KNOWN_LABELS = re.compile(
    rb"c2pa|urn:(?:c2pa|uuid):.*|c2pa\.(?:assertions|signature|claim(?:\.v\d)?|actions(?:\.v\d)?|hash\.(?:data|boxes)"
    rb"|ingredient(?:\.v\d)?|soft-binding|training-mining)(?:__\d+)?|cawg\.training-mining(?:__\d+)?"
    rb"|org\.contentauth\.archive\.metadata",
    re.DOTALL,
)
"""Parts of a manifest that name neither places, cameras nor people, and show no picture. Thumbnails show the upload."""

_PART = re.compile(rb"jumd.{16}[\x00-\xff]([\x20-\x7e]+)\x00", re.DOTALL)
"""The label of a part, in the description box that JUMBF gives it (ISO 19566-5)."""

log = logging.getLogger(__name__)


def keep_marks(stored: bytes, upload: bytes, *, manifest: bool) -> bytes:
    """Return the PNG that is stored of an upload, with the marks that the upload has. Blocks: run in a thread.

    A faulty label, and a manifest that is damaged, larger than MAX_MANIFEST or has other parts than a picture's history,
    are left out: the log says so.

    Args:
        stored: The normalised PNG.
        upload: The file as it came.
        manifest: Whether its manifest is kept: it is of use only where pictures are signed.
    """
    if (label := found_label(upload)) != "":
        stored = embed_texts(stored, {XMP: xmp.label_packet(label).decode()})
    if manifest and b"c2pa" in upload:
        stored = _with_ingredient(stored, upload)
    return stored


def found_label(data: bytes) -> str:
    """Return the AIGC label of a file, with its seven keys in order; empty if it has none, or a faulty one."""
    try:
        texts = read_texts(data)
    except NotAnImage:
        return ""
    packet = texts.get(XMP, "").encode("utf-8", "replace")
    found = (*xmp.read(packet).get(xmp.AIGC, ()), texts.get(_AIGC_KEYWORD, ""), texts.get(USER_COMMENT, ""))
    return next((label for text in found if text and (label := _label(text))), "")


def _label(text: str) -> str:
    """Return a label as it is written; it may stand in an object ``{"AIGC": ...}``. Empty if it is faulty."""
    if len(text) > aigc.MAX_CHARS:
        return ""
    try:
        found = from_json(text)
    except ValueError:
        return ""
    if isinstance(found, dict) and isinstance(found.get(_AIGC_KEYWORD), dict):
        found = found[_AIGC_KEYWORD]
    if not isinstance(found, dict) or aigc.faults(json.dumps(found)):
        return ""
    return json.dumps({key: found[key] for key in aigc.KEYS}, separators=(",", ":"))


def _with_ingredient(stored: bytes, upload: bytes) -> bytes:
    label = f"source-{uuid.uuid4().hex}"
    try:
        archive = archive_of(upload, label)
    except SealUnavailable as error:
        if not isinstance(error.__cause__, ImportError):
            log.warning("the manifest of an uploaded picture is not kept: %s", error)
        return stored
    if len(archive) > MAX_MANIFEST:
        log.info("the manifest of an uploaded picture is not kept: it has %d bytes", len(archive))
        return stored
    parts = set(_PART.findall(archive))
    if sum(part.startswith(b"urn:") for part in parts) < 2:
        return stored  # the archive's own manifest alone: the file has none
    others = sorted(part for part in parts if not _KNOWN_LABELS.fullmatch(part))
    if others:
        names = ", ".join(part.decode() for part in others[:5])
        log.info("the manifest of an uploaded picture is not kept: it may name a place or a person (%s)", names[:200])
        return stored
    return embed_chunk(stored, CHUNK, label.encode() + b"\0" + archive)


def ingredient_of(data: bytes, number: int, *, manifest: bool) -> Ingredient:
    """Return a picture that another one is drawn from as an ingredient of that one.

    Args:
        data: A stored PNG: an upload, or a picture of Easel.
        number: Its place among the sources, from 0.
        manifest: Whether its manifest goes along, if it has one; not for private requests, since it may tell the prompt.
            Nor does its id then, by which the picture could be found that it is.
    """
    label, _, archive = read_chunk(data, CHUNK).partition(b"\0")
    if manifest and archive:
        return Ingredient(label.decode("latin-1"), archive=archive)
    if not manifest:
        return Ingredient(f"source-{number}", data=drop_chunks(data, _TOLD))
    own = read_chunk(data, _MANIFEST)
    bare = drop_chunks(data, {CHUNK} if len(own) <= MAX_MANIFEST else {CHUNK, _MANIFEST})
    return Ingredient(f"source-{number}", data=bare)

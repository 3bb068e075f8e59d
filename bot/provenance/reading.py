"""Reads how a picture was drawn from its file: Easel's and A1111's ``parameters``, ComfyUI's graphs, and IPTC's kind of source."""

from __future__ import annotations

from collections.abc import Mapping

from bot.core.file_marks import PARAMETERS, XMP
from bot.core.image_parts import NotAnImage
from bot.core.pictures import ReadParameters
from bot.provenance import a1111, comfyui, xmp
from bot.provenance.image_texts import COMMENT, USER_COMMENT, read_texts

_A1111_KEYWORDS = (PARAMETERS, USER_COMMENT, COMMENT, "ImageDescription")


def read_parameters(data: bytes) -> ReadParameters | None:
    """Return how a PNG, JPEG or WebP was drawn; None if its file does not tell in a way that is known.

    Files are untrusted: nothing is decoded but texts, within limits of ``image_texts``. It takes up to some tenths of a
    second for files made to be slow: call it in a thread.

    Raises:
        NotAnImage: It is no PNG, JPEG or WebP.
    """
    return parameters_of(read_texts(data))


def parameters_of(texts: Mapping[str, str]) -> ReadParameters | None:
    """Return how a picture was drawn by the texts of its file; None if they do not tell."""
    for keyword in _A1111_KEYWORDS:
        if (found := a1111.parse(texts.get(keyword, ""))) is not None:
            return found
    return comfyui.parse(texts.get("prompt", ""), texts.get("workflow", ""))


def read_source_type(data: bytes) -> str:
    """Return IPTC's DigitalSourceType in a file's XMP; empty if it has none, or is no PNG, JPEG or WebP."""
    try:
        packet = read_texts(data).get(XMP, "")
    except NotAnImage:
        return ""
    return next(iter(xmp.read(packet.encode("utf-8", "replace")).get(xmp.SOURCE_TYPE, ())), "")

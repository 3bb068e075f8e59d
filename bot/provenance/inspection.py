"""Reads a picture file of any origin: what its marks claim, what its signature proves, and where they contradict."""

from __future__ import annotations

from collections.abc import Sequence

from bot.core.file_marks import XMP
from bot.core.image_parts import NotAnImage, read_header
from bot.core.inspection import GENERATED, MAX_FILE, SOURCE_TYPES, Inspection, SealReport
from bot.core.pictures import ReadParameters
from bot.provenance import aigc, xmp
from bot.provenance.image_texts import read_texts
from bot.provenance.reading import parameters_of
from bot.provenance.seal import check_seal

_MIMES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_XMP_PROMPT = "Iptc4xmpExt:AIPromptInformation"
_DOCUMENT, _LABEL = "xmpMM:DocumentID", "TC260:AIGC"
_UUID = "urn:uuid:"


def inspect(data: bytes, anchors: Sequence[bytes] = ()) -> Inspection:
    """Read a file. Blocks up to some tenths of a second: run in a thread. Nothing is fetched, and no pixel is decoded.

    Args:
        data: A file of any origin, at most MAX_FILE bytes.
        anchors: Root certificates in PEM whose signers are trusted.

    Raises:
        NotAnImage: It is no PNG, JPEG or WebP, or it is too large.
    """
    if len(data) > MAX_FILE:
        raise NotAnImage("too large")
    texts = read_texts(data)
    header = read_header(data)
    found = dict(xmp.read(texts.get(XMP, "").encode("utf-8", "replace")))
    parameters = parameters_of(texts)
    seal = check_seal(data, _MIMES[header.format], anchors)
    source = _first(found, xmp.SOURCE_TYPE)
    labels = found.get(_LABEL, ())
    faults = aigc.faults(labels[0]) if labels else ()
    return Inspection(
        format=header.format,
        width=header.width,
        height=header.height,
        seal=seal,
        source_type=source,
        claims=found,
        parameters=parameters,
        label=labels[0] if labels else "",
        label_faults=(*faults, *(("twice",) if len(labels) > 1 else ())),
        conflicts=_conflicts(found, parameters, seal, source),
        document=_first(found, _DOCUMENT).removeprefix(_UUID),
    )


def _first(found: dict[str, tuple[str, ...]], name: str) -> str:
    return next(iter(found.get(name, ())), "")


def _conflicts(
    found: dict[str, tuple[str, ...]], parameters: ReadParameters | None, seal: SealReport, source: str
) -> tuple[str, ...]:
    prompt = _first(found, _XMP_PROMPT)
    own = parameters is not None and parameters.tool == "Easel"
    labelled = any('"Label":"1"' in one.replace(" ", "") for one in found.get(_LABEL, ()))
    checks = {
        "source_type": bool(source and seal.source_type and source != seal.source_type),
        "prompt": bool(own and prompt and parameters and not _is_alike(prompt, parameters.prompt)),
        "label": bool(labelled and source.startswith(SOURCE_TYPES) and source not in GENERATED),
        "bare_term": f"{SOURCE_TYPES}{source}" in GENERATED,
    }
    return tuple(code for code, wrong in checks.items() if wrong)


def _is_alike(prompt: str, other: str) -> bool:
    """Whether two texts begin with the same words: LoRAs and the negative prompt stand behind them in one of the two."""
    words, others = prompt.split(), other.partition("<lora:")[0].split()
    return words[: len(others)] == others

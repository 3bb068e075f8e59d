"""China's AIGC label: the JSON in a picture's XMP that GB 45438-2025 and TC260-PG-20259A ask for."""

from __future__ import annotations

import json
import re
import uuid

from pydantic_core import from_json

NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"
"""Namespace of the XMP property ``AIGC``, whose usual prefix is ``TC260``."""

KEYS = (
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
)
"""The label's keys, all of them and no others (TC260-PG-20259A, annex E)."""

IS_GENERATED = "1"
"""Value of ``Label``: it is generated. 2 may be, 3 is suspected to be."""

_LABELS = frozenset({"1", "2", "3"})
_PRINTABLE = re.compile(r"[\x21-\x7e]*", re.ASCII)

MAX_CHARS = 4096
"""Longest label that is read."""


def label(producer: str, document: uuid.UUID) -> str:
    """Return the label of a picture. The propagator's keys are for platforms, and the reserved ones stay empty."""
    values = {"Label": IS_GENERATED, "ContentProducer": producer, "ProduceID": str(document)}
    return json.dumps({key: values.get(key, "") for key in KEYS}, separators=(",", ":"))


def faults(text: str) -> tuple[str, ...]:
    """Return what is wrong with a label, as codes; empty if it is right.

    ``json``: it is no JSON object. ``missing`` and ``unknown``: its keys. ``type``: a value is no text. ``label``: not 1, 2
    or 3. ``characters``: a value has characters outside of 0x21 to 0x7E. ``producer``: no producer is named.
    """
    try:
        found = from_json(text) if len(text) <= MAX_CHARS else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return ("json",)
    values = list(found.values())
    checks = {
        "missing": any(key not in found for key in KEYS),
        "unknown": any(key not in KEYS for key in found),
        "type": any(not isinstance(value, str) for value in values),
        "label": found.get("Label") not in _LABELS,
        "characters": any(isinstance(value, str) and not _PRINTABLE.fullmatch(value) for value in values),
        "producer": not found.get("ContentProducer"),
    }
    return tuple(code for code, wrong in checks.items() if wrong)

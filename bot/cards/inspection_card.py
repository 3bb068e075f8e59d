"""The card of an inspected file: what is verified, what is only claimed, and what contradicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bot.cards import i18n
from bot.core.cards import Card, Fact, Tone
from bot.core.inspection import GENERATED, SOURCE_TYPES, Inspection, SealState
from bot.core.texts import clip

_MAX_VALUE = 1000
"""Longest value that is shown, in characters."""

_CLAIMS = {
    "Iptc4xmpExt:AISystemUsed": "system",
    "Iptc4xmpExt:AISystemVersionUsed": "version",
    "xmp:CreatorTool": "tool",
    "xmp:CreateDate": "created",
    "photoshop:Credit": "credit",
}


def inspection_card(found: Inspection, locale: str, *, own: bool | None = None) -> Card:
    """Return the card of a file.

    Args:
        found: What the file says.
        locale: The reader's language.
        own: Whether the file is one of this Easel's pictures; None where the reader may not know.
    """

    def text(key: str, **params: str | int | float) -> str:
        return i18n.text(locale, f"inspect.{key}", **params)

    def fact(name: str, value: str) -> Fact:
        return Fact(text(f"fact.{name}"), clip(value, _MAX_VALUE))

    if found.is_faulty:
        tone, status = Tone.PROBLEM, text("faulty")
    else:
        tone, status = Tone.INFO, text("marked" if found.is_marked else "unmarked")
    facts = [
        fact("file", f"{found.format} {found.width}x{found.height}"),
        fact("seal", _seal(found, text)),
        *([fact("source", _source(found.source_type, text))] if found.source_type else ()),
        *(fact(name, found.claims[key][0]) for key, name in _CLAIMS.items() if found.claims.get(key)),
        *([fact("label", found.label)] if found.label else ()),
        *(fact(name, value) for name, value in _recipe(found)),
        *([fact("own", text("own" if own else "foreign"))] if own is not None else ()),
    ]
    notes = [
        *(text(f"conflict.{code}") for code in found.conflicts),
        *(text(f"label.{code}") for code in found.label_faults),
    ]
    if found.is_marked and found.seal.state is not SealState.TRUSTED:
        notes.append(text("claims"))
    prompt = found.parameters.prompt if found.parameters else ""
    return Card(
        tone, status, prompt=prompt, facts=tuple(facts), notes=tuple(notes), private=True, final=True, locale=locale
    )


def _seal(found: Inspection, text: Callable[..., str]) -> str:
    seal = found.seal
    return text(f"seal.{seal.state.value}", signer=seal.signer or "?", problems=", ".join(seal.problems) or "?")


def _source(value: str, text: Callable[..., str]) -> str:
    term = value.rpartition("/")[2]
    return text(f"source.{term}") if f"{SOURCE_TYPES}{term}" in GENERATED else value


def _recipe(found: Inspection) -> Iterable[tuple[str, str]]:
    read = found.parameters
    if read is None:
        return ()
    values = {
        "written_by": read.tool,
        "negative": read.negative,
        "model": read.model,
        "seed": "" if read.seed is None else str(read.seed),
        "steps": "" if read.steps is None else str(read.steps),
        "sampler": read.sampler,
    }
    return tuple((name, value) for name, value in values.items() if value)

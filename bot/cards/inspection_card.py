"""What an inspected file says, in words: what is verified, what is only claimed, and what contradicts; and its card."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bot.cards import i18n
from bot.core.cards import Card, Fact, Tone
from bot.core.inspection import GENERATED, SOURCE_TYPES, Inspection, OwnFile, SealState
from bot.core.texts import clip

_MAX_VALUE = 1000
"""Longest value that is shown, in characters."""

_PROMPT = "Iptc4xmpExt:AIPromptInformation"

_CLAIMS = {
    "Iptc4xmpExt:AISystemUsed": "system",
    "Iptc4xmpExt:AISystemVersionUsed": "version",
    "xmp:CreatorTool": "tool",
    "xmp:CreateDate": "created",
    "photoshop:Credit": "credit",
}


@dataclass(frozen=True, slots=True)
class InspectionWords:
    """What a file says, in the reader's language.

    Attributes:
        status: One sentence: whether the file is marked, and whether anything is wrong.
        verified: What the file itself, its signature and this Easel's rows prove.
        claimed: What its marks say.
        recipe: How it was drawn, as the file claims, without the prompt.
        prompt: The prompt; empty if the file does not tell.
        problems: Sentences: contradictions, and faults of labels.
        notes: Sentences on how far the marks can be believed.
    """

    status: str
    verified: tuple[Fact, ...]
    claimed: tuple[Fact, ...]
    recipe: tuple[Fact, ...]
    prompt: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def marks(self) -> tuple[Fact, ...]:
        """What stands beside facts that are known already: not the file's format and size, and not the recipe."""
        return (*self.verified[1:], *self.claimed)


def inspection_words(found: Inspection, locale: str, *, own: OwnFile | None = None) -> InspectionWords:
    """Return what a file says in words; ``own``: as for ``inspection_card``."""
    return _Wording(found, locale).words(own)


def inspection_card(found: Inspection, locale: str, *, own: OwnFile | None = None) -> Card:
    """Return the card of a file.

    Args:
        found: What the file says.
        locale: The reader's language.
        own: Whether the file is one of this Easel's pictures; None where the reader may not know.
    """
    words = inspection_words(found, locale, own=own)
    return Card(
        Tone.PROBLEM if found.is_faulty else Tone.INFO,
        words.status,
        prompt=words.prompt,
        facts=(*words.verified, *words.claimed, *words.recipe),
        notes=(*words.problems, *words.notes),
        private=True,
        final=True,
        locale=locale,
    )


class _Wording:
    """Words one file."""

    def __init__(self, found: Inspection, locale: str) -> None:
        self._found = found
        self._locale = locale

    def words(self, own: OwnFile | None) -> InspectionWords:
        found = self._found
        state = "faulty" if found.is_faulty else "marked" if found.is_marked else "unmarked"
        return InspectionWords(
            status=self._text(state),
            verified=tuple(self._verified(own)),
            claimed=tuple(self._claimed()),
            recipe=tuple(self._recipe()),
            prompt=found.parameters.prompt if found.parameters else "",
            problems=(
                *(self._text(f"conflict.{code}") for code in found.conflicts),
                *(self._text(f"label.{code}") for code in found.label_faults),
            ),
            notes=tuple(self._notes()),
        )

    def _text(self, key: str, **params: str | int | float) -> str:
        return i18n.text(self._locale, f"inspect.{key}", **params)

    def _fact(self, name: str, value: str) -> Fact:
        return Fact(self._text(f"fact.{name}"), clip(value, _MAX_VALUE))

    def _verified(self, own: OwnFile | None) -> Iterable[Fact]:
        found, seal = self._found, self._found.seal
        yield self._fact("file", f"{found.format} {found.width}x{found.height}")
        said = self._text(
            f"seal.{seal.state.value}", signer=seal.signer or "?", problems=", ".join(seal.problems) or "?"
        )
        yield self._fact("seal", said)
        if seal.state is SealState.TRUSTED and seal.source_type:
            yield self._fact("sealed_source", self._source(seal.source_type))
        if own is not None:
            yield self._fact("own", self._text(f"own.{own.value}"))

    def _claimed(self) -> Iterable[Fact]:
        found, seal = self._found, self._found.seal
        if seal.state is SealState.UNKNOWN_SIGNER and seal.source_type:
            yield self._fact("sealed_source", self._source(seal.source_type))
        if found.source_type:
            yield self._fact("source", self._source(found.source_type))
        for key, name in _CLAIMS.items():
            if found.claims.get(key):
                yield self._fact(name, found.claims[key][0])
        if found.label:
            yield self._fact("label", found.label)
        # Where the recipe is there, its prompt is shown; where the two differ, that is a problem of its own.
        if found.parameters is None and (prompt := found.claims.get(_PROMPT)):
            yield self._fact("prompt", prompt[0])

    def _recipe(self) -> Iterable[Fact]:
        read = self._found.parameters
        if read is None:
            return
        values = {
            "written_by": read.tool,
            "negative": read.negative,
            "model": read.model,
            "seed": "" if read.seed is None else str(read.seed),
            "steps": "" if read.steps is None else str(read.steps),
            "sampler": read.sampler,
        }
        for name, value in values.items():
            if value:
                yield self._fact(name, value)

    def _source(self, value: str) -> str:
        term = value.rpartition("/")[2]
        return self._text(f"source.{term}") if f"{SOURCE_TYPES}{term}" in GENERATED else value

    def _notes(self) -> Iterable[str]:
        if self._found.seal.state is SealState.TRUSTED:
            yield self._text("covered")
        elif self._found.is_marked:
            yield self._text("claims")

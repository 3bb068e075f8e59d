"""What a picture file of any origin says of itself: its marks, its signature, and where they contradict."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from bot.core.pictures import ReadParameters

_GENERATED = frozenset({"trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"})
"""IPTC's terms for pictures that a model made."""


class SealState(StrEnum):
    """What is known of a file's manifest."""

    NONE = "none"
    UNCHECKED = "unchecked"
    TRUSTED = "trusted"
    UNKNOWN_SIGNER = "unknown_signer"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class SealReport:
    """A file's manifest.

    Attributes:
        state: Whether it is intact, and whether its signer is known.
        signer: Organisation and common name of the certificate; empty if unknown. A claim unless it is trusted.
        generator: Program that made the manifest, as it says.
        source_type: IPTC's DigitalSourceType of the action that created the picture; empty if there is none.
        problems: Codes of what is wrong (C2PA's status codes).
    """

    state: SealState
    signer: str = ""
    generator: str = ""
    source_type: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file says of itself.

    Attributes:
        format: ``PNG``, ``JPEG`` or ``WEBP``.
        width: Pixels, as the header says.
        height: Pixels, likewise.
        source_type: IPTC's DigitalSourceType in XMP; empty if there is none. A claim.
        claims: XMP's properties that Easel knows, by prefixed name. Claims.
        parameters: How it was drawn, as its file claims; None if it does not tell.
        seal: What its signed manifest proves.
        label: China's AIGC label; empty if there is none.
        label_faults: What is wrong with it, as codes of ``aigc.faults``; ``twice``: there are several.
        conflicts: Codes of contradictions: ``source_type`` between XMP and the manifest, ``prompt`` between XMP and the
            parameters, ``label`` between the label and XMP, ``bare_term`` for IPTC's term without its address.
        document: The random id that XMP names, without ``urn:uuid:``; empty if there is none.
    """

    format: str
    width: int
    height: int
    seal: SealReport
    source_type: str = ""
    claims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    parameters: ReadParameters | None = None
    label: str = ""
    label_faults: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    document: str = ""

    @property
    def is_marked(self) -> bool:
        """Whether anything in the file says that a model drew it."""
        sources = {self.source_type.rpartition("/")[2], self.seal.source_type.rpartition("/")[2]}
        return bool(sources & _GENERATED or self.parameters or self.label)

    @property
    def is_faulty(self) -> bool:
        """Whether its signature is broken, its label is wrong, or its marks contradict each other."""
        return self.seal.state is SealState.BROKEN or bool(self.label_faults or self.conflicts)

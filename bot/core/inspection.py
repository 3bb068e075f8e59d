"""What a picture file of any origin says of itself: its marks, its signature, and where they contradict."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from bot.core.pictures import ReadParameters

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""Address of IPTC's terms for the sources of pictures."""

TRAINED = f"{SOURCE_TYPES}trainedAlgorithmicMedia"
"""A picture that a model made."""

COMPOSITE = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
"""A picture that a model made from somebody's picture."""

GENERATED = frozenset({TRAINED, COMPOSITE})
"""Pictures that a model made."""


MAX_FILE = 64 * 2**20
"""Largest file that is read, in bytes."""


class OwnFile(StrEnum):
    """Whether a file is one of this Easel's pictures.

    STORED: it is the file that is stored. NAMED: it names the id of a stored picture and is another file, such as a
    smaller copy or a changed one; anybody can write an id. FOREIGN: neither.
    """

    STORED = "stored"
    NAMED = "named"
    FOREIGN = "foreign"


class SealState(StrEnum):
    """What is known of a file's manifest.

    REMOTE: the file says that it is on the network, from where it is not fetched. TOO_LARGE: reading it would take too much
    memory.
    """

    NONE = "none"
    UNCHECKED = "unchecked"
    REMOTE = "remote"
    TOO_LARGE = "too_large"
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
        # Some programs write the bare term, or another address before it.
        sources = {f"{SOURCE_TYPES}{one.rpartition('/')[2]}" for one in (self.source_type, self.seal.source_type)}
        return bool(sources & GENERATED or self.parameters or self.label)

    @property
    def is_faulty(self) -> bool:
        """Whether its signature is broken, its label is wrong, or its marks contradict each other."""
        return self.seal.state is SealState.BROKEN or bool(self.label_faults or self.conflicts)

"""Signatures in each format: what of a file they cover, as exiftool finds it, and what a change of one byte does."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.core.inspection import SealState
from bot.provenance.seal import check_seal
from tests.fakes.hostile_files import chunk, png_with
from tests.fakes.mark_readers import ExifTool
from tests.unit.bot.provenance.marked_files import MIMES, copy_of, facts, marked, signing_keys, signs

pytest.importorskip("c2pa", reason="the extra c2pa is not installed")

FLIPS = 80
"""Changed bytes for each format."""


@dataclass(frozen=True)
class Signed:
    kind: str
    data: bytes

    @property
    def mime(self) -> str:
        return MIMES[self.kind]

    def state(self, data: bytes, *, trusted: bool = True) -> SealState:
        return check_seal(data, self.mime, [signing_keys().root] if trusted else []).state


@pytest.fixture(scope="module", params=MIMES)
def signed(request: pytest.FixtureRequest) -> Signed:
    kind, sealing = str(request.param), signs()
    assert sealing is not None
    stored = sealing.sign(marked(facts(producer="P1")), MIMES["PNG"], facts())
    # Files in other formats are copies, whose manifest holds that of the stored file.
    return Signed(kind, stored if kind == "PNG" else sealing.sign_copy(copy_of(stored, kind), MIMES[kind], stored))


@pytest.fixture(scope="module")
def exiftool() -> Iterator[ExifTool]:
    tool = ExifTool()
    yield tool
    tool.close()


def test_the_root_decides_whether_the_signer_is_known(signed: Signed) -> None:
    assert signed.state(signed.data) is SealState.TRUSTED
    assert signed.state(signed.data, trusted=False) is SealState.UNKNOWN_SIGNER


def exclusion(signed: Signed, exiftool: ExifTool, folder: Path) -> tuple[int, int, bytes]:
    """Where the part that the signature leaves out begins and ends, and the hash of the rest, as exiftool reads them."""
    data = signed.data
    if signed.kind == "WEBP":
        # exiftool reads manifests in WebP since 13: they are put into a PNG for it.
        at = data.index(b"C2PA")
        (length,) = struct.unpack_from("<I", data, at + 4)
        data = png_with(chunk(b"caBX", data[at + 8 : at + 8 + length]))
    path = folder / f"signed.{'png' if signed.kind == 'WEBP' else signed.kind.lower()}"
    path.write_bytes(data)
    (tags,) = exiftool.tags([path])
    # That of the file is the last one.
    last = "" if signed.kind == "PNG" else "#2"
    start, length = (int(tags[f"CBOR:Exclusions{what}{last}"]) for what in ("Start", "Length"))
    assert "CBOR:ExclusionsStart#3" not in tags
    return start, start + length, exiftool.run("-b", "-a", "-CBOR:Hash", str(path))[-32:]


def test_the_hash_is_that_of_the_file_without_the_manifest(signed: Signed, exiftool: ExifTool, tmp_path: Path) -> None:
    start, end, digest = exclusion(signed, exiftool, tmp_path)
    assert hashlib.sha256(signed.data[:start] + signed.data[end:]).digest() == digest
    # Nothing but the manifest is left out.
    assert 3000 < end - start < (4000 if signed.kind == "PNG" else 9000)
    assert b"c2pa" not in signed.data[:start] + signed.data[end:]


def test_a_changed_byte_breaks_it_or_says_nothing(signed: Signed, exiftool: ExifTool, tmp_path: Path) -> None:
    start, end, _ = exclusion(signed, exiftool, tmp_path)
    whole = check_seal(signed.data, signed.mime, [signing_keys().root])
    chance = random.Random(5)
    outside = [*range(start), *range(end, len(signed.data))]
    unnoticed = []
    for at in [*chance.sample(outside, FLIPS // 2), *chance.sample(range(start, end), FLIPS // 2)]:
        changed = bytearray(signed.data)
        changed[at] ^= 1 << chance.randrange(8)
        report = check_seal(bytes(changed), signed.mime, [signing_keys().root])
        if report.state not in {SealState.BROKEN, SealState.NONE}:
            unnoticed.append(at)
            assert report == whole
    # Padding and the boxes around the manifest's parts, a third of it, are covered by nothing.
    assert all(start <= at < end for at in unnoticed)
    assert len(unnoticed) < FLIPS * 3 // 8


def test_another_programs_edit_breaks_it(signed: Signed, exiftool: ExifTool, tmp_path: Path) -> None:
    path, edited = (tmp_path / f"{name}.{signed.kind.lower()}" for name in ("signed", "edited"))
    path.write_bytes(signed.data)
    exiftool.run("-Artist=x", "-o", str(edited), str(path))
    if signed.kind == "WEBP" and not edited.exists():
        pytest.skip("this exiftool does not write WebP")
    (tags,) = exiftool.tags([edited])
    assert "x" in {tags.get("IFD0:Artist"), tags.get("PNG:Artist")}
    assert signed.state(edited.read_bytes()) is SealState.BROKEN

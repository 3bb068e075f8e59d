"""Inspecting files: own, foreign, contradictory and hostile ones."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.file_marks import PARAMETERS, XMP, embed_texts
from bot.core.image_parts import NotAnImage
from bot.core.inspection import MAX_FILE, TRAINED, SealState
from bot.provenance.inspection import inspect
from bot.provenance.xmp import packet
from tests.fakes.source_images import picture
from tests.unit.bot.provenance.marked_files import copy_of, facts, marked


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_own_file_is_marked_in_every_format(kind: str) -> None:
    data = marked(facts(producer="P1"))
    found = inspect(data if kind == "PNG" else copy_of(data, kind))
    assert (found.format, found.width, found.height) == (kind, 48, 32)
    assert (found.source_type, found.document) == (TRAINED, "12345678-1234-5678-1234-567812345678")
    assert found.parameters is not None
    assert (found.parameters.tool, found.parameters.prompt, found.parameters.seed) == ("Easel", "a cat 猫 🐈", 7)
    assert json.loads(found.label)["ContentProducer"] == "P1"
    assert (found.is_marked, found.is_faulty, found.conflicts, found.label_faults) == (True, False, (), ())
    assert found.seal.state is SealState.NONE


def test_a_private_file_has_the_mark_alone() -> None:
    found = inspect(marked(facts("", parameters="")))
    assert (found.is_marked, found.parameters, found.is_faulty) == (True, None, False)


def test_a_file_without_marks() -> None:
    found = inspect(picture())
    assert (found.is_marked, found.is_faulty, found.claims) == (False, False, {})


def test_contradictions_are_named() -> None:
    written = packet(facts(producer="P1")).decode()
    twice = written.replace("</TC260:AIGC>", "</TC260:AIGC><TC260:AIGC>{}</TC260:AIGC>")
    camera = written.replace("trainedAlgorithmicMedia", "digitalCapture")
    bare = written.replace(TRAINED, "trainedAlgorithmicMedia")
    other = written.replace("a cat", "a dog")
    found = {
        name: inspect(embed_texts(picture(), {PARAMETERS: facts().parameters, XMP: text}))
        for name, text in {"twice": twice, "camera": camera, "bare": bare, "other": other}.items()
    }
    assert found["twice"].label_faults == ("twice",)
    assert {name: one.conflicts for name, one in found.items()} == {
        "twice": (),
        "camera": ("label",),
        "bare": ("bare_term",),
        "other": ("prompt",),
    }
    assert all(one.is_faulty and one.is_marked for one in found.values())


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a" + b"\0" * 99, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"\0" * (MAX_FILE + 1)],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        inspect(data)


FILES = {kind: copy_of(marked(facts(producer="P1")), kind) for kind in ("JPEG", "WEBP")} | {"PNG": marked(facts())}


@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=30),
    st.integers(0, 6000),
    st.binary(max_size=60),
)
@settings(max_examples=150)
def test_a_damaged_file_never_fails(kind: str, changes: list[tuple[int, int]], end: int, more: bytes) -> None:
    data = bytearray(FILES[kind][: len(FILES[kind]) - end] + more) if end % 3 == 0 else bytearray(FILES[kind])
    for at, value in changes:
        if data:
            data[at % len(data)] = value
    with contextlib.suppress(NotAnImage):
        inspect(bytes(data))

"""Frames: raw bytes stay raw, and lengths that can't be true are refused. ``test_wire`` sends every message."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.host.frames import HEAD, MAX_HEADER, MAX_PAYLOAD, Codec, WireError, lengths


@dataclass(frozen=True, slots=True)
class Picture:
    data: bytes
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Named:
    pictures: tuple[Picture, str]


CODEC: Codec[Picture | Named] = Codec(Picture | Named)


def test_a_picture_does_not_pass_through_json() -> None:
    data = bytes(range(256)) * 99
    frame = CODEC.encode(Picture(data))
    assert frame.endswith(data)
    assert len(frame) < len(data) + 300


def test_bytes_inside_another_dataclass_are_raw_too() -> None:
    message = Named((Picture(b"\x00\xff", frozenset({"b", "a"})), "c"))
    frame = CODEC.encode(message)
    header, payload = lengths(frame[: HEAD.size])
    assert (payload, frame[-2:]) == (2, b"\x00\xff")
    assert CODEC.decode(frame[HEAD.size : HEAD.size + header], frame[HEAD.size + header :]) == message


@given(st.binary(min_size=8, max_size=8))
def test_lengths_are_believed_within_limits_alone(head: bytes) -> None:
    try:
        header, payload = lengths(head)
    except WireError:
        return
    assert 0 < header <= MAX_HEADER
    assert 0 <= payload <= MAX_PAYLOAD


def test_a_tuple_of_another_length_is_refused() -> None:
    with pytest.raises(WireError):
        CODEC.decode(b'{"kind": "Named", "pictures": ["a"]}', b"")

"""Text chunks: right behind the header, pixels untouched, read back by Pillow and by a reader of bytes."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from bot.provenance.a1111 import KEYWORD, parameters
from bot.provenance.metadata import embed_texts
from engine.contract import Recipe
from tests.fakes.png_texts import read_texts
from tests.unit.bot.provenance.readers import as_a1111

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def picture() -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((48, 32)).convert("RGB").save(out, "PNG")
    return out.getvalue()


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """All chunks of a PNG, after the specification; checks every checksum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, position = [], 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        content = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        assert checksum == zlib.crc32(name + content)
        found.append((name, content))
        position += 12 + length
    return found


@given(TEXTS)
def test_any_text_is_read_back(text: str) -> None:
    data = embed_texts(picture(), {KEYWORD: text})
    assert read_texts(data) == {KEYWORD: text}
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.info[KEYWORD] == text


@given(TEXTS)
def test_nothing_but_the_text_is_added_right_behind_the_header(text: str) -> None:
    plain = picture()
    before, after = chunks(plain), chunks(embed_texts(plain, {KEYWORD: text}))
    assert after[0][0] == b"IHDR"
    assert after[1][0] in {b"tEXt", b"iTXt"}
    assert [after[0], *after[2:]] == before


@pytest.mark.parametrize(
    ("text", "chunk"), [("a red apple", b"tEXt"), ("ein Bär", b"tEXt"), ("夜空中的一只猫", b"iTXt")]
)
def test_the_chunk_is_the_one_that_a1111_would_choose(text: str, chunk: bytes) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(KEYWORD, text)
    name, content = chunks(embed_texts(picture(), {KEYWORD: text}))[1]
    assert (name, content) == info.chunks[0][:2]
    assert name == chunk


def test_a_chinese_prompt_survives_the_whole_way() -> None:
    recipe = Recipe("1:0", "demo", "夜空中的一只猫\n戴帽子", "文字", 192, 192, 8, 2.0, 2**63 - 1)
    data = embed_texts(picture(), {KEYWORD: parameters(recipe, "Easel demo")})
    with Image.open(io.BytesIO(data)) as opened:
        found = as_a1111(opened.info["parameters"])
    assert (found.prompt, found.negative) == ("夜空中的一只猫\n戴帽子", "文字")
    assert found.settings["Seed"] == "9223372036854775807"


def test_several_texts_keep_their_order() -> None:
    assert list(read_texts(embed_texts(picture(), {"b": "1", "a": "2"})).items()) == [("b", "1"), ("a", "2")]


@pytest.mark.parametrize("data", [b"", b"GIF89a" + b"\0" * 60, picture()[:20], b"\x89PNG\r\n\x1a\n" + b"\0" * 60])
def test_what_is_no_png_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        embed_texts(data, {KEYWORD: "x"})

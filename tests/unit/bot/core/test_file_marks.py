"""Text chunks: right behind the header, pixels untouched, read back by Pillow and by a reader of bytes."""

from __future__ import annotations

import io
import struct
import zlib

import piexif
import piexif.helper
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bot.core.file_marks import PARAMETERS, XMP, copied_marks, embed_texts, exif_block
from bot.provenance.a1111 import parameters
from bot.provenance.image_texts import USER_COMMENT
from bot.provenance.image_texts import read_texts as metadata_texts
from engine.contract import Recipe
from tests.fakes.png_texts import read_texts
from tests.unit.bot.provenance.readers import as_a1111, civitai_comment

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
    data = embed_texts(picture(), {PARAMETERS: text})
    assert read_texts(data) == {PARAMETERS: text}
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.info[PARAMETERS] == text


@given(TEXTS)
def test_nothing_but_the_text_is_added_right_behind_the_header(text: str) -> None:
    plain = picture()
    before, after = chunks(plain), chunks(embed_texts(plain, {PARAMETERS: text}))
    assert after[0][0] == b"IHDR"
    assert after[1][0] in {b"tEXt", b"iTXt"}
    assert [after[0], *after[2:]] == before


@pytest.mark.parametrize(
    ("text", "chunk"), [("a red apple", b"tEXt"), ("ein Bär", b"iTXt"), ("夜空中的一只猫", b"iTXt")]
)
def test_only_ascii_stands_in_a_chunk_of_latin_1(text: str, chunk: bytes) -> None:
    # Readers disagree on Latin-1: some take it for UTF-8.
    assert chunks(embed_texts(picture(), {PARAMETERS: text}))[1][0] == chunk


def test_a_chinese_prompt_survives_the_whole_way() -> None:
    recipe = Recipe("1:0", "demo", "夜空中的一只猫\n戴帽子", "文字", 192, 192, 8, 2.0, 2**63 - 1)
    data = embed_texts(picture(), {PARAMETERS: parameters(recipe, "Easel demo")})
    with Image.open(io.BytesIO(data)) as opened:
        found = as_a1111(opened.info["parameters"])
    assert (found.prompt, found.negative) == ("夜空中的一只猫\n戴帽子", "文字")
    assert found.settings["Seed"] == "9223372036854775807"


def test_several_texts_keep_their_order() -> None:
    assert list(read_texts(embed_texts(picture(), {"b": "1", "a": "2"})).items()) == [("b", "1"), ("a", "2")]


@pytest.mark.parametrize("data", [b"", b"GIF89a" + b"\0" * 60, picture()[:20], b"\x89PNG\r\n\x1a\n" + b"\0" * 60])
def test_what_is_no_png_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        embed_texts(data, {PARAMETERS: "x"})


LONG = "a cat 猫 🐈 " * 400


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("text", ["a red apple\nSteps: 8, Seed: 1, Size: 1x1", "猫 🐈\nSteps: 8", LONG])
def test_a_copy_has_the_marks_of_its_png(kind: str, text: str) -> None:
    packet = "<x>猫</x>"
    with Image.open(io.BytesIO(embed_texts(picture(), {PARAMETERS: text, XMP: packet}))) as opened:
        out = io.BytesIO()
        opened.convert("RGB").save(out, kind, **copied_marks(opened.info))
    found = metadata_texts(out.getvalue())
    assert (found[USER_COMMENT], found[XMP]) == (text, packet)
    # A1111 reads the comment with piexif, and only if its type is right.
    exif = piexif.load(out.getvalue()) if kind == "JPEG" else piexif.load(exif_block(text))
    assert piexif.helper.UserComment.load(exif["Exif"][piexif.ExifIFD.UserComment]) == text


def test_civitai_does_not_take_a_long_chinese_prompt_for_little_endian() -> None:
    text = "一只猫在夜空中，戴着最红的帽子。" * 60 + "\nSteps: 8"
    assert civitai_comment(text_of_block(exif_block(text))).strip() == text
    # Shorter ones have their settings among the first bytes.
    assert text_of_block(exif_block("一只猫\nSteps: 8"))[8:].decode("utf-16-be") == "一只猫\nSteps: 8"


def text_of_block(block: bytes) -> bytes:
    return bytes(piexif.load(block)["Exif"][piexif.ExifIFD.UserComment])


def test_a_copy_of_a_picture_without_marks_has_none() -> None:
    with Image.open(io.BytesIO(picture())) as opened:
        assert copied_marks(opened.info) == {}


def test_too_long_a_prompt_is_left_out_of_a_copy_and_the_mark_stays() -> None:
    prompt = "p" * 70_000
    packet = f"<a/><Iptc4xmpExt:AIPromptInformation>{prompt}</Iptc4xmpExt:AIPromptInformation><b/>"
    with Image.open(io.BytesIO(embed_texts(picture(), {PARAMETERS: prompt, XMP: packet}))) as opened:
        marks = copied_marks(opened.info)
        opened.convert("RGB").save(io.BytesIO(), "JPEG", **marks)
    assert marks == {"xmp": b"<a/><b/>"}

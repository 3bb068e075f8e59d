"""Pictures to start from: whatever the file is, it ends upright, opaque and in RGB, or in one sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms

from bot.core.errors import BadInput
from bot.core.image_parts import MAX_EXIF_SEGMENTS, MAX_PARTS
from bot.drawing import image_containers, source_image
from tests.fakes.hostile_files import chunk, jpeg_with, png_with, segment
from tests.fakes.source_images import BLACK, BLUE, GREEN, RED, WHITE, bomb, half_mask, opened, picture, turned


def near(found: object, colour: tuple[int, ...], by: int = 12) -> bool:
    assert isinstance(found, tuple)
    return all(abs(a - b) <= by for a, b in zip(found, colour, strict=True))


def at(data: bytes, x: float = 0.5, y: float = 0.5) -> object:
    found = opened(source_image.normalize_image(data).data)
    assert (found.mode, found.format) == ("RGB", "PNG")
    return found.getpixel((int(x * found.width), int(y * found.height)))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_what_people_have_is_read(form: str) -> None:
    assert near(at(picture(form=form)), RED)


def test_a_phones_picture_stands_upright() -> None:
    plain = source_image.normalize_image(turned(96, 64))
    assert (plain.width, plain.height) == (64, 96)
    assert near(at(turned(), 0.5, 0.1), RED)
    assert near(at(turned(), 0.5, 0.9), BLUE)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_what_was_written_wrongly_about_it_is_no_reason_to_refuse_it() -> None:
    garbage = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\xff\xff" * 40
    assert near(at(picture(form="JPEG", exif=garbage)), RED)


PICTURES = Path(__file__).parents[3] / "fakes" / "pictures"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("file", sorted(PICTURES.glob("exif-*.jpg")), ids=lambda file: str(file.name))
def test_exif_that_breaks_its_reader_is_no_reason_to_refuse_it(file: Path) -> None:
    plain = source_image.normalize_image(file.read_bytes())
    # It lies on its side, and says so.
    assert (plain.width, plain.height) == (240, 320)


def with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    return data[:33] + chunk(name, content) + data[33:]


def test_a_text_that_unpacks_to_megabytes_is_not_read() -> None:
    long = zlib.compress(b"x" * (80 * 2**20), 9)
    for name, head in ((b"zTXt", b"Comment\0\0"), (b"iTXt", b"Comment\0\1\0\0\0")):
        assert near(at(with_chunk(picture(), name, head + long)), RED)
    assert near(at(with_chunk(picture(), b"iCCP", b"p\0\0" + long)), RED)


@pytest.mark.parametrize(
    "data",
    [
        png_with(chunk(b"aaAa", b"") * MAX_PARTS),
        # Pillow joins the segments one by one: hundreds of thousands take minutes.
        jpeg_with(segment(0xE1, b"Exif\0\0a") * (MAX_EXIF_SEGMENTS + 1)),
    ],
)
def test_a_file_of_too_many_parts_is_refused_before_it_is_decoded(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object, **__: object) -> None:
        raise AssertionError("it is decoded")

    monkeypatch.setattr(Image, "open", decode)
    with pytest.raises(BadInput, match=r"refusal\.image\.damaged"):
        source_image.normalize_image(data)
    with pytest.raises(BadInput, match=r"refusal\.mask\.damaged"):
        source_image.normalize_mask(data, picture())


def test_a_damaged_chunk_that_pixels_do_not_need_is_left_out() -> None:
    damaged = with_chunk(picture(), b"gAMA", b"\0\0\xb1\x8f").replace(b"\0\0\xb1\x8f", b"\0\0\xb1\x8e")
    assert near(at(damaged), RED)
    upright = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    plain = source_image.normalize_image(with_chunk(damaged, b"eXIf", upright))
    assert (plain.width, plain.height) == (64, 96)


def drawn() -> Image.Image:
    return Image.effect_mandelbrot((320, 240), (-2, -1.5, 1, 1.5), 60).convert("RGB")


def jpeg(*, progressive: bool) -> bytes:
    out = io.BytesIO()
    drawn().save(out, "JPEG", quality=95, progressive=progressive)
    return out.getvalue()


def test_a_jpeg_that_lacks_only_its_end_is_read() -> None:
    data = (PICTURES / "no-eoi.jpg").read_bytes()
    assert opened(source_image.normalize_image(data).data).size == (320, 240)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [1, 2, 3, 20, 100])
def test_a_jpeg_is_read_when_nearly_all_of_it_is_there(missing: int, progressive: bool) -> None:
    found = opened(source_image.normalize_image(jpeg(progressive=progressive)[:-missing]).data)
    there = (0, 0, 320, 240 - 32)
    differences = ImageChops.difference(found.crop(there), drawn().crop(there)).getextrema()
    assert all(isinstance(band, tuple) and band[1] < 60 for band in differences)


# A progressive one repeats the picture; its last scan is large, and little is seen of it.
@pytest.mark.parametrize(
    ("share", "progressive"), [(0.2, False), (0.5, False), (0.75, False), (0.9, False), (0.2, True), (0.4, True)]
)
def test_a_jpeg_of_which_much_is_missing_is_damaged(share: float, progressive: bool) -> None:
    data = jpeg(progressive=progressive)
    kept = data[: int(len(data) * share)]
    for broken in (kept, with_exif_that_breaks(kept)):
        with pytest.raises(BadInput) as refused:
            source_image.normalize_image(broken)
        assert refused.value.key == "refusal.image.damaged"


def with_exif_that_breaks(data: bytes) -> bytes:
    fault = (PICTURES / "exif-resunit-rational.jpg").read_bytes()
    length = struct.unpack(">H", fault[4:6])[0]
    return fault[: 4 + length] + data[2:]


@given(st.binary(max_size=300))
def test_any_exif_has_an_orientation(junk: bytes) -> None:
    for data in (junk, b"II*\0" + junk, b"Exif\0\0MM\0*" + junk):
        assert 1 <= image_containers.exif_orientation(data) <= 8


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_jpeg_can_be_parsed(junk: bytes, at: int) -> None:
    good = jpeg(progressive=True)
    for data in (b"\xff\xd8\xff" + junk, good[:at] + junk + good[at:]):
        assert image_containers.strip_metadata(data) is None or image_containers.JPEG[:2] in data
        image_containers.has_all_scans(data)
        image_containers.is_progressive(data)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64, "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heixmiaf" + b"\0" * 64, "HEIC"),
        (b"\xff\x0a" + b"\0" * 64, "JPEG XL"),
        (b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a", "JPEG XL"),
        (b"%PDF-1.7\n", "PDF"),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg width="9">', "SVG"),
        (b"<svg/>", "SVG"),
        (b"8BPS\0\1", "Photoshop"),
    ],
)
def test_a_format_that_is_not_read_is_named(data: bytes, name: str) -> None:
    with pytest.raises(BadInput) as refused:
        source_image.normalize_image(data)
    assert (refused.value.key, refused.value.params) == ("refusal.image.format", {"format": name})
    with pytest.raises(BadInput) as refused:
        source_image.normalize_mask(data, picture())
    assert (refused.value.key, refused.value.params) == ("refusal.mask.format", {"format": name})


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("RGBA", (200, 30, 30, 0), WHITE),
        ("RGBA", (200, 30, 30, 255), RED),
        ("LA", (0, 0), WHITE),
        ("L", (128,), (128, 128, 128)),
        ("1", (1,), WHITE),
        ("I;16", (32896,), (128, 128, 128)),
    ],
)
def test_every_kind_of_pixel_becomes_rgb_on_white(mode: str, colour: tuple[int, ...], seen: tuple[int, ...]) -> None:
    assert near(at(picture(colour=colour, mode=mode)), seen, by=1)


def test_half_transparent_lies_on_white() -> None:
    assert near(at(picture(colour=(0, 0, 0, 128), mode="RGBA")), (127, 127, 127), by=1)


def test_wide_and_printed_ones() -> None:
    assert near(at(picture(colour=(0.5,), mode="F", form="TIFF")), (128, 128, 128), by=1)  # type: ignore[arg-type]
    assert near(at(picture(colour=(40_000,), mode="I", form="TIFF")), (156, 156, 156), by=1)
    assert near(at(picture(colour=(0, 255, 255, 0), mode="CMYK", form="JPEG")), (255, 0, 0))
    assert near(at(picture(colour=(60, 0, 0), mode="LAB", form="TIFF")), at(picture(colour=(60,), mode="L")), by=255)  # type: ignore[arg-type]


def test_a_palette_with_a_transparent_colour() -> None:
    flat = opened(picture(colour=RED)).quantize(4)
    out = io.BytesIO()
    flat.save(out, "GIF", transparency=flat.getpixel((0, 0)))
    assert near(at(out.getvalue()), WHITE)


def test_of_a_moving_one_the_first_frame() -> None:
    out = io.BytesIO()
    frames = [opened(picture(colour=colour)) for colour in (RED, GREEN, BLUE)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    assert near(at(out.getvalue()), RED)


def test_its_own_colours_become_srgb() -> None:
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert near(at(picture(icc_profile=plain)), RED, by=1)
    # Its red is called green and its green red.
    swapped = plain.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    assert near(at(picture(icc_profile=swapped)), (RED[1], RED[0], RED[2]), by=2)
    assert at(picture(icc_profile=b"no profile at all")) == at(picture())


def test_nothing_of_what_the_file_says_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    found = opened(source_image.normalize_image(picture(form="JPEG", exif=exif)).data)
    assert (dict(found.getexif()), found.info) == ({}, {})


def test_very_large_ones_are_kept_smaller() -> None:
    plain = source_image.normalize_image(picture(9000, 90, BLACK, mode="RGB"))
    assert (plain.width, plain.height) == (4096, 41)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b"", "unreadable"),
        (b"MZ no picture", "unreadable"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unreadable"),
        (picture(400, 400, form="JPEG", quality=95)[:900], "damaged"),
        (picture()[:60], "damaged"),
        (bomb(), "too_large"),
        (bomb(8000, 6251), "too_large"),
        (bomb(30_000, 30_000), "too_large"),
        (bomb(8000, 6250), "damaged"),
    ],
)
def test_what_can_not_be_used_is_said(data: bytes, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        source_image.normalize_image(data)
    assert refused.value.key == f"refusal.image.{key}"


@given(st.binary(max_size=200), st.integers(0, 150))
def test_no_bytes_end_in_anything_else(junk: bytes, at: int) -> None:
    good = picture()
    for data in (junk, good[:at] + junk, good[:at] + junk + good[at:]):
        try:
            source_image.normalize_image(data)
        except BadInput:
            continue


def test_a_mask_is_grey_and_as_large_as_its_picture() -> None:
    plain = source_image.normalize_mask(half_mask(), picture())
    mask = opened(plain.data)
    assert (mask.mode, mask.size) == ("L", (96, 64))
    assert (mask.getpixel((1, 1)), mask.getpixel((90, 60))) == (0, 255)
    # Both lie as the phone's picture does, and both are made smaller alike.
    assert source_image.normalize_mask(half_mask(64, 96), turned()).width == 64
    assert (
        source_image.normalize_mask(half_mask(9000, 90), picture(9000, 90)).width
        == source_image.normalize_image(picture(9000, 90)).width
    )


def test_where_a_mask_draws_anew_is_known() -> None:
    assert source_image.normalize_mask(half_mask(), picture()).white is not None
    assert source_image.normalize_image(picture()).white is None
    one = Image.new("L", (9000, 90))
    one.putpixel((5, 5), 40)
    out = io.BytesIO()
    one.save(out, "PNG")
    with pytest.raises(BadInput, match="black"):  # nothing is left of it at the size that is kept
        source_image.normalize_mask(out.getvalue(), picture(9000, 90))


@pytest.mark.parametrize(
    ("mask", "key"),
    [
        (b"nothing", "unreadable"),
        (half_mask()[:50], "damaged"),
        (half_mask(64, 96), "size"),
        (picture(colour=BLACK), "black"),
        (picture(colour=(15, 15, 15)), "black"),
        (picture(colour=BLACK, form="JPEG", quality=50), "black"),
        (picture(colour=(255, 255, 255, 0), mode="RGBA"), "black"),
    ],
)
def test_a_mask_that_can_not_be_used_is_said(mask: bytes, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        source_image.normalize_mask(mask, picture())
    assert refused.value.key == f"refusal.mask.{key}"


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGBA", {}), ("LA", {}), ("P", {"transparency": 0}), ("RGB", {"transparency": (9, 9, 9)}), ("RGB", {})],
)
def test_a_large_picture_is_made_small_before_it_is_copied(
    mode: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture(640, 320, (9,) * len(Image.new(mode, (1, 1)).getbands()), mode=mode, **options)
    monkeypatch.setattr(source_image, "MAX_SIDE", 64)
    seen: list[tuple[int, int]] = []
    composite, transpose, paste = Image.alpha_composite, Image.Image.transpose, Image.Image.paste

    def composed(under: Image.Image, over: Image.Image) -> Image.Image:
        seen.append(over.size)
        return composite(under, over)

    def pasted(self: Image.Image, *args: Any, **kwargs: Any) -> None:
        seen.append(self.size)
        paste(self, *args, **kwargs)

    def transposed(self: Image.Image, method: Image.Transpose) -> Image.Image:
        seen.append(self.size)
        return transpose(self, method)

    monkeypatch.setattr(Image, "alpha_composite", composed)
    monkeypatch.setattr(Image.Image, "transpose", transposed)
    monkeypatch.setattr(Image.Image, "paste", pasted)
    plain = source_image.normalize_image(data)
    assert (plain.width, plain.height) == (64, 32)
    assert set(seen) == {(64, 32)}


def test_shades_survive_where_colours_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every other pixel black: half-way to white once it is small, with nothing left out.
    striped = Image.new("1", (400, 400), 1)
    for x in range(0, 400, 2):
        striped.paste(0, (x, 0, x + 1, 400))
    out = io.BytesIO()
    striped.save(out, "PNG")
    monkeypatch.setattr(source_image, "MAX_SIDE", 40)
    colour = opened(source_image.normalize_image(out.getvalue()).data).getpixel((20, 20))
    assert isinstance(colour, tuple)
    assert all(100 < channel < 155 for channel in colour)


def test_a_mask_is_held_against_the_size_in_the_picture_s_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_image, "MAX_SIDE", 64)
    decoded = []
    read = source_image._decoded
    monkeypatch.setattr(source_image, "_decoded", lambda data, what: decoded.append(what) or read(data, what))  # type: ignore[func-returns-value]
    # Turned: 300 wide and 200 high as it is stored, and the other way round as it is seen.
    plain = source_image.normalize_mask(half_mask(200, 300), turned(300, 200))
    assert (plain.width, plain.height) == (43, 64)
    with pytest.raises(BadInput) as caught:
        source_image.normalize_mask(half_mask(300, 200), turned(300, 200))
    assert (caught.value.key, caught.value.params["wanted"]) == ("refusal.mask.size", "200x300")
    assert decoded == ["mask", "mask"], "the picture itself was decoded before"


def test_bytes_that_are_no_chunk_end_a_png() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    for junk, orientation in ((b"", 6), (bytes(12), 1)):
        found = image_containers.strip_metadata(image_containers.PNG + junk + chunk)
        assert found is not None
        assert found.orientation == orientation

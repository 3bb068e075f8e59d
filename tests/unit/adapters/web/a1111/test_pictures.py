"""Pictures in base64, and masks fitted to their pictures."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from adapters.web.a1111.errors import InvalidBody
from adapters.web.a1111.pictures import fitted_mask, picture_of
from adapters.web.errors import BodyTooLarge
from bot.core.requests import MAX_PICTURE_BYTES
from tests.fakes.source_images import opened, png_of


def test_base64_with_and_without_its_scheme() -> None:
    text = base64.b64encode(b"\x89PNG...").decode()
    for written in (text, f"data:image/png;base64,{text}", text[:4] + "\n" + text[4:]):
        assert picture_of(written, "mask") == b"\x89PNG..."


@pytest.mark.parametrize("text", ["", "data:image/png;base64,", "a", "%%%", "http://127.0.0.1/x.png", "https://a/b"])
def test_what_is_no_picture(text: str) -> None:
    with pytest.raises(InvalidBody) as refused:
        picture_of(text, "init_images", 2)
    assert refused.value.problems[0].loc == ("body", "init_images", 2)


def test_a_picture_that_is_too_large() -> None:
    with pytest.raises(BodyTooLarge):
        picture_of(base64.b64encode(bytes(MAX_PICTURE_BYTES + 1)).decode(), "mask")


def test_a_mask_of_its_pictures_size_stays_as_it_is() -> None:
    mask = png_of(Image.new("L", (8, 6), 255))
    assert fitted_mask(mask, png_of(Image.new("RGB", (8, 6))), invert=False) == mask


def test_a_mask_is_scaled_turned_as_its_picture_and_inverted() -> None:
    sideways = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(sideways, "JPEG", exif=exif)
    mask = Image.new("RGBA", (2, 2), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (0, 0, 1, 2))
    with opened(fitted_mask(png_of(mask), sideways.getvalue(), invert=True)) as found:
        assert (found.size, found.mode) == ((6, 8), "L")
        assert (found.getpixel((0, 4)), found.getpixel((5, 4))) == (0, 255)


@pytest.mark.parametrize("broken", [b"nothing", b""])
def test_what_can_not_be_read_is_left_to_admission(broken: bytes) -> None:
    picture = png_of(Image.new("RGB", (8, 6)))
    assert fitted_mask(broken, picture, invert=True) == broken
    assert fitted_mask(picture, broken, invert=True) == picture

"""The visible label: high enough in every preset, legible on any picture, in the corner, and nowhere unless asked for."""

from __future__ import annotations

import io

import pytest
from PIL import Image as Pillow
from PIL import ImageChops

from bot.core.requests import DrawRequest
from bot.provenance.facts import MarkingRules
from bot.provenance.marks import Marker
from bot.provenance.reading import read_parameters
from bot.provenance.visible_label import CHINESE, ENGLISH, draw_label, label_text
from bot.settings import LabelPlace
from engine.contract import Image, Recipe
from engine.families.registry import known_models

PRESETS = sorted({size for model in known_models() for size in model.profile.presets.values()})
GREY = (128, 128, 128)
WHITE, BRIGHT = (255, 255, 255), 160
"""The letters, and the least grey of what counts as one."""


def png(size: tuple[int, int], colour: tuple[int, int, int] = GREY) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def opened(data: bytes) -> Pillow.Image:
    with Pillow.open(io.BytesIO(data)) as picture:
        picture.load()
    return picture


def text_box(labelled: Pillow.Image) -> tuple[int, int, int, int]:
    """The box around the letters, which are white, in a picture that is darker elsewhere."""
    box = labelled.convert("L").point(lambda value: 255 if value >= BRIGHT else 0).getbbox()
    assert box is not None
    return box


@pytest.mark.parametrize("text", [CHINESE, ENGLISH])
@pytest.mark.parametrize("size", [*PRESETS, (64, 64), (48, 32), (2048, 512)])
def test_the_letters_have_a_twentieth_of_the_shorter_side(size: tuple[int, int], text: str) -> None:
    left, top, right, bottom = text_box(opened(draw_label(png(size), text)))
    assert bottom - top >= 0.05 * min(size)
    assert (left > 0, top > 0) == (True, True)
    # In the lower right corner, and not over half of the picture.
    assert right > size[0] * 0.8
    assert bottom > size[1] * 0.7
    assert (right - left) * (bottom - top) < size[0] * size[1] / 4


@pytest.mark.parametrize("ground", [GREY, WHITE, (255, 255, 0), (255, 0, 0), (0, 0, 255)])
def test_it_is_legible_on_any_ground(ground: tuple[int, int, int]) -> None:
    plain = png((512, 512), ground)
    labelled = opened(draw_label(plain, ENGLISH))
    box = ImageChops.difference(labelled, opened(plain)).getbbox()
    assert box is not None
    plate = labelled.getpixel((box[0] + 4, (box[1] + box[3]) // 2))
    assert isinstance(plate, tuple)
    assert WHITE in {colour for _, colour in labelled.crop(box).getcolors(2**16) or []}
    assert (luminance(WHITE) + 0.05) / (luminance(plate) + 0.05) > 7, "contrast (WCAG, level AAA)"


def luminance(colour: tuple[int, ...]) -> float:
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_rest_of_the_picture_stays_and_a_second_label_covers_the_first() -> None:
    plain = Pillow.radial_gradient("L").resize((512, 768)).convert("RGB")
    out = io.BytesIO()
    plain.save(out, "PNG")
    once = draw_label(out.getvalue(), CHINESE)
    changed = ImageChops.difference(opened(once), plain).getbbox()
    assert changed is not None
    assert changed[0] > 512 / 2
    assert changed[1] > 768 * 0.8
    again = ImageChops.difference(opened(draw_label(once, CHINESE)), plain).getbbox()
    assert again == changed


@pytest.mark.parametrize(
    ("locale", "aigc", "text"),
    [("en", False, ENGLISH), ("zh_CN", False, CHINESE), ("zh-TW", False, CHINESE), ("", False, ENGLISH), ("en", True, CHINESE)],
)  # fmt: skip
def test_its_language(locale: str, aigc: bool, text: str) -> None:
    assert label_text(locale, aigc=aigc) == text


@pytest.mark.parametrize(
    ("place", "asked", "labelled"),
    [(LabelPlace.OFF, False, False), (LabelPlace.OFF, True, True), (LabelPlace.CORNER, False, True)],
)
def test_a_file_has_it_by_setting_or_by_request(place: LabelPlace, asked: bool, labelled: bool) -> None:
    recipe = Recipe("1:0", "demo", "a cat", "", 256, 256, 4, 1.0, 7)
    request = DrawRequest("a cat", "a cat", "", 256, 256, 4, 1.0, 7, 1, "demo", label=asked)
    image = Image(recipe.id, png((256, 256)), width=256, height=256, seconds=1.0)
    data, document = Marker(lambda: (), MarkingRules(label=place)).mark(image, request, recipe, drawn_at=0)
    assert (ImageChops.difference(opened(data), opened(image.data)).getbbox() is not None) is labelled
    assert document.encode() in data, "the other marks come after it"
    read = read_parameters(data)
    assert read is not None
    assert read.labelled is labelled


def test_a_damaged_picture_is_an_error() -> None:
    with pytest.raises(OSError, match=r"cannot identify|broken|truncated"):
        draw_label(png((64, 64))[:-30], ENGLISH)

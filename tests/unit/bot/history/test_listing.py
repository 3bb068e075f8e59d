"""The contact sheet."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from bot.core.inspection import TRAINED
from bot.history.listing import contact_sheet
from bot.provenance.inspection import inspect

COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200)]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = []
    for index, colour in enumerate(COLOURS):
        path = tmp_path / f"{index}.png"
        Image.new("RGB", ((192, 192), (256, 144), (144, 256), (1024, 1024), (64, 64))[index], colour).save(path)
        made.append(path)
    return made


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def labels(count: int) -> list[str]:
    return [f"#{n}" for n in range(count)]


def test_each_picture_is_in_its_place(paths: list[Path]) -> None:
    sheet = contact_sheet(paths, labels(5), cell=100, columns=3)
    picture = opened(sheet.data)
    assert picture.size == (sheet.width, sheet.height) == (3 * 108 + 8, 2 * 108 + 8)
    for index, colour in enumerate(COLOURS):
        centre = (8 + index % 3 * 108 + 50, 8 + index // 3 * 108 + 50)
        assert picture.getpixel(centre) == colour


def test_a_sheet_says_that_models_drew_its_pictures(paths: list[Path]) -> None:
    sheet = contact_sheet(paths, labels(5), cell=100)
    found = inspect(sheet.data)
    assert (found.source_type, found.is_faulty, set(found.claims)) == (
        TRAINED,
        False,
        {"Iptc4xmpExt:DigitalSourceType", "xmp:CreatorTool"},
    )
    # The same pictures have the same file, since its name is its digest.
    assert contact_sheet(paths, labels(5), cell=100).data == sheet.data


def test_shapes_are_kept(paths: list[Path]) -> None:
    wide = opened(contact_sheet([paths[1]], labels(1), cell=128).data)
    # 256x144 in a square of 128: 72 high, in the middle.
    assert wide.getpixel((8 + 64, 8 + 28 + 3)) == COLOURS[1]
    assert wide.getpixel((8 + 64, 8 + 28 - 3)) != COLOURS[1]


def test_small_pictures_are_enlarged(paths: list[Path]) -> None:
    small = opened(contact_sheet([paths[4]], labels(1), cell=256).data)
    assert small.getpixel((8 + 250, 8 + 250)) == COLOURS[4]


def test_numbers_are_written(paths: list[Path]) -> None:
    picture = opened(contact_sheet([paths[0]], labels(1), cell=180).data)
    corner = picture.crop((8, 8, 60, 60)).getcolors(maxcolors=52 * 52)
    assert corner is not None
    assert (255, 255, 255) in {colour for _, colour in corner}


def test_what_can_not_be_read_leaves_its_place_empty(paths: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:60])
    text = tmp_path / "text.png"
    text.write_text("no picture")
    sheet = opened(
        contact_sheet(
            [paths[0], broken, text, None, tmp_path / "gone.png", paths[1]], labels(6), cell=60, columns=6
        ).data
    )
    centres = [sheet.getpixel((8 + index * 68 + 40, 8 + 40)) for index in range(6)]
    assert centres[0] == COLOURS[0]
    assert centres[5] == COLOURS[1]
    assert len(set(centres[1:5])) == 1


def test_nothing_makes_no_sheet() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], [])

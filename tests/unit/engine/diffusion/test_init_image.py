"""Whatever is in the file, it ends in pixels or in a sentence."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from engine.contract import BadImage
from engine.diffusion import init_image
from engine.diffusion.controlnets import canny
from engine.diffusion.image_encoder import to_uint8
from engine.families.denoise_state import InitImage, kept_outside_mask
from tests.unit.engine.diffusion.toy import TOY, to_its_end


def start(path: Path, mask: Path | None = None) -> InitImage:
    found = to_its_end(init_image.read(replace(TOY, image=str(path), mask="" if mask is None else str(mask))))
    assert found is not None
    return found


def test_without_a_picture_there_is_none() -> None:
    assert to_its_end(init_image.read(TOY)) is None


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "I;16", "1", "LA"])
def test_pictures_of_all_kinds(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Pillow.new(mode, (20, 12)).save(path)
    assert start(path).pixels.shape == (8, 8, 3)


def test_what_can_be_seen_through_is_white(tmp_path: Path) -> None:
    Pillow.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (start(tmp_path / "a.png").pixels == 255).all()


def test_turned_as_its_camera_says(tmp_path: Path) -> None:
    picture = Pillow.new("RGB", (8, 8), "red")
    picture.paste((0, 0, 255), (0, 0, 8, 4))
    exif = picture.getexif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "a.png", exif=exif)
    pixels = start(tmp_path / "a.png").pixels
    assert (tuple(pixels[0, 0]), tuple(pixels[7, 0])) == ((255, 0, 0), (0, 0, 255))


def test_a_mask_is_what_is_white(tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 8)).save(tmp_path / "a.png")
    mask = Pillow.new("L", (8, 8), 0)
    mask.paste(255, (0, 0, 4, 8))
    mask.save(tmp_path / "m.png")
    found = start(tmp_path / "a.png", tmp_path / "m.png").mask
    assert found is not None
    assert np.array_equal(found, np.repeat([[1.0] * 4 + [0.0] * 4], 8, 0))


def references(paths: list[Path], most: int = init_image.MAX_PIXELS) -> tuple[tuple[int, ...], ...]:
    recipe = replace(TOY, references=tuple(map(str, paths)))
    return tuple(found.shape for found in to_its_end(init_image.read_references(recipe, most)))


def test_references_keep_their_order_and_size(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    Pillow.new("RGBA", (20, 12)).save(paths[0])
    Pillow.new("L", (7, 30)).save(paths[1])
    assert references(paths) == ((12, 20, 3), (30, 7, 3))
    assert references(paths[::-1]) == ((30, 7, 3), (12, 20, 3))
    assert references([]) == ()


def test_large_references_are_scaled_down_in_their_ratio(tmp_path: Path) -> None:
    Pillow.new("RGB", (400, 100)).save(tmp_path / "a.png")
    assert references([tmp_path / "a.png"], 10_000) == ((50, 200, 3),)
    assert references([tmp_path / "a.png"], 40_000) == ((100, 400, 3),)


def test_a_reference_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(BadImage, match="The reference picture 2 can't be read as a picture"):
        references([tmp_path / "a.png", tmp_path / "b.png"])
    with pytest.raises(BadImage, match="The reference picture 1 is not there any more"):
        references([tmp_path / "gone.png"])


def test_all_pictures_are_read_in_slices(tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 8)).save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    reader = init_image.InitImageReader(replace(TOY, image=path, references=(path, path)))
    assert [reader.read_for(0) for _ in range(3)] == [False, False, True]
    assert (reader.image is not None, len(reader.references)) == (True, 2)


@pytest.mark.parametrize("level", [0, 15])
def test_a_mask_with_nothing_white_where_it_is_drawn_is_refused(level: int, tmp_path: Path) -> None:
    Pillow.new("RGB", (24, 8)).save(tmp_path / "a.png")
    mask = Pillow.new("L", (24, 8), level)
    mask.paste(255, (0, 0, 4, 8))  # the picture is cut to its middle
    mask.save(tmp_path / "m.png")
    with pytest.raises(BadImage, match="mask is white where"):
        start(tmp_path / "a.png", tmp_path / "m.png")


@pytest.mark.parametrize(("noise", "plain"), [(0, True), (8, True), (60, False)])
def test_what_a_plain_start_is(noise: int, plain: bool) -> None:
    pixels = np.full((8, 8, 3), 90, np.uint8)
    pixels[::2] += np.uint8(noise)
    assert init_image.is_plain(InitImage(pixels)) is plain
    assert not init_image.is_plain(None)


def bomb(side: int) -> bytes:
    """Return a PNG of many pixels and hardly any bytes."""
    buffer = io.BytesIO()
    Pillow.new("1", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "can't be read as a picture"),
        (b"<svg/>", "can't be read as a picture"),
        (bomb(10_000)[:200], "more than 50 million pixels"),
        (bomb(7_200), "more than 50 million pixels"),
        (bomb(10_000), "more than 50 million pixels"),
    ],
)
def test_bad_files_are_one_sentence(data: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(BadImage, match=sentence):
        start(tmp_path / "a.png")


def test_cut_short(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Pillow.effect_noise((64, 64), 99).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue()[:-500])
    with pytest.raises(BadImage, match="can't be read"):
        start(tmp_path / "a.png")


def test_gone(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="not there any more"):
        start(tmp_path / "a.png")


def control(tmp_path: Path, pixels: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    Pillow.fromarray(pixels).save(tmp_path / "control.png")
    recipe = replace(TOY, width=64, height=64, image=str(tmp_path / "control.png"), control=kind)
    reader = init_image.InitImageReader(recipe)
    assert reader.read_for(60)
    assert reader.image is None, "it is not what drawing starts from"
    assert reader.control is not None
    return reader.control


def test_a_control_picture_is_given_as_it_is_and_a_canny_one_is_made(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[16:48, 16:48] = (200, 120, 40)
    assert np.array_equal(control(tmp_path, pixels, "depth"), pixels)
    edges = control(tmp_path, pixels, "canny")
    assert set(np.unique(edges)) == {0, 255}
    assert edges.shape == (64, 64, 3)
    assert np.array_equal(edges[..., 0], canny(pixels))
    assert np.array_equal(control(tmp_path, edges, "canny"), edges), "edges of edges would be twice as many"
    assert control(tmp_path, pixels[:32], "depth").shape == (64, 64, 3)


def test_a_control_picture_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="The control picture is not there any more"):
        init_image.read_control(replace(TOY, image=str(tmp_path / "gone.png"), control="depth"))


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, Path]:
    """Return a picture of 256x512 pixels with fine stripes, and a mask with a small white square near a corner."""
    stripes = np.zeros((256, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    Pillow.fromarray(stripes).save(tmp_path / "a.png")
    mask = Pillow.new("L", (512, 256), 0)
    mask.paste(255, (136, 8, 152, 24))  # the middle of 256 pixels is drawn, from 128 on
    mask.save(tmp_path / "m.png")
    return tmp_path / "a.png", tmp_path / "m.png"


def zoomed(large: tuple[Path, Path], side: int = 128) -> InitImage:
    recipe = replace(TOY, image=str(large[0]), mask=str(large[1]), width=side, height=side)
    found = to_its_end(init_image.read(recipe))
    assert found is not None
    return found


def test_a_small_mask_is_zoomed_into_from_the_file(large: tuple[Path, Path]) -> None:
    found = zoomed(large)
    assert found.zoomed
    assert found.around is not None
    assert found.around.box == (0, 0, 24, 24)
    assert (found.pixels.shape, found.around.pixels.shape) == ((128, 128, 3), (128, 128, 3))
    # A picture of half the size has no stripes any more; the part of the file has.
    assert np.ptp(found.around.pixels[20:100, 20:100]) < 60
    assert np.ptp(found.pixels[40:80, 40:80]) > 200
    assert found.mask is not None
    ys, xs = np.nonzero(found.mask > 0.5)
    assert [int(n) for n in (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1)] == pytest.approx([21, 64, 21, 64], abs=1)


def test_the_drawn_part_is_put_back_and_all_else_is_the_source(large: tuple[Path, Path]) -> None:
    found = zoomed(large)
    assert found.around is not None
    drawn = torch.zeros(128, 128, 3)
    drawn[..., 0] = 1.0
    made = to_uint8(kept_outside_mask(drawn, found))
    assert made is not None
    assert made.shape == (128, 128, 3)
    kept = found.around.mask == 0
    assert kept.mean() > 0.9
    assert np.array_equal(made[kept], found.around.pixels[kept])
    assert np.abs(made[6:10, 6:10].astype(int) - (255, 0, 0)).max() <= 8


def test_what_overflowed_is_not_hidden_by_putting_it_back(large: tuple[Path, Path]) -> None:
    drawn = torch.full((128, 128, 3), torch.nan)
    assert not torch.isfinite(kept_outside_mask(drawn, zoomed(large))).all()


def test_the_part_of_a_picture_that_is_fitted_exactly(large: tuple[Path, Path]) -> None:
    for side in (64, 120, 200, 256):
        found = zoomed(large, side)
        assert found.around is not None
        assert found.pixels.shape == found.around.pixels.shape == (side, side, 3)

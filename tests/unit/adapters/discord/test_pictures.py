"""Files as Discord takes them."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from adapters.discord import pictures
from adapters.discord.pictures import uploads
from bot.core.pictures import PictureFile
from tests.unit.adapters.discord.scripted import PROFILE


def picture(
    folder: Path, name: str = "7-0.png", size: tuple[int, int] = (64, 64), *, noise: bool = False
) -> PictureFile:
    image = Image.new("RGB", size, "red")
    if noise:
        image = Image.frombytes("RGB", size, random.Random(0).randbytes(size[0] * size[1] * 3))
    text = PngInfo()
    text.add_text("parameters", "an apple 苹果\nSteps: 4")
    image.save(folder / name, pnginfo=text)
    return PictureFile(folder / name, name, "image/png", *size, alt="an apple")


async def test_small_pictures_are_enlarged_and_keep_what_they_were_made_from(tmp_path: Path) -> None:
    (upload,) = await uploads([picture(tmp_path)], (PROFILE,))
    with Image.open(io.BytesIO(upload.data)) as image:
        assert image.size == (128, 128)
        assert image.getpixel((64, 64)) == (255, 0, 0)
        assert image.info["parameters"] == "an apple 苹果\nSteps: 4"
    assert upload.alt == "an apple"


async def test_pictures_of_other_models_stay_as_they_are(tmp_path: Path) -> None:
    large = picture(tmp_path, size=(256, 256))
    assert (await uploads([large], (PROFILE,)))[0].data == large.path.read_bytes()
    small = picture(tmp_path, "8-0.png")
    assert (await uploads([small], ()))[0].data == small.path.read_bytes()


async def test_names_differ_and_ten_are_the_most(tmp_path: Path) -> None:
    made = await uploads([picture(tmp_path)] * 12, ())
    assert len(made) == 10
    assert len({u.name for u in made}) == 10


async def test_one_file_may_be_as_large_as_its_place_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = picture(tmp_path, size=(128, 128), noise=True)
    size = large.path.stat().st_size
    monkeypatch.setattr(pictures, "FILE_BYTES", size // 2)
    monkeypatch.setattr(pictures, "REQUEST_BYTES", size - 1)
    assert [u.name for u in await uploads([large], ())] == ["7-0.webp"]
    assert [u.name for u in await uploads([large], (), max_file=size)] == ["7-0.png"]
    # Together they keep to the request's limit.
    two = await uploads([large, large], (), max_file=size)
    assert sum(len(u.data) for u in two) <= size


async def test_alt_text_fits(tmp_path: Path) -> None:
    (upload,) = await uploads([replace(picture(tmp_path), alt="x" * 2000)], ())
    assert len(upload.alt) == 1024
    (bare,) = await uploads([replace(picture(tmp_path), alt="")], ())
    assert bare.file().description is None


async def test_what_is_too_large_becomes_webp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "FILE_BYTES", 20_000)
    (upload,) = await uploads([picture(tmp_path, size=(128, 128), noise=True)], ())
    assert upload.name == "7-0.webp"
    assert len(upload.data) <= 20_000
    with Image.open(io.BytesIO(upload.data)) as image:
        assert image.format == "WEBP"


async def test_what_differs_from_the_stored_file_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def sign(data: bytes, mime: str, original: bytes) -> bytes:
        asked.append((mime, original))
        with Image.open(io.BytesIO(data)) as image:
            assert Image.MIME[image.format or ""] == mime
        return data + b"signed"

    small, large = picture(tmp_path), picture(tmp_path, "8-0.png", (128, 128), noise=True)
    stored = small.path.read_bytes(), large.path.read_bytes()
    (as_stored,) = await uploads([large], (), sign=sign)
    assert as_stored.data == stored[1]
    (enlarged,) = await uploads([small], (PROFILE,), sign=sign)
    monkeypatch.setattr(pictures, "FILE_BYTES", 20_000)
    (webp,) = await uploads([large], (), sign=sign)
    assert asked == [("image/png", stored[0]), ("image/webp", stored[1])]
    assert enlarged.data.endswith(b"signed")
    assert webp.data.endswith(b"signed")
    assert len(webp.data) <= 20_000


async def test_several_share_the_requests_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "REQUEST_BYTES", 60_000)
    monkeypatch.setattr(pictures, "FILE_BYTES", 60_000)
    files = [picture(tmp_path, f"7-{i}.png", (128, 128), noise=True) for i in range(4)]
    made = await uploads(files, ())
    assert sum(len(u.data) for u in made) <= 60_000
    assert {Path(u.name).suffix for u in made} == {".webp"}


async def test_a_second_try_is_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SMALL_BYTES", 5_000)
    (upload,) = await uploads([picture(tmp_path, size=(128, 128), noise=True)], (), small=True)
    assert len(upload.data) <= 5_000


async def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    gone = picture(tmp_path)
    gone.path.unlink()
    with pytest.raises(OSError, match="7-0"):
        await uploads([gone], ())


async def test_what_is_covered_stays_covered_however_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [picture(tmp_path), replace(picture(tmp_path, "7-1.png"), spoiler=True)]
    assert [u.file().filename for u in await uploads(shown, (PROFILE,))] == ["7-0.png", "SPOILER_7-1-1.png"]
    monkeypatch.setattr(pictures, "SMALL_BYTES", 300)
    large = replace(picture(tmp_path, "8-0.png", (128, 128), noise=True), spoiler=True)
    assert (await uploads([large], (), small=True))[0].file().filename == "SPOILER_8-0.webp"

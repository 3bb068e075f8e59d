"""Thumbnails: their sizes and weight, made once for many who ask, again after a kill, and gone with their pictures."""

from __future__ import annotations

import asyncio
import io
import random
from pathlib import Path

import pytest
from PIL import Image

from bot.core.file_marks import PARAMETERS, XMP, embed_texts
from bot.storage import thumbnails
from bot.storage.thumbnails import SIDES, TILE_BYTES, Thumbnails, encode, name_of

DIGEST = "0123456789abcdef" * 2


def put(folder: Path, size: tuple[int, int] = (1024, 768), mode: str = "RGB", *, noise: bool = False) -> str:
    """Write a picture; returns its path in the pictures folder."""
    path = folder / "2026/01/02/7-0.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.effect_noise(size, 200) if noise else Image.linear_gradient("L").resize(size)
    picture.convert(mode).save(path)
    return path.relative_to(folder).as_posix()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((1024, 768), 320, (320, 240)),
        ((768, 1024), 960, (720, 960)),
        ((512, 512), 960, (512, 512)),
        ((64, 64), 320, (64, 64)),
        ((2048, 1), 320, (320, 1)),
    ],
)
def test_a_thumbnail_keeps_the_ratio_and_is_never_larger_than_its_picture(
    pictures: Path, size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    with Image.open(io.BytesIO(encode(pictures / put(pictures, size), side))) as made:
        assert (made.format, made.size) == ("WEBP", expected)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_any_picture_becomes_one(pictures: Path, mode: str) -> None:
    assert encode(pictures / put(pictures, (64, 64), mode), 320)


def test_a_thumbnail_has_the_xmp_and_no_prompt(pictures: Path) -> None:
    path = pictures / put(pictures, noise=True)
    packet = "<a><Iptc4xmpExt:AIPromptInformation>a secret</Iptc4xmpExt:AIPromptInformation><b>drawn</b></a>"
    path.write_bytes(embed_texts(path.read_bytes(), {PARAMETERS: "a secret", XMP: packet}))
    for side in SIDES:
        data = encode(path, side)
        with Image.open(io.BytesIO(data)) as made:
            assert made.info["xmp"] == b"<a><b>drawn</b></a>"
        assert b"secret" not in data


def test_a_tile_weighs_little_whatever_is_in_the_picture(pictures: Path) -> None:
    smooth, noisy = (encode(pictures / put(pictures, noise=noise), SIDES[0]) for noise in (False, True))
    assert len(smooth) < TILE_BYTES
    # Noise fits into no quality; it has the lowest.
    assert len(noisy) < 3 * TILE_BYTES
    assert len(encode(pictures / put(pictures, noise=True), SIDES[1])) > 3 * TILE_BYTES, (
        "larger ones keep their quality"
    )


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + random.Random(7).randbytes(99)])
async def test_a_damaged_picture_has_none(pictures: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = put(pictures)
    (pictures / path).write_bytes(content)
    assert await Thumbnails(pictures).get(DIGEST, path, 320) is None
    assert "can't be made" in caplog.text


async def test_many_who_ask_have_it_made_once(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(picture: Path, side: int) -> bytes:
        made.append(side)
        return encode(picture, side)

    monkeypatch.setattr(thumbnails, "encode", counted)
    path, maker = put(pictures), Thumbnails(pictures)
    found = await asyncio.gather(*(maker.get(DIGEST, path, 320) for _ in range(9)))
    assert set(found) == {pictures.parent / "thumbs" / name_of(DIGEST, 320)}
    assert await maker.get(DIGEST, path, 320) == found[0]
    assert made == [320]


async def test_one_who_leaves_takes_it_from_no_other(pictures: Path) -> None:
    path, maker = put(pictures), Thumbnails(pictures)
    first, second = (asyncio.create_task(maker.get(DIGEST, path, 320)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None


async def test_a_stored_picture_gets_both_soon(pictures: Path) -> None:
    path, maker = put(pictures), Thumbnails(pictures)
    running = asyncio.create_task(maker.run())
    maker.picture_stored(DIGEST, path)
    async with asyncio.timeout(20):
        while len(list(maker.folder.glob("*.webp"))) < len(SIDES):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert {path.name for path in maker.folder.iterdir()} == {name_of(DIGEST, side) for side in SIDES}


async def test_a_picture_that_is_deleted_meanwhile_leaves_none(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, maker = put(pictures), Thumbnails(pictures)

    def deleted_meanwhile(picture: Path, side: int) -> bytes:
        data = encode(picture, side)
        picture.unlink()
        return data

    monkeypatch.setattr(thumbnails, "encode", deleted_meanwhile)
    assert await maker.get(DIGEST, path, 320) is None
    assert not list(maker.folder.iterdir())


async def test_a_link_in_the_folder_is_not_followed(pictures: Path, tmp_path: Path) -> None:
    path, maker = put(pictures), Thumbnails(pictures)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    maker.folder.mkdir()
    (maker.folder / name_of(DIGEST, 320)).symlink_to(secret)
    found = await maker.get(DIGEST, path, 320)
    assert found is not None
    assert found.read_bytes()[:4] == b"RIFF"
    assert secret.read_text() == "secret"


async def test_an_unknown_fault_of_one_is_logged_and_the_next_is_made(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, path = Thumbnails(pictures), put(pictures)
    real, other = one.get, "f" * 32

    async def get(digest: str, path: str, side: int) -> Path | None:
        if digest == other:
            raise RuntimeError("a fault")
        return await real(digest, path, side)

    monkeypatch.setattr(one, "get", get)
    running = asyncio.create_task(one.run())
    one.picture_stored(other, path)
    one.picture_stored(DIGEST, path)
    wanted = [one.folder / name_of(DIGEST, side) for side in SIDES]
    async with asyncio.timeout(60):
        while not all(file.exists() for file in wanted):
            await asyncio.sleep(0.01)
            assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert "a fault" in caplog.text

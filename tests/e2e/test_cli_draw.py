"""`easel draw` from the outside: pictures that follow their prompts, and one clear line for what can't be drawn."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from bot.cards.i18n import text
from tests.e2e.conftest import Typed
from tests.e2e.service import easel
from tests.fakes.png_texts import pixels, read_texts

pytestmark = pytest.mark.slow

Colour = tuple[float, float, float]


def _mean(picture: Image.Image, box: tuple[int, int, int, int]) -> Colour:
    pixels = picture.convert("RGB").crop(box).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(pixels, tuple)
    red, green, blue = pixels
    return red, green, blue


def edge(path: Path) -> Colour:
    """Mean colour of the four corners, where the background is."""
    with Image.open(path) as picture:
        w, h, s = picture.width, picture.height, picture.width // 10
        corners = [(0, 0, s, s), (w - s, 0, w, s), (0, h - s, s, h), (w - s, h - s, w, h)]
        means = [_mean(picture, box) for box in corners]
    red, green, blue = (sum(channel) / 4 for channel in zip(*means, strict=True))
    return red, green, blue


def middle(path: Path) -> Colour:
    """Mean colour of the middle, where the object is."""
    with Image.open(path) as picture:
        w, h = picture.size
        return _mean(picture, (w * 2 // 5, h * 2 // 5, w * 3 // 5, h * 3 // 5))


@pytest.fixture(scope="module")
def apples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with seed 7 drawn twice by two processes, and seeds 8 and 9 by a third, which is asked for more."""
    folder = tmp_path_factory.mktemp("apples")
    for name, said in (("a.png", f"easel: {text('en', 'cli.draw.demo')}\n"), ("b.png", "")):
        done = easel("draw", "a red apple on a blue background", "--seed", "7", "-o", name, cwd=folder)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", said)
    # A full-width digit and a long dash, as phones and Chinese keyboards type them; and what this model ignores.
    more = ("a red apple on a blue background —seed ８", "--count", "2", "--no", "dogs", "-o", "c.png")
    done = easel("draw", *more, cwd=folder)
    assert (done.returncode, done.stdout) == (0, "c-1.png\nc-2.png\n")
    (note,) = done.stderr.splitlines()
    assert "guidance" in note
    return folder


def test_the_same_seed_gives_the_same_pixels(apples: Path) -> None:
    # Each file has an id and a time of its own.
    assert pixels((apples / "a.png").read_bytes()) == pixels((apples / "b.png").read_bytes())


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_umask_says_who_may_read_a_picture(apples: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert (apples / "a.png").stat().st_mode == plain.stat().st_mode


def test_another_seed_gives_another_picture(apples: Path) -> None:
    with Image.open(apples / "a.png") as one, Image.open(apples / "c-1.png") as other:
        assert one.tobytes() != other.tobytes()


@pytest.mark.parametrize("name", ["a", "c-1", "c-2"])
def test_the_edge_is_blue_and_the_middle_red(apples: Path, name: str) -> None:
    red, green, blue = edge(apples / f"{name}.png")
    assert blue > red + 40
    assert blue > green
    red, green, blue = middle(apples / f"{name}.png")
    assert red > blue + 40
    assert red > green + 40


def test_the_picture_says_how_it_was_made(apples: Path) -> None:
    text = read_texts((apples / "a.png").read_bytes())["parameters"]
    assert text.splitlines()[0] == "a red apple on a blue background"
    assert re.search(r"^Steps: 8, .*Seed: 7, Size: 192x192", text, re.MULTILINE)


def test_nothing_but_the_pictures_is_left(apples: Path) -> None:
    assert sorted(p.name for p in apples.iterdir()) == ["a.png", "b.png", "c-1.png", "c-2.png"]


@pytest.mark.parametrize(("name", "seed"), [("c-1.png", 8), ("c-2.png", 9)])
def test_several_pictures_use_the_next_seeds_and_say_nothing_of_what_was_ignored(
    apples: Path, name: str, seed: int
) -> None:
    said = read_texts((apples / name).read_bytes())["parameters"]
    assert f"Seed: {seed}, Size: 192x192" in said
    assert "Negative prompt" not in said


def test_chinese_and_a_folder(tmp_path: Path) -> None:
    done = easel("draw", "黄色背景上的火箭", "--seed", "3", "-o", "out/", cwd=tmp_path, env={"LANG": "zh_CN.UTF-8"})
    assert (done.returncode, done.stderr) == (0, f"easel: {text('zh_CN', 'cli.draw.demo')}\n")
    (path,) = (tmp_path / "out").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-3\.png", path.name)
    assert Path(done.stdout.strip()) == Path("out") / path.name
    red, green, blue = edge(path)
    assert min(red, green) > blue + 60


def _damaged(folder: Path, source: Path) -> str:
    """A copy of the demo model whose transformer is cut off in the middle."""
    for path in source.rglob("*"):
        if path.is_file():
            to = folder / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes()
            to.write_bytes(data[: len(data) // 2] if "transformer" in path.parts and path.suffix != ".json" else data)
    return str(folder)


def test_a_damaged_model_is_one_sentence(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "engine" / "demo" / "model"
    model = _damaged(tmp_path / "model", source)
    done = easel("draw", "a cat", "-o", "a.png", cwd=tmp_path, env={"EASEL_MODEL": model})
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert model in done.stderr
    assert not (tmp_path / "a.png").exists()


BAD = {
    "empty": (["", "-o", "a.png"], "no prompt", "没有提示词"),
    "too long": (["x" * 5000, "-o", "a.png"], "5000", "5000"),
    "unknown flag": (["cat", "--sede", "7", "-o", "a.png"], "--seed", "--seed"),
    "unknown flag in the prompt": (["cat --cuont 2", "-o", "a.png"], "--count", "--count"),
    "off the grid": (["cat", "--size", "205x205", "-o", "a.png"], "208x208", "208x208"),
    "too small": (["cat", "--size", "16x16", "-o", "a.png"], "64", "64"),
    "too large": (["cat", "--size", "4096x4096", "-o", "a.png"], "512", "512"),
    "no size": (["cat", "--size", "big", "-o", "a.png"], "big", "big"),
    "count 0": (["cat", "--count", "0", "-o", "a.png"], "1 to 16", "16"),
    "count 99": (["cat", "--count", "99", "-o", "a.png"], "1 to 16", "16"),
    "seed negative": (["cat", "--seed", "-2", "-o", "a.png"], "9223372036854775807", "9223372036854775807"),
    "seed too large": (["cat", "--seed", str(2**63), "-o", "a.png"], "9223372036854775807", "9223372036854775807"),
    "steps": (["cat", "--steps", "0", "-o", "a.png"], "1 to 50", "50"),
    "model": (["cat", "--model", "nope", "-o", "a.png"], "nope", "nope"),
    "model that no path can be": (["cat", "--model", "x" * 300, "-o", "a.png"], "xxx", "xxx"),
    "path that is too long": (["cat", "-o", "x" * 300 + "/a.png"], "xxx", "xxx"),
    "no folder": (["cat", "-o", "/dev/null/a.png"], "/dev/null/a.png", "/dev/null/a.png"),
    "another kind": (["cat", "-o", "a.gif"], ".png", ".png"),
    "no output": (["cat"], "--output", "--output"),
    "no model folder": (["cat", "--model", "/", "-o", "a.png"], "model_index.json", "model_index.json"),
}


@pytest.mark.parametrize("lang", ["en_GB.UTF-8", "zh_CN.UTF-8"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_in_the_persons_language(typed: Typed, tmp_path: Path, case: str, lang: str) -> None:
    args, english, chinese = BAD[case]
    code, out, err = typed("draw", *args, lang=lang)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert (chinese if lang.startswith("zh") else english) in line
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_that_name_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a-1.png").mkdir()
    done = easel("draw", "cat", "--count", "2", "-o", "a.png", cwd=tmp_path)
    assert done.returncode == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a-1.png"]

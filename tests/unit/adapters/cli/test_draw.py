"""`easel draw` with an engine without a device: where files go, starts from files, what is said about them."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from adapters.cli import draw, main
from bot.cards.i18n import text
from bot.core.errors import BadInput, Unavailable
from engine.contract import PROMPT_CUT, SAFER, EngineConfig, Event, Image, LoraInfo
from engine.families.z_image.spec import demo
from tests.fakes.editing import EDITOR, PLAIN
from tests.fakes.engine import FakeEngine
from tests.fakes.png_texts import read_texts
from tests.fakes.source_images import BLUE, RED, bomb, half_mask, opened, picture, side_mask, turned

Run = Callable[..., int]


class Noting(FakeEngine):
    """Says of each picture how it was drawn."""

    async def paint(self, *args: Any, **how: Any) -> Any:
        async for event in super().paint(*args, **how):
            yield self.noted(event)

    def noted(self, event: Event) -> Event:
        return (
            replace(event, precision="bf16", revision="abc", notes=(PROMPT_CUT,)) if isinstance(event, Image) else event
        )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a line in an empty folder; returns its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path.with_name(f"{tmp_path.name}-state")))

    def engine(_: EngineConfig) -> FakeEngine:
        return Noting()

    monkeypatch.setattr(draw, "ProcessEngine", engine)
    (tmp_path / "red.png").write_bytes(picture(96, 64, RED))
    (tmp_path / "phone.jpg").write_bytes(turned(96, 64))
    (tmp_path / "mask.png").write_bytes(half_mask(96, 64))
    (tmp_path / "dark.png").write_bytes(picture(96, 64, (9, 9, 9)))
    (tmp_path / "side.png").write_bytes(side_mask(96, 64))
    (tmp_path / "bomb.png").write_bytes(bomb())
    (tmp_path / "letter.png").write_text("dear easel")

    def line(*words: str) -> int:
        return main.run(["draw", "a cat", "-o", "a.png", *words])

    return line


def near(found: object, colour: tuple[int, ...]) -> bool:
    assert isinstance(found, tuple)
    return all(abs(a - b) < 20 for a, b in zip(found, colour, strict=True))


def test_a_picture_is_started_from(run: Run, tmp_path: Path) -> None:
    assert run("--image", "red.png", "--strength", "0.05") == 0
    drawn = (tmp_path / "a.png").read_bytes()
    assert opened(drawn).size == (240, 160)
    assert near(opened(drawn).getpixel((120, 80)), RED)
    said = read_texts(drawn)["parameters"].split(", ")
    assert {"Denoising strength: 0.05", "Precision: bf16", "Model revision: abc"} <= set(said)


def test_a_mask_keeps_what_is_black(run: Run, tmp_path: Path) -> None:
    assert run("--image", "red.png", "--mask", "mask.png", "--strength", "1", "--size", "96x64") == 0
    drawn = opened((tmp_path / "a.png").read_bytes())
    assert drawn.getpixel((5, 30)) == RED
    assert drawn.getpixel((90, 30)) != RED


def test_a_phones_picture_stands_upright(run: Run, tmp_path: Path) -> None:
    assert run("--image", "phone.jpg") == 0
    assert opened((tmp_path / "a.png").read_bytes()).size == (160, 240)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--image", "nothing.png"], "nothing.png can't be read (No such file or directory)"),
        (["--image", "."], "can't be read"),
        (["--image", "letter.png"], "start picture can't be read"),
        (["--image", "bomb.png"], "more than 50 million"),
        (["--image", "red.png", "--mask", "letter.png"], "The mask can't be read"),
        (["--mask", "mask.png"], "needs a start picture"),
        (["--image", "red.png", "--mask", "dark.png"], "Nothing in the mask is white"),
        (["--image", "red.png", "--mask", "side.png", "--size", "64x192"], "cut off at 64x192"),
        (["--image", "red.png", "--strength", "7"], "The strength 7 is out of range"),
        (["--strength", "0.5"], "there is none here"),
    ],
)
def test_what_can_not_be_used_is_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err
    assert not (tmp_path / "a.png").exists()


@pytest.fixture
def with_loras(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same where there is a LoRA."""
    monkeypatch.setattr(draw, "ProcessEngine", lambda _: FakeEngine(loras=(LoraInfo("ink", "Ink Wash"),)))
    return run


def test_the_file_has_the_hash_of_each_lora(with_loras: Run, tmp_path: Path) -> None:
    assert with_loras("--lora", "ink:0.5") == 0
    said = read_texts((tmp_path / "a.png").read_bytes())["parameters"]
    assert "<lora:ink:0.5>\n" in said
    assert re.search(r'Lora hashes: "ink: [0-9a-f]{12}",', said)


@pytest.mark.parametrize(
    ("language", "command"), [("C.UTF-8", "easel lora list lists"), ("zh_CN.UTF-8", "用 easel lora list 可以")]
)
def test_a_refusal_names_the_command_of_the_terminal(
    with_loras: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    language: str,
    command: str,
) -> None:
    monkeypatch.setenv("LC_ALL", language)
    for name in ("inkk", "something-else"):
        assert with_loras("--lora", name) == 2
        err = capsys.readouterr().err
        assert "easel lora list" in err
        assert "/loras" not in err
    assert with_loras("--lora", "inkk") == 2
    assert command in capsys.readouterr().err


@pytest.fixture
def edit(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same where EASEL_EDIT_MODEL names a model that edits; it is the engine's only one when it is chosen."""

    def engine(config: EngineConfig) -> FakeEngine:
        return FakeEngine((EDITOR,) if config.model == "editor" else (PLAIN, EDITOR), edit_model=config.edit_model)

    monkeypatch.setattr(draw, "ProcessEngine", engine)
    monkeypatch.setenv("EASEL_EDIT_MODEL", "editor")
    return run


def test_references_are_edited_in_their_order_by_the_model_for_edits(edit: Run, tmp_path: Path) -> None:
    (tmp_path / "blue.png").write_bytes(picture(64, 64, BLUE))
    assert edit("--ref", "red.png", "--ref", "blue.png") == 0
    drawn = (tmp_path / "a.png").read_bytes()
    assert opened(drawn).size == (240, 160)
    assert [opened(drawn).getpixel((x, 150)) for x in (10, 230)] == [RED, BLUE]
    said = read_texts(drawn)["parameters"].split(", ")
    assert {"References: 2", "Model: The Editor"} <= set(said)
    assert edit("--ref", "red.png", "--model", "editor") == 0
    # Without references, the model for edits has nothing to do.
    assert edit() == 0
    assert "Model: The Editor" not in read_texts((tmp_path / "a.png").read_bytes())["parameters"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ref", "red.png", "--ref", "letter.png"], "Reference picture 2 can't be read"),
        (["--ref", "nothing.png"], "nothing.png can't be read (No such file or directory)"),
        (["--ref", "bomb.png"], "Reference picture 1 has more than 50 million"),
        (["--ref", "red.png"] * 4, "The Editor takes 3 reference pictures at most"),
        (["--ref", "red.png"] * 5, "A request takes 4 reference pictures at most"),
        (["--ref", "red.png", "--image", "red.png"], "either a start picture or reference pictures"),
        (["--ref", "red.png", "--model", "demo"], "takes no reference pictures"),
    ],
)
def test_references_that_can_not_be_used_are_one_line(
    edit: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert edit(*words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err
    assert not (tmp_path / "a.png").exists()


def test_where_nothing_edits_references_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--ref", "red.png") == 2
    assert "No model here can edit pictures" in capsys.readouterr().err


def test_what_the_engine_notes_is_said_once(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--count", "3") == 0
    out, err = capsys.readouterr()
    assert out.split() == ["a-1.png", "a-2.png", "a-3.png"]
    assert err == "easel: The prompt is longer than this model can read; its end was ignored.\n"
    assert SAFER not in err


def test_what_sexualises_minors_is_not_drawn_here_either(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("aged 9, n u d e") == main.BAD_INPUT
    assert "drawn nowhere" in capsys.readouterr().err
    assert run(", a nude statue") == main.OK
    assert (tmp_path / "a.png").exists()


def test_a_reader_who_is_gone_loses_no_picture(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert run("--count", "3") == 0
    assert sorted(path.name for path in tmp_path.glob("a-*.png")) == ["a-1.png", "a-2.png", "a-3.png"]
    said = capsys.readouterr().err
    assert said.count("Nobody reads") == 1
    assert "Traceback" not in said


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_one_picture_has_the_name_that_was_given(tmp_path: Path) -> None:
    assert draw.plan_paths(str(tmp_path / "a.png"), [7]) == (tmp_path / "a.png",)
    assert draw.plan_paths(str(tmp_path / "A.PNG"), [7]) == (tmp_path / "A.PNG",)


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert draw.plan_paths("~/a.png", [7]) == (tmp_path / "a.png",)
    assert draw.plan_paths("~/new/", [7])[0].parent == tmp_path / "new"


def test_several_are_numbered(tmp_path: Path) -> None:
    assert draw.plan_paths(str(tmp_path / "a.b.png"), [7, 8]) == (tmp_path / "a.b-1.png", tmp_path / "a.b-2.png")


@pytest.mark.parametrize("name", ["new", "new/", "new.folder/", "deep/new", "."])
def test_a_folder_gets_names_by_time_and_seed(tmp_path: Path, name: str) -> None:
    paths = draw.plan_paths(f"{tmp_path}/{name}", [7, 8])
    assert {path.parent for path in paths} == {tmp_path / name}
    times = [re.fullmatch(r"(\d{8}-\d{6})-([78])\.png", path.name) for path in paths]
    assert [found and found[2] for found in times] == ["7", "8"]
    assert (tmp_path / name).is_dir()


def test_a_folder_that_is_named_like_a_picture_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    (path,) = draw.plan_paths(str(tmp_path / "a.png"), [7])
    assert path.parent == tmp_path / "a.png"


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.tar.gz"])
def test_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput) as caught:
        draw.plan_paths(str(tmp_path / name), [7])
    assert caught.value.key == "cli.output.suffix"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file/a.png", "file/", "x" * 300 + "/a.png", "nul\0/a.png"])
def test_what_cannot_be_written_is_refused_before_drawing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput) as caught:
        draw.plan_paths(f"{tmp_path}/{name}", [7])
    assert caught.value.key == "cli.output.unwritable"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_said_before_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40, 2**20))
    with pytest.raises(Unavailable) as caught:
        draw.plan_paths(str(tmp_path / "a.png"), [7])
    assert caught.value.key == "unavailable.disk_full"


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    draw.plan_paths(str(tmp_path / "a.png"), [7])
    assert list(tmp_path.iterdir()) == []


def test_words_that_the_demo_does_not_know_are_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(draw, "ProcessEngine", lambda _: FakeEngine([demo()]))
    # In place of the first folder there is a file: what was told there can't be remembered, and is told again.
    unknown = "easel: Easel demo does not know: aardvark."
    what = f"easel: {text('en', 'cli.draw.demo')}"
    for words, state, said in (
        (["aardvark"], "red.png", [unknown, what]),
        ([], "red.png", [what]),
        (["--steps", "x"], "state", ["easel: The steps “x” are not a whole number; this model takes 1 to 50."]),
        ([], "state", [what]),
        (["aardvark"], "state", [unknown]),
    ):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / state))
        run(*words)
        assert capsys.readouterr().err.splitlines() == said

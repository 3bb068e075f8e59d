"""`easel model`: what it says of each model, and what it does with its files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.cli import lock, main
from tests.fakes.hub import COMMIT, Hub
from tests.unit.engine.hub.conftest import REPO, WANTED, bytes_, write
from tests.unit.engine.hub.test_pipelines import repository

NEWER = "f" * 40
SINGLE = f"{REPO}/some-model.safetensors"
TABLES = f"""
[mine]
source = "{REPO}"
like = "demo"
title = "Mine"
licence = "MIT"

[single]
source = "{SINGLE}"
base = "stabilityai/stable-diffusion-xl-base-1.0"
"""

Model = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "easel"
    write(folder, {"data/models.toml": TABLES.encode(), ".env": f"HF_ENDPOINT={hub.url}\nEASEL_MODEL=mine\n".encode()})
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("HF_", "EASEL_", "LC_", "HUGGING_FACE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANG", "C.UTF-8")
    return folder


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Model:
    """Run one command; returns the exit code and what it said."""

    def run(*args: str) -> tuple[int, str, str]:
        # What it sets in its environment ends with it.
        with monkeypatch.context() as own:
            own.setattr(os, "environ", os.environ.copy())
            code = main.run(["model", *args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def line(listed: str, name: str) -> str:
    return next(line for line in listed.splitlines() if line.lstrip("* ").startswith(f"{name} "))


def test_a_model_from_the_hub_and_back(model: Model, folder: Path, hub: Hub) -> None:
    code, out, err = model("list")
    assert (code, err) == (0, "")
    assert " ".join(line(out, "mine").split()) == f"* mine not here [Mine; {REPO}; MIT]"
    assert " ".join(line(out, "demo").split()).startswith("demo bundled [")
    assert out.splitlines()[-1] == f"Models are kept in {folder / 'data' / 'models'}."
    assert hub.asked == []

    code, out, err = model("pull", "mine")
    said = f"{REPO}: 0.5 MB of 0.5 MB to download.\n{REPO} is here: 0.5 MB came, commit {COMMIT[:8]}.\n"
    assert (code, out) == (0, said)
    assert err.splitlines()[-1] == f"downloading {REPO}: 0.5 MB of 0.5 MB (100 %)"
    assert f"here, 0.5 MB, commit {COMMIT[:8]}  " in line(model("list")[1], "mine")
    assert model("pull", REPO)[:2] == (0, f"{REPO} is here and the newest there is: commit {COMMIT[:8]}.\n")

    code, out, err = model("remove", "mine")
    assert (code, out, err) == (0, f"{REPO} is removed: 0.5 MB freed.\n", "")
    code, out, err = model("remove", "mine")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "model list" in err
    assert "not here" in line(model("list")[1], "mine")


@pytest.mark.parametrize(
    ("language", "says"),
    [
        ("C.UTF-8", "Stability AI Non-Commercial: no commercial use"),
        ("zh_CN.UTF-8", "Stability AI Non-Commercial：禁止商业用途"),
    ],
)
def test_a_licence_with_conditions_is_named_in_the_list_and_before_the_download(
    model: Model, hub: Hub, monkeypatch: pytest.MonkeyPatch, language: str, says: str
) -> None:
    monkeypatch.setenv("LANG", language)
    assert line(model("list")[1], "sdxl-turbo").endswith(f"[SDXL-Turbo; stabilityai/sdxl-turbo; {says}]")
    # Before, so that it is read even where the download fails.
    hub.gated = True
    code, out, err = model("pull", "stabilityai/sdxl-turbo")
    assert (code, out.count("\n"), err.count("\n")) == (2, 1, 1)
    assert says in out
    hub.gated = False
    assert says not in model("pull", "mine")[1]


@pytest.mark.parametrize(
    ("language", "draws_too", "only_edits"),
    [
        ("C.UTF-8", "edits, with up to 4 reference pictures", "only edits, with 1 reference picture"),
        ("zh_CN.UTF-8", "可编辑图片，最多 4 张参考图", "只能编辑图片，最多 1 张参考图"),
    ],
)
def test_models_that_edit_are_marked_in_the_list(
    model: Model, monkeypatch: pytest.MonkeyPatch, language: str, draws_too: str, only_edits: str
) -> None:
    monkeypatch.setenv("LANG", language)
    out = model("list")[1]
    assert f"; {draws_too}; Apache-2.0]" in line(out, "flux2-klein")
    assert f"; {only_edits}; " in line(out, "longcat-image-edit-turbo")
    assert "reference" not in line(out, "sdxl")
    assert "参考图" not in line(out, "sdxl")


def test_a_newer_commit_is_taken_and_the_old_files_go(model: Model, hub: Hub) -> None:
    model("pull", "mine")
    hub.commits[NEWER] = write(hub.folder.with_name("newer"), {**WANTED, "vae/config.json": b'{"newer": 1}'})
    code, out, _ = model("pull", "mine")
    assert code == 0
    assert out.splitlines() == [
        f"{REPO}: 0.0 MB of 0.5 MB to download.",
        f"{REPO} has a newer commit, which is used from now on: {NEWER[:8]} instead of {COMMIT[:8]}; 0.0 MB came.",
        "Files of older commits are removed: 0.0 MB freed.",
    ]


def test_commands_while_a_service_runs(model: Model, folder: Path, hub: Hub) -> None:
    model("pull", "mine")
    vae = "vae/diffusion_pytorch_model.safetensors"
    hub.commits[NEWER] = write(hub.folder.with_name("newer"), {**WANTED, vae: bytes_(60_000, 9)})
    with lock.held(folder / "data"):
        code, out, err = model("pull", "mine")
        assert (code, out.count("\n")) == (0, 2)
        assert "is started again" in err
        assert (folder / "data" / "models" / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT).is_dir()

        for name in ("mine", REPO, SINGLE):
            code, out, err = model("remove", name)
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert "EASEL_MODEL" in err
    assert model("remove", "mine")[0] == 0


def test_what_has_no_name_is_listed_too(model: Model, folder: Path) -> None:
    write(folder / "data" / "models", {"models--owner--other/blobs/x": bytes(2_000_000)})
    assert "Also here: owner/other, 2.0 MB." in model("list")[1]
    code, out, _ = model("remove", "owner/other")
    assert (code, out) == (0, "owner/other is removed: 2.0 MB freed.\n")


def test_a_base_is_not_removed_with_what_stands_on_it(model: Model, folder: Path) -> None:
    base = folder / "data" / "models" / "models--stabilityai--stable-diffusion-xl-base-1.0"
    write(base, {"blobs/x": b"base"})
    assert model("pull", SINGLE)[0] == 0
    assert "not whole" in line(model("list")[1], "single")
    assert model("remove", "single")[0] == 0
    assert (base / "blobs" / "x").exists()


@pytest.mark.parametrize(
    ("name", "says"), [("nothing", "z-image-turbo, "), ("demo", "comes with Easel"), (".", "your own")]
)
def test_names_that_stand_for_nothing(model: Model, hub: Hub, name: str, says: str) -> None:
    for action in ("pull", "remove"):
        code, out, err = model(action, name)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert says in err
    assert hub.asked == []


def test_failures_that_are_and_are_not_the_persons(model: Model, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = model("pull", "somebody/else")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert "has no model somebody/else" in err
    monkeypatch.setattr("engine.hub.fetch.RESERVE", 2**62)
    code, out, err = model("pull", "mine")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "make room" in err


def test_a_pipeline_that_no_table_names(model: Model, folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_MODEL", REPO)
    Path("data/models.toml").unlink()
    code, out, err = model("list")
    assert (code, err.count("\n")) == (0, 1)
    assert f"run `easel model pull {REPO}` first" in err
    code, out, err = model("pull", REPO)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "'SomePipeline', a class that diffusers" in err
    assert hub.asked_storage == []

    hub.commits = {NEWER: repository(folder / "klein")}
    code, out, err = model("pull", REPO)
    assert code == 0
    assert f"which is used from now on: {NEWER[:8]} instead of {COMMIT[:8]}" in out
    code, out, err = model("list")
    assert (code, err) == (0, "")
    listed = " ".join(line(out, "some-model").split())
    assert listed.startswith("* some-model here, 0.0 MB, commit ffffffff [some-model; somebody/some-model; edits")

    # A newer commit is checked as the first one was.
    hub.commits["e" * 40] = repository(folder / "other", "WanPipeline")
    asked = len(hub.asked_storage)
    code, out, err = model("pull", "some-model")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "makes no pictures" in err
    assert len(hub.asked_storage) == asked
    assert "commit ffffffff" in line(model("list")[1], "some-model")
    code, out, err = model("remove", "some-model")
    assert (code, out) == (0, f"{REPO} is removed: 0.0 MB freed.\n")


def test_a_default_that_is_none_hinders_nothing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_MODEL", "nobody/nothing")
    code, out, err = model("list")
    assert (code, err.count("\n")) == (0, 1)
    assert "nobody/nothing" in err
    assert not [line for line in out.splitlines() if line.startswith("*")]
    assert model("pull", "mine")[0] == 0
    monkeypatch.setenv("EASEL_MODEL", "demo")
    Path("data/models.toml").write_text("[mine]\nsauce = 1\n")
    code, out, err = model("list")
    assert (code, err.count("\n")) == (0, 1)
    assert "sauce" in err
    assert "* demo" in out
    assert "mine" not in out
    code, out, err = model("pull", "mine")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "sauce" in err

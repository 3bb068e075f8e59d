from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.diffusion import hub as fetching
from engine.host.spawn import environment
from tests.fakes import models
from tests.fakes.hub import Hub, serving

REPO = "somebody/some-model"

# The client reads its environment when it is imported, so it runs in a process of its own.
_FETCH = f"""
import json, sys
from engine.diffusion.hub import CantFetch, fetch
said = []
try:
    print(json.dumps([fetch({REPO!r}, sys.argv[1], lambda *b: said.append(b)), said]))
except CantFetch as e:
    print(json.dumps([str(e), e.passing]))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = models.copy(tmp_path / "hub")
    (folder / "run_me.py").write_text("")
    (folder / "text_encoder" / "pytorch_model.bin").write_bytes(b"pickle")
    with serving(Hub(REPO, folder)) as serves:
        yield serves


def fetch(hub: Hub, into: Path, **more: str) -> list[object]:
    env = environment({}, offline=False)
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        env.pop(name, None)
    ran = subprocess.run(
        [sys.executable, "-c", _FETCH, str(into)],
        capture_output=True,
        text=True,
        env={**env, "HF_ENDPOINT": hub.url, **more},
        check=True,
    )
    found: list[object] = json.loads(ran.stdout)
    return found


def test_all_that_a_pipeline_needs_and_nothing_else_is_fetched_once(hub: Hub, tmp_path: Path) -> None:
    folder, said = fetch(hub, tmp_path / "models")
    here = {p.relative_to(str(folder)).as_posix(): p.read_bytes() for p in Path(str(folder)).rglob("*") if p.is_file()}
    there = {p.relative_to(hub.folder).as_posix(): p.read_bytes() for p in hub.folder.rglob("*") if p.is_file()}
    left_out = {"run_me.py", "text_encoder/pytorch_model.bin"}
    assert here == {name: data for name, data in there.items() if name not in left_out}
    assert Path(str(folder)).is_relative_to(tmp_path / "models")
    assert isinstance(said, list)
    for done, total in said:
        assert 0 < done <= total <= sum(map(len, here.values()))
    assert said

    # Nothing but the model is asked for, and nothing is fetched twice.
    assert all(path.startswith((f"/api/models/{REPO}/", f"/{REPO}/resolve/")) for _, path in hub.asked)
    hub.asked.clear()
    assert fetch(hub, tmp_path / "models")[0] == folder
    assert not [path for method, path in hub.asked if "/resolve/" in path and method == "GET"]


def test_what_is_here_needs_no_hub(hub: Hub, tmp_path: Path) -> None:
    folder = fetch(hub, tmp_path / "models")[0]
    hub.down = True
    assert fetch(hub, tmp_path / "models")[0] == folder


def test_a_hub_that_is_down_may_come_back(hub: Hub, tmp_path: Path) -> None:
    hub.down = True
    sentence, passing = fetch(hub, tmp_path / "models")
    assert REPO in str(sentence)
    assert passing is True


def test_a_model_that_the_hub_does_not_have(hub: Hub, tmp_path: Path) -> None:
    hub.repo = "somebody/else"
    sentence, passing = fetch(hub, tmp_path / "models")
    assert "check EASEL_MODEL and HF_TOKEN" in str(sentence)
    assert passing is False


def test_who_has_a_cache_keeps_it(hub: Hub, tmp_path: Path) -> None:
    folder = fetch(hub, tmp_path / "models", HF_HOME=str(tmp_path / "home"))[0]
    assert Path(str(folder)).is_relative_to(tmp_path / "home")
    assert not (tmp_path / "models").exists()


def test_bytes_are_reported_and_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[tuple[int, int]] = []
    bar = fetching._bar(lambda done, total: said.append((done, total)))
    bytes_ = bar(unit="B", total=0, name="huggingface_hub.snapshot_download", disable=True)
    bytes_.total = 10
    bytes_.update(4)
    files = bar(unit="it", total=3, disable=True)
    files.update(1)
    assert said == [(4, 10)]
    assert capsys.readouterr() == ("", "")

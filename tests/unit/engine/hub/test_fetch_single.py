"""A single model, such as a ControlNet, from a repository that is no pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.hub import cache
from engine.hub.errors import FetchError
from engine.hub.fetch import fetch_single, pull
from engine.hub.selection import select_single
from tests.fakes.hub import COMMIT, Hub
from tests.unit.engine.hub.conftest import REPO, WEIGHTS, bytes_, serving_files

WANTED = {"config.json": b'{"_class_name": "ControlNetModel"}', WEIGHTS: bytes_(50_000)}
UNWANTED = {
    "README.md": b"# words",
    "diffusion_pytorch_model.bin": b"pickle",
    "diffusion_pytorch_model.fp16.safetensors": bytes_(1000, 1),
    "another.safetensors": bytes_(1000, 2),
    "images/a.json": b"{}",
}


@pytest.fixture
def single(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING_FACE_", "TRANSFORMERS_"))]:
        monkeypatch.delenv(name)
    with serving_files(REPO, tmp_path / "single", {**WANTED, **UNWANTED}) as serves:
        monkeypatch.setenv("HF_ENDPOINT", serves.url)
        yield serves


def test_its_config_and_its_plain_weights_are_fetched_once(single: Hub, models: str) -> None:
    assert cache.present_single(REPO, models) is None
    got = fetch_single(REPO, models, lambda _, __: None)
    assert {path.name: path.read_bytes() for path in Path(got.path).iterdir()} == WANTED
    assert got.revision == COMMIT
    single.asked.clear()
    assert fetch_single(REPO, models, lambda _, __: None) == got
    assert single.asked == []
    (Path(got.path) / WEIGHTS).resolve().unlink()
    assert cache.present_single(REPO, models) is None


def test_it_is_pulled_before_it_is_needed(single: Hub, models: str) -> None:
    pulled = pull(REPO, models, lambda _, __: None)
    assert {path.name: path.read_bytes() for path in Path(pulled.path).iterdir()} == WANTED
    single.down = True
    assert fetch_single(REPO, models, lambda _, __: None).path == pulled.path


def test_a_pipeline_is_none(hub: Hub, models: str) -> None:
    assert hub
    with pytest.raises(FetchError, match=r"can't be used. It has no config.json with .*: name one file of it"):
        fetch_single(REPO, models, lambda _, __: None)


def test_shards_and_variants_are_chosen_as_in_a_pipeline() -> None:
    shards = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = "diffusion_pytorch_model.safetensors.index.json"
    assert select_single(["config.json", index, *shards]) == tuple(sorted(["config.json", index, *shards]))
    half = "diffusion_pytorch_model.fp16.safetensors"
    assert select_single(["config.json", half, "unet/config.json"]) == ("config.json", half)
    with pytest.raises(FetchError):
        select_single(["config.json", "model.ckpt"])

"""Which folders EASEL_TEXT_MODEL and EASEL_CAPTION_MODEL may name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.contract import UnknownModel
from engine.text_folder import CAPTION, TEXT, locate


def folder(path: Path, config: object = None) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"model_type": "qwen3"} if config is None else config))
    (path / "model.safetensors").write_bytes(b"")
    return path


def test_a_folder_is_found(tmp_path: Path) -> None:
    made = folder(tmp_path / "writer")
    assert locate(TEXT, str(made), "nowhere") == made


def test_a_hub_id_is_found_where_another_program_has_downloaded_it(tmp_path: Path) -> None:
    home, commit = tmp_path / "models--Qwen--Qwen3-0.6B", "0" * 40
    made = folder(home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    assert locate(TEXT, "Qwen/Qwen3-0.6B", str(tmp_path)) == made
    with pytest.raises(UnknownModel, match="hf download Qwen/Qwen3-4B"):
        locate(TEXT, "Qwen/Qwen3-4B", str(tmp_path))


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ([], "model_type"),
        ({"architectures": []}, "model_type"),
        ({"model_type": "own", "auto_map": {"AutoModel": "own.Model"}}, "code of its own"),
    ],
)
def test_a_config_that_is_none_or_needs_code_is_refused(tmp_path: Path, config: object, problem: str) -> None:
    with pytest.raises(UnknownModel, match=problem):
        locate(CAPTION, str(folder(tmp_path / "model", config)), "nowhere")


def test_each_refusal_names_the_setting(tmp_path: Path) -> None:
    made = folder(tmp_path / "model")
    (made / "model.safetensors").unlink()
    with pytest.raises(UnknownModel, match=r"EASEL_CAPTION_MODEL: .* no \.safetensors"):
        locate(CAPTION, str(made), "nowhere")
    (made / "config.json").unlink()
    with pytest.raises(UnknownModel, match=r"EASEL_TEXT_MODEL: .* no config\.json"):
        locate(TEXT, str(made), "nowhere")
    with pytest.raises(UnknownModel, match=r"EASEL_TEXT_MODEL is .*no such folder"):
        locate(TEXT, str(tmp_path / "missing"), "nowhere")

"""`easel lora list`: what it says of each LoRA, and of the files that are left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapters.cli import main
from tests.fakes.safetensors_headers import write

SDXL = {
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 2048),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight": (640, 4),
}
UNKNOWN = {"lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight": (4, 320, 3, 3)}
TABLES = """
[lora.ink]
title = "Ink Wash"
trigger = ["ink wash", "brush"]
weight = 0.7
who = ["admins", "1234567890"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("EASEL_", "LC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANG", "C.UTF-8")
    return tmp_path


def test_each_lora_and_each_problem_has_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "models.toml").write_text(TABLES)
    (folder / ".env").write_text("EASEL_LORA_DIR=loras\n")
    write(folder / "loras" / "Ink.safetensors", SDXL)
    write(folder / "loras" / "strange.safetensors", UNKNOWN)
    (folder / "loras" / "broken.safetensors").write_bytes(b"nothing")
    assert main.run(["lora", "list"]) == 0
    out, err = capsys.readouterr()
    ink, strange, where = out.splitlines()
    assert ink.startswith(
        f"ink      sdxl, 0.0 MB, {folder}/loras/Ink.safetensors  [Ink Wash; trigger words: ink wash, brush;"
    )
    assert ink.endswith("weight 0.7; for admins, 1234567890]")
    assert strange.startswith("strange  family unknown, ")
    assert f"from {folder}/loras" in where
    assert err.startswith("easel: Left out: ")
    assert "broken.safetensors" in err


def test_without_any_it_says_how_to_have_some(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["lora", "list"]) == 0
    assert "EASEL_LORA_DIR is empty" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stated", "shown"), [("2", "; trained with clip skip 2]"), ("None", "[plain]"), ("-1e9", "[plain]")]
)
def test_a_clip_skip_that_its_training_states_is_shown(
    folder: Path, capsys: pytest.CaptureFixture[str], stated: str, shown: str
) -> None:
    (folder / ".env").write_text("EASEL_LORA_DIR=loras\n")
    write(folder / "loras" / "plain.safetensors", SDXL, {"ss_clip_skip": stated})
    assert main.run(["lora", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(shown)

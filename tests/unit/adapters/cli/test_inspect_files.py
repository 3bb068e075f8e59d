"""`easel inspect`: exit codes, lines and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.cli import main
from bot.provenance.seal import Seal
from bot.provenance.sealing import FOLDER, ROOT
from tests.fakes.source_images import picture
from tests.unit.bot.provenance.marked_files import facts, marked, signing_keys


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")


def file(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = file(tmp_path, "own.png", marked(facts()))
    plain = file(tmp_path, "plain.png", picture())
    wrong = file(tmp_path, "wrong.png", marked(facts("another prompt")))
    text = file(tmp_path, "a.txt", b"text")
    assert [main.run(["inspect", one]) for one in (own, plain, wrong, text, str(tmp_path / "none.png"))] == [
        0,
        1,
        3,
        2,
        2,
    ]
    assert main.run(["inspect", own, plain, text]) == 2
    said = capsys.readouterr()
    assert "A model drew this picture" in said.out
    assert "different prompts" in said.out
    assert len(said.err.splitlines()) == 3


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = file(tmp_path, "own.png", marked(facts(producer="P1")))
    assert main.run(["inspect", "--json", own]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["file"], found["marked"], found["faulty"], found["seal"]["state"]) == (own, True, False, "none")
    assert (found["parameters"]["seed"], found["format"]) == (7, "PNG")


def test_a_prompt_from_a_file_moves_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\u009b31m cat \x1b[2J"
    own = file(tmp_path, "own.png", marked(facts(hostile, parameters=f"{hostile}\nSteps: 8, Seed: 1, Size: 8x8")))
    main.run(["inspect", own])
    assert not set("\x1b\u009b") & set(capsys.readouterr().out)


def test_a_certificate_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = file(tmp_path, "own.png", marked(facts()))
    assert main.run(["inspect", own, "--trust", str(tmp_path / "root.pem")]) == 2
    assert "root.pem" in capsys.readouterr().err


@pytest.mark.parametrize("root", [b"", b"no certificate", b"\x30\x82\x01\x0a\x02\x82"])
def test_what_is_no_certificate_is_said_and_no_signature_called_broken(
    root: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, trust = file(tmp_path, "own.png", marked(facts())), file(tmp_path, "root.cer", root)
    assert main.run(["inspect", own, "--trust", trust]) == 2
    assert "root.cer has no certificate" in capsys.readouterr().err


def test_the_own_root_is_trusted_and_wrong_settings_keep_nobody_from_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    keys = signing_keys()
    own = file(tmp_path, "own.png", Seal(keys.chain, keys.key).sign(marked(facts()), "image/png", facts()))

    def state() -> str:
        assert main.run(["inspect", "--json", own]) == 0
        return str(json.loads(capsys.readouterr().out)[0]["seal"]["state"])

    assert state() == "unknown_signer"
    (tmp_path / "data" / FOLDER).mkdir(parents=True)
    (tmp_path / "data" / FOLDER / ROOT).write_bytes(keys.root)
    assert state() == "trusted"
    monkeypatch.setenv("EASEL_PRECISION", "none such")
    assert state() == "unknown_signer"

"""`easel provenance init`: keys that only their owner reads, once, and replaced only when asked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from adapters.cli import environment, main
from bot.core.errors import Unavailable
from bot.provenance.sealing import CHAIN, FOLDER, KEY, ROOT, load_seal
from bot.storage import data_files

pytest.importorskip("c2pa", reason="the extra c2pa is not installed")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    return tmp_path / "data" / FOLDER


def test_keys_are_made_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["provenance", "init", "--name", "Club Ink"]) == 0
    said = capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {CHAIN, KEY, ROOT}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    key = (folder / KEY).read_text()
    # The root's key is shown once and kept nowhere.
    assert said.rstrip().endswith("-----END PRIVATE KEY-----")
    assert key.splitlines()[1] not in said
    assert main.run(["provenance", "init"]) == 2
    assert "--force" in capsys.readouterr().err
    assert (folder / KEY).read_text() == key
    assert main.run(["provenance", "init", "--force"]) == 0
    assert (folder / KEY).read_text() != key


def test_a_kill_while_keys_are_replaced_leaves_no_key_beside_the_certificate_of_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main.run(["provenance", "init"]) == 0
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target == folder / KEY:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    main.run(["provenance", "init", "--force"])
    assert not (folder / KEY).exists()
    assert load_seal(environment.settings()) is None


def test_a_full_disk_keeps_the_keys_that_are_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main.run(["provenance", "init"]) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write = data_files.write

    async def full(into: Path, name: str, data: bytes) -> Path:
        if name.startswith(KEY):
            raise Unavailable("unavailable.disk_full")
        return await write(into, name, data)

    monkeypatch.setattr(data_files, "write", full)
    assert main.run(["provenance", "init", "--force"]) != 0
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_without_the_package_it_says_how_to_get_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main.run(["provenance", "init"]) == 2
    assert "easel[c2pa]" in capsys.readouterr().err
    assert not folder.exists()

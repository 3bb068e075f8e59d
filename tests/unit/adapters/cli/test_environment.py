"""What is wrong with a setting is said at start, in the person's language, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.cli import environment, main


@pytest.mark.parametrize("command", [["serve"], ["doctor"], ["doctor", "--json"], ["claim"]])
@pytest.mark.parametrize(("language", "words"), [("C", "a name is no id"), ("zh_CN.UTF-8", "用户名不是 ID")])
@pytest.mark.parametrize("name", ["EASEL_TELEGRAM_OWNERS", "EASEL_DISCORD_OWNERS"])
def test_an_owner_by_name_is_refused_at_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    language: str,
    words: str,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", language)
    monkeypatch.setenv(name, "@ada")
    assert main.run(command) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert name in line
    assert words in line
    assert "@ada" not in line
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / ".env").write_text("EASEL_DATA_DIR=~/x\nEASEL_SECRETS_DIR=~/none\n", encoding="utf-8")
    assert main.run(["migrate"]) == 0
    assert (tmp_path / "home" / "x" / environment.DATABASE).is_file()
    assert not (tmp_path / "~").exists()


def test_paths_on_the_line_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    assert main.run(["migrate"]) == 0
    assert main.run(["backup", "~/a.tar"]) == 0
    assert (tmp_path / "home" / "a.tar").is_file()
    assert main.run(["restore", "~/a.tar"]) == 0
    assert environment.given_path("~nobody-has-this-name/a") == Path("~nobody-has-this-name/a")

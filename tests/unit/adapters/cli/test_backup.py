"""`easel backup` and `easel restore` as they are typed."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from adapters.cli import lock
from adapters.cli.main import run
from bot.storage.database import Database
from tests.fakes.job_rows import add_job, damage


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a job."""
    folder = tmp_path / "data"
    monkeypatch.setenv("EASEL_DATA_DIR", str(folder))
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.chdir(tmp_path)

    async def fill() -> None:
        async with await Database.open(folder / "easel.db") as db, db.write() as tx:
            await add_job(tx)

    asyncio.run(fill())
    return folder


def prompts(path: Path) -> list[str]:
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT typed FROM jobs").fetchall()
    db.close()
    return [row[0] for row in rows]


def test_there_and_back(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock.held(data):  # a service runs: that is no hindrance to a backup
        assert run(["backup", "a.tar"]) == 0
    assert "version" in capsys.readouterr().out
    with sqlite3.connect(data / "easel.db") as db:
        db.execute("UPDATE jobs SET typed = 'later'")
    db.close()
    assert run(["restore", "a.tar"]) == 0
    out = capsys.readouterr().out
    assert str(data / "easel.db.before-restore") in out
    assert prompts(data / "easel.db") == ["a red apple"]
    assert prompts(data / "easel.db.before-restore") == ["later"]


def test_a_running_service_is_named_and_left_alone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["backup", "a.tar"]) == 0
    before = (data / "easel.db").read_bytes()
    with lock.held(data):
        assert run(["restore", "a.tar"]) == 2
    assert "easel:" in capsys.readouterr().err
    assert (data / "easel.db").read_bytes() == before
    assert not (data / "easel.db.before-restore").exists()


def test_what_can_not_be_is_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["backup", "a.tar", "--pictures"]) == 0
    assert run(["backup", "a.tar"]) == 2
    assert run(["backup", "a.tar", "--force"]) == 0
    assert run(["restore", "nothing.tar"]) == 2
    assert run(["backup", "no/such/folder/a.tar"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4, "two pictures that are not there, and three refusals"
    assert all(line.startswith("easel: ") for line in lines)


def test_a_restore_into_an_empty_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["backup", "a.tar"]) == 0
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "new" / "place"))
    assert run(["restore", "a.tar"]) == 0
    assert prompts(tmp_path / "new" / "place" / "easel.db") == ["a red apple"]


def test_a_damaged_database_can_not_be_saved(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "easel.db").write_bytes(b"nothing of the sort" * 1000)
    assert run(["backup", "a.tar"]) == 1
    assert "easel.db" in capsys.readouterr().err
    assert sorted(path.name for path in data.parent.iterdir()) == ["data"]


def test_a_damaged_database_ends_with_an_error_and_keeps_the_good_backup(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["backup", "a.tar"]) == 0
    good = Path("a.tar").read_bytes()
    damage(data / "easel.db")
    assert run(["backup", "a.tar", "--force"]) == 1
    assert "is damaged" in capsys.readouterr().err
    assert Path("a.tar").read_bytes() == good

"""Backups are consistent while others write, are whole or not there, and are checked before they are used."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.core.errors import BadInput, Unavailable
from bot.maintenance import store
from bot.storage import archive, backup
from bot.storage.archive import Folder
from bot.storage.database import Database
from bot.storage.migrate import shipped
from tests.fakes.job_rows import add_job, damage

ROOT = Path(__file__).parents[4]
PNG = b"\x89PNG" + bytes(5000)

WRITER = """
import asyncio, sys
from pathlib import Path
from bot.core.jobs import JobState
from bot.storage import jobs; from bot.quotas.store import ledger as quotas
from bot.storage.database import Database
from tests.fakes.job_rows import add_job, damage

async def main():
    async with await Database.open(Path(sys.argv[1])) as db:
        for n in range(1_000_000):
            async with db.write() as tx:
                job = await add_job(tx, event=f"w{n}", now=1e9 + n)
                if n % 2:
                    await jobs.move(tx, job, JobState.QUEUED, JobState.CANCELLED, now=1e9 + n)
                    await quotas.refund(tx, job, now=1e9 + n)
            print(n, flush=True)

asyncio.run(main())
"""
"""Stores jobs as the service does, as fast as it can, in a process of its own, until it is killed."""


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as db:
        rows = db.execute(sql).fetchall()
    db.close()
    return rows


@pytest.fixture
async def folder(tmp_path: Path) -> Folder:
    """A data folder with a job that has two pictures and was given one."""
    data = Folder(tmp_path / "data")
    async with await Database.open(data.db) as db, db.write() as tx:
        job_id = await add_job(tx)
        for index in range(2):
            await tx.execute_fetchall(
                'INSERT INTO pictures (job_id, "index", seed, path, width, height, bytes, seconds, created_at)'
                " VALUES (?, ?, 7, ?, 64, 64, 9, 1.0, 1.0)",
                (job_id, index, f"2026/01/02/{job_id}-{index}.png"),
            )
        given = f"inputs/{'a' * 64}.png"
        await tx.execute_fetchall("UPDATE jobs SET image = ?, mask = ''", (given,))
    for name in (*(f"pictures/2026/01/02/1-{n}.png" for n in range(2)), given, "pictures/2026/01/02/9-9.png"):
        path = data.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    return data


def test_it_is_one_state_of_the_database_while_another_process_writes(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many pages, so that the copying takes many steps with commits between them.
    with sqlite3.connect(folder.db) as db:
        db.executemany("INSERT INTO audit (at, actor, action, after) VALUES (1, 'a', 'b', ?)", [("x" * 4000,)] * 500)
    db.close()
    monkeypatch.setattr(backup, "_PAGES", 20)
    written = []
    command = [sys.executable, "-c", WRITER, str(folder.db)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as writer:
        try:
            assert writer.stdout is not None
            writer.stdout.readline()
            for n in range(2):
                target, steps = tmp_path / f"copy-{n}.db", list[tuple[int, int]]()
                before = count(folder.db, "jobs")
                backup.copy(folder.db, target, lambda *step: steps.append(step))  # noqa: B023 - called before the next
                after = count(folder.db, "jobs")
                jobs = count(target, "jobs")
                assert before <= jobs <= after
                assert asyncio.run(faults(target)) == []
                assert steps == sorted(steps), "a commit makes nothing begin again"
                assert len(steps) > 20
                assert len({total for _, total in steps}) == 1
                assert backup.check(target) == len(shipped())
                assert [p.name for p in tmp_path.glob(f"copy-{n}.db*")] == [f"copy-{n}.db"]
                written.append(after - before)
            assert any(written), "others have written meanwhile"
            assert writer.poll() is None
        finally:
            writer.kill()


async def faults(path: Path) -> list[str]:
    """What does not come out in the ledger of a copy."""
    async with await Database.open(path) as db, db.read() as tx:
        return [fault.what for fault in await store.faults(tx)]


def count(path: Path, table: str) -> int:
    (n,) = query(path, f"SELECT count(*) FROM {table}")[0]
    assert isinstance(n, int)
    return n


@pytest.mark.parametrize("pictures", [False, True])
def test_what_was_saved_is_restored(folder: Folder, tmp_path: Path, pictures: bool) -> None:
    target = tmp_path / "a.tar"
    told: list[tuple[int, int]] = []
    saved = archive.save(folder, target, pictures=pictures, progress=lambda *done: told.append(done))
    assert (saved.version, saved.files, saved.missing) == (len(shipped()), 3 if pictures else 0, 0)
    assert told
    assert saved.size == target.stat().st_size
    assert target.stat().st_mode & 0o077 == 0
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []
    other = Folder(tmp_path / "other")
    restored = archive.restore(other, target)
    assert (restored.files, restored.missing, restored.old) == (3 if pictures else 0, 0 if pictures else 3, None)
    assert query(other.db, "SELECT id, typed FROM jobs") == [(1, "a red apple")]
    names = sorted(p.relative_to(other.path).as_posix() for p in other.path.rglob("*.png"))
    expected = [f"inputs/{'a' * 64}.png", "pictures/2026/01/02/1-0.png", "pictures/2026/01/02/1-1.png"]
    assert names == (expected if pictures else []), "files that no row names are not part of it"
    assert sorted(p.name for p in other.path.iterdir()) == (
        ["easel.db", "inputs", "pictures"] if pictures else ["easel.db"]
    )


def test_a_picture_that_is_gone_is_counted(folder: Folder, tmp_path: Path) -> None:
    (folder.path / "pictures/2026/01/02/1-1.png").unlink()
    saved = archive.save(folder, tmp_path / "a.tar", pictures=True)
    assert (saved.files, saved.missing) == (2, 1)


def test_nothing_is_replaced_unless_it_is_wanted(folder: Folder, tmp_path: Path) -> None:
    target = tmp_path / "a.tar"
    target.write_bytes(b"mine")
    with pytest.raises(BadInput) as refused:
        archive.save(folder, target, pictures=False)
    assert refused.value.key == "cli.backup.exists"
    assert target.read_bytes() == b"mine"
    archive.save(folder, target, pictures=False, overwrite=True)
    assert archive.restore(folder, target).old is not None
    with pytest.raises(BadInput) as nothing:
        archive.save(Folder(tmp_path / "empty"), tmp_path / "b.tar", pictures=False)
    assert nothing.value.key == "cli.backup.nothing"
    with pytest.raises(BadInput):
        archive.save(folder, tmp_path, pictures=False)


def test_without_room_nothing_is_written(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.tar"
    archive.save(folder, target, pictures=True)
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**6))
        with pytest.raises(Unavailable) as refused:
            archive.save(folder, tmp_path / "b.tar", pictures=True)
        assert refused.value.key == "unavailable.backup_room"
        with pytest.raises(Unavailable):
            archive.restore(folder, target)
        with pytest.raises(Unavailable):
            backup.before_migration(folder.db, 99)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "data"]
    assert sorted(p.name for p in folder.path.iterdir()) == ["easel.db", "inputs", "pictures"]


def test_the_old_database_is_kept_each_time(folder: Folder, tmp_path: Path) -> None:
    target = tmp_path / "a.tar"
    archive.save(folder, target, pictures=False)
    names = []
    for n in range(3):
        with sqlite3.connect(folder.db) as db:
            db.execute("UPDATE jobs SET typed = ?", (f"newer {n}",))
        db.close()
        old = archive.restore(folder, target).old
        assert old is not None
        names.append(old.name)
        assert query(old, "SELECT typed FROM jobs") == [(f"newer {n}",)]
        assert query(folder.db, "SELECT typed FROM jobs") == [("a red apple",)]
    assert names == ["easel.db.before-restore", "easel.db.before-restore-2", "easel.db.before-restore-3"]


def test_a_log_that_was_left_by_a_crash_does_not_get_into_the_new_one(folder: Folder, tmp_path: Path) -> None:
    target = tmp_path / "a.tar"
    archive.save(folder, target, pictures=False)
    script = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute(\"UPDATE jobs SET typed = 'in the log'\"); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder.db)], check=False)
    assert (folder.path / "easel.db-wal").stat().st_size > 0
    old = archive.restore(folder, target).old
    assert old is not None
    assert query(folder.db, "SELECT typed FROM jobs") == [("a red apple",)]
    assert query(old, "SELECT typed FROM jobs") == [("in the log",)]


def test_a_damaged_database_is_put_aside_as_it_is(folder: Folder, tmp_path: Path) -> None:
    target = tmp_path / "a.tar"
    archive.save(folder, target, pictures=False)
    folder.db.write_bytes(b"not a database at all" * 1000)
    (folder.path / "easel.db-wal").write_bytes(b"nor a log")
    old = archive.restore(folder, target).old
    assert old is not None
    assert old.read_bytes().startswith(b"not a database")
    assert not (folder.path / "easel.db-wal").exists()
    assert query(folder.db, "SELECT typed FROM jobs") == [("a red apple",)]


def test_a_database_that_somebody_uses_is_not_replaced(folder: Folder, tmp_path: Path) -> None:
    target = tmp_path / "a.tar"
    archive.save(folder, target, pictures=False)
    with sqlite3.connect(folder.db, isolation_level=None) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as refused:
            archive.restore(folder, target)
    db.close()
    assert refused.value.key == "unavailable.database.locked"


def tar(path: Path, *members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> None:
    with tarfile.open(path, "w") as out:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), kind
            info.linkname = "/etc/passwd"
            out.addfile(info, io.BytesIO(data))


def _bytes(data: bytes) -> Callable[[Path, Folder], None]:
    def make(path: Path, _: Folder) -> None:
        path.write_bytes(data)

    return make


def _cut(path: Path, folder: Folder) -> None:
    archive.save(folder, path, pictures=True)
    path.write_bytes(path.read_bytes()[:-20_000])


def _bent(path: Path, folder: Folder) -> None:
    archive.save(folder, path, pictures=False)
    data = bytearray(path.read_bytes())
    for at in range(4096 + 2048, len(data) - 12_000, 512):
        data[at] ^= 0xFF
    path.write_bytes(data)


def _newer(path: Path, folder: Folder) -> None:
    copy = path.with_suffix(".db")
    backup.copy(folder.db, copy)
    with sqlite3.connect(copy) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    tar(path, ("easel.db", copy.read_bytes()))
    copy.unlink()


def _other(path: Path, folder: Folder) -> None:
    copy = path.with_suffix(".db")
    with sqlite3.connect(copy) as db:
        db.execute("CREATE TABLE other (x)")
    db.close()
    tar(path, ("easel.db", copy.read_bytes()))
    copy.unlink()


def _database_and(name: str, kind: bytes = tarfile.REGTYPE) -> Callable[[Path, Folder], None]:
    def make(path: Path, folder: Folder) -> None:
        copy = path.with_suffix(".db")
        backup.copy(folder.db, copy)
        tar(path, ("easel.db", copy.read_bytes()))
        with tarfile.open(path, "a") as out:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            out.addfile(info, io.BytesIO())
        copy.unlink()

    return make


BAD: dict[str, Callable[[Path, Folder], None]] = {
    "no tar": _bytes(b"hello" * 999),
    "empty": _bytes(b""),
    "a zip": _bytes(b"PK\3\4" + bytes(999)),
    "a tar without a database": lambda path, _: tar(path, ("readme", b"x")),
    "a way out": _database_and("pictures/../../escaped.png"),
    "an absolute way out": _database_and("/tmp/escaped.png"),
    "a link": _database_and("pictures/2026/01/02/1-0.png", tarfile.SYMTYPE),
    "a stranger": _database_and("models/evil.safetensors"),
    "two databases": _database_and("easel.db"),
    "a bare file that only begins like a database": _bytes(b"SQLite format 3\0" + bytes(5000)),
    "cut short": _cut,
    "bits flipped": _bent,
    "newer": _newer,
    "somebody else's": _other,
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_backup_changes_nothing(folder: Folder, tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad.tar"
    BAD[name](path, folder)
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    with pytest.raises(BadInput) as refused:
        archive.restore(folder, path)
    assert refused.value.key.startswith("cli.restore.")
    assert {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.tar", "data"]


def test_a_bare_copy_of_the_database_can_be_restored(folder: Folder, tmp_path: Path) -> None:
    bare = tmp_path / "easel.db.v2.bak"
    backup.copy(folder.db, bare)
    folder.db.unlink()
    assert archive.restore(folder, bare).files == 0
    assert query(folder.db, "SELECT typed FROM jobs") == [("a red apple",)]


def test_half_written_files_of_a_killed_backup_are_cleared_after_a_day(folder: Folder, tmp_path: Path) -> None:
    old, young = tmp_path / ".a.tar.0123.part", tmp_path / ".a.tar.4567.part"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    archive.save(folder, tmp_path / "a.tar", pictures=False)
    assert (old.exists(), young.exists()) == (False, True)


def test_a_damaged_database_replaces_no_good_backup(folder: Folder, tmp_path: Path) -> None:
    target = tmp_path / "a.tar"
    archive.save(folder, target, pictures=True)
    good = target.read_bytes()
    damage(folder.db)
    with pytest.raises(Unavailable) as refused:
        archive.save(folder, target, pictures=True, overwrite=True)
    assert refused.value.key == "cli.backup.damaged"
    assert target.read_bytes() == good
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "data"]
    with pytest.raises(Unavailable) as stopped:
        backup.before_migration(folder.db, 99)
    assert stopped.value.key == "unavailable.database.damaged"
    assert list(folder.path.glob("*.bak*")) == []


@pytest.mark.parametrize("name", ["pictures/2026/01/02/1-1.png", f"inputs/{'a' * 64}.png", "easel.db", "manifest.json"])
@pytest.mark.parametrize("where", ["data", "header", "cut"])
def test_one_flipped_byte_is_refused_by_name(folder: Folder, tmp_path: Path, name: str, where: str) -> None:
    path = tmp_path / "a.tar"
    archive.save(folder, path, pictures=True)
    with tarfile.open(path) as stored:
        # The last of its name: the manifest comes twice.
        member = stored.getmember(name)
    data = bytearray(path.read_bytes())
    if where == "cut":
        del data[member.offset : member.offset_data + (member.size + 511) // 512 * 512]
    else:
        # Near the end of the database there is free room, of which SQLite itself says nothing.
        data[member.offset_data + member.size - 3 if where == "data" else member.offset + 3] ^= 1
    path.write_bytes(data)
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    with pytest.raises(BadInput) as refused:
        archive.restore(folder, path)
    assert refused.value.key.startswith("cli.restore.")
    if where == "data" and name != "manifest.json":
        assert (refused.value.key, refused.value.params) == ("cli.restore.changed", {"name": name})
    assert {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()} == before


def test_a_backup_from_before_there_were_digests_can_be_restored(folder: Folder, tmp_path: Path) -> None:
    copy, path = tmp_path / "copy.db", tmp_path / "a.tar"
    backup.copy(folder.db, copy)
    tar(
        path, ("manifest.json", b'{"format": 1}'), ("easel.db", copy.read_bytes()), ("pictures/2026/01/02/1-0.png", PNG)
    )
    assert archive.restore(Folder(tmp_path / "other"), path).files == 1


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE pictures SET path = '../../letter.png' WHERE id = 1",
        "UPDATE pictures SET path = '/etc/passwd' WHERE id = 1",
        "UPDATE pictures SET path = 'holiday.png' WHERE id = 1",
        "UPDATE jobs SET image = 'inputs/../../letter.png'",
        "UPDATE jobs SET mask = 'pictures/../letter.png'",
        "UPDATE jobs SET image = '', mask = '/etc/passwd'",
        """UPDATE jobs SET "references" = '["inputs/../letter.png"]'""",
        """UPDATE jobs SET "references" = '/etc/passwd'""",
        """UPDATE jobs SET "references" = '[["/etc/passwd"]]'""",
        """INSERT INTO messages (kind, state, event, platform, chat, address, card, created_at, updated_at) VALUES
        ('notice', 'wanted', 'e', 'chat', '1', '{}', '{"tone": "info", "status": "", "pictures":
        [{"path": "/etc/passwd", "name": "a", "mime": "b", "width": 1, "height": 1}]}', 1, 1)""",
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_a_backup_that_names_files_that_are_not_easels_is_refused(
    folder: Folder, tmp_path: Path, sql: str, bare: bool
) -> None:
    with sqlite3.connect(folder.db) as db:
        db.execute(sql)
    db.close()
    path = tmp_path / "foreign"
    backup.copy(folder.db, path) if bare else archive.save(folder, path, pictures=True)
    other = Folder(tmp_path / "other")
    with pytest.raises(BadInput) as refused:
        archive.restore(other, path)
    assert refused.value.key == "cli.restore.strange"
    assert list(other.path.rglob("*")) == []


def test_files_are_neither_saved_nor_restored_through_links(folder: Folder, tmp_path: Path) -> None:
    path, outside = tmp_path / "a.tar", tmp_path / "outside"
    archive.save(folder, path, pictures=True)
    (folder.path / "pictures" / "2026").rename(outside)
    (folder.path / "pictures" / "2026").symlink_to(outside)
    saved = archive.save(folder, tmp_path / "b.tar", pictures=True)
    assert (saved.files, saved.missing) == (1, 2)
    before = {p: p.read_bytes() for p in outside.rglob("*.png")}
    with pytest.raises(BadInput) as refused:
        archive.restore(folder, path)
    assert refused.value.key == "cli.restore.linked"
    assert {p: p.read_bytes() for p in outside.rglob("*.png")} == before


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_what_is_restored_is_for_its_owner_alone(folder: Folder, tmp_path: Path) -> None:
    path, other = tmp_path / "a.tar", Folder(tmp_path / "other")
    archive.save(folder, path, pictures=True)
    old = os.umask(0o022)
    try:
        archive.restore(other, path)
        bare = tmp_path / "bare.db"
        backup.copy(folder.db, bare)
        bare.chmod(0o644)
        archive.restore(Folder(tmp_path / "third"), bare)
    finally:
        os.umask(old)
    made = [*tmp_path.glob("other/**/*"), *tmp_path.glob("third/**/*")]
    assert len(made) > 8
    assert {p.name: p.stat().st_mode & 0o077 for p in made if p.stat().st_mode & 0o077} == {}

from __future__ import annotations

import errno
import logging
import shutil
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.hub import cache, lockfile, transfer
from engine.hub.errors import FetchError
from engine.hub.fetch import RESERVE, Fetched, fetch, fetch_file, pull
from engine.hub.selection import WHOLE, Selection
from tests.fakes.hub import COMMIT, Answer, Hub
from tests.unit.engine.hub.conftest import REPO, WANTED, WEIGHTS, bytes_, write

BIG = f"transformer/{WEIGHTS}"
NEWER = "f" * 40

pauses: list[float] = []


@pytest.fixture(autouse=True)
def no_pauses() -> None:
    pauses.clear()


def get(models: str, said: list[tuple[int, int]] | None = None, selection: Selection = WHOLE) -> Fetched:
    def report(done: int, total: int) -> None:
        if said is not None:
            said.append((done, total))

    return fetch(REPO, models, report, selection=selection, pause=pauses.append)


def cant(models: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        get(models)
    assert "\n" not in str(caught.value)
    return caught.value


def files(folder: str | Path) -> dict[str, bytes]:
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_all_that_a_pipeline_needs_and_nothing_else_is_fetched_once(hub: Hub, models: str) -> None:
    said: list[tuple[int, int]] = []
    got = get(models, said)
    assert files(got.path) == WANTED
    assert Path(got.path).is_relative_to(models)
    assert got.revision == lockfile.pinned(REPO, models) == COMMIT
    whole = sum(map(len, WANTED.values()))
    assert said[-1] == (whole, whole)
    assert all(0 <= done <= total == whole for done, total in said)

    # Nothing but the model is asked for, each file comes once, and it is asked for by its commit.
    assert all(a.path.startswith((f"/api/models/{REPO}/", f"/{REPO}/resolve/{COMMIT}/")) for a in hub.asked)
    assert sorted(hub.downloads()) == sorted(WANTED)

    # And from then on nobody is asked.
    hub.asked.clear()
    assert get(models) == got
    assert hub.asked == []


def test_what_is_here_needs_no_hub(hub: Hub, models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    got = get(models)
    hub.down = True
    assert get(models) == got
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert get(models) == got


def test_offline_with_nothing_here(hub: Hub, models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = cant(models)
    assert "HF_HUB_OFFLINE" in str(error)
    assert not error.passing
    assert hub.asked == []


def test_offline_with_a_file_missing(hub: Hub, models: str) -> None:
    got = get(models)
    (Path(got.path) / BIG).resolve().unlink()
    hub.down = True
    error = cant(models)
    assert REPO in str(error)
    assert error.passing


def test_a_cache_that_was_copied_here_is_used_as_it_is(hub: Hub, models: str, tmp_path: Path) -> None:
    get(models)
    copied = tmp_path / "copied"
    shutil.copytree(models, copied, symlinks=True)
    (copied / lockfile.NAME).unlink()
    ref = cache.storage(copied, REPO) / "refs" / "main"
    ref.parent.mkdir()
    ref.write_text(COMMIT)
    hub.down = True
    got = get(str(copied))
    assert files(got.path) == WANTED
    assert got.revision == lockfile.pinned(REPO, str(copied)) == COMMIT

    (Path(got.path) / BIG).unlink()
    assert cache.present(REPO, str(copied)) is None
    hub.down = False
    assert files(get(str(copied)).path) == WANTED


@pytest.mark.parametrize("how", ["cuts", "shorts"])
def test_an_answer_that_ends_early_goes_on_where_it_ended(hub: Hub, models: str, how: str) -> None:
    getattr(hub, how)[BIG] = [100_000, 50_000, 0]
    got = get(models)
    assert files(got.path) == WANTED
    ranges = [a.headers.get("range") for a in hub.asked_storage if a.path.endswith(BIG)]
    assert ranges == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert pauses == [1.0, 1.0, 2.0]


@pytest.mark.parametrize("how", ["cuts", "shorts"])
def test_a_broken_download_goes_on_in_the_next_process(hub: Hub, models: str, how: str) -> None:
    getattr(hub, how)[BIG] = [300_000, *[0] * (transfer.TRIES - 1)]
    error = cant(models)
    assert error.passing
    assert REPO in str(error) or BIG in str(error)
    assert cache.present(REPO, models) is None
    assert cache.disk_usage(REPO, models) > 300_000

    # main moves meanwhile; the download that was begun is ended.
    hub.commits[NEWER] = write(hub.folder.with_name("newer"), {**WANTED, BIG: bytes_(10, 9)})
    hub.asked_storage.clear()
    said: list[tuple[int, int]] = []
    got = get(models, said)
    assert got.revision == COMMIT
    assert files(got.path) == WANTED
    assert [a.headers.get("range") for a in hub.asked_storage if a.path.endswith(BIG)] == ["bytes=300000-"]


def test_two_that_fetch_the_same_fetch_it_once(hub: Hub, models: str) -> None:
    hub.cuts[BIG] = [100_000]
    begin = threading.Barrier(2)

    def one(_number: int) -> Fetched:
        begin.wait()
        return get(models)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(one, range(2))
    assert first == second
    assert files(first.path) == WANTED
    assert [a.headers.get("range") for a in hub.asked_storage if a.path.endswith(BIG)] == [None, "bytes=100000-"]


def test_what_another_has_just_fetched_is_not_fetched_again(
    hub: Hub, models: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another fetch ends between this one's look at the cache and what it does about what it saw."""
    looks: list[Path] = []
    size_of = cache.size_of

    def look(place: Path) -> int | None:
        seen = size_of(place)
        if place.as_posix().endswith(BIG):
            looks.append(place)
            if len(looks) == 2:  # the first look is for the disk's room
                get(models)
        return seen

    monkeypatch.setattr(cache, "size_of", look)
    assert files(get(models).path) == WANTED
    assert len([path for path in hub.downloads() if path == BIG]) == 1


def test_what_was_half_fetched_may_be_damaged(hub: Hub, models: str) -> None:
    hub.cuts[BIG] = [300_000, *[0] * (transfer.TRIES - 1)]
    cant(models)
    part = next((cache.storage(Path(models), REPO) / "blobs").glob(f"*{transfer.PART}"))
    part.write_bytes(bytes(part.stat().st_size))
    assert files(get(models).path) == WANTED
    assert not part.exists()


@pytest.mark.parametrize("path", [BIG, "vae/config.json"])
def test_a_file_that_was_cut_short_is_fetched_again(hub: Hub, models: str, path: str) -> None:
    place = Path(get(models).path) / path
    place.write_bytes(place.read_bytes()[:10])
    assert cache.present(REPO, models) is None
    assert files(get(models).path) == WANTED


def test_bytes_that_are_not_what_the_hub_lists(hub: Hub, models: str) -> None:
    hub.damages = True
    error = cant(models)
    assert "not what its hub lists" in str(error)
    assert not error.passing
    hub.damages = False
    assert files(get(models).path) == WANTED


def test_a_storage_that_knows_no_ranges(hub: Hub, models: str) -> None:
    hub.cuts[BIG] = [300_000]
    hub.ignores_ranges = True
    said: list[tuple[int, int]] = []
    assert files(get(models, said).path) == WANTED
    assert all(done <= total for done, total in said)


@pytest.mark.parametrize("status", [500, 503, 429, 403])
def test_a_storage_that_fails_and_then_does_not(hub: Hub, models: str, status: int) -> None:
    hub.statuses = [status, status]
    assert files(get(models).path) == WANTED
    assert pauses


def test_a_hub_that_is_down_may_come_back(hub: Hub, models: str) -> None:
    hub.down = True
    error = cant(models)
    assert "503" in str(error)
    assert error.passing
    assert len(hub.asked) == 3
    assert pauses == [1.0, 3.0]


def test_no_hub_at_all(hub: Hub, models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = cant(models)
    assert "HF_ENDPOINT" in str(error)
    assert error.passing


@pytest.mark.parametrize("endpoint", ["hf-mirror.example", "ftp://hub.example", "https://"])
def test_an_endpoint_that_is_no_address(models: str, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    error = cant(models)
    assert "HF_ENDPOINT" in str(error)
    assert not error.passing


def test_a_model_that_the_hub_does_not_have(hub: Hub, models: str) -> None:
    hub.repo = "somebody/else"
    error = cant(models)
    assert f"has no model {REPO}" in str(error)
    assert "HF_TOKEN" in str(error)
    assert not error.passing
    assert len(hub.asked) == 1


@pytest.mark.parametrize("token", ["", "hf_wrong_secret"])
def test_a_token_that_is_missing_or_wrong(hub: Hub, models: str, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    hub.token = "hf_right_secret"
    monkeypatch.setenv("HF_TOKEN", token)
    error = cant(models)
    assert "HF_TOKEN" in str(error)
    assert not error.passing
    assert "secret" not in str(error)


def test_a_licence_that_was_not_accepted(hub: Hub, models: str) -> None:
    hub.gated = True
    error = cant(models)
    assert f"{hub.url}/{REPO}" in str(error)
    assert "HF_TOKEN" in str(error)
    assert not error.passing
    assert pauses == []


def test_the_token_goes_to_the_hub_alone(
    hub: Hub,
    models: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.token = "hf_right_secret"
    hub.cuts[BIG] = [1000]
    monkeypatch.setenv("HF_TOKEN", " hf_right_secret\n")
    got = get(models)
    assert files(got.path) == WANTED
    assert hub.asked_storage
    assert all("authorization" not in a.headers for a in hub.asked_storage)
    assert "hf_right_secret" not in caplog.text + "".join(capfd.readouterr())
    assert not [path for path in Path(models).rglob("*") if path.is_file() and b"hf_right" in path.read_bytes()]


Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_room(hub: Hub, models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sum(map(len, WANTED.values()))
    free = RESERVE + whole - len(WANTED["model_index.json"]) - 1  # the index is here by then
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free))
    error = cant(models)
    assert "free" in str(error)
    assert not error.passing
    assert hub.asked_storage == []

    # One byte more is enough; and what is here already needs no room.
    free += 1
    got = get(models)
    (Path(got.path) / "vae" / WEIGHTS).resolve().unlink()
    free = RESERVE + 50_000
    assert files(get(models).path) == WANTED


def test_half_a_file_needs_half_the_room(hub: Hub, models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.cuts[BIG] = [300_000, *[0] * (transfer.TRIES - 1)]
    cant(models)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, RESERVE + 160_000))
    assert files(get(models).path) == WANTED


def test_a_disk_that_becomes_full(hub: Hub, models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    error = cant(models)
    assert "disk" in str(error) or "pins.json" in str(error)
    assert not error.passing


def test_the_commit_stays_when_main_moves_until_it_is_pulled(hub: Hub, models: str) -> None:
    got = get(models)
    vae = {**WANTED, f"vae/{WEIGHTS}": bytes_(60_000, 8)}
    hub.commits[NEWER] = write(hub.folder.with_name("newer"), vae)
    assert get(models) == got
    (Path(got.path) / "vae" / "config.json").unlink()
    assert get(models) == got  # what is missing comes from the same commit

    hub.asked_storage.clear()
    hub.cuts[f"vae/{WEIGHTS}"] = [0] * transfer.TRIES
    with pytest.raises(FetchError):
        pull(REPO, models, lambda *_: None, pause=pauses.append)
    assert get(models) == got  # as long as the new one is not all here

    pulled = pull(REPO, models, lambda *_: None)
    assert (pulled.revision, pulled.before) == (NEWER, COMMIT)
    assert pulled.fetched == 60_000  # everything else is the same content
    assert files(pulled.path) == vae
    assert get(models) == Fetched(pulled.path, NEWER)
    again = pull(REPO, models, lambda *_: None)
    assert (again.revision, again.before, again.fetched) == (NEWER, NEWER, 0)

    # What only the old commit needs can go.
    assert cache.prune(REPO, models) >= 50_000
    assert files(pulled.path) == vae
    assert not Path(got.path).exists()
    assert get(models).revision == NEWER


def test_a_commit_that_its_hub_has_no_more(hub: Hub, models: str) -> None:
    lockfile.put(models, REPO, lockfile.Pin("a" * 40))
    error = cant(models)
    assert f"easel model pull {REPO}" in str(error)
    assert not error.passing


def test_who_has_a_cache_keeps_it(hub: Hub, models: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    got = get(models)
    assert Path(got.path).is_relative_to(tmp_path / "home" / "hub")
    # The service, whose environment lacks what stands in .env, finds it too.
    monkeypatch.delenv("HF_HOME")
    assert cache.present(REPO, models) == got.path
    assert get(models) == got
    assert cache.repos(models) == (REPO,)
    assert cache.remove(REPO, models) >= 450_000
    assert not Path(got.path).exists()


def test_weights_that_come_from_elsewhere_are_left_out(hub: Hub, models: str) -> None:
    selection = Selection(without=frozenset({"transformer"}))
    got = get(models, selection=selection)
    assert files(got.path) == {name: data for name, data in WANTED.items() if name != BIG}
    assert cache.present(REPO, models, selection) == got.path
    assert cache.present(REPO, models) is None


def test_configs_alone(hub: Hub, models: str) -> None:
    got = get(models, selection=Selection(weights=False))
    assert files(got.path) == {name: data for name, data in WANTED.items() if not name.endswith(".safetensors")}
    assert hub.asked_storage == []


def test_one_file(hub: Hub, models: str) -> None:
    source = f"{REPO}/some-model.safetensors"
    assert cache.present_file(source, models) is None
    got = fetch_file(source, models, lambda *_: None)
    assert Path(got.path).read_bytes() == (hub.folder / "some-model.safetensors").read_bytes()
    assert got.revision == COMMIT
    assert hub.downloads() == ["some-model.safetensors"]
    hub.down = True
    assert fetch_file(source, models, lambda *_: None) == got
    assert cache.present(REPO, models) is None


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (f"{REPO}/transformer/diffusion_pytorch_model.bin", "no pickles"),
        (f"{REPO}/../../etc/passwd.safetensors", "no pickles"),
        (f"{REPO}/nothing.gguf", "no file nothing.gguf"),
    ],
)
def test_a_file_that_is_none(hub: Hub, models: str, source: str, says: str) -> None:
    with pytest.raises(FetchError, match=says) as caught:
        fetch_file(source, models, lambda *_: None)
    assert not caught.value.passing


def test_a_repository_that_is_no_pipeline(hub: Hub, models: str) -> None:
    (hub.folder / "model_index.json").unlink()
    error = cant(models)
    assert "model_index.json" in str(error)
    assert not error.passing


def test_a_pipeline_of_pickles(hub: Hub, models: str) -> None:
    (hub.folder / "vae" / WEIGHTS).unlink()
    error = cant(models)
    assert "vae" in str(error)
    assert "pickles" in str(error)
    assert not error.passing


@pytest.mark.parametrize("index", [b"{", b"[]"])
def test_an_index_that_makes_no_sense(hub: Hub, models: str, index: bytes) -> None:
    (hub.folder / "model_index.json").write_bytes(index)
    error = cant(models)
    assert "model_index.json" in str(error)
    assert not error.passing


def test_something_else_answers(hub: Hub, models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_info", lambda _: Answer(200, body=b"<html>Log in first</html>"))
    assert "can't be reached" in str(cant(models))


def test_what_is_no_id_is_no_request(hub: Hub, models: str) -> None:
    with pytest.raises(FetchError, match="owner/name"):
        fetch("no-id", models, lambda *_: None)
    assert hub.asked == []

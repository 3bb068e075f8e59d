"""Fetches a pipeline or one file from a hub, at the commit in use or at the newest one."""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from engine.hub import cache, lockfile
from engine.hub.client import Commit, HubClient, missing_offline, offline
from engine.hub.errors import DiskFull, FetchCancelled, FetchError, ProgressCallback
from engine.hub.lockfile import Pin, RepoFile
from engine.hub.names import is_repo, split_file
from engine.hub.progress import size
from engine.hub.selection import CONFIG, INDEX, WHOLE, Selection, select_files, select_single
from engine.hub.transfer import PART, FileTransfer

RESERVE = 512 * 2**20
"""Bytes that stay free on the disk for pictures and the database."""

AT_ONCE = 4
"""Files that are fetched in parallel: one connection seldom uses the whole bandwidth."""

_POLL_SECONDS = 0.2
"""Windows hears Ctrl-C only between two waits."""

_END_SECONDS, _INTERRUPT_SECONDS = 60.0, 1.0
"""How long the other tasks may take to end after a failure, and after Ctrl-C: a server may be silent."""

_REPORT_SECONDS = 0.5
_ASK_PAUSES = (1.0, 3.0)

Sleep = Callable[[float], object]
"""Waits a number of seconds."""

Announce = Callable[[int, int], object]
"""Receives the bytes that are missing and those of all files, as the hub lists them, before a download begins."""

Check = Callable[[str, Path], object]
"""Takes a repository and the folder of its configs; raises FetchError where the rest must not be downloaded."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A pipeline or a file on this disk.

    Attributes:
        path: The pipeline's folder, or the file.
        revision: Its commit.
    """

    path: str
    revision: str


@dataclass(frozen=True, slots=True)
class Pulled(Fetched):
    """Result of a pull; ``revision`` is used from now on.

    Attributes:
        before: The commit that was used before; empty if there was none.
        fetched: Downloaded bytes.
    """

    before: str
    fetched: int


def fetch(
    repo: str,
    models_dir: str,
    report: ProgressCallback,
    *,
    selection: Selection = WHOLE,
    pause: Sleep = time.sleep,
) -> Fetched:
    """Return a pipeline at the commit that was chosen first, and fetch its missing files.

    Sends no request if all files are here. Resumes a broken download.

    Args:
        repo: ``owner/name``.
        models_dir: Folder of models and ``pins.json`` (``HF_HOME`` and ``HF_HUB_CACHE`` win for the models).
        report: Receives the progress.
        selection: Which files of the pipeline.
        pause: Waits between tries, in seconds.

    Raises:
        FetchError: It can't be fetched; the sentence says why and what to do.
    """
    if (folder := cache.present(repo, models_dir, selection)) is not None:
        return Fetched(folder, _pinned_revision(repo, models_dir))
    folder, revision, _ = RepoDownload(repo, models_dir, report, pause).run(
        lambda job: job.pipeline(selection), newest=False
    )
    return Fetched(folder, revision)


def fetch_single(repo: str, models_dir: str, report: ProgressCallback, *, pause: Sleep = time.sleep) -> Fetched:
    """Return the folder of a single model, such as a ControlNet: its config and its weights. See ``fetch``.

    Raises:
        FetchError: It can't be fetched, or the repository has no such files.
    """
    if (folder := cache.present_single(repo, models_dir)) is not None:
        return Fetched(folder, _pinned_revision(repo, models_dir))
    folder, revision, _ = RepoDownload(repo, models_dir, report, pause).run(lambda job: job.single(), newest=False)
    return Fetched(folder, revision)


def fetch_file(
    source: str,
    models_dir: str,
    report: ProgressCallback,
    *,
    pause: Sleep = time.sleep,
) -> Fetched:
    """Return one file of a repository: ``owner/name/path/file.safetensors`` or ``.gguf``. See ``fetch``.

    Raises:
        FetchError: It can't be fetched, or has another file type.
    """
    repo, path = _repo_and_path(source)
    if (found := cache.present_file(source, models_dir)) is not None:
        return Fetched(found, _pinned_revision(repo, models_dir))
    folder, revision, _ = RepoDownload(repo, models_dir, report, pause).run(lambda job: job.one(path), newest=False)
    return Fetched(str(Path(folder) / path), revision)


def pull(
    source: str,
    models_dir: str,
    report: ProgressCallback,
    *,
    selection: Selection = WHOLE,
    check: Check | None = None,
    announce: Announce = lambda missing, total: None,  # noqa: ARG005
    pause: Sleep = time.sleep,
) -> Pulled:
    """Fetch the newest commit of a pipeline, a single model or one file. The old one is used until all files are here.

    Args:
        source: ``owner/name``, or ``owner/name/path/file``.
        models_dir: Folder of models and ``pins.json``.
        report: Receives the progress.
        selection: Which files of a pipeline.
        check: Called for a pipeline whose configs and tokenizers are here, before its weights are downloaded.
        announce: Receives the size before the download begins.
        pause: Waits between tries, in seconds.

    Raises:
        FetchError: It can't be fetched, or did not pass the check.
    """
    repo, path = (source, "") if is_repo(source) else _repo_and_path(source)
    before = lockfile.pinned(repo, models_dir)
    job = RepoDownload(repo, models_dir, report, pause, announce)
    folder, revision, downloaded = job.run(
        lambda job: job.one(path) if path else job.whole(selection, check), newest=True
    )
    return Pulled(str(Path(folder) / path) if path else folder, revision, before, downloaded)


def _repo_and_path(source: str) -> tuple[str, str]:
    named = split_file(source)
    if named is None:
        raise FetchError(
            f"{source!r} names no file on a hub that Easel can load: use owner/name/FILE.safetensors or .gguf "
            "(no pickles).",
            passing=False,
        )
    return named


def _pinned_revision(repo: str, models_dir: str) -> str:
    """Return the commit in use of a repository that is here; pin it if only the cache named it."""
    if revision := lockfile.pinned(repo, models_dir):
        return revision
    pin = cache.adopted(repo, models_dir)
    if pin is None:
        return ""
    lockfile.put(models_dir, repo, replace(pin, files={}))
    return pin.revision


class RepoDownload:
    """One download of one repository: its commit, the sizes, the room on the disk, then the missing files in parallel.

    Args:
        repo: ``owner/name``.
        models_dir: Folder of models and ``pins.json``.
        report: Receives the progress.
        pause: Waits between tries.
        announce: Receives the size before the download begins.

    Raises:
        FetchError: ``repo`` is no repository's id.
    """

    def __init__(
        self,
        repo: str,
        models_dir: str,
        report: ProgressCallback,
        pause: Sleep,
        announce: Announce = lambda missing, total: None,  # noqa: ARG005
    ) -> None:
        if not is_repo(repo):
            raise FetchError(f"{repo!r} is no model's id on a hub: use owner/name.", passing=False)
        self._repo = repo
        self._models_dir = models_dir
        self._report = report
        self._announce = announce
        self._stop = threading.Event()
        self._pause = pause
        self._cache = cache.cache_root(models_dir)
        self._client = HubClient(repo)
        self._commit = Commit("", {})
        self._fetched = 0

    def run(self, choice: Callable[[RepoDownload], Iterable[str]], *, newest: bool) -> tuple[str, str, int]:
        """Return the snapshot's folder, its commit, and the number of downloaded bytes.

        Args:
            choice: Returns the paths to download.
            newest: Take the newest commit, not the one that is pinned.

        Raises:
            FetchError: It can't be fetched.
        """
        if offline():
            raise missing_offline(self._repo)
        pin = lockfile.read(self._models_dir).get(self._repo)
        with self._client.explained():
            if pin is not None and pin.files and not newest:
                self._commit = Commit(pin.revision, pin.files)
            else:
                self._commit = self._ask("" if pin is None or newest else pin.revision)
            chosen = Pin(self._commit.revision, self._commit.files, cache.external_cache(self._models_dir))
            if pin is None:
                # Pinned at once, so that a broken download is resumed with the same files, and by other processes too.
                chosen = lockfile.put_first(self._models_dir, self._repo, chosen)
                self._commit = Commit(chosen.revision, chosen.files)
            elif pin.revision == chosen.revision:
                lockfile.put(self._models_dir, self._repo, chosen)
            self._download(choice(self), self._report, self._announce)
            lockfile.put(self._models_dir, self._repo, chosen)
        return str(self._folder()), chosen.revision, self._fetched

    def pipeline(self, selection: Selection, check: Check | None = None) -> tuple[str, ...]:
        """Return the files of the pipeline; raises FetchError if it is none, or does not pass the check."""
        if INDEX not in self._commit.files:
            raise FetchError(
                f"{self._repo} has no {INDEX}, so it is no diffusers pipeline: name one file of it "
                f"({self._repo}/FILE.safetensors).",
                passing=False,
            )
        self._check_room({INDEX: self._commit.files[INDEX]})
        self._client.file(self._commit.revision, INDEX, self._cache)
        try:
            index = cache.read_index(self._folder())
            found = select_files(self._commit.files, index, selection)
            configs = select_files(self._commit.files, index, replace(selection, weights=False))
        except FetchError as e:
            raise FetchError(f"The model {self._repo} can't be used. {e}", passing=False) from e
        if check is not None:
            self._download(configs)
            check(self._repo, self._folder())
        return found

    def whole(self, selection: Selection, check: Check | None) -> tuple[str, ...]:
        """Return the files of the pipeline, or of the single model; raises FetchError if it is neither."""
        is_single = INDEX not in self._commit.files and CONFIG in self._commit.files
        return self.single() if is_single else self.pipeline(selection, check)

    def single(self) -> tuple[str, ...]:
        """Return the files of a single model; raises FetchError if there is none."""
        try:
            return select_single(self._commit.files)
        except FetchError as e:
            raise FetchError(f"The repository {self._repo} can't be used. {e}", passing=False) from e

    def one(self, path: str) -> tuple[str, ...]:
        """Return the one file; raises FetchError if the commit does not have it."""
        if path not in self._commit.files:
            raise FetchError(f"The hub's repository {self._repo} has no file {path}: check the name.", passing=False)
        return (path,)

    def _ask(self, revision: str) -> Commit:
        for pause in _ASK_PAUSES:
            try:
                return self._client.commit(revision)
            except FetchError as e:
                if not e.passing:
                    raise
                self._pause(pause)
        return self._client.commit(revision)

    def _download(
        self,
        chosen: Iterable[str],
        report: ProgressCallback = lambda done, total: None,  # noqa: ARG005
        announce: Announce = lambda missing, total: None,  # noqa: ARG005
    ) -> None:
        """Download the missing files."""
        files = {path: self._commit.files[path] for path in chosen}
        absent = {path: files[path] for path in cache.missing(self._folder(), files, files)}
        self._check_room(absent)
        begun = sum(self._here(file) for file in absent.values())
        total = sum(file.size for file in files.values())
        announce(sum(file.size for file in absent.values()) - begun, total)
        counter = _ProgressCounter(report, total)
        counter.add(sum(file.size for path, file in files.items() if path not in absent))
        self._stop = threading.Event()  # it is set when a download has ended
        # The largest first: they decide when the download ends.
        order = sorted(absent, key=lambda path: -absent[path].size)
        run_parallel([partial(self._download_file, path, absent[path], counter) for path in order], self._stop)
        counter.end()
        self._fetched += sum(file.size for file in absent.values()) - begun

    def _download_file(self, path: str, file: RepoFile, counter: _ProgressCounter) -> None:
        if self._stop.is_set():
            raise FetchCancelled
        place = self._folder() / path
        if cache.size_of(place) not in {None, file.size}:
            # It is truncated (a power cut, a full disk). A file that was missing may have been fetched by another process
            # since then: it is not removed.
            _drop(place)
        if file.sha256:
            self._download_large(path, file, counter)
        else:
            counter.add(file.size)
        place = self._client.file(self._commit.revision, path, self._cache)
        if place.stat().st_size != file.size:
            _drop(place)
            raise FetchError(f"The size of {self._repo}/{path} is not what its hub lists: try again.", passing=True)

    def _download_large(self, path: str, file: RepoFile, counter: _ProgressCounter) -> None:
        """Download a large file to the name under which huggingface_hub's cache looks for it."""
        with self._client.explained(self._commit.revision):
            blob = self._blob(file)
            lock = self._cache / ".locks" / cache.storage(self._cache, self._repo).name / f"{blob.name}.lock"
            for folder in (blob.parent, lock.parent):
                folder.mkdir(parents=True, exist_ok=True)
            # huggingface_hub's own lock: another process may download the same file, such as that of another card.
            others = 0
            while True:
                try:
                    with FileLock(lock, timeout=1):
                        counter.add(-others)
                        if blob.exists():
                            if blob.stat().st_size == file.size:
                                counter.add(file.size)
                                return
                            blob.unlink()
                        FileTransfer(
                            self._client,
                            self._commit.revision,
                            path,
                            file,
                            tick=counter.add,
                            stop=self._stop,
                            pause=self._pause,
                        ).run(blob)
                        return
                except Timeout:
                    if self._stop.is_set():
                        raise FetchCancelled from None
                    here = self._here(file)
                    counter.add(here - others)
                    others = here

    def _check_room(self, absent: Mapping[str, RepoFile]) -> None:
        """Raise FetchError if the disk has no room for these files."""
        needed = sum(file.size - self._here(file) for file in absent.values())
        if not needed:
            return
        free = free_bytes(self._cache)
        if needed + RESERVE > free:
            raise DiskFull(
                f"The model {self._repo} needs {size(needed)} more, and the disk of {self._cache} has {size(free)} "
                f"free, of which {size(RESERVE)} stay free: make room, or set EASEL_DATA_DIR or HF_HOME to another disk."
            )

    def _here(self, file: RepoFile) -> int:
        """Return how many bytes of a file are in the cache already."""
        blob = self._blob(file)
        for place in (blob, blob.with_name(blob.name + PART)):
            if place.exists():
                return min(file.size, place.stat().st_size)
        return 0

    def _blob(self, file: RepoFile) -> Path:
        return cache.storage(self._cache, self._repo) / "blobs" / file.oid

    def _folder(self) -> Path:
        return cache.snapshot(self._cache, self._repo, self._commit.revision)


class _ProgressCounter:
    """Adds up the bytes of all threads; reports them at most twice a second, and at the end."""

    def __init__(self, report: ProgressCallback, total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0
        self._reported = 0.0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Add new bytes; a negative number if some must be downloaded again."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._reported > _REPORT_SECONDS:
                self._reported = now
                self._report(min(self._done, self._total), self._total)

    def end(self) -> None:
        """Report that all bytes are here."""
        self._report(self._total, self._total)


def _drop(place: Path) -> None:
    """Remove a file, and the file that it links to."""
    if place.exists():
        place.resolve().unlink(missing_ok=True)
    place.unlink(missing_ok=True)


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk of a folder, which need not exist."""
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def run_parallel(tasks: Sequence[Callable[[], None]], stop: threading.Event) -> None:
    """Run all tasks. On the first error, and on Ctrl-C, set ``stop``, which ends the other tasks, and raise it."""
    waiting = deque(tasks)
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        while waiting and not stop.is_set():
            try:
                task = waiting.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                task()
            except BaseException as e:  # noqa: BLE001 - raised on the caller's thread
                ended.put(e)
                stop.set()
            else:
                ended.put(None)

    # Daemons: after Ctrl-C the process does not wait for a server.
    threads = [threading.Thread(target=work, name="fetch", daemon=True) for _ in tasks[:AT_ONCE]]
    for thread in threads:
        thread.start()
    left, timeout = len(tasks), _INTERRUPT_SECONDS
    try:
        while left:
            with contextlib.suppress(queue.Empty):
                if (error := ended.get(timeout=_POLL_SECONDS)) is not None:
                    timeout = _END_SECONDS
                    raise error
                left -= 1
    finally:
        stop.set()
        end = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

"""Brings one large file so that it can be broken off anywhere and goes on later, and checks its content.

huggingface_hub 2.4 goes on within one process only (it throws a half-fetched file away when its process ends), so the
files that take long are brought here and put under the name by which its cache looks for them.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from engine.hub.client import TIMEOUT, FileLocation, HubClient
from engine.hub.errors import FetchCancelled, FetchError
from engine.hub.lockfile import RepoFile

PART = ".part"
"""End of the name of a file that is not all here yet."""

TRIES = 5
"""So many failures in a row without a new byte, and it is given up for now."""

_PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each new try."""

_HASH_CHUNK = 2**20
_PARTIAL, _BAD_RANGE = 206, 416


class _Damaged(Exception):
    """The bytes are not those that the hub lists."""


class _Short(Exception):
    """The answer ended before the file did."""


class FileTransfer:
    """Brings one file to its place.

    Args:
        client: Whom to ask.
        revision: The commit.
        path: The file in it.
        file: What the hub lists of it.
        tick: Told how many bytes came (fewer than none, when some have to come again).
        stop: Set from another thread to break off.
        pause: Waits between tries, in seconds; tests need not wait.
    """

    def __init__(
        self,
        client: HubClient,
        revision: str,
        path: str,
        file: RepoFile,
        *,
        tick: Callable[[int], None],
        stop: threading.Event,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._revision = revision
        self._path = path
        self._file = file
        self._tick = tick
        self._stop = stop
        self._pause = pause
        self._digest = hashlib.sha256()
        self._held = 0

    def run(self, target: Path) -> None:
        """Make ``target`` the whole file. What is there of it under ``<target>.part`` is not fetched again.

        Raises:
            FetchError: The hub can't be reached or does not have it, the disk is full, or the content is wrong.
            FetchCancelled: ``stop`` was set; what has come stays.
        """
        part = target.with_name(target.name + PART)
        with self._client.explained(self._revision):
            resumed = self._take_up(part)
            try:
                self._fill(part)
            except _Damaged:
                part.unlink(missing_ok=True)
                if not resumed:
                    raise self._wrong() from None
                # What lay there may have been damaged (a power cut), so once more from its beginning.
                self._take_up(part)
                try:
                    self._fill(part)
                except _Damaged:
                    part.unlink(missing_ok=True)
                    raise self._wrong() from None
            part.replace(target)

    def _take_up(self, part: Path) -> bool:
        """Count and digest what is there already; return whether it is anything."""
        self._tick(-self._held)
        self._digest, self._held = hashlib.sha256(), 0
        if not part.exists():
            return False
        if part.stat().st_size > self._file.size:
            part.unlink()
            return False
        with part.open("rb") as file:
            while chunk := file.read(_HASH_CHUNK):
                self._check_stop()
                self._count(chunk)
        return self._held > 0

    def _fill(self, part: Path) -> None:
        """Fetch what is missing and check the whole; raises _Damaged."""
        failures = 0
        while self._held < self._file.size or not part.exists():
            before = self._held
            try:
                self._stream(self._client.where(self._revision, self._path), part)
            except (_Damaged, FetchCancelled, FetchError):
                raise
            except Exception as e:  # the transports' exceptions have no common base that leaves the disk's out
                failures = 1 if self._held > before else failures + 1
                if failures >= TRIES and isinstance(e, _Short):
                    raise FetchError(f"The hub breaks off again and again: {e}; try again later.", passing=True) from e
                if failures >= TRIES or not _passing(e):
                    raise
                self._check_stop()
                self._pause(_PAUSES[min(failures, len(_PAUSES)) - 1])
        if self._file.sha256 and self._digest.hexdigest() != self._file.sha256:
            raise _Damaged

    def _stream(self, where: FileLocation, part: Path) -> None:
        from huggingface_hub import get_session, hf_raise_for_status  # noqa: PLC0415 - imported when needed

        headers = {**where.headers, **({"Range": f"bytes={self._held}-"} if self._held else {})}
        with get_session().stream("GET", where.url, headers=headers, timeout=TIMEOUT) as answer:
            if answer.status_code == _BAD_RANGE:
                raise _Damaged
            hf_raise_for_status(answer)
            if self._held and answer.status_code != _PARTIAL:
                # It sends everything again, so everything is written again.
                part.unlink()
                self._take_up(part)
            with part.open("ab") as file:
                for chunk in answer.iter_bytes():
                    self._check_stop()
                    if self._held + len(chunk) > self._file.size:
                        raise _Damaged
                    file.write(chunk)
                    self._count(chunk)
                file.flush()
                os.fsync(file.fileno())
        if self._held < self._file.size:
            raise _Short(f"{self._path} ended after {self._held} of {self._file.size} bytes")

    def _count(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._held += len(chunk)
        self._tick(len(chunk))

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise FetchCancelled

    def _wrong(self) -> FetchError:
        return FetchError(
            f"What came of {self._client.repo}/{self._path} is not what its hub lists: try again, or another HF_ENDPOINT.",
            passing=False,
        )


def _passing(error: Exception) -> bool:
    """Return whether another try can help: not where the disk, the name or the token is the trouble."""
    response = getattr(error, "response", None)
    if response is None:
        # Of the errors without an answer those with a number are the disk's.
        return not (isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError))
    # The hub says what is wrong. A storage that refuses an address which has run out says nothing: ask for a new one.
    return "X-Error-Code" not in response.headers and response.status_code not in {401, 404}

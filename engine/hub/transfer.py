"""Downloads one large file so that it can be resumed by another process, and checks its content.

huggingface_hub 2.4 resumes within one process only: it drops an incomplete file when its process ends. Large files are
therefore downloaded here, to the name under which its cache looks for them.
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
"""Suffix of an incomplete file's name."""

TRIES = 5
"""Failures in a row without a new byte after which the download is given up."""

_PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each new try."""

_HASH_CHUNK = 2**20
_PARTIAL, _BAD_RANGE = 206, 416


class _Damaged(Exception):
    """The bytes are not the ones that the hub lists."""


class _Short(Exception):
    """The response ended before the file did."""


class FileTransfer:
    """Downloads one file.

    Args:
        client: Client of the file's repository.
        revision: The commit.
        path: The file in it.
        file: Its size and content as the hub lists them.
        tick: Receives the number of new bytes; negative if some must be downloaded again.
        stop: Set from another thread to cancel.
        pause: Waits between tries, in seconds; tests do not wait.
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
        """Download the file to ``target``; the bytes in ``<target>.part`` are not downloaded again.

        Raises:
            FetchError: The hub can't be reached or does not have the file, the disk is full, or the content is wrong.
            FetchCancelled: ``stop`` was set; the bytes that are here stay.
        """
        part = target.with_name(target.name + PART)
        with self._client.explained(self._revision):
            resumed = self._resume(part)
            try:
                self._fill(part)
            except _Damaged:
                part.unlink(missing_ok=True)
                if not resumed:
                    raise self._wrong() from None
                # The part may have been damaged (a power cut): download it once more from the beginning.
                self._resume(part)
                try:
                    self._fill(part)
                except _Damaged:
                    part.unlink(missing_ok=True)
                    raise self._wrong() from None
            part.replace(target)

    def _resume(self, part: Path) -> bool:
        """Count and hash the bytes that are here already; return whether there are any."""
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
        """Download the missing bytes and check the whole file; raises _Damaged."""
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
                    raise FetchError(
                        f"The hub ended the download several times: {e}; try again later.", passing=True
                    ) from e
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
                # The server sends the whole file again, so the file is written from its beginning.
                part.unlink()
                self._resume(part)
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
            f"The content of {self._client.repo}/{self._path} is not what its hub lists: try again, or set another HF_ENDPOINT.",
            passing=False,
        )


def _passing(error: Exception) -> bool:
    """Return whether another try can help: not if the disk, the name or the token is wrong."""
    response = getattr(error, "response", None)
    if response is None:
        # Of the errors without a response, those with an errno are the disk's.
        return not (isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError))
    # The hub says what is wrong; a storage that refuses an expired address does not, and a new address helps.
    return "X-Error-Code" not in response.headers and response.status_code not in {401, 404}

"""Talks to a hub through huggingface_hub; every failure becomes a FetchError with one sentence.

huggingface_hub is imported when it is first needed, since the service does without it. It reads its environment at that
moment; this module reads the environment at each call and passes it on, so that it can change within one process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from engine.hub.errors import DiskFull, FetchCancelled, FetchError
from engine.hub.lockfile import RepoFile
from engine.hub.selection import is_useful

TIMEOUT = 20.0
"""Seconds for which a hub may be silent."""

_MAIN = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of a repository and its useful files.

    Attributes:
        revision: 40 hexadecimal digits.
        files: By path.
    """

    revision: str
    files: Mapping[str, RepoFile]


@dataclass(frozen=True, slots=True)
class FileLocation:
    """Address of a file's bytes, valid for minutes.

    Attributes:
        url: Where to get them.
        headers: Headers of the request.
    """

    url: str
    headers: Mapping[str, str]


def offline() -> bool:
    """Return whether the environment forbids requests to a hub."""
    return any(
        os.environ.get(name, "").strip().upper() in {"1", "ON", "YES", "TRUE"}
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


class HubClient:
    """Client of one repository.

    Args:
        repo: ``owner/name``.

    Raises:
        FetchError: ``HF_ENDPOINT`` is no address.
    """

    def __init__(self, repo: str) -> None:
        self.repo = repo
        self._endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").strip().rstrip("/")
        self._token = (os.environ.get("HF_TOKEN") or "").strip() or None
        if not re.fullmatch(r"https?://[^/?#\s]+.*", self._endpoint):
            raise FetchError(
                "HF_ENDPOINT is no address of a hub: it must begin with https:// (or http://).", passing=False
            )

    def commit(self, revision: str = "") -> Commit:
        """Return a commit of the repository, the newest one by default; raises FetchError."""
        with self.explained(revision):
            from huggingface_hub import HfApi  # noqa: PLC0415 - see the first lines

            api = HfApi(endpoint=self._endpoint, token=self._token)
            info = api.model_info(self.repo, revision=revision or _MAIN, files_metadata=True, timeout=TIMEOUT)
            if info.sha is None or not _COMMIT.fullmatch(info.sha):
                raise OSError("it names no commit, so it may be no hub at all")
            files = {}
            for file in info.siblings or ():
                if is_useful(file.rfilename) and file.size is not None:
                    oid = file.lfs.sha256 if file.lfs is not None else file.blob_id or ""
                    files[file.rfilename] = RepoFile(file.size, oid)
            return Commit(info.sha, files)

    def file(self, revision: str, path: str, cache: Path) -> Path:
        """Return a file's path in the cache, and download it if it is not there; raises FetchError."""
        with self.explained(revision):
            from huggingface_hub import hf_hub_download  # noqa: PLC0415 - see the first lines

            found = hf_hub_download(
                self.repo, path, revision=revision, cache_dir=cache, endpoint=self._endpoint, token=self._token
            )
            return Path(found)

    def where(self, revision: str, path: str) -> FileLocation:
        """Return the address of a file's bytes; raises what huggingface_hub raises."""
        from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url  # noqa: PLC0415 - see the first lines

        url = hf_hub_url(self.repo, path, revision=revision, endpoint=self._endpoint)
        found = get_hf_file_metadata(url, token=self._token, timeout=TIMEOUT, endpoint=self._endpoint)
        location = urljoin(url, found.location)
        headers = {"accept-encoding": "identity"}
        # The token is for the hub only; the storage that it points to has a signed address.
        if urlsplit(location)[:2] == urlsplit(self._endpoint)[:2] and (token := self._token or get_token()):
            headers["authorization"] = f"Bearer {token}"
        return FileLocation(location, headers)

    @contextlib.contextmanager
    def explained(self, revision: str = "") -> Iterator[None]:
        """Turn every exception into a FetchError with one sentence."""
        try:
            yield
        except (FetchError, FetchCancelled):
            raise
        except Exception as e:  # the library, its transports and the disk have no common exception
            raise self._sentence(e, revision) from e

    def _sentence(self, error: Exception, revision: str) -> FetchError:
        from huggingface_hub import errors as hub  # noqa: PLC0415 - see the first lines

        repo, at = self.repo, self._endpoint
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", 0)
        if isinstance(error, hub.GatedRepoError):
            return FetchError(
                f"The model {repo} requires its licence to be accepted: accept it at {at}/{repo}, then set HF_TOKEN to a "
                "token of that account.",
                passing=False,
            )
        if isinstance(error, hub.RevisionNotFoundError):
            return FetchError(
                f"The hub no longer has commit {revision or _MAIN} of {repo}: `easel model pull {repo}` fetches the newest.",
                passing=False,
            )
        if isinstance(error, hub.RemoteEntryNotFoundError):
            return FetchError(f"The hub's repository {repo} lacks a file: {error.response.url.path}.", passing=False)
        if status in {401, 403} and self._token:
            return FetchError(
                f"The hub {at} refuses HF_TOKEN for {repo}: set one that is valid and may read it, and check the name.",
                passing=False,
            )
        if isinstance(error, hub.RepositoryNotFoundError) or status in {401, 403}:
            return FetchError(
                f"The hub {at} has no model {repo}, or it is private: check the name, and HF_TOKEN if it is private.",
                passing=False,
            )
        if isinstance(error, hub.OfflineModeIsEnabled):
            return missing_offline(repo)
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return DiskFull(f"The disk became full while {repo} was fetched: make room, and start again.")
        if isinstance(error, OSError) and error.errno in {errno.EACCES, errno.EROFS, errno.EPERM}:
            return FetchError(
                f"The models folder can't be written ({error.strerror}: {error.filename}).", passing=False
            )
        if status:
            return FetchError(
                f"The hub {at} answered {status} for {repo}: try again later, or set HF_ENDPOINT to a mirror.",
                passing=True,
            )
        said = " ".join(str(error).split())[:200]
        return FetchError(
            f"The model {repo} is incomplete here, and the hub {at} can't be reached ({type(error).__name__}: {said}): "
            "check the network, HF_ENDPOINT and HTTPS_PROXY.",
            passing=True,
        )


def missing_offline(repo: str) -> FetchError:
    """Return the error for a model that is incomplete while the hub must not be asked."""
    return FetchError(
        f"The model {repo} is incomplete here, and HF_HUB_OFFLINE is set: unset it, or copy the models folder of a "
        "machine that has it.",
        passing=False,
    )

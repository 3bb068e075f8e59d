"""A hub on loopback, as huggingface_hub speaks with it: one repository with its commits, and a storage for large files.

Like the real one it answers for a large file with a redirect to a signed address on another host. It has no Xet.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".gguf", ".bin", ".ckpt")
"""Files that a repository keeps by LFS."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class Answer:
    """One answer.

    Attributes:
        status: Of HTTP.
        headers: Without the length.
        body: What is announced.
        sent: How many bytes of the body are sent before the connection breaks; None for all.
        stall: How many bytes are sent before nothing more comes for long; None for all.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    sent: int | None = None
    stall: int | None = None


class Hub:
    """What it serves, how it misbehaves, and what it was asked.

    Args:
        repo: The only repository that it has.
        folder: The files of its only commit.

    Attributes:
        commits: Folders by commit; ``main`` is the last one.
        asked: Requests to the hub.
        asked_storage: Requests to the storage.
        down: Everything is answered 503.
        token: Only who shows it gets anything.
        gated: The licence was not accepted.
        cuts: For each of the next answers of the storage with a file's name: bytes until the connection breaks.
        shorts: As ``cuts``, but the answer ends properly and is too short.
        statuses: For each of the next answers of the storage: another status.
        stalls: The storage says nothing more after this number of bytes of a file, by its name, until ``released`` is set.
        ignores_ranges: The storage always sends everything.
        damages: The storage sends other bytes than it should.
    """

    def __init__(self, repo: str, folder: Path) -> None:
        self.repo = repo
        self.commits = {COMMIT: folder}
        self.asked: list[Asked] = []
        self.asked_storage: list[Asked] = []
        self.down = False
        self.token = ""
        self.gated = False
        self.cuts: dict[str, list[int]] = {}
        self.shorts: dict[str, list[int]] = {}
        self.statuses: list[int] = []
        self.stalls: dict[str, int] = {}
        self.released = threading.Event()
        self.ignores_ranges = False
        self.damages = False
        self.url = ""
        self.storage_url = ""

    @property
    def folder(self) -> Path:
        """The files of the newest commit."""
        return self.commits[self.main]

    @property
    def main(self) -> str:
        """The newest commit."""
        return list(self.commits)[-1]

    def downloads(self) -> list[str]:
        """Return the names of the files whose bytes were asked for, in order."""
        small = [a.path.split("/", 5)[-1] for a in self.asked if a.method == "GET" and "/resolve/" in a.path]
        return small + [a.path.split("/", 2)[-1] for a in self.asked_storage if a.method == "GET"]

    def answer(self, asked: Asked) -> Answer:
        """Answer as the hub itself."""
        self.asked.append(asked)
        if self.down:
            return Answer(503)
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return Answer(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        if info := re.fullmatch(rf"/api/models/{re.escape(self.repo)}/revision/(\w+)", asked.path):
            commit = self.main if info[1] == "main" else info[1]
            if commit not in self.commits:
                return Answer(404, {"X-Error-Code": "RevisionNotFound"})
            return self._info(commit)
        if file := re.fullmatch(rf"/{re.escape(self.repo)}/resolve/(\w+)/(.+)", asked.path):
            if self.gated:
                return Answer(403, {"X-Error-Code": "GatedRepo"})
            return self._file(file[1], file[2])
        return Answer(404, {"X-Error-Code": "RepoNotFound"})

    def answer_storage(self, asked: Asked) -> Answer:
        """Answer as the storage, whose addresses are ``/<commit>/<file>``."""
        commit, _, name = asked.path.removeprefix("/").partition("/")
        if commit not in self.commits:
            # A page of an earlier test still asks at a port that another server has now.
            return Answer(404)
        self.asked_storage.append(asked)
        if self.statuses:
            return Answer(self.statuses.pop(0))
        data = (self.commits[commit] / name).read_bytes()
        if self.damages:
            data = data[:-1] + bytes([data[-1] ^ 1])
        begin = 0
        if (wanted := asked.headers.get("range")) and not self.ignores_ranges:
            begin = int(wanted.removeprefix("bytes=").partition("-")[0])
            if begin >= len(data):
                return Answer(416)
        answer = Answer(206 if begin else 200, body=data[begin:])
        if begin:
            answer.headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        if cuts := self.cuts.get(name):
            answer.sent = cuts.pop(0)
        elif name in self.stalls:
            answer.stall = self.stalls[name]
        elif shorts := self.shorts.get(name):
            answer.body = answer.body[: shorts.pop(0)]
        return answer

    def _info(self, commit: str) -> Answer:
        files = [path for path in sorted(self.commits[commit].rglob("*")) if path.is_file()]
        siblings = [self._sibling(path, path.relative_to(self.commits[commit]).as_posix()) for path in files]
        body = json.dumps({"id": self.repo, "sha": commit, "siblings": siblings}).encode()
        return Answer(200, {"Content-Type": "application/json"}, body)

    @staticmethod
    def _sibling(path: Path, name: str) -> dict[str, object]:
        data = path.read_bytes()
        found: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": _git(data)}
        if name.endswith(LARGE):
            found["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return found

    def _file(self, commit: str, name: str) -> Answer:
        path = self.commits.get(commit, Path("/nowhere")) / name
        if not path.is_file():
            return Answer(404, {"X-Error-Code": "EntryNotFound"})
        data = path.read_bytes()
        headers = {"X-Repo-Commit": commit}
        if not name.endswith(LARGE):
            return Answer(200, {**headers, "ETag": f'"{_git(data)}"'}, data)
        linked = {"X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Linked-Size": str(len(data))}
        return Answer(302, {**headers, **linked, "Location": f"{self.storage_url}/{commit}/{name}"})


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the hub, and its storage under another name, on free ports of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, unquote(urlsplit(self.path).path), headers)
            answer = hub.answer_storage(asked) if self.server is storage else hub.answer(asked)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.sent if answer.stall is None else answer.stall])
            if answer.stall is not None:
                hub.released.wait()
            if answer.sent is not None or answer.stall is not None:
                self.close_connection = True

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Tests read ``asked`` instead."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            # A client that was killed is no fault of ours.
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)  # type: ignore[arg-type]

    servers = [Server(("127.0.0.1", 0), Handler) for _ in range(2)]
    server, storage = servers
    threads = [threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.05}) for each in servers]
    for thread in threads:
        thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.storage_url = f"http://localhost:{storage.server_port}"
    try:
        yield hub
    finally:
        hub.released.set()
        for each, thread in zip(servers, threads, strict=True):
            each.shutdown()
            each.server_close()
            thread.join()

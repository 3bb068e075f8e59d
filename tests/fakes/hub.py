"""A hub on loopback that has one model: the files of a folder, as huggingface_hub asks for them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What it serves and what it was asked.

    Args:
        repo: The only repository that it has.
        folder: Its files.
    """

    def __init__(self, repo: str, folder: Path) -> None:
        self.repo = repo
        self.folder = folder
        self.asked: list[tuple[str, str]] = []
        self.down = False
        self.url = ""

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        self.asked.append((method, path))
        if self.down:
            return 503, {}, b""
        if path == f"/api/models/{self.repo}/revision/main":
            return self._json({"id": self.repo, "sha": COMMIT, "siblings": []})
        if path == f"/api/models/{self.repo}/tree/{COMMIT}":
            files = [p for p in sorted(self.folder.rglob("*")) if p.is_file()]
            return self._json([self._entry(p) for p in files])
        prefix = f"/{self.repo}/resolve/{COMMIT}/"
        file = self.folder / path.removeprefix(prefix)
        if path.startswith(prefix) and file.is_file():
            data = file.read_bytes()
            return 200, {"ETag": f'"{_digest(data)}"', "X-Repo-Commit": COMMIT}, data
        return 404, {"X-Error-Code": "RepoNotFound"}, b""

    def _entry(self, file: Path) -> dict[str, object]:
        data = file.read_bytes()
        return {
            "type": "file",
            "path": file.relative_to(self.folder).as_posix(),
            "size": len(data),
            "oid": _digest(data),
        }

    @staticmethod
    def _json(value: object) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the hub on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.command, unquote(urlsplit(self.path).path))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Tests read ``asked`` instead."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

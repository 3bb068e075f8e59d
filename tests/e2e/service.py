"""The real `easel serve` as a child process, for end-to-end tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

READY_SECONDS = 90.0
STOP_SECONDS = 20.0


def free_port() -> int:
    """Return a port of the loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition that another process brings about; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without any of Easel's settings, and ``extra``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("EASEL_")}
    return {**kept, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", **extra}


def easel(
    *args: str, cwd: Path, env: Mapping[str, str] | None = None, seconds: float = 110
) -> subprocess.CompletedProcess[str]:
    """Run one `easel` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "adapters.cli.main", *args],
        cwd=cwd,
        env=environment({"XDG_STATE_HOME": str(cwd.with_name(f"{cwd.name}-state")), **(env or {})}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=seconds,
        check=False,
    )


class Service:
    """A running Easel with its data in ``folder / "data"``; always ended by its fixture.

    Attributes:
        url: Base address of the page.
        data: The data folder.
        log_path: What it wrote to stdout and stderr, over all its lives.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log_path = folder / "easel.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {"EASEL_DATA_DIR": str(self.data), "EASEL_WEB_PORT": str(self.port), **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The service's process."""
        assert self._process is not None, "the service was not started"
        return self._process

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """Its output so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def start(self, *, ready: bool = True) -> None:
        """Start it, and wait until the engine is warm and everything answers (``ready``)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "adapters.cli.main", "serve"],
                cwd=self.folder,
                env=environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if ready:
            self.wait_ready()

    def engines(self) -> list[psutil.Process]:
        """Return its engine processes."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in found if any("engine.host.child" in part for part in one.cmdline())]

    def wait_ready(self) -> None:
        """Wait until /readyz says yes; fails at once when the process ends."""

        def ready() -> bool:
            assert self.running, f"easel serve ended with {self.process.returncode}:\n{self.log}"
            return self.status("/readyz") == 200

        try:
            until(ready, READY_SECONDS, "/readyz")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None

    def status(self, path: str) -> int:
        """Return the HTTP status of a page; 0 when nothing answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code)
        except OSError:
            return 0

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """GET a JSON page, or POST ``body`` to it."""
        request = urllib.request.Request(self.url + path, headers={"Origin": self.url})
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def draw(self, prompt: str, *, key: str | None = None, **form: str) -> int:
        """Ask for pictures on the page; returns the job's id. The same key is the same request."""
        body = {"key": key or uuid.uuid4().hex, "prompt": prompt, **form}
        return int(self.call("/api/draw", body)["card"]["job_id"])

    def edit(self, prompt: str, references: Sequence[bytes], *, key: str | None = None, **form: str) -> int:
        """Ask for an edit of reference pictures, PNG files, on the page; returns the job's id."""
        fields = {"key": key or uuid.uuid4().hex, "prompt": prompt, **form}
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
        parts = [f'{head}{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
        for file in references:
            named = f'{head}references"; filename="reference.png"\r\nContent-Type: image/png\r\n\r\n'
            parts.append(named.encode() + file + b"\r\n")
        request = urllib.request.Request(
            self.url + "/api/draw",
            b"".join(parts) + f"--{boundary}--\r\n".encode(),
            {"Origin": self.url, "Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(json.loads(answer.read())["card"]["job_id"])

    def card(self, job_id: int) -> dict[str, Any]:
        """Return a job's card as the page shows it now."""
        card: dict[str, Any] = self.call(f"/api/jobs/{job_id}")["card"]
        return card

    def finished(self, job_id: int, seconds: float = 110) -> dict[str, Any]:
        """Wait for a job's last card."""
        until(lambda: self.card(job_id)["final"], seconds, f"job {job_id} is final")
        return self.card(job_id)

    def get(self, path: str) -> bytes:
        """Return the body at an address of the page."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            data: bytes = answer.read()
        return data

    def stop(self) -> int:
        """Stop it as Ctrl-C or a service manager does; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Kill it (kill -9); its engine process notices by itself."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def restart(self) -> None:
        """Stop it gracefully and start it again on the same data."""
        self.stop()
        self.start()

    def end(self) -> None:
        """Make sure that nothing is left running."""
        if not self.running:
            return
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"easel serve did not stop within {STOP_SECONDS:g} s:\n{self.log}") from None

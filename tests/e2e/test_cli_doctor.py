"""`easel doctor` from the outside: one line each, and what to do about each that fails."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from adapters.cli import doctor, platforms
from bot.settings import Settings
from bot.storage.database import Database
from tests.e2e.service import easel, free_port

pytestmark = pytest.mark.slow

NAMES = [
    "easel",
    "python",
    "torch",
    "model",
    "plan",
    "folder",
    "database",
    "ledger",
    "provenance",
    "discord",
    "telegram",
    "port",
]


def _json(cwd: Path, env: dict[str, str], plans: Sequence[str] = ("plan",)) -> tuple[int, dict[str, dict[str, object]]]:
    done = easel("doctor", "--json", cwd=cwd, env={"EASEL_WEB_PORT": str(free_port()), **env})
    found = json.loads(done.stdout)
    assert done.stderr == ""
    checks = {check["name"]: check for check in found["checks"]}
    at = NAMES.index("plan")
    assert list(checks) == [*NAMES[:at], *plans, *NAMES[at + 1 :]]
    assert found["ok"] is all(check["ok"] for check in checks.values())
    return done.returncode, checks


def test_all_is_well_on_a_fresh_machine(tmp_path: Path) -> None:
    done = easel("doctor", cwd=tmp_path, env={"EASEL_WEB_PORT": str(free_port()), "EASEL_DEVICE": "cpu"})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in NAMES]
    plan = lines[NAMES.index("plan")].split(maxsplit=2)[2]
    assert plan.startswith("Weights in fp32; ")
    assert "of main memory" in plan
    assert "A CPU draws small models in fp32" in plan


def test_all_that_can_be_wrong_at_once(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = {"EASEL_DEVICE": "cuda:9", "EASEL_MODEL": "nobody/nothing", "EASEL_WEB_PORT": port}
        code, checks = _json(tmp_path, env)
    assert code == 1
    assert {name for name, check in checks.items() if not check["ok"]} == {"torch", "model", "folder", "port"}
    assert "cuda:9" in str(checks["torch"]["found"])
    assert "EASEL_DEVICE" in str(checks["torch"]["advice"])
    assert "nobody/nothing" in str(checks["model"]["found"])
    assert "EASEL_MODEL" in str(checks["model"]["advice"])
    assert checks["plan"]["found"] == "No plan without a device and a model that can be used"
    assert port in str(checks["port"]["found"])
    assert "EASEL_WEB_PORT" in str(checks["port"]["advice"])
    assert "EASEL_DATA_DIR" in str(checks["folder"]["advice"])


@pytest.mark.parametrize("state", ["newer", "damaged", "ours"])
async def test_the_database(tmp_path: Path, state: str) -> None:
    data = tmp_path / "data"
    path = data / "easel.db"
    async with await Database.open(path):
        pass
    if state == "newer":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 999")
        db.close()
    elif state == "damaged":
        path.write_bytes(b"no database at all, but long enough to be one" * 100)
    before = path.read_bytes()
    found = await doctor.check_database(Settings(_env_file=None, data_dir=data))
    assert found.ok is (state == "ours")
    if state == "newer":
        assert "999" in found.found
        done = await asyncio.to_thread(easel, "migrate", cwd=tmp_path)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "999" in done.stderr
    assert path.read_bytes() == before


class _Refuses(BaseHTTPRequestHandler):
    """Says to every call what both platforms say about a token that is not one."""

    def _refuse(self) -> None:
        body = json.dumps(
            {"ok": False, "error_code": 401, "description": "Unauthorized", "message": "401: Unauthorized"}
        )
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        self._refuse()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._refuse()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has in the library
        """Quiet."""


@contextmanager
def _refusing() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Refuses)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_refused_tokens_are_named_and_never_shown_beside_a_precision_that_two_devices_have_not(tmp_path: Path) -> None:
    slots = ["cpu:0", "cpu:1"]
    env = {
        "EASEL_DEVICE": "cpu,cpu",
        "EASEL_PRECISION": "nf4",
        "EASEL_DISCORD_TOKEN": "MTk4.secret.discord",
        "EASEL_TELEGRAM_TOKEN": "123456:secrettelegram",
    }
    with _refusing() as url:
        code, checks = _json(tmp_path, {**env, "EASEL_DISCORD_API_URL": url, "EASEL_TELEGRAM_API_URL": url}, slots)
    assert code == 1
    assert {name for name, check in checks.items() if not check["ok"]} == {*slots, "discord", "telegram"}
    assert "EASEL_DISCORD_TOKEN" in str(checks["discord"]["found"])
    assert "EASEL_TELEGRAM_TOKEN" in str(checks["telegram"]["found"])
    assert "secret" not in str(checks)
    assert str(checks["torch"]["found"]).endswith(", cpu:0, cpu:1")
    for slot in slots:
        assert "EASEL_PRECISION=nf4 needs " in str(checks[slot]["found"])


@pytest.mark.parametrize(("name", "token"), [("discord", "MTk4.secret.discord"), ("telegram", "123456:secrettelegram")])
async def test_a_platform_that_cannot_be_reached(name: str, token: str) -> None:
    platform = next(one for one in platforms.all_platforms() if one.name == name)
    nowhere = f"http://127.0.0.1:{free_port()}"
    settings = platform.settings(_env_file=None, token=SecretStr(token), api_url=nowhere)
    core = Settings(_env_file=None)
    (found,) = [finding async for finding in doctor.check_platform(core, platform.configured(settings))]
    assert not found.ok
    assert "reached" in found.found
    assert "secret" not in str(found)


def test_a_wrong_setting_is_one_line_without_its_value(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("EASEL_WEB_PORT=seventy\nEASEL_DEVICE=gpu\n")
    done = easel("doctor", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "EASEL_WEB_PORT" in line
    assert "EASEL_DEVICE" in line
    assert "seventy" not in line

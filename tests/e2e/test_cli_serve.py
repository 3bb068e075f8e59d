"""`easel serve` from the outside: its lock, its port, its first lines, its end, and commands beside it."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import sys
import urllib.error
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import StartService, Typed
from tests.e2e.service import Service, easel, free_port, until

pytestmark = pytest.mark.slow


def _beside(service: Service, *args: str, **env: str) -> tuple[int, str, str]:
    """Run a command on the same data folder."""
    done = easel(*args, cwd=service.folder, env={**service.env, **env})
    return done.returncode, done.stdout, done.stderr


def test_it_says_in_three_lines_where_the_page_is_and_what_is_on(module_service: Service) -> None:
    first = module_service.log.splitlines()[:3]
    assert f":{module_service.port}" in first[0]
    assert str(module_service.data) in first[1]
    assert re.search(r"Discord: off \(no EASEL_DISCORD_TOKEN\).*Telegram: off \(no EASEL_TELEGRAM_TOKEN\)", first[2])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")
def test_neither_the_service_nor_its_engine_loads_what_is_off(module_service: Service) -> None:
    service = psutil.Process(module_service.process.pid)
    for process in (service, *service.children(recursive=True)):
        maps = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8", errors="replace")
        assert "/ray/_raylet" not in maps
        # A module that discord.py loads, and nothing else here does.
        assert "audioop" not in maps


def test_a_second_one_names_the_first(module_service: Service) -> None:
    code, out, err = _beside(module_service, "serve", EASEL_WEB_PORT=str(free_port()))
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert str(module_service.process.pid) in line
    assert str(module_service.data) in line
    assert module_service.status("/healthz") == 200


def test_the_doctor_knows_that_the_port_is_ours_and_speaks_chinese(module_service: Service) -> None:
    code, out, _ = _beside(module_service, "doctor", LC_ALL="zh_CN.UTF-8")
    assert code == 0
    assert str(module_service.process.pid) in out.splitlines()[-1]
    assert {line.split()[0] for line in out.splitlines() if not line.startswith(" ")} == {"正常"}


def test_quota_while_the_service_runs(module_service: Service) -> None:
    assert _beside(module_service, "quota", "show") == (0, "50/day for everybody (EASEL_QUOTA)\n", "")
    place = ("--platform", "discord", "--place", "81384788765712384")
    assert _beside(module_service, "quota", "set", "20/hour", *place)[0] == 0
    assert _beside(module_service, "quota", "set", "7 / 天")[0] == 0
    code, out, _ = _beside(module_service, "quota", "show")
    assert code == 0
    assert out.splitlines() == [
        "20/hour for platform discord place 81384788765712384",
        "7/day for everybody",
    ]
    assert _beside(module_service, "quota", "reset", *place)[0] == 0
    assert _beside(module_service, "quota", "reset")[0] == 0
    code, out, err = _beside(module_service, "quota", "reset")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert _beside(module_service, "quota", "show")[1] == "50/day for everybody (EASEL_QUOTA)\n"
    with sqlite3.connect(module_service.data / "easel.db") as db:
        assert db.execute("SELECT count(*) FROM audit").fetchone() == (4,)
    db.close()


def test_the_operator_drains_it_and_lets_it_run_again(module_service: Service) -> None:
    job = module_service.draw("a cat")
    assert _beside(module_service, "service", "drain")[0] == 0
    with pytest.raises(urllib.error.HTTPError):
        module_service.draw("a dog")
    assert module_service.finished(job)["tone"] == "done"
    assert _beside(module_service, "service", "run") == (0, "Easel works as usual.\n", "")
    assert module_service.finished(module_service.draw("a dog"))["tone"] == "done"
    code, out, _ = _beside(module_service, "place", "changes")
    assert code == 0
    assert "owner service: drain → nothing set · the operator" in out


@pytest.mark.parametrize(
    "args",
    [
        ("set", "many"),
        ("set", "5/year"),
        ("set", "-1/day"),
        ("set", "5/day", "--person", "7"),
        ("set", "5/day", "--platform", "discord", "--role", "7"),
        ("set", "5/day", "--platform", "irc"),
        ("set",),
        ("frob",),
    ],
)
@pytest.mark.parametrize("lang", ["en_GB.UTF-8", "zh_CN.UTF-8"])
def test_a_bad_quota_is_one_line(typed: Typed, args: tuple[str, ...], lang: str) -> None:
    code, out, err = typed("quota", *args, lang=lang)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "refusal." not in line


def test_a_port_in_use_is_named(typed: Typed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = typed("serve", EASEL_WEB_PORT=port)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert port in line
    assert "EASEL_WEB_PORT" in line


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"EASEL_WEB_PORT": "0"}, "EASEL_WEB_PORT"),
        ({"EASEL_WEB_PORT": "70000"}, "EASEL_WEB_PORT"),
        ({"EASEL_QUOTA": "lots"}, "lots"),
        ({"EASEL_ENGINE": "ray", "EASEL_RAY_ADDRESS": "127.0.0.1:1"}, "EASEL_RAY_TOKEN_FILE"),
        ({"EASEL_ENGINE": "steam"}, "EASEL_ENGINE"),
        ({"EASEL_MODEL": "/"}, "model_index.json"),
        ({"EASEL_MODEL": "nobody/nothing"}, "nobody/nothing"),
        ({"EASEL_SECRETS_DIR": "/nowhere"}, "EASEL_SECRETS_DIR"),
        ({"EASEL_DATA_DIR": "/dev/null/data"}, "/dev/null/data"),
    ],
)
def test_what_it_cannot_start_with_is_one_line(typed: Typed, env: dict[str, str], named: str) -> None:
    code, out, err = typed("serve", **{"EASEL_WEB_PORT": str(free_port()), **env})
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert named in line


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    assert easel("migrate", cwd=tmp_path).returncode == 0
    path = tmp_path / "data" / "easel.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    before = path.read_bytes()
    done = easel("serve", cwd=tmp_path, env={"EASEL_WEB_PORT": str(free_port())})
    assert done.returncode == 1
    assert done.stdout == ""
    assert "999" in done.stderr.splitlines()[-1]
    assert path.read_bytes() == before


def test_settings_come_from_env_file_and_secrets(start_service: StartService, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "easel_telegram_token").write_text("123456:from-a-secret\n")
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / ".env").write_text("EASEL_QUOTA=3/hour\nHF_TOKEN=hf_from_the_env_file\n")
    nowhere = f"http://127.0.0.1:{free_port()}"
    # It does not become ready: Telegram can't be reached.
    service = start_service(env={"EASEL_SECRETS_DIR": str(secrets), "EASEL_TELEGRAM_API_URL": nowhere}, ready=False)
    until(lambda: "Telegram: on" in service.log, 60, "the platforms are named")
    assert _beside(service, "quota", "show")[1] == "3/hour for everybody (EASEL_QUOTA)\n"
    service.stop()
    assert "from-a-secret" not in service.log
    assert "hf_from_the_env_file" not in service.log


# The last one here: it ends the service that the others share.
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_it_ends_by_ctrl_c_without_a_stack_trace(module_service: Service) -> None:
    module_service.process.send_signal(signal.SIGINT)
    assert module_service.process.wait(15) == 0
    assert "Traceback" not in module_service.log
    assert not (module_service.data / "easel.pid").exists()
    # A clean end leaves one whole file.
    assert not (module_service.data / "easel.db-wal").exists()

"""The command's line: quick help, one sentence for a mistyped line, and an exit code for every end."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters.cli import main
from adapters.cli.version import described
from bot.core.errors import BadInput, NotFound, OverQuota, Refusal, Unavailable

HEAVY = ("torch", "diffusers", "transformers", "discord", "aiogram", "aiohttp", "pydantic", "PIL", "babel", "aiosqlite")


def _imports(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_help_imports_nothing_heavy() -> None:
    loaded = _imports("from adapters.cli.main import run\ntry: run(['draw', '--help'])\nexcept SystemExit: pass")
    assert loaded.isdisjoint(HEAVY)


def test_the_service_imports_no_tensor_and_only_what_it_uses() -> None:
    loaded = _imports("import adapters.cli.doctor, adapters.cli.serve, adapters.cli.wiring, adapters.web.service")
    assert loaded.isdisjoint({"torch", "diffusers", "transformers", "discord", "aiogram", "ray", "mcp", "mcp_types"})


def _becomes(monkeypatch: pytest.MonkeyPatch, end: BaseException | int) -> int:
    def command(_args: argparse.Namespace) -> int:
        if isinstance(end, BaseException):
            raise end
        return end

    monkeypatch.setattr(main, "import_module", lambda _: SimpleNamespace(main=command))
    return main.run(["migrate"])


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (0, 0),
        (1, 1),
        (BadInput("refusal.prompt.empty"), 2),
        (NotFound("refusal.prompt.empty"), 2),
        (OverQuota("refusal.prompt.empty"), 2),
        (Refusal("refusal.prompt.empty"), 2),
        (Unavailable("unavailable.disk_full"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], end: BaseException | int, code: int
) -> None:
    assert _becomes(monkeypatch, end) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == (1 if isinstance(end, Refusal) else 0)


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        _becomes(monkeypatch, ZeroDivisionError())


@pytest.mark.parametrize(
    "line",
    [[], ["frob"], ["migrate", "--frob"], ["serve", "now"], ["doctor", "--jso"], ["draw", "cat"], ["draw", "-o"]],
)
def test_a_mistyped_line_is_one_line(capsys: pytest.CaptureFixture[str], line: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.run(line)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "--help" in said.err


def test_the_entry_point_is_installed() -> None:
    easel = Path(sys.executable).with_name("easel")
    done = subprocess.run([easel, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"easel {described()}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no broken pipes")
@pytest.mark.parametrize("line", [["model", "list"], ["quota", "show"], ["claim"]])
def test_a_reader_who_is_gone_is_no_stack_trace(tmp_path: Path, line: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "adapters.cli.main", *line],
        check=False,
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert (done.returncode in {0, 1}, done.stderr) == (True, "")

"""The files of ``deploy/``: systemd accepts the unit and finds it hardened; Grafana's board names what Easel exports."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from adapters.cli.main import BAD_INPUT

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "deploy" / "systemd" / "easel.service"

MOST_EXPOSED = 25
"""Highest exposure level by `systemd-analyze security`, in tenths: 0 is best, 100 is worst; it says OK below 50."""


def settings() -> dict[str, list[str]]:
    """The unit's settings with their values."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_fits_the_service() -> None:
    unit = settings()
    assert unit["Type"] == ["notify"]
    assert unit["ExecStart"] == ["/opt/easel/bin/easel serve"]
    # Settings that can't work end with this code.
    assert unit["RestartPreventExitStatus"] == [str(BAD_INPUT)]
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "ProtectKernelModules", "RestrictSUIDSGID"):
        assert unit[name] == ["yes"]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["CapabilityBoundingSet"] == [""]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_accepts_the_unit_and_finds_it_hardened(tmp_path: Path) -> None:
    # It looks for the program.
    text = UNIT.read_text(encoding="utf-8").replace("/opt/easel/bin/easel", shutil.which("env") or "")
    copy = tmp_path / UNIT.name
    copy.write_text(text, encoding="utf-8")
    for command in (["verify"], ["security", "--offline=true", f"--threshold={MOST_EXPOSED}"]):
        done = subprocess.run(
            ["systemd-analyze", *command, str(copy)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not done.stderr, done.stderr

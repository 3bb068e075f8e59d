"""The checks for a card run on the processor too, with small models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import gpu_check

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(*options: str) -> tuple[dict[str, str], str]:
    """Run the checks on the processor; return what each row measured, and all that was printed."""
    made = subprocess.run(
        [sys.executable, "tools/gpu_check.py", "--device", "cpu", "--small", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert made.returncode == 0, made.stdout + made.stderr[-2000:]
    rows = [line.strip("| ").split(" | ") for line in made.stdout.splitlines() if line.startswith("|")][2:]
    return {row[0]: row[1] for row in rows}, made.stdout


def test_one_check_runs_and_holds_on_the_processor() -> None:
    found, _ = run("--only", "two models")
    assert found["two models in turn, six pictures: loads"] == "2"
    assert not any("left out" in figure or "**" in figure for figure in found.values()), found


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_every_check_runs_and_holds_on_the_processor() -> None:
    found, _ = run()
    assert not any("left out" in figure or "**" in figure for figure in found.values()), found
    assert found["two models in turn, six pictures: loads"] == "2"
    assert found["out of memory in a step of eight pictures"].startswith("8 of 8 drawn, ")
    assert int(found["6 pictures of 64x64 that share a step"]) >= 1
    for family in ("sd15", "sdxl", "z_image"):
        (steps,) = (figure for check, figure in found.items() if check.startswith(f"{family}, 64x64"))
        assert float(steps) > 0
    for form in ("as it is", "in int8 weights", "in int8 W8A8", "in fp8 W8A8"):
        assert float(found[f"z_image {form}: steps a second"]) > 0
    assert float(found["z_image in int8 W8A8: steps a second, compiled by aot_eager"]) > 0


@pytest.mark.usefixtures("one_thread")
def test_a_check_that_no_time_is_left_for_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--device", "cpu", "--small", "--seconds", "-1"])
    assert gpu_check.main() == 0
    assert capsys.readouterr().out.count("| left out | no time was left |") == 9

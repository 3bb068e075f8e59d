"""The checks for a card run on the processor too, with small models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.slow


def test_every_check_runs_and_holds_on_the_processor() -> None:
    made = subprocess.run(
        [sys.executable, "tools/gpu_check.py", "--device", "cpu", "--small"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    rows = [line.strip("| ").split(" | ") for line in made.stdout.splitlines() if line.startswith("|")][2:]
    assert made.returncode == 0, made.stdout + made.stderr[-2000:]
    found = {row[0]: row[1] for row in rows}
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


def test_a_check_that_no_time_is_left_for_is_left_out() -> None:
    made = subprocess.run(
        [sys.executable, "tools/gpu_check.py", "--device", "cpu", "--small", "--seconds", "-1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    assert made.stdout.count("| left out | no time was left |") == 9

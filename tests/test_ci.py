"""The public CI's file runs commands that exist, and on Windows the same ones as the Makefile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    return found


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile, each on one line."""
    joined = re.sub(r"\\\n\s*", "", (ROOT / "Makefile").read_text(encoding="utf-8"))
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", joined, re.MULTILINE)
    assert found is not None, f"the Makefile has no target {target}"
    return [line.strip() for line in found[1].splitlines()]


def test_all_systems_are_there(jobs: dict[str, Any]) -> None:
    systems = {job["runs-on"] for job in jobs.values()} | set(jobs["test"]["strategy"]["matrix"]["os"])
    assert {"ubuntu-latest", "macos-latest", "windows-latest"} <= systems
    for job in jobs.values():
        (python,) = (step["with"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
        assert python == {"python-version": "3.11"}


def test_make_has_what_it_is_asked_for(jobs: dict[str, Any]) -> None:
    asked = [command.removeprefix("make ") for command in commands(jobs["test"])]
    assert {"lint", "test-fast"} <= set(asked)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [target for target in asked if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_windows_runs_what_the_makefile_runs(jobs: dict[str, Any]) -> None:
    setup, *others = commands(jobs["windows"])
    assert setup == "python tools/setup.py"
    assert (ROOT / "tools" / "setup.py").is_file()
    assert [command.replace(".venv/Scripts/", "$(BIN)/") for command in others] == [
        *recipe("lint"),
        *recipe("test-fast"),
    ]


def test_the_package_is_installed_alone(jobs: dict[str, Any]) -> None:
    *_, install, version, draw = commands(jobs["package"])
    assert install.endswith("-c constraints.txt dist/*.whl")
    assert version == "installed/bin/easel --version"
    assert draw.startswith("installed/bin/easel draw ")


def test_it_says_that_it_was_not_run() -> None:
    assert "# Not run so far" in "\n".join(WORKFLOW.read_text(encoding="utf-8").splitlines()[:2])

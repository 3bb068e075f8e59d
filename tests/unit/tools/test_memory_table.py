"""The memory tables of the docs are those that the planner computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_docs_tables_are_what_the_plan_says() -> None:
    made = subprocess.run(
        [sys.executable, "tools/memory_table.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert made.stdout.count("\n") > 10
    section = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").split("## Which card")[1]
    assert made.stdout in section, "python tools/memory_table.py prints other tables than docs/models.md has"

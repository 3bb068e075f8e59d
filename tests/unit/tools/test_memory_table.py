"""The memory tables of the docs are those that the planner computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_docs_tables_are_what_the_plan_says() -> None:
    made = subprocess.run(
        [sys.executable, "tools/memory_table.py", "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert made.returncode == 0, f"docs/models.md has other tables; run python tools/memory_table.py. {made.stderr}"


def test_every_card_and_every_machine_has_a_plan_for_every_main_model() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    part = page.split("<!-- plans: python tools/memory_table.py -->")[1].split("<!-- end of plans -->")[0]
    assert "| 6 GB | 8 GB | 12 GB | 16 GB | 24 GB | 80 GB |" in part
    for title in (
        "Z-Image-Turbo, 1024x1024",
        "SDXL 1.0, 1024x1024",
        "Stable Diffusion v1.5, 512x512",
        "FLUX.2 klein 4B",
    ):
        rows = [line for line in part.splitlines() if line.startswith(f"| {title}") and "; " in line]
        assert [row.split("; ")[1].split(" |")[0] for row in rows] == ["16 GB", "24 GB", "64 GB"]

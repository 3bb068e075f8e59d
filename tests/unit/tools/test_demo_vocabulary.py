"""The demo model's vocabulary is that of its training captions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from engine.families.z_image.spec import demo

ROOT = Path(__file__).parents[3]
FILE = ROOT / "engine" / "demo" / "vocabulary.txt"


def test_the_file_is_what_the_captions_say() -> None:
    made = subprocess.run([sys.executable, "tools/demo_vocabulary.py"], cwd=ROOT, capture_output=True, check=True)
    again = "python tools/demo_vocabulary.py > engine/demo/vocabulary.txt"
    assert FILE.read_text(encoding="utf-8") == made.stdout.decode(), again
    assert {"apple", "t-rex", "background", "苹果", "草地", "草地上"} <= demo().vocabulary

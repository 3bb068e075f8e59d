"""What the device's process warns of is told by its level, each in one line."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from engine.host.child_logging import level_of

SPEAKER = """
import logging, warnings
from engine.host.child_logging import configure_logging
configure_logging()
logging.getLogger("diffusers.loaders.peft").warning("some keys\\nwere not used")
logging.getLogger("transformers.modeling_utils").error("no")
logging.getLogger("diffusers.loaders.peft").info("chatter")
warnings.warn("alpha_pattern matched nothing")
print("progress 50 %", file=__import__("sys").stderr)
"""


@pytest.mark.slow
def test_warnings_of_libraries_keep_their_level() -> None:
    done = subprocess.run([sys.executable, "-c", SPEAKER], capture_output=True, text=True, check=True, timeout=100)
    said = {line: level_of(line) for line in done.stderr.splitlines()}
    assert said["WARNING:diffusers.loaders.peft: some keys were not used"] == logging.WARNING
    assert said["ERROR:transformers.modeling_utils: no"] == logging.ERROR
    assert said["progress 50 %"] == logging.DEBUG
    (warned,) = (level for line, level in said.items() if "alpha_pattern matched nothing" in line)
    assert warned == logging.WARNING
    assert "chatter" not in done.stderr

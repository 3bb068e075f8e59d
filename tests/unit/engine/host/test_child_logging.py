"""What the device's process warns of is told by its level, each in one line."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from engine.host.child_logging import ChildLine, parse_line

SPEAKER = """
import logging, warnings
from engine.host.child_logging import configure_logging
from engine.log_context import about
configure_logging("INFO")
logging.getLogger("diffusers.loaders.peft").warning("some keys\\nwere not used")
logging.getLogger("transformers.modeling_utils").error("no")
logging.getLogger("diffusers.loaders.peft").info("chatter")
logging.getLogger("engine.x").info("ours")
logging.getLogger("engine.x").debug("not asked for")
with about(["12:0@a.b-c", "12:1"]):
    logging.getLogger("engine.x").warning("a step [of 2] failed")
warnings.warn("alpha_pattern matched nothing")
print("progress 50 %", file=__import__("sys").stderr)
"""


@pytest.mark.slow
def test_warnings_of_libraries_keep_their_level() -> None:
    done = subprocess.run([sys.executable, "-c", SPEAKER], capture_output=True, text=True, check=True, timeout=100)
    said = {parsed.text: parsed for parsed in map(parse_line, done.stderr.splitlines())}
    assert said["WARNING:diffusers.loaders.peft: some keys were not used"].level == logging.WARNING
    assert said["ERROR:transformers.modeling_utils: no"].level == logging.ERROR
    assert said["progress 50 %"].level == logging.DEBUG
    assert said["INFO:engine.x: ours"].level == logging.INFO
    (warned,) = (one.level for text, one in said.items() if "alpha_pattern matched nothing" in text)
    assert warned == logging.WARNING
    about = said["WARNING:engine.x: a step [of 2] failed"]
    assert (about.level, about.recipes) == (logging.WARNING, ("12:0@a.b-c", "12:1"))
    assert "chatter" not in done.stderr
    assert "not asked for" not in done.stderr


def test_a_line_that_only_looks_like_one() -> None:
    for line in ("WARNING: no logger", "NOTICE:x: y", "[12:0] x", ""):
        assert parse_line(line) == ChildLine(logging.DEBUG, line)
    assert parse_line("ERROR:a.b: [see 1] x") == ChildLine(logging.ERROR, "ERROR:a.b: [see 1] x")

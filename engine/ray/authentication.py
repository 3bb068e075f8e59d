"""Asks a running Ray cluster whether it checks tokens, before this machine joins it: one message, less than a second.

Ray reads its settings once in a process. So the question without a token is asked in a process of its own, as
``python -m engine.ray.authentication ADDRESS``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from typing import Any

from engine.host.child_process import module_command

SECONDS = 30.0
"""Longest wait for the process that asks without a token."""

_ADMITTED, _REFUSED = 0, 3
"""Exit codes of that process."""


def is_admitted(address: str) -> bool:
    """Whether the cluster answers a process with the token of this one.

    Raises:
        Exception: Ray raises several kinds where nothing answers, or something that is no cluster.
    """
    from ray.exceptions import AuthenticationError  # noqa: PLC0415 - an extra

    raylet: Any = import_module("ray._raylet")  # compiled, without types
    try:
        raylet.GcsClient(address=address).get_all_node_info(timeout=10)
    except AuthenticationError:
        return False
    return True


def is_open(address: str) -> bool:
    """Whether the cluster answers a process without a token: then anybody can run programs there.

    Raises:
        RuntimeError: That can't be found out; says why.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    try:
        asked = subprocess.run(  # noqa: S603 - this Python, and an address of the settings
            [*module_command("engine.ray.authentication"), address],
            env={**environment, "RAY_AUTH_MODE": "disabled"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no answer within {SECONDS:g} s") from None
    if asked.returncode not in {_ADMITTED, _REFUSED}:
        raise RuntimeError((asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1])
    return asked.returncode == _ADMITTED


if __name__ == "__main__":
    sys.exit(_ADMITTED if is_admitted(sys.argv[1]) else _REFUSED)

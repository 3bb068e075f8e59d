"""The folder, token and environment of a driver."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

from engine.host.child_process import child_environment


def make_folder() -> Path:
    """Return a new folder for a cluster on this machine, with a token in it. Ray's sockets need a short path."""
    short = Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of this user alone
    folder = Path(tempfile.mkdtemp(prefix="easel-ray-", dir=short if short.is_dir() else None))
    descriptor = os.open(folder / "token", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    return folder


def make_environment(more: Mapping[str, str], token: str, folder: Path | None) -> dict[str, str]:
    """Return the driver's environment; actors on this machine inherit it.

    Args:
        more: Additional variables.
        token: Path of the token.
        folder: Folder of a cluster on this machine; None for a running cluster.
    """
    environment = child_environment(more, offline=False)
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):
        environment.pop(name, None)
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        # Records of every call, for a dashboard that is not there: they grow by a kilobyte with each paint.
        "RAY_task_events_report_interval_ms": "0",
    }
    if folder is not None:
        own = {
            # A head of this machine that is lost is not waited for: it is started again.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
            # Actors feed the GPUs: they are not less urgent than others.
            "RAY_worker_niceness": "0",
        }
        environment = {**own, **environment, "TMPDIR": str(folder)}
    return environment

"""The Ray cluster of the settings, and whether it can be joined. Ray itself is never imported here."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path

from adapters.cli.environment import given_path
from adapters.cli.output import text
from bot.core.errors import BadInput
from bot.settings import Settings
from engine.ray.driver_process import ClusterConfig
from engine.ray.probe import look
from engine.ray.wire import OPEN, WRONG_TOKEN

TOKEN_VARIABLE = "RAY_AUTH_TOKEN_PATH"  # noqa: S105 - the name of Ray's own variable
"""Ray's own variable with the path of the token; EASEL_RAY_TOKEN_FILE takes precedence."""


JOIN_SECONDS = 28.0
"""Longest time for joining or starting a cluster in a check."""


def cluster_of(settings: Settings) -> ClusterConfig:
    """Return the cluster that the settings name. Blocking: looks at the token's file.

    Raises:
        BadInput: Ray is not installed, or a running cluster has no token that only this user can read.
    """
    gpus = -1 if settings.ray_gpus is None else settings.ray_gpus
    cluster = ClusterConfig(gpus=gpus)
    if settings.ray_address:
        named = os.environ.get(TOKEN_VARIABLE)
        path = settings.ray_token_file or (given_path(named) if named else None)
        if path is None:
            raise BadInput("cli.ray.no_token", address=settings.ray_address)
        _check_token(path)
        cluster = ClusterConfig(settings.ray_address, str(path.absolute()), gpus)
    if importlib.util.find_spec("ray") is None:
        raise BadInput("cli.ray.not_installed")
    return cluster


async def check(settings: Settings) -> tuple[bool, str]:
    """Return whether the cluster of the settings can draw, and one sentence about it; in less than 30 s."""
    try:
        cluster = await asyncio.to_thread(cluster_of, settings)
    except BadInput as refusal:
        return False, text(refusal.key, **refusal.params)
    seen = await look(cluster, JOIN_SECONDS)
    if seen.reason == OPEN:
        return False, text("cli.doctor.ray.open", address=cluster.address)
    if seen.reason == WRONG_TOKEN:
        return False, text("cli.doctor.ray.wrong_token", address=cluster.address, path=cluster.token_file)
    if seen.problem:
        return False, seen.problem
    if not seen.gpus:
        return False, text("cli.doctor.ray.no_gpu")
    if not cluster.address:
        return True, text("cli.doctor.ray.local", n=seen.gpus)
    return True, text("cli.doctor.ray", address=cluster.address, n=seen.gpus)


def _check_token(path: Path) -> None:
    try:
        mode, token = path.stat().st_mode, path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("cli.ray.token_unreadable", path=str(path), problem=_problem(error)) from None
    if mode & 0o077 and sys.platform != "win32":
        raise BadInput("cli.ray.token_open", path=str(path), mode=f"{mode & 0o777:04o}")
    if not token:
        raise BadInput("cli.ray.token_empty", path=str(path))


def _problem(error: OSError | UnicodeDecodeError) -> str:
    return str(getattr(error, "strerror", None) or error)

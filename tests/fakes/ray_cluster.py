"""A Ray cluster with logical GPUs on this machine, for tests that join a running one. It ends with its parent.

Run as ``python -m tests.fakes.ray_cluster FOLDER GPUS``: it prints its address, and ends when its input is closed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.ray.driver_environment import make_environment, make_folder
from engine.ray.driver_process import ClusterConfig
from engine.ray.session import kill_session
from tests.e2e.service import until

FAKE_WORKER = "tests.fakes.ray_worker:draw"
"""What actors of tests run."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster: how to join it, its folder, and the id of the session of all of its processes."""

    config: ClusterConfig
    folder: Path
    session: int


def require() -> None:
    """Skip the test where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed (pip install 'easel[ray]')")


@contextlib.contextmanager
def running(gpus: int = 2, environment: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Start a cluster, and end it with everything that belongs to it.

    Args:
        gpus: Its logical GPUs.
        environment: Further variables of its processes.
    """
    folder = make_folder()
    token = folder / "token"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.ray_cluster", str(folder), str(gpus)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**make_environment({}, str(token), folder), **(environment or {})},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, "the cluster does not start"
        yield Cluster(ClusterConfig(address, str(token)), folder, process.pid)
    finally:
        kill_session(process.pid)
        process.stdin.close()
        process.stdout.close()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def open_head(folder: Path) -> Iterator[ClusterConfig]:
    """Start the head's server alone, without authentication; yields how to join it, with a token that it ignores."""
    token = folder / "token"
    token.touch(0o600)
    token.write_text("0" * 64, encoding="ascii")
    node = "ab" * 28
    port = folder / f"gcs_server_port_{node}"
    found = importlib.util.find_spec("ray")
    assert found is not None
    assert found.origin is not None
    server = Path(found.origin).parent / "core" / "src" / "ray" / "gcs" / "gcs_server"
    process = subprocess.Popen(
        [
            server,
            "--gcs_server_port=0",
            "--node-ip-address=127.0.0.1",
            "--session-name=open",
            f"--session-dir={folder}",
            f"--log_dir={folder}",
            f"--node-id={node}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    try:
        until(lambda: port.exists() and port.read_text(encoding="ascii").isdecimal(), 60, "the head's port")
        yield ClusterConfig(f"127.0.0.1:{port.read_text(encoding='ascii')}", str(token))
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def second_node(cluster: Cluster) -> Iterator[int]:
    """Add a node of one logical GPU to a cluster, as another machine would; yields the session of its processes."""
    limits = ("--num-cpus=0", "--num-gpus=1", f"--object-store-memory={80 * 10**6}")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            f"--address={cluster.config.address}",
            "--block",
            *limits,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=make_environment({}, cluster.config.token_file, None),
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        kill_session(process.pid)
        process.wait()


def _serve(folder: str, gpus: int) -> None:
    import ray  # noqa: PLC0415 - in this process alone

    ray.init(
        address="local",
        num_cpus=0,
        num_gpus=gpus,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=80 * 10**6,
        _temp_dir=folder,
    )
    print(ray.get_runtime_context().gcs_address, flush=True)  # noqa: T201 - its answer
    sys.stdin.read()
    kill_session(os.getpid())


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))

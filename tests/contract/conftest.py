"""Fixtures of tests of engines and surfaces: a Ray cluster that is shared by all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes import ray_cluster as clusters


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[clusters.Cluster]:
    """A cluster of two logical GPUs on this machine; the test is skipped where Ray is not installed."""
    clusters.require()
    with clusters.running() as cluster:
        yield cluster

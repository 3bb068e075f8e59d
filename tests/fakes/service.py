"""The parts of the service as the composition root builds them, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry

from adapters.cli.clock import SystemClock
from bot.core.access import AccessMode, Owners
from bot.core.file_marks import unsigned
from bot.core.quotas import Limit
from bot.dispatch.service import Dispatch
from bot.observability.metrics import Metrics
from bot.observability.tracing import Traces
from bot.owner.ports import Surroundings
from bot.provenance.seal import Seal
from bot.provenance.sealing import Sealing
from bot.storage.database import Database
from bot.studio import Studio
from engine.contract import Engine


def build_service(
    db: Database,
    folder: Path,
    engine: Engine,
    registry: CollectorRegistry,
    *,
    quota: int,
    owners: Owners | None = None,
    access: Mapping[str, AccessMode] | None = None,
    max_counts: Mapping[str, int] | None = None,
    link: str = "",
    surroundings: Surroundings | None = None,
    traces: Traces | None = None,
    seal: Seal | None = None,
) -> tuple[Dispatch, Studio]:
    """Return Dispatch and Studio of a data folder; nothing is started.

    Args:
        db: The folder's open database.
        folder: The data folder.
        engine: Draws; its owner starts and closes it.
        registry: Gets the metrics.
        quota: Pictures a day for everybody.
        owners: The owners; none by default.
        access: Access mode by platform; open by default.
        max_counts: Most pictures in one request, by platform.
        link: Address of the page for others.
        traces: Traces requests; nothing is traced by default.
        surroundings: What the owner's pages show of the machine; nothing by default.
        seal: Signs pictures; nothing is signed by default.
    """
    clock, pictures = SystemClock(), folder / "pictures"
    metrics = Metrics(registry, traces)
    sealing = None if seal is None else Sealing(seal, count=metrics.signed)
    dispatch = Dispatch(
        db, pictures, engine, clock=clock, metrics=metrics, owners=owners, access=access, sealing=sealing
    )
    studio = Studio(
        db,
        engine,
        dispatch,
        dispatch.live,
        thumbnails=dispatch.thumbnails,
        clock=clock,
        pictures=pictures,
        sheets=folder / "sheets",
        quota=Limit(quota),
        max_counts=max_counts,
        owners=owners,
        access=access,
        link=link,
        metrics=metrics,
        sign_copy=unsigned if sealing is None else sealing.sign_copy,
        keeps_manifests=sealing is not None,
        surroundings=surroundings,
        surfaces=dispatch.surfaces,
    )
    return dispatch, studio

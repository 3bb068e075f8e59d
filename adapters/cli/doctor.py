"""`easel doctor`: one line for each check, and what to do about each that fails."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict

from adapters.cli import checks, environment, styles
from adapters.cli import moderation as moderated
from adapters.cli.checks import Finding
from adapters.cli.output import text


def main(args: argparse.Namespace) -> int:
    """Print the findings. Returns 0 when all is well, else 1; raises Refusal when the settings can't be read."""
    return asyncio.run(_main(as_json=args.json))


async def _main(*, as_json: bool) -> int:
    findings = []
    async for finding in _findings():
        findings.append(finding)
        if not as_json:
            _print(finding)
    ok = all(finding.ok for finding in findings)
    if as_json:
        print(json.dumps({"ok": ok, "checks": [asdict(f) for f in findings]}, ensure_ascii=False))  # noqa: T201 - its output
    return 0 if ok else 1


async def _findings() -> AsyncIterator[Finding]:
    app = environment.load()
    settings = app.core
    yield checks.python()
    torch, plan, refused = await checks.torch(settings)
    yield torch
    yield await asyncio.to_thread(checks.model, settings)
    if (left_out := await asyncio.to_thread(checks.models, settings)) is not None:
        yield left_out
    yield plan
    if (upscaler := await asyncio.to_thread(checks.upscaler, settings, refused)) is not None:
        yield upscaler
    yield await asyncio.to_thread(checks.folder, settings)
    yield await checks.database(settings)
    yield await checks.ledger(settings)
    if (clock := await checks.clock(settings)) is not None:
        yield clock
    if (waiting := await checks.newcomers(app)) is not None:
        yield waiting
    if (moderation := await asyncio.to_thread(moderated.finding, settings)) is not None:
        yield moderation
    if (styled := await asyncio.to_thread(styles.finding, settings.data_dir)) is not None:
        yield styled
    for platform in app.platforms:
        async for finding in checks.platform(settings, platform):
            yield finding


def _print(finding: Finding) -> None:
    mark = text("cli.doctor.ok") if finding.ok else text("cli.doctor.fail")
    print(f"{mark}  {finding.name:<9} {finding.found}", flush=True)  # noqa: T201 - its output
    if not finding.ok and finding.advice:
        print(f"      {'':<9} {finding.advice}", flush=True)  # noqa: T201 - its output

"""The examples of docs/api.md run as they stand, against a service on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from adapters.web.api_v1.webhooks import signature
from bot.webhooks.service import PAUSES
from tests.fakes.source_images import opened
from tests.unit.adapters.web.harness import WebHarness
from tests.unit.adapters.web.openai.test_handlers import mask

PAGE = Path(__file__).parents[5] / "docs" / "api.md"
ADDRESS = "http://127.0.0.1:7860/"
PUBLIC = "https://example.org/easel"


def examples(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    return found


def filled(example: str, app: WebHarness, key: str, job: int = 0) -> str:
    """An example with this service's address and key."""
    assert ADDRESS in example
    there = str(app.server.make_url("/"))
    return example.replace(ADDRESS, there).replace("easel-...", key).replace("JOB", str(job)).replace(PUBLIC, there)


async def test_the_examples_in_python(app: WebHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    key = (await app.key_for())["Authorization"].removeprefix("Bearer ")
    first, *others = examples("python")
    known: dict[str, object] = {}

    def run(source: str) -> None:
        exec(compile(source, "docs/api.md", "exec"), known)

    await asyncio.to_thread(run, filled(first, app, key))
    drawn = opened((tmp_path / "apple-0.png").read_bytes())
    (tmp_path / "mask.png").write_bytes(mask(*drawn.size))
    for source in others:
        await asyncio.to_thread(run, source)
    assert [len(recipe.references) for recipe in app.engine.painted] == [0, 0, 0, 2, 0]
    received = known["received"]
    assert callable(received)
    secret, now, body = f"whsec_{base64.b64encode(bytes(32)).decode()}", int(time.time()), '{"type": "job.finished"}'
    signed = signature(secret, "job_1", now, body.encode())
    headers = {"webhook-id": "job_1", "webhook-timestamp": str(now), "webhook-signature": signed}
    received(body, headers, secret)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_examples_for_curl(app: WebHarness, tmp_path: Path) -> None:
    key = (await app.key_for())["Authorization"].removeprefix("Bearer ")

    async def run(example: str, job: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            "bash", "-ec", filled(example, app, key, job), cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, example
        return out.decode()

    create, follow, webhook = examples("bash")
    job = json.loads(await run(create))
    assert (job["state"], job["request"]["seed"]) == ("finished", 7)
    assert "event: end" in await run(follow, job["id"])
    assert opened((tmp_path / "apple.png").read_bytes()).width == job["request"]["width"]
    assert json.loads(await run(webhook))["webhook_secret"].startswith("whsec_")


def test_what_the_page_says_of_retries_is_so() -> None:

    words = re.search(r"tried again after ([^;]*);", PAGE.read_text(encoding="utf-8").replace("\n", " "))
    assert words is not None
    units = {"s": 1, "min": 60, "h": 3600}
    said = [float(number) * units[unit] for number, unit in re.findall(r"(\d+) (s|min|h)\b", words[1])]
    assert tuple(said) == PAUSES

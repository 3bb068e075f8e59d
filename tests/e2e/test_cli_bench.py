"""`easel bench` in its short form: everything is really measured, and nothing is asserted about how fast it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.cli.benchmark import formats
from adapters.cli.benchmark.systems import step_costs
from tests.e2e.service import easel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.mark.filterwarnings("ignore:The configuration file of this scheduler:FutureWarning")
async def test_what_needs_no_service_is_measured() -> None:
    steps = await step_costs("cpu")
    assert set(steps) == {"sdxl", "sd15", "z_image", "generic"}
    assert min(steps.values()) > 0
    errors = json.loads(formats.main("cpu"))
    assert set(errors) == {"sd15", "sdxl"}
    for found in errors.values():
        assert 0 < found["fp16"] < found["bf16"]
        assert max(found["pipeline"], found["pipeline_fp16"]) <= 1


@pytest.mark.soak
def test_the_short_form_measures_everything(tmp_path: Path) -> None:
    done = easel("bench", "--quick", "--json", cwd=tmp_path, seconds=400)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model"] == "demo"
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["processor"]
    ratios = found["ratios"]
    for name in ("bare_batched_vs_single", "service_vs_bare_single", "service_vs_bare_batched", "paused_vs_plain"):
        assert ratios[name] > 0
    seconds = found["seconds"]
    assert ratios["service_vs_bare_single"] == seconds["bare_single"] / seconds["service"]
    assert 0 <= found["idle_share"] < 1
    assert found["preempt_steps"] <= 2, "a short request does not wait for a long one to end"
    assert 0 < found["ack_ms_p50"] <= found["ack_ms_p99"]
    assert 0 < found["prompts"]["encoded"] <= found["prompts"]["drawn"] == found["requests"]
    assert found["memory_bytes"] > 0
    assert found["loras"]["with_over_without"] > 0
    assert found["loras"]["change_ms"] >= 0
    assert min(found["png"].values()) > 0
    assert set(found["step_outside_denoiser_ms"]) == {"sdxl", "sd15", "z_image", "generic"}
    assert min(found["step_outside_denoiser_ms"].values()) > 0
    small = found["small_models"]
    assert small["load_seconds"] > 0
    assert small["change_ms"] >= 0
    assert small["edit_vs_plain"] > 0
    assert small["reloads"] == 0, "both models stay on the device"
    assert set(found["format_errors"]) == {"sd15", "sdxl"}
    for errors in found["format_errors"].values():
        assert 0 < errors["fp16"] < errors["bf16"]
        assert max(errors["pipeline"], errors["pipeline_fp16"]) <= 1
    assert not (tmp_path / "data").exists(), "what it draws is thrown away"


def test_what_cannot_be_measured_is_one_sentence(tmp_path: Path) -> None:
    done = easel("bench", "--quick", cwd=tmp_path, env={"EASEL_MODEL": "nobody/knows-this"})
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("easel: ")
    assert "Traceback" not in done.stderr

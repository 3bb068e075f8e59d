from __future__ import annotations

import pytest

from engine.diffusion import hub


def test_bytes_are_reported_and_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[tuple[int, int]] = []
    bar = hub._bar(lambda done, total: said.append((done, total)))
    bytes_ = bar(unit="B", total=0, name="huggingface_hub.snapshot_download", disable=True)
    bytes_.total = 10
    bytes_.update(4)
    files = bar(unit="it", total=3, disable=True)
    files.update(1)
    assert said == [(4, 10)]
    assert capsys.readouterr() == ("", "")


def test_only_what_a_pipeline_is_loaded_from_is_fetched() -> None:
    assert not [p for p in hub.FILES if p.endswith((".bin", ".py", ".ckpt", ".pt", "*"))]

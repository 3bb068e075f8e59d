"""What the doctor says of the model, the operator's own ones included; the rest is looked at as it is run (tests/e2e)."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.cli import checks
from bot.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "one.gguf").touch()
    (tmp_path / "models.toml").write_text(
        '[mine]\ntransformer = "one.gguf"\nbase = "Tongyi-MAI/Z-Image-Turbo"\ntitle = "My own"\n'
        '[far]\nsource = "owner/far"\nlike = "sdxl"\n'
    )
    return Settings(data_dir=tmp_path)


def test_a_model_of_the_operators_own(settings: Settings) -> None:
    found = checks.model(settings.model_copy(update={"model": "mine"}))
    assert found.ok
    assert found.found == f"My own ({settings.data_dir / 'one.gguf'})"


def test_one_that_is_still_on_the_hub(settings: Settings) -> None:
    found = checks.model(settings.model_copy(update={"model": "far"}))
    assert found.ok
    assert "owner/far" in found.found


def test_a_mistake_in_the_file_is_named(settings: Settings) -> None:
    (settings.data_dir / "models.toml").write_text("[mine]\nsource = 3\n")
    found = checks.model(settings)
    assert not found.ok
    assert "models.toml, [mine], source: it must be a text" in found.found

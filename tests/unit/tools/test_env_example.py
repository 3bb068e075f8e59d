"""`.env.example` names every setting, each with its sentence and default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dotenv import dotenv_values

from adapters.cli import platforms
from bot.settings import EnvSettings, Settings

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / ".env.example"


def kinds() -> tuple[type[EnvSettings], ...]:
    """The core's settings, then each platform's."""
    return Settings, *(platform.settings for platform in platforms.all_platforms())


def test_the_file_is_what_the_settings_say() -> None:
    made = subprocess.run(
        [sys.executable, "tools/env_example.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
    )
    assert EXAMPLE.read_text(encoding="utf-8") == made.stdout.decode(), "python tools/env_example.py > .env.example"


def test_every_setting_stands_under_its_sentence() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    fields = [(kind.variable(name), field) for kind in kinds() for name, field in kind.model_fields.items()]
    assert {"EASEL_QUOTA", "EASEL_DISCORD_TOKEN", "EASEL_TELEGRAM_OWNERS", "EASEL_WEB_PORT"} <= {v for v, _ in fields}
    for variable, field in fields:
        at = [i for i, line in enumerate(lines) if line.startswith(f"#{variable}=")]
        assert len(at) == 1, variable
        assert field.description, variable
        assert lines[at[0] - 1] == f"# {field.description}"


def test_taking_every_comment_away_changes_nothing(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text(
        "\n".join(
            line.removeprefix("#") for line in EXAMPLE.read_text("utf-8").splitlines() if line.startswith("#EASEL_")
        ),
        encoding="utf-8",
    )
    assert "EASEL_QUOTA" in dotenv_values(env)
    for kind in kinds():
        assert kind.load(env) == kind.load(None)

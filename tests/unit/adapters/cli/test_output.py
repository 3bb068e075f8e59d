"""The command line speaks the language of the person's terminal, and every sentence that it may need is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapters.cli import output
from bot.cards import i18n
from bot.core.errors import BadInput, Unavailable
from bot.features import COMMANDS
from engine.contract import ERRORS, EngineError, UnknownModel

ROOT = Path(__file__).parents[4]
# Platforms, backups and the rules of styles speak the command line's sentences as well.
SOURCES = [
    *sorted((ROOT / "adapters").rglob("*.py")),
    *(ROOT / "bot" / "storage" / n for n in ("archive.py", "backup.py")),
    ROOT / "bot" / "drawing" / "styles.py",
]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_TW"}, "zh_CN"),
        ({"LANG": "zh.UTF-8"}, "zh_CN"),
        ({"LANG": "Chinese (Simplified)_China.936"}, "zh_CN"),
        ({"LANG": "en_GB.UTF-8"}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh_CN"),
    ],
)
def test_language(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: str) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert output.language() == expected


def test_a_complaint_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")
    output.report_error(BadInput("cli.engine.failed", reason="one\ntwo\n\tthree"))
    assert capsys.readouterr().err == "easel: Nothing can be drawn: one two three\n"


@pytest.mark.parametrize("code", ERRORS)
def test_every_error_of_the_engine_has_its_sentence(code: str) -> None:
    refusal = output.refusal_of(ERRORS[code]("why."))
    for locale in i18n.LOCALES:
        assert "why." in i18n.text(locale, refusal.key, **refusal.params)


def test_a_wrong_model_is_bad_input_and_the_rest_is_failure() -> None:
    assert isinstance(output.refusal_of(UnknownModel("x")), BadInput)
    assert isinstance(output.refusal_of(EngineError("x")), Unavailable)


def test_every_key_that_the_command_line_names_is_in_the_catalogues() -> None:
    named = {
        key for path in SOURCES for key in re.findall(r'"((?:cli|unavailable)\.[a-z_.]+)"', path.read_text("utf-8"))
    }
    assert len(named) > 20
    for locale in i18n.LOCALES:
        assert {key for key in named if key not in i18n.catalogue(locale)} == set()


def test_no_sentence_of_the_command_line_is_left_over() -> None:
    text = "".join(path.read_text("utf-8") for path in SOURCES)
    keys = {str(message.id) for message in i18n.catalogue("en") if str(message.id).startswith("cli.")}
    computed = {f"cli.engine.{code}" for code in ERRORS}
    computed |= {f"cli.doctor.database.{state}" for state in ("version", "older", "newer")}
    computed |= {f"cli.command.{command.name.replace(' ', '.')}" for command in COMMANDS.typed if not command.personal}
    assert {key for key in keys - computed if f'"{key}"' not in text} == set()

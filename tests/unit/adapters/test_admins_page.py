"""What the guide for admins tells people to type is understood, on every surface; and it names every command of theirs."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from adapters.cli import main, parsers
from bot.commands import parser
from bot.commands.model import Arg, ArgType, Permission
from bot.core.durations import parse_span
from bot.features import COMMANDS
from bot.places.options import parse_zone
from bot.quotas.rules.terms import parse_terms

DOCS = Path(__file__).parents[3] / "docs"
PAGES = sorted(DOCS.glob("admins*.md"))
LINE = re.compile(r"^    (Discord|Telegram|terminal): +(\S.*)$", re.MULTILINE)
BY_NAME = COMMANDS.by_name


def lines(page: Path, surface: str) -> list[str]:
    return [line for name, line in LINE.findall(page.read_text(encoding="utf-8")) if name == surface]


def check(arg: Arg, value: str) -> None:
    """What a handler would read, is readable."""
    if arg.type is ArgType.SPAN:
        parse_span(value)
    elif arg.name == "rule":
        parse_terms(value)
    elif arg.name == "zone":
        parse_zone(value)


def on_discord(line: str) -> str:
    """Read a line as Discord's client does: boxes by their names. Returns the command."""
    words = line.removeprefix("/").split()
    size = 2 if words[0] in COMMANDS.defaults else 1
    command = BY_NAME[" ".join(words[:size])]
    boxes = re.findall(r"(\w+):(.*?)(?= \w+:|$)", " ".join(words[size:]))
    args = {arg.name: arg for arg in command.args}
    for name, value in boxes:
        arg = args[name]
        assert value, line
        picked = {ArgType.PERSON: "@", ArgType.ROLE: "@", ArgType.CHANNEL: "#"}.get(arg.type, "")
        assert value.startswith(picked), line
        assert not arg.choices or value in arg.choices, line
        check(arg, value)
    assert {arg.name for arg in command.args if arg.required} <= {name for name, _ in boxes}, line
    assert len(" ".join(words[size:])) == sum(len(n) + len(v) + 2 for n, v in boxes) - bool(boxes), line
    return command.name


def on_telegram(line: str) -> str:
    word, _, rest = line.removeprefix("/").partition(" ")
    command, left = parser.find(COMMANDS, word, rest)
    for name, value in parser.parse(command, left).items():
        check(next(arg for arg in command.args if arg.name == name), value)
    return command.name


def at_the_terminal(line: str) -> str:
    words = shlex.split(line)
    assert words[0] == "easel"
    found: argparse.Namespace = main._parser().parse_args(words[1:])
    if found.module == "quota":
        if found.action == "set":
            parse_terms(" ".join(found.rule))
        return f"quota {found.action}"
    command = BY_NAME[found.command]
    for name, value in parsers.args_of(command, found).items():
        check(next(arg for arg in command.args if arg.name == name), value)
    return command.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_line_is_understood(page: Path) -> None:
    discord = {on_discord(line) for line in lines(page, "Discord")}
    telegram = {on_telegram(line) for line in lines(page, "Telegram")}
    terminal = {at_the_terminal(line) for line in lines(page, "terminal")}
    # What admins and owners can do stands there for each surface.
    theirs = {command.name for command in COMMANDS.typed if command.permission is not Permission.ANYBODY}
    assert theirs <= discord
    assert theirs - {"easel admins"} <= telegram
    elsewhere = {command.name for command in COMMANDS.typed if command.personal}
    assert theirs - {"quota set", "quota reset"} - elsewhere <= terminal
    # And so do the commands of everybody, but claiming, which has its own page.
    assert {command.name for command in COMMANDS.typed} - {"claim"} <= discord | telegram


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_inside_a_sentence_exists(page: Path) -> None:
    said = re.findall(r"`(/[a-z]+(?: [a-z]+)?)", page.read_text(encoding="utf-8"))
    assert said
    for words in said:
        command = words.removeprefix("/").split()[0]
        assert command in {command.name.split()[0] for command in COMMANDS.typed}, words


def test_both_languages_show_the_same_lines() -> None:
    assert len({tuple(LINE.findall(page.read_text(encoding="utf-8"))) for page in PAGES}) == 1


def test_the_guide_is_found() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert all(f"docs/{page.name}" in readme for page in PAGES)

"""Every command on every surface: Discord and Telegram, a form at the terminal, and words in both languages."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import pytest
from discord.app_commands import Choice, locale_str

from adapters.cli import main, parsers
from adapters.discord import commands as discord_commands
from adapters.telegram import commands as telegram_commands
from adapters.telegram.commands import FOR_ADMINS, IN_GROUPS, IN_PRIVATE
from bot.cards import i18n
from bot.commands.model import ArgType, Command
from bot.core.requests import DrawForm
from bot.drawing import flags
from bot.features import COMMANDS

# What the command line has in its own form.
OWN_FORMS = {"quota show", "quota set", "quota reset"}

VALUES = {
    ArgType.TEXT: ["two", "words"],
    ArgType.WORD: ["Europe/Berlin"],
    ArgType.PERSON: ["discord:123"],
    ArgType.ROLE: ["77"],
    ArgType.CHANNEL: ["88"],
    ArgType.WHOLE: ["3"],
    ArgType.SPAN: ["3", "days"],
    ArgType.MODEL: ["demo"],
    ArgType.STYLE: ["ink"],
    ArgType.LORA: ["pixel-art"],
    ArgType.SIZE: ["3:4"],
}


@pytest.mark.parametrize("command", COMMANDS.typed, ids=lambda command: command.name)
def test_every_command_has_its_words_in_both_languages(command: Command) -> None:
    keys = [f"discord.command.{command.name.replace(' ', '.')}"]
    for arg in command.args:
        keys += [f"discord.option.{arg.name}", f"discord.option.{arg.name}.about", f"argument.{arg.name}"]
        keys += [f"choice.{choice}" for choice in arg.choices]
    for key, locale in itertools.product(keys, i18n.LOCALES):
        said = i18n.text(locale, key)
        assert said != key
        # Discord's limits: names and choices, descriptions.
        assert len(said) <= (100 if key.startswith(("discord.command", "choice")) or key.endswith(".about") else 32)
        # A name is typed: Discord takes no spaces and no capitals in it.
        if key.startswith("discord.option") and not key.endswith(".about"):
            assert said == said.lower()
            assert " " not in said


@pytest.mark.parametrize("command", COMMANDS.typed, ids=lambda command: command.name)
def test_every_command_of_a_group_says_at_the_terminal_what_it_does(command: Command) -> None:
    words = parsers.words_of(command)
    if words is not None and len(words) > 1:
        key = f"cli.command.{command.name.replace(' ', '.')}"
        assert all(i18n.text(locale, key) != key for locale in i18n.LOCALES)


@pytest.mark.parametrize("command", COMMANDS.typed, ids=lambda command: command.name)
def test_every_command_is_accepted_on_telegram(command: Command) -> None:
    assert command.name.partition(" ")[0] in telegram_commands.COMMANDS


def test_every_option_of_draw_is_a_flag_on_telegram() -> None:
    values = {"size": "3:4", "count": "2", "private": "", "expand": "", "label": ""}
    for arg in COMMANDS.by_name["draw"].args[1:]:
        if arg.type is ArgType.PICTURE:  # sent along, never typed
            continue
        flag = {"negative": "no"}.get(arg.name, arg.name)
        form = flags.parse(DrawForm(f"a cat --{flag} {values.get(arg.name, '7')}".strip()))
        assert form.prompt == "a cat"
        assert getattr(form, arg.name) is not None


def test_what_telegram_lists_exists() -> None:
    known = {"draw", "history", "cancel", "help", *telegram_commands.FIRST_WORDS}
    assert known >= {*IN_PRIVATE, *IN_GROUPS, *FOR_ADMINS}
    # Admins' commands are shown to nobody else.
    assert "easel" not in {*IN_PRIVATE, *IN_GROUPS}


def test_every_command_is_a_slash_command_within_discords_limits() -> None:
    async def nothing(*_: object) -> None: ...

    async def none(*_: object) -> list[Choice[Any]]:
        return []

    built = discord_commands.build_commands(locale_str, nothing, none, lambda _: True)
    few = discord_commands.build_commands(locale_str, nothing, none, lambda command: command.name != "describe")
    assert {command.name for command in built} - {command.name for command in few} == {"describe"}
    names = set()
    for command in built:
        subs = list(getattr(command, "commands", []))
        assert len(subs) <= 25
        names |= {f"{command.name} {sub.name}" for sub in subs} or {command.name}
    assert names == {command.name for command in COMMANDS.typed}
    assert len(built) + 3 <= 100


def parser() -> argparse.ArgumentParser:
    return main._parser()


def line_of(command: Command, *, optional: bool) -> list[str] | None:
    words = parsers.words_of(command)
    if words is None:
        return None
    line = [*words]
    for arg in command.args:
        value = [arg.choices[0]] if arg.choices else VALUES[arg.type]
        if arg.required:
            line += value
        elif optional:
            line += [f"--{arg.name}", *value]
    return [*line, "--platform", "discord", "--place", "55"] if command.place_only else line


@pytest.mark.parametrize("command", COMMANDS.typed, ids=lambda command: command.name)
def test_every_command_has_a_terminal_form_or_is_personal(command: Command) -> None:
    line = line_of(command, optional=True)
    if line is None:
        # A file has `easel inspect`, which reads it from the disk.
        assert command.personal or command.name == "inspect"
        return
    if command.name in OWN_FORMS:
        assert parser().parse_args(line_of(command, optional=False)).module == "quota"
        return
    found = parser().parse_args(line)
    assert (found.module, found.command) == ("registry_commands", command.name)
    said = parsers.args_of(command, found)
    assert said == {arg.name: arg.choices[0] if arg.choices else " ".join(VALUES[arg.type]) for arg in command.args}
    bare = line_of(command, optional=False)
    assert bare is not None
    assert set(parsers.args_of(command, parser().parse_args(bare))) == {
        arg.name for arg in command.args if arg.required
    }


def test_the_operator_sets_reads_and_takes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    here = ["--platform", "telegram", "--place", "-100"]

    def run(*line: str) -> tuple[int, str, str]:
        code = main.run([*line])
        said = capsys.readouterr()
        return code, said.out, said.err

    assert "20 pictures a day" in run("place", "preset", "club", *here)[1]
    assert "20 pictures per day" in run("place", "limits", *here)[1]
    assert "can't draw here" in run("place", "ban", "123", "--span", "3", "days", "--reason", "a\x1b[31m", *here)[1]
    code, out, err = run("place", "changes", *here)
    assert (code, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()[2:]] == ["#2 easel ban", "#1 easel preset"]
    assert "the operator" in out
    # What admins typed is data at a terminal, too.
    assert "\x1b" not in out
    assert run("place", "undo", "1")[0] == 0
    assert "20 pictures per day" not in run("place", "limits", *here)[1]
    assert "takes on nothing new" in run("service", "drain")[1]
    for line, words in (
        (["place", "undo", "1"], "undone already"),
        (["place", "ban", "123"], "--platform"),
        (["place", "log", *here], "--channel"),
        (["place", "timezone", "Europe/Berlni", *here], "Europe/Berlin"),
        (["access", "allow", "7"], "7"),
        # A rule for a name would bind nobody, and say nothing.
        (["place", "ban", "@ada", *here], "“@ada” is no id"),
        (["place", "ban", "telegram:ada"], "“telegram:ada” is no id"),
        (["place", "limits", "--platform", "discord", "--place", "My server"], "“My server” is no id"),
        (["quota", "set", "5/day", "--platform", "telegram", "--person", "@ada"], "“@ada” is no id"),
        (["quota", "reset", "--platform", "discord", "--place", "7", "--role", "helpers"], "“helpers” is no id"),
        (["quota", "grant", "9" * 26, "5", *here], "is no id"),
    ):
        code, out, err = run(*line)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert words in err

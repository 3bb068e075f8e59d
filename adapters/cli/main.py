"""The `easel` command: parses the line, imports only what the command needs, and returns its exit code."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from adapters.cli import platforms

if TYPE_CHECKING:
    from adapters.cli.parsers import Actions

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """Reports an error of the line in one sentence. ``fill`` adds the arguments when a line first needs them."""

    def __init__(
        self, *args: Any, fill: Callable[[argparse.ArgumentParser], None] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._fill = fill

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        fill, self._fill = self._fill, None
        if fill is not None:
            fill(self)
        return super().parse_known_args(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"easel: {message} ({self.prog} --help)\n")


class _Version(argparse.Action):
    """Prints the version and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from adapters.cli.version import described  # noqa: PLC0415 - only here: it reads files

        sys.stdout.write(f"easel {described()}\n")
        parser.exit()


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 after a failure; 2 for invalid input, with one line on stderr; 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        # A console without Chinese shows question marks instead of a traceback.
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="replace")
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.module != "draw":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    try:
        code = _run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _unread()
    return code


def _unread() -> int:
    """End silently after a broken pipe, as other commands do."""
    from adapters.cli.output import silence  # noqa: PLC0415 - as below

    silence(sys.stdout)
    silence(sys.stderr)
    return FAILED


def _run(args: argparse.Namespace) -> int:
    # Imported here, so that --help and a mistyped line are fast.
    from adapters.cli.output import report_error  # noqa: PLC0415 - see above
    from bot.core.errors import Refusal, Unavailable  # noqa: PLC0415 - see above
    from engine.host.imports import large_imports  # noqa: PLC0415 - see above

    # Libraries' log lines belong in a service's log; a command prints its own messages.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        name = f"adapters.cli.{args.module}"
        with nullcontext() if name in sys.modules else large_imports():
            command: Command = import_module(name).main
        return command(args)
    except Refusal as refusal:
        report_error(refusal)
        return FAILED if isinstance(refusal, Unavailable) else BAD_INPUT


def _parser() -> _Parser:
    parser = _Parser(prog="easel", description="A drawing service of your own.", allow_abbrev=False)
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show the version, and the commit where it is known"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, text: str, module: str, fill: Callable[[argparse.ArgumentParser], None] | None = None
    ) -> _Parser:
        command: _Parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False, fill=fill)
        command.set_defaults(module=module)
        return command

    serve = add("serve", "Start Easel: the page, and each platform whose token is set.", "serve")
    serve.set_defaults(command="serve")
    _draw(add("draw", "Draw without a server, and write the pictures to files.", "draw"))
    doctor = add("doctor", "Look at everything that can be wrong, and say what to do about it.", "doctor")
    doctor.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    add("quota", "Set, show or reset the quota rules of this Easel, and what it means for somebody.", "quota", _quota)
    for name, text in (
        ("place", "Set what holds in a server or group, or everywhere."),
        ("access", "Answer those who want to come in."),
        ("service", "Pause or drain the whole service, or let it run."),
    ):
        add(name, text, "registry_commands", partial(_of_registry, name))
    bench = add("bench", "Measure Easel beside a bare diffusers loop on this machine (some minutes).", "bench")
    bench.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    bench.add_argument("--quick", action="store_true", help="a short run that shows that it works, and little more")
    inspect = add("inspect", "Say what picture files tell of themselves: marks, signature, recipe.", "inspect_files")
    inspect.add_argument("files", nargs="+", metavar="FILE", help="a PNG, JPEG or WebP of any origin")
    inspect.add_argument("--json", action="store_true", help="one JSON list instead of lines")
    inspect.add_argument(
        "--trust", action="append", default=[], metavar="PEM", help="a root certificate whose signers are trusted"
    )
    provenance = add("provenance", "Make the keys that sign this Easel's pictures.", "provenance")
    actions = provenance.add_subparsers(required=True, metavar="ACTION", dest="action")
    about = "Make a root and a signing certificate; serve signs with them from its next start on."
    init = actions.add_parser("init", help=about, description=about, allow_abbrev=False)
    init.add_argument(
        "--name", metavar="NAME", help="the organisation in the certificate (EASEL_PROVENANCE_NAME, or Easel)"
    )
    init.add_argument("--force", action="store_true", help="replace keys that are there")
    _model(add("model", "List the models, fetch one, or remove one.", "model"))
    lora = add("lora", "List the LoRAs that requests may name.", "lora")
    about = "List them with their families, files and trigger words, and say what is left out and why."
    actions = lora.add_subparsers(required=True, metavar="ACTION", dest="action")
    actions.add_parser("list", help=about, description=about, allow_abbrev=False)
    _key(add("key", "Create, list or revoke API keys.", "key"))
    _invite(add("invite", "Print a link with which somebody sets up a sign-in to the page.", "invite"))
    claim = add("claim", "Print a code; the person who sends it to the bot becomes its owner.", "serve")
    claim.set_defaults(command="claim")
    mcp = add("mcp", "Let language models draw: the MCP server on standard input and output.", "mcp")
    mcp.add_argument("--url", metavar="URL", help="address of a running service, such as http://127.0.0.1:7860")
    add("migrate", "Bring the database to this version (serve does so by itself).", "migrate")
    _backup(
        add(
            "backup", "Write the database, and the pictures if wanted, to one file; beside a running service.", "backup"
        )
    )
    restore = add("restore", "Put a backup in place of this data folder's database.", "backup")
    restore.add_argument("file", metavar="FILE", help="what easel backup wrote")
    restore.set_defaults(command="restore")
    return parser


def _backup(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", help="the file to write, such as easel-backup.tar")
    command.add_argument("--pictures", action="store_true", help="the pictures too")
    command.add_argument("--force", action="store_true", help="replace a file that is there")
    command.set_defaults(command="backup")


def _draw(command: argparse.ArgumentParser) -> None:
    # Values stay text: they are validated where all flags are parsed.
    command.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to draw; flags may stand in it too")
    command.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE_OR_FOLDER",
        help="a.png (a-1.png, a-2.png for several), or a folder",
    )
    command.add_argument("--size", "--ar", metavar="SIZE", help="WxH, W:H, or a preset such as portrait")
    command.add_argument(
        "--seed", metavar="N", help="0 to 2^63-1, or -1 for a random one; the same seed draws the same picture"
    )
    command.add_argument("--count", "--n", metavar="N", help="how many pictures, 1 to 16")
    command.add_argument("--steps", metavar="N", help="denoising steps")
    command.add_argument("--guidance", metavar="X", help="guidance scale")
    command.add_argument("--no", "--neg", dest="negative", metavar="TEXT", help="what not to draw")
    command.add_argument("--style", metavar="NAME", help="a style's name")
    command.add_argument("--model", metavar="NAME", help="a model's name")
    command.add_argument("--image", metavar="FILE", help="a picture to start from")
    command.add_argument("--mask", metavar="FILE", help="as large as it: what is white there is drawn anew")
    command.add_argument(
        "--ref",
        dest="references",
        action="append",
        metavar="FILE",
        help="a picture that the prompt says how to edit; up to four times, in order",
    )
    command.add_argument("--strength", metavar="X", help="how far to move away from the picture, 0.05 to 1 (0.6)")
    command.add_argument("--control", metavar="KIND", help="--image is a control picture of this kind, such as canny")
    command.add_argument("--control-weight", metavar="X", help="how strongly it counts, 0 to 2 (1)")
    command.add_argument("--sampler", metavar="NAME", help='as A1111 calls it, such as "DPM++ 2M Karras"')
    command.add_argument(
        "--clip-skip", metavar="N", help="layers of CLIP to stop before the end, 1 to 12 as A1111 counts (SDXL, SD 1.5)"
    )
    command.add_argument(
        "--lora", action="append", metavar="NAME:WEIGHT", help="a LoRA and its weight, -2 to 2; up to three times"
    )
    command.add_argument("--label", action="store_true", help="draw a visible label: AI generated")
    command.add_argument("--private", action="store_true", help="taken as everywhere; means nothing here")


def _model(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(required=True, metavar="ACTION", dest="action")
    for name, text in (
        ("list", "List the models: which is the default (*), and which are here."),
        ("pull", "Fetch a model, or its newest version; one that was broken off goes on."),
        ("remove", "Remove a model's files from this disk."),
    ):
        action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        if name != "list":
            action.add_argument("name", metavar="NAME", help="a model's name, or its id on the hub (owner/name)")


def _invite(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", default="", metavar="NAME", help="the name that the new account is suggested")
    command.add_argument(
        "--quota", nargs="+", default=[], metavar="RULE", help="a rule of its own, such as 20/day or unlimited"
    )
    command.add_argument(
        "--person",
        default="",
        metavar="PLATFORM:ID",
        help="an account that exists, which gets a new password or passkey; else a new account is made",
    )
    command.add_argument(
        "--days", type=float, default=7.0, metavar="N", help="how long the link is valid, at most 90 (7)"
    )


def _key(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(required=True, metavar="ACTION", dest="action")
    for name, text in (
        ("create", "Create a key, and print it once: alone on the last line."),
        ("list", "List the keys, without their secrets."),
        ("revoke", "Revoke a key; requests with it are refused from then on."),
    ):
        action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        if name == "create":
            action.add_argument("--name", required=True, metavar="NAME", help="what the key is for")
            action.add_argument(
                "--quota", nargs="+", default=[], metavar="RULE", help="a rule of its own, such as 20/day or unlimited"
            )
            action.add_argument(
                "--person",
                default="",
                metavar="PLATFORM:ID",
                help="the account that it acts as, such as telegram:123; else it gets one of its own",
            )
        elif name == "revoke":
            action.add_argument("name", metavar="NAME", help="the key's name or number")


def _of_registry(word: str, command: argparse.ArgumentParser) -> None:
    # Imported here: the registry imports every feature.
    from adapters.cli import parsers  # noqa: PLC0415 - see above

    parsers.add(word, command)


def _quota(command: argparse.ArgumentParser) -> None:
    from adapters.cli import parsers  # noqa: PLC0415 - as above

    parsers.add_actions("quota", _rules(command))


def _rules(command: argparse.ArgumentParser) -> Actions:
    from adapters.cli.output import text  # noqa: PLC0415 - as above

    actions = command.add_subparsers(required=True, metavar="ACTION", dest="action")
    for name in ("set", "show", "reset"):
        about = text(f"cli.command.quota.{name}")
        action = actions.add_parser(name, help=about, description=about, allow_abbrev=False)
        if name == "set":
            action.add_argument(
                "rule", metavar="RULE", nargs="+", help="such as 20/day, '5/hour 20/day at-once 2' or unlimited"
            )
        if name != "show":
            action.add_argument("--platform", choices=platforms.names(), help="only on this platform")
            action.add_argument("--place", metavar="ID", help="only in this server or group")
            action.add_argument("--channel", metavar="ID", help="only in this channel of it")
            action.add_argument("--role", metavar="ID", help="only for this role of it")
            action.add_argument("--person", metavar="ID", help="only for this person (needs --platform)")
    return actions


if __name__ == "__main__":
    sys.exit(run())

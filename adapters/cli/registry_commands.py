"""`easel place | access | service | quota why ...`: the table's commands, run by the operator."""

from __future__ import annotations

import argparse
import asyncio
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from adapters.cli import environment
from adapters.cli.clock import SystemClock
from adapters.cli.engines import describing
from adapters.cli.output import echo_card, language
from adapters.cli.parsers import args_of, check_ids
from bot import runner
from bot.access.claims import refresh_owners
from bot.audit.changes import OPERATOR
from bot.commands.model import ArgType, Command, Invocation
from bot.context import AppContext
from bot.core.errors import BadInput
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.ports import QueueLoad, QueuePosition, SlotReport, Ticket
from bot.features import COMMANDS
from bot.quotas.rules.terms import parse_terms
from bot.storage.database import Database

TERMINAL = "cli"
"""The operator's platform if none is named."""


def main(args: argparse.Namespace) -> int:
    """Run a command and print its result. Returns 0; raises Refusal."""
    command = COMMANDS.by_name[args.command]
    asyncio.run(_main(_call(command, args)))
    return 0


async def _main(invocation: Invocation) -> None:
    app = environment.load()
    settings = app.core
    async with await Database.open(settings.data_dir / environment.DATABASE) as db:
        owners = app.owners()
        await refresh_owners(db, owners)
        house = AppContext(
            db=db,
            backlog=IdleBacklog(),
            clock=SystemClock(),
            profiles=lambda: describing(settings).profiles(),
            loras=lambda: describing(settings).loras(),
            pictures=settings.data_dir / environment.PICTURES,
            default_quota=parse_terms(settings.quota),
            owners=owners,
            access_modes=app.access(),
        )
        result = await runner.run(house, invocation)
        assert result.card is not None, f"{invocation.command.name} has no answer"
        echo_card(result.card)


def _call(command: Command, found: argparse.Namespace) -> Invocation:
    """Return the operator's invocation: as an owner, in the named place."""
    args = args_of(command, found)
    people = [args[arg.name] for arg in command.args if arg.type is ArgType.PERSON and arg.name in args]
    if found.platform is None and (found.place is not None or any(":" not in person for person in people)):
        raise BadInput("refusal.quota.scope_platform")
    ids = [args.get(arg.name) for arg in command.args if arg.type in {ArgType.PERSON, ArgType.ROLE, ArgType.CHANNEL}]
    check_ids(found.platform, found.place, *ids)
    if command.name == "easel log" and not args:
        raise BadInput("cli.place.log")
    platform = found.platform or TERMINAL
    actor = Actor(platform, OPERATOR, OPERATOR, is_owner=True, locale=language())
    # Channel ids are not resolved: the operator may read and write everything anyway.
    names = {arg.name: args[arg.name] for arg in command.args if arg.type is ArgType.CHANNEL and arg.name in args}
    return Invocation(
        actor, Place(platform, found.place, ""), command, EventRef(f"{TERMINAL}:{uuid.uuid4()}"), args, names
    )


class IdleBacklog:
    """Implements ``bot.core.ports.Backlog`` without a queue: a running service finds the rows."""

    def enqueue(self, ticket: Ticket) -> None:
        """The service finds the row."""

    def retry_after(self) -> float | None:
        """Never full."""
        return None

    def reserve(self) -> AbstractContextManager[None]:
        """Never full."""
        return nullcontext()

    def set_paused(self, on: bool) -> None:
        """The service reads the option."""

    def order(self) -> Sequence[int]:
        """Not known here."""
        return ()

    def newest(self) -> int:
        """Not known here."""
        return 0

    def move_ahead(self, job_id: int) -> None:
        """Jobs are moved on the owner's page alone."""

    def move_behind(self, job_id: int, last_id: int) -> None:
        """Jobs are moved on the owner's page alone."""

    def job_cancelled(self, job_id: int) -> None:
        """The service finds the row."""

    def job_changed(self, job_id: int) -> None:
        """The service finds the row."""

    def messages_added(self) -> None:
        """The service finds the row."""

    def access_requested(self) -> None:
        """The service finds the row."""

    def deletion_added(self) -> None:
        """The service finds the row."""

    def position(self, job_id: int) -> QueuePosition | None:  # noqa: ARG002 - the port's
        """Not known here."""
        return None

    def load(self) -> QueueLoad:
        """Not known here."""
        return QueueLoad(0, 0)

    def slots(self) -> Sequence[SlotReport]:
        """Not known here."""
        return ()

    def progress(self, job_id: int) -> float | None:  # noqa: ARG002 - the port's
        """Not known here."""
        return None

    def seconds_left(self, job_id: int) -> float | None:  # noqa: ARG002 - the port's
        """Not known here."""
        return None

"""A queue where nothing is drawn: a command beside the running service writes rows, and the service takes them up."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from bot.core.ports import QueuePosition, Ticket


class IdleBacklog:
    """Obeys ``bot.core.ports.Backlog``."""

    def put(self, ticket: Ticket) -> None:
        """The service finds the row."""

    def full(self) -> float | None:
        """Nobody is turned away here."""
        return None

    def seat(self) -> AbstractContextManager[None]:
        """Nobody is turned away here."""
        return nullcontext()

    def hold(self, on: bool) -> None:
        """The service reads the option."""

    def forget(self, job_id: int) -> None:
        """The service finds the row."""

    def changed(self, job_id: int) -> None:
        """The service finds the row."""

    def posted(self) -> None:
        """The service finds the row."""

    def asked(self) -> None:
        """The service finds the row."""

    def waiting(self, job_id: int) -> QueuePosition | None:  # noqa: ARG002 - the port's
        """Nothing is known of the queue here."""
        return None

    def progress(self, job_id: int) -> float | None:  # noqa: ARG002 - the port's
        """Nothing is drawn here."""
        return None

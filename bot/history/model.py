"""What somebody looks for in their history."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """A search, read. Everything must hold; an empty one finds all.

    Attributes:
        words: As ``bot.history.queries.sought`` gives them.
        model: A profile's name, folded.
        seed: 0 to 2**63 - 1: any picture of the job has it.
        size: As (width, height) in pixels.
        favourite: Only what the person keeps as a favourite.
        since: Only what was asked for at this moment or later, in Unix seconds.
        until: Only what was asked for before it, in Unix seconds.
    """

    words: tuple[str, ...] = ()
    model: str | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    favourite: bool = False
    since: float | None = None
    until: float | None = None

    @property
    def only_favourites(self) -> bool:
        """Whether nothing is said of the pictures but that they are favourites: others' are among them then."""
        return self.favourite and not self.words and (self.model, self.seed, self.size) == (None, None, None)

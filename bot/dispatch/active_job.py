"""What is known in memory of a job that is being drawn: which pictures have come, which failed, which are under way."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from bot.core.jobs import Job
from bot.core.pictures import DrawnPicture
from engine.contract import Recipe


@dataclass(slots=True)
class ActiveJob:
    """One job while it is drawn. Its pictures end one by one: each is done, has failed, or was dropped with the job."""

    job: Job
    recipes: tuple[Recipe, ...]
    done: dict[int, DrawnPicture] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    """Catalogue keys of why, by index."""
    painting: set[int] = field(default_factory=set)
    """With the engine now."""
    writing: set[int] = field(default_factory=set)
    """Painted, and their files are being written."""
    cancelled: bool = False
    seen: float = 0.0
    """When its progress was last shown, by the monotonic clock."""
    steps: dict[int, float] = field(default_factory=dict)
    """When each picture took its last step, by the monotonic clock."""
    drawn: float = 0.0
    """When its last picture so far was drawn, by the monotonic clock."""

    def over(self) -> bool:
        """Every picture has ended."""
        return len(self.done) + len(self.failed) == len(self.recipes)

    def idle(self) -> bool:
        """Nothing of it is with the engine or on its way to the disk."""
        return not self.painting and not self.writing

    def preempted(self, since: float) -> bool:
        """It was begun, pictures are left, and none has taken a step at ``since`` or later."""
        return bool(self.steps) and max(self.steps.values()) < since and bool(self.left())

    def left(self) -> tuple[int, ...]:
        """Pictures that have not ended and are not being written."""
        ended: Collection[int] = self.done.keys() | self.failed.keys() | self.writing
        return tuple(i for i in range(len(self.recipes)) if i not in ended)

    def fail_left(self, error: str) -> None:
        """What has not ended never will."""
        self.failed.update(dict.fromkeys(self.left(), error))

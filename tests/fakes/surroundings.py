"""What the owner's pages show of the machine, for tests: a library that downloads nothing, a machine, and settings."""

from __future__ import annotations

from dataclasses import replace

from bot.owner.ports import (
    GpuFacts,
    Library,
    LibraryModel,
    MachineFacts,
    ModelState,
    PullProgress,
    Sensor,
    Setting,
    SettingSource,
    Surroundings,
)

GB = 10**9


class FakeLibrary:
    """Implements ``bot.owner.ports.ModelLibrary``. A download stays at a third until it is stopped."""

    def __init__(self) -> None:
        self.pulled: PullProgress | None = None
        self.removed: list[str] = []

    async def read(self, locale: str) -> Library:
        """A model that is here and one that is not."""
        here = LibraryModel("turbo", "Turbo", "o/turbo", ModelState.HERE, 20 * GB, "04cc4abb", "Apache-2.0", (), True)
        there = LibraryModel("dev", "Dev", "o/dev", ModelState.ABSENT, 0, "", "dev", ("no commercial use",))
        models = (there,) if self.removed else (here, there)
        return Library("/models", models, self.pulled)

    async def pull(self, name: str) -> None:
        """Begin."""
        self.pulled = PullProgress(name, GB, 3 * GB)

    async def stop_pull(self) -> None:
        """End."""
        assert self.pulled is not None
        self.pulled = replace(self.pulled, running=False, stopped=True)

    async def remove(self, name: str) -> int:
        """Note the name."""
        self.removed.append(name)
        return 20 * GB


class FakeMachine:
    """Implements ``bot.owner.ports.Machine``."""

    async def facts(self) -> MachineFacts:
        """A machine with a card."""
        gpu = GpuFacts("Card 4090", 17 * GB, 24 * GB, 0.87, 66.0, 312.0)
        return MachineFacts("Linux", "3.11", 16, 2.5, 21 * GB, 64 * GB, GB, (Sensor("coretemp", 58.0),), (gpu,))


def surroundings() -> Surroundings:
    """Return all of it, with two settings, one of them a secret."""
    settings = (
        Setting("EASEL_MODEL", "easel", "The model.", "demo", "demo", SettingSource.DEFAULT, False, True),
        Setting("EASEL_WEB_PORT", "web", "The port.", "8080", "7860", SettingSource.ENVIRONMENT, False, True),
        Setting("EASEL_WEB_TOKEN", "web", "The token.", "", "", SettingSource.FILE, True, True),
    )
    return Surroundings(FakeLibrary(), FakeMachine(), settings, 10.0, "1.2.3")

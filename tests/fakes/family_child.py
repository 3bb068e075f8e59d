"""The engine's own child with the families of ``tests/fakes/families`` among its own."""

from __future__ import annotations

from engine.host import child
from tests.fakes.families import added

if __name__ == "__main__":
    with added():
        child.main()

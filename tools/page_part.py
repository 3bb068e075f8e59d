"""Rewrite or check the generated part of a page, which stands between two markers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def main(description: str | None, page: Path, begin: str, end: str, make: Callable[[], str]) -> int:
    """Rewrite the part, or check it with ``--check``; return the exit status.

    Args:
        description: Text of ``--help``.
        page: The page.
        begin: The line before the part, with its line break.
        end: The line after it.
        make: Returns the part.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    new = before + begin + make() + end + after
    if not options.check:
        page.write_text(new, encoding="utf-8")
    return int(options.check and new != text)

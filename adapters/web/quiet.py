"""The log of aiohttp's server without what clients have sent: a request line may hold a search."""

from __future__ import annotations

import logging

from aiohttp.http import HttpProcessingError

LOGGER = "adapters.web.protocol"


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the traceback of a malformed request, which repeats it, with the kind of the fault."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args = "a malformed request was refused: %s", (type(error).__name__,)
        return True


def logger() -> logging.Logger:
    """Return the logger that aiohttp's request handlers are given."""
    found = logging.getLogger(LOGGER)
    if not any(isinstance(one, _Quiet) for one in found.filters):
        found.addFilter(_Quiet())
    return found

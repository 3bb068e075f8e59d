"""A function on a thread of its own that runs only while another thread waits for it, and pauses where it says."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PausedCall(Generic[T]):
    """Runs a function from one pause to the next, each time that ``resume`` is called.

    One of the two threads runs at any time. The function keeps its stack while it is paused. Its thread ends when the
    function returns or raises, or with ``close``. All methods but the function itself are for one thread.

    Args:
        function: Called with a function that pauses it.
        name: Name of its thread.

    Attributes:
        closed: Whether the call was given up before the function returned.
    """

    def __init__(self, function: Callable[[Callable[[], None]], T], name: str) -> None:
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._run, function), name=name, daemon=True
        )
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._through = False
        self._ended = False
        self.closed = False

    @property
    def returned(self) -> bool:
        """Whether the function has returned."""
        return bool(self._result)

    @property
    def result(self) -> T:
        """What the function has returned."""
        (found,) = self._result
        return found

    def resume(self) -> None:
        """Run the function until it pauses, returns or raises. Raises what it raises; it must not have ended."""
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go.release()
        self._back.acquire()
        if self._ended:
            self._thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # its frames hold tensors

    def finish(self) -> T:
        """Run the function to its end, through all pauses, and return what it returns."""
        self._through = True
        if not self.returned:
            self.resume()
        return self.result

    def close(self) -> None:
        """End the function where it is paused: the pause raises, and nothing of it goes on. Not begun, it never runs."""
        if self._ended:
            return
        self.closed = True
        if self._thread.ident is not None:
            self._go.release()
            self._back.acquire()
            self._thread.join()
        self._ended, self._error = True, None

    def _run(self, function: Callable[[Callable[[], None]], T]) -> None:
        try:
            self._result.append(function(self._pause))
        except BaseException as e:  # noqa: BLE001  # it is raised where the call is resumed
            self._error = e.with_traceback(None) if isinstance(e, _Closed) else e
        finally:
            self._ended = True
            del function
            self._back.release()

    def _pause(self) -> None:
        if self._through:
            return
        if self.closed:
            raise _Closed
        self._back.release()
        self._go.acquire()
        if self.closed:
            raise _Closed


class _Closed(BaseException):
    """Raised in a pause of a call that was closed. No ``except Exception`` of a pipeline catches it."""

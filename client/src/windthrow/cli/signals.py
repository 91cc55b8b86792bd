"""Being asked to stop, by Ctrl-C or by a CI: not in the middle of a submission, whose job nobody would cancel."""

import signal
from types import FrameType, TracebackType
from typing import Optional

HEARD = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """The process was asked to stop; no `Exception`, so that nothing takes it for trouble with the service."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells have it: 130, 143."""
        return 128 + self.number


class Signals:
    """Raises `Stopped` inside a `with`; a second signal ends the process at once."""

    def __init__(self) -> None:
        self._held = False
        self._pending: Optional[int] = None

    def __enter__(self) -> None:
        for number in HEARD:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell's background jobs have it
                signal.signal(number, self._heard)

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for number in HEARD:
            if signal.getsignal(number) == self._heard:
                signal.signal(number, signal.SIG_DFL)

    def hold(self) -> None:
        """Wait with what is heard from now on."""
        self._held = True

    def release(self) -> None:
        """Hear again.

        Raises:
            Stopped: a signal came meanwhile.
        """
        self._held = False
        if self._pending is not None:
            number, self._pending = self._pending, None
            raise Stopped(number)

    def _heard(self, number: int, _: Optional[FrameType]) -> None:
        for each in HEARD:
            if signal.getsignal(each) == self._heard:
                signal.signal(each, signal.SIG_DFL)
        if not self._held:
            raise Stopped(number)
        self._pending = number

"""Cancelling what a gate has created, when it is asked to stop and has only seconds left."""

import time
from collections.abc import Sequence
from threading import Thread

from windthrow.cli.output import say
from windthrow.errors import WindthrowError

SECONDS = 5.0
"""For all jobs together: a CI kills what does not end soon."""


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs, all at once, and say what came of it."""
    threads = {job: Thread(target=_cancel, args=(job,), daemon=True) for job in jobs}
    until = time.monotonic() + SECONDS
    for thread in threads.values():
        thread.start()
    for job, thread in threads.items():
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            say(f"job {job} may go on, for the service does not answer: windthrow cancel {job}")


def _cancel(job: str) -> None:
    import windthrow

    try:
        with windthrow.Client(timeout=SECONDS, retries=0) as client:
            found = client.cancel(job)
    except WindthrowError as error:
        say(f"job {job} could not be cancelled and goes on: {error}; windthrow cancel {job}")
        return
    if found.over and found.state != "cancelled":
        say(f"job {job} is over already: {found.state}")
    else:
        say(f"job {job} is {'cancelled' if found.over else 'being cancelled'}")

"""Telling of a gate that got no verdict: to people, to GitHub, and in the files that others read."""

import os
import traceback
from dataclasses import replace
from typing import Optional

from windthrow.cli.endings import Ending, ending
from windthrow.cli.gate_options import Options
from windthrow.cli.output import say, say_as_it_is
from windthrow.cli.surroundings import Mark, annotation, in_github

NOT_GATED = "WARNING: this model was NOT gated; `on_service_error: warn` lets that pass"
NOT_DONE = "WARNING: not all was done; `on_service_error: warn` lets that pass"


def conclude(
    error: Exception, options: Options, warns: bool, *, status: Optional[str] = None, written: bool = False
) -> int:
    """Tell of what went wrong; returns the exit code that it has by itself.

    Args:
        error: what it was.
        options: of the gate.
        warns: whether the gate file lets the service's troubles pass.
        status: of the verdict, if there was one before.
        written: whether its files are written.
    """
    if os.environ.get("WINDTHROW_DEBUG", "") not in ("", "0"):
        traceback.print_exception(type(error), error, error.__traceback__)
    end, what = ending(error), "no verdict"
    if status is not None:
        end = replace(end, advice="the verdict stands; run again for the rest")
        what = f"the verdict is {status}" + ("" if written else ", and its reports cannot be had")
    warned = end.outage and warns
    tell(end, options.places.policy_file, what=what, warned=warned, as_json=options.as_json)
    if status is None:
        write(end, options, warned=warned)
    if warned:
        say(f"windthrow: {NOT_GATED if status is None else NOT_DONE}")
    return 0 if warned else end.code


def write(end: Ending, options: Options, *, warned: bool = False) -> None:
    """Write that there is no verdict."""
    try:
        options.outputs.unjudged(end, options.places.policy_file, warned=warned)
    except OSError as error:
        say(f"windthrow: {error.filename} cannot be written: {error.strerror}")


def tell(end: Ending, file: str, *, what: str = "", warned: bool = False, as_json: bool = False) -> None:
    """Whose fault it is, the places, and what to do, on standard error; in GitHub also as marks in the file."""
    named = f"windthrow: {what}" if what else "windthrow"
    say(f"{named}: {end.title}: {end.message}")
    for place in end.places:
        say(f"  {file if place.line else f'at {place.pointer}'}: {place.message}")
    say(f"  {end.advice}")
    if not in_github():
        return
    marked = [(place.message, place.line) for place in end.places] or [(end.text, None)]
    for message, line in marked:
        kind: Mark = "warning" if warned else "error"
        mark = annotation(kind, message, file=file, line=line, title=named)
        if as_json:
            say_as_it_is(mark)
        else:
            print(mark, flush=True)

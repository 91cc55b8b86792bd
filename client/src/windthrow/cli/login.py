"""`windthrow login`."""

import os
import sys
from typing import Annotated, Optional

import typer

from windthrow import credentials
from windthrow.cli.output import print_json, say
from windthrow.cli.session import JsonOption, connected


def login(
    *,
    url: Annotated[
        Optional[str], typer.Option(help="Where the service is, such as http://127.0.0.1:8000.")
    ] = None,
    key: Annotated[
        Optional[str], typer.Option(help="The API key, wt_…; - reads it from standard input.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Ask the service; alone, whether it accepts what is stored.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Store a service's URL and API key, readable by you alone.

    What is not given is taken from WINDTHROW_URL and WINDTHROW_KEY, else asked for. What --check finds wrong is not
    stored.
    """
    if check and url is None and key is None:
        found = credentials.credentials()
    else:
        found = credentials.Credentials(
            credentials.plain(url or os.environ.get(credentials.URL) or _asked("URL of the service")),
            _key(key).strip(),
        )
    with connected(found.url, found.key, retries=0) as client:
        if check:
            client.jobs(limit=1)
    told = {"url": found.url, "checked": check}
    if check:
        say(f"{found.url} accepts the key")
    if not check or url is not None or key is not None:
        say(f"stored in {credentials.store(found)}")
    if as_json:
        print_json(told)


def _key(said: Optional[str]) -> str:
    if said == "-":
        return sys.stdin.readline()
    return said or os.environ.get(credentials.KEY) or _asked("API key", hidden=True)


def _asked(what: str, *, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{what}: give --url and --key, or WINDTHROW_URL and WINDTHROW_KEY")
    return str(typer.prompt(what, hide_input=hidden, err=True))

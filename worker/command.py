"""What the commands of `windthrow-server` share: where the data directory is, and a session on its database."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from core.errors import WindthrowError
from core.settings import Settings
from core.store.database import Database

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data directory; WINDTHROW_DATA_DIR or .windthrow unless said.")
]


def settings_of(data: Path | None) -> Settings:
    """The settings, with another data directory if one is named."""
    settings = Settings()
    return settings if data is None else settings.model_copy(update={"data_dir": data})


class MissingExtraError(WindthrowError):
    """A part of the service is asked for whose packages are not installed here."""

    code = "missing_extra"


def require(*modules: str) -> None:
    """Raise unless these modules are installed."""
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtraError(f'this needs {module}: `pip install "windthrow-server[worker]"`')


@contextmanager
def database_session(data: Path | None) -> Iterator[tuple[Session, Settings]]:
    """A transaction on DATABASE_URL's database, else on the one that `windthrow-server up` runs."""
    settings = settings_of(data)
    running = settings.data_dir / "stack.json"
    url = settings.database_url
    if not url and running.exists():
        url = json.loads(running.read_text())["database_url"]
    database = Database(url, pool_size=1)
    try:
        with database.session() as session:
            yield session, settings
    finally:
        database.dispose()

"""Sessions: the one place where transactions are committed. Queries live with the code that needs them."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from core.errors import WindthrowError
from core.settings import normalise_database_url
from core.store.schema import head


class DatabaseUrlError(WindthrowError):
    """There is no database to talk to."""

    code = "no_database"


class Database:
    """A pool of connections to one PostgreSQL database.

    Raises:
        DatabaseUrlError: the URL is empty.
    """

    def __init__(self, url: str, *, pool_size: int = 5, max_overflow: int = 10) -> None:
        if not url:
            raise DatabaseUrlError("set DATABASE_URL, or let `windthrow-server up` start a database")
        self.url = normalise_database_url(url)
        self.engine: Engine = create_engine(
            self.url,
            pool_pre_ping=True,
            pool_size=pool_size,
            max_overflow=max_overflow,
            connect_args={"connect_timeout": 5, "application_name": "windthrow"},
        )
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: committed on success, rolled back on any exception, always closed.

        Rows stay readable afterwards.
        """
        with self._sessions() as session, session.begin():
            yield session

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def at_head(engine: Engine) -> bool:
    """Whether every migration that this code knows has been applied."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() == head()

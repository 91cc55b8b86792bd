"""Alembic's entry: on the connection it is handed, or on `DATABASE_URL` when called from the command line."""

from alembic import context
from sqlalchemy import Connection, create_engine

from core.settings import Settings
from core.store.tables import Table


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Table.metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


handed: Connection | None = context.config.attributes.get("connection")
if handed is not None:
    run(handed)
else:
    engine = create_engine(Settings().database_url)
    with engine.begin() as own:
        run(own)
    engine.dispose()

"""Bringing a database to the schema that this code expects, from a checkout or from an installed wheel."""

from functools import cache
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, func, select

from core.settings import normalise_database_url

MIGRATION_LOCK = 0x57696E64
"""Key of the advisory lock under which only one process migrates."""


def alembic_config() -> Config:
    """Alembic's configuration, pointing at the installed `migrations` package."""
    config = Config()
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    return config


@cache
def head() -> str | None:
    """The newest revision."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def upgrade(url: str, revision: str = "head") -> None:
    """Apply every migration that is missing, in one transaction; processes that start together take turns."""
    engine = create_engine(normalise_database_url(url))
    try:
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import create_engine, event, select, text

from core.settings import Settings, kept_secret
from core.store.database import Database, DatabaseUrlError, at_head
from core.store.keys import ScopeError, authenticate, issue_key, revoke_key
from core.store.schema import upgrade
from core.store.tables import ApiKey, Event, Table
from core.store.types import json_safe, uuid7

SECRET = b"a secret"


def test_the_migrations_build_exactly_the_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Table.metadata) == []


def test_the_checks_of_tables_and_migrations_agree(database: Database) -> None:
    declared = {str(check.name) for table in Table.metadata.tables.values() for check in table.constraints}
    query = text("SELECT conname FROM pg_constraint WHERE contype IN ('c', 'p', 'u', 'f')")
    with database.session() as session:
        migrated = {name for name in session.scalars(query) if name.startswith(("ck_", "pk_", "uq_", "fk_"))}
    assert {name for name in migrated if name.startswith("ck_")} == {
        n for n in declared if n.startswith("ck_")
    }


def test_a_migrated_database_is_at_head_and_an_empty_one_is_not(
    postgres_url: str, database: Database
) -> None:
    assert at_head(database.engine)
    upgrade(database.url)
    empty = create_engine(postgres_url)
    assert not at_head(empty)
    empty.dispose()


def test_a_database_without_a_url_says_what_to_do() -> None:
    with pytest.raises(DatabaseUrlError, match="DATABASE_URL"):
        Database("")


def test_a_failed_session_leaves_nothing_behind(database: Database) -> None:
    def add_and_fail() -> None:
        with database.session() as session:
            issue_key(session, "lost", ["read"], secret=SECRET)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        add_and_fail()
    with database.session() as session:
        assert session.scalars(select(ApiKey)).all() == []


def test_what_json_cannot_say_becomes_null() -> None:
    value = {"a": math.nan, "b": [math.inf, (1.5, -math.inf)], 3: "nul\0", "lone": "\ud800"}
    assert json_safe(value) == {"a": None, "b": [None, [1.5, None]], "3": "nul\ufffd", "lone": "?"}


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_making_json_safe_twice_changes_nothing_more(value: Any) -> None:
    assert json_safe(json_safe(value)) == json_safe(value)


def test_the_database_takes_whatever_was_made_safe(database: Database, submit: Any) -> None:
    job = submit()
    with database.session() as session:
        session.add(
            Event(job_id=job.id, type="job.started", data={"nan": math.nan, "nul": "a\0", "lone": "\udfff"})
        )
    with database.session() as session:
        stored = session.scalar(select(Event).where(Event.type == "job.started"))
        assert stored is not None
        assert stored.data == {"nan": None, "nul": "a\ufffd", "lone": "?"}


def test_identifiers_are_version_seven_and_sort_by_time() -> None:
    ids = [uuid7() for _ in range(50)]
    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    assert [one.int >> 80 for one in ids] == sorted(one.int >> 80 for one in ids)


def test_a_key_is_recognised_until_it_is_revoked(database: Database) -> None:
    with database.session() as session:
        row, plaintext = issue_key(session, "ci", ["submit", "read"], secret=SECRET)
        assert plaintext.startswith(row.prefix)
        assert plaintext not in row.digest
        assert row.scopes == ["read", "submit"]
    with database.session() as session:
        found = authenticate(session, plaintext, secret=SECRET)
        assert found is not None
        assert found.id == row.id
        assert authenticate(session, plaintext, secret=b"another") is None
        assert revoke_key(session, row.id)
        assert not revoke_key(session, row.id)
    with database.session() as session:
        assert authenticate(session, plaintext, secret=SECRET) is None


def test_an_expired_key_is_not_recognised(database: Database) -> None:
    with database.session() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        _, plaintext = issue_key(session, "old", ["read"], past, secret=SECRET)
        assert authenticate(session, plaintext, secret=SECRET) is None


def test_a_mistyped_key_costs_no_query(database: Database) -> None:
    with database.session() as session:
        _, plaintext = issue_key(session, "ci", ["read"], secret=SECRET)
    queries: list[str] = []

    def note(*call: Any) -> None:
        queries.append(call[2])

    event.listen(database.engine, "before_cursor_execute", note)
    with database.session() as session:
        for wrong in (
            plaintext[:-1] + ("0" if plaintext[-1] != "0" else "1"),
            "",
            "wt_",
            "é" * 54,
            plaintext + "a",
        ):
            assert authenticate(session, wrong, secret=SECRET) is None
    assert queries == []


def test_last_use_is_noted_at_most_once_a_minute(database: Database) -> None:
    with database.session() as session:
        row, plaintext = issue_key(session, "ci", ["read"], secret=SECRET)
    seen = []
    for _ in range(2):
        with database.session() as session:
            authenticate(session, plaintext, secret=SECRET)
        with database.session() as session:
            seen.append(session.get_one(ApiKey, row.id).last_used_at)
    assert seen[0] is not None
    assert seen[0] == seen[1]


@pytest.mark.parametrize("scopes", [[], ["root"]])
def test_scopes_are_checked(database: Database, scopes: list[str]) -> None:
    with database.session() as session, pytest.raises(ScopeError):
        issue_key(session, "ci", scopes, secret=SECRET)


def test_settings_survive_the_way_to_another_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = Settings(
        database_url="postgresql://me@host/db",
        broker_url="redis://host",
        data_dir=tmp_path,
        key_secret=SecretStr("hush"),
        lease_seconds=2.5,
        blob_url="s3://bucket/prefix?region=eu-central-1",
        staging_dir=tmp_path / "staging",
        max_store_bytes=10**12,
    )
    for name, value in first.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == first
    assert Settings().database_url == "postgresql+psycopg://me@host/db"


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret"
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: kept_secret(path), range(8)))
    assert len(made) == 1
    assert len(made.pop()) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert [other.name for other in path.parent.iterdir()] == ["secret"]

"""Who may do what, and that every answer can be found again."""

from pathlib import Path

import httpx

from core.store.database import Database
from core.store.keys import issue_key, revoke_key
from tests.service import Caller, pointers
from worker.supervisor import Stack


def _status(stack: Stack, key: str, method: str = "GET", path: str = "/v1/jobs") -> int:
    return httpx.request(
        method, stack.url + path, headers={"Authorization": f"Bearer {key}"}, json={}
    ).status_code


def test_a_request_without_a_key_is_told_to_send_one(service_stack: Stack) -> None:
    answer = httpx.get(service_stack.url + "/v1/jobs")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert pointers(answer) == []


def test_a_mistyped_key_is_refused(service_stack: Stack) -> None:
    flipped = service_stack.key[:-1] + ("a" if service_stack.key[-1] != "a" else "b")
    assert _status(service_stack, flipped) == 401


def test_a_reader_may_read_and_not_submit(service_stack: Stack) -> None:
    database = Database(service_stack.settings.database_url)
    with database.session() as session:
        row, key = issue_key(session, "reader", ["read"], secret=service_stack.settings.secret())
    assert _status(service_stack, key) == 200
    assert _status(service_stack, key, "POST") == 403
    with database.session() as session:
        assert revoke_key(session, row.id)
    assert _status(service_stack, key) == 401
    database.dispose()


def test_an_unknown_path_is_a_problem_too(caller: Caller) -> None:
    answer = caller.get("/v1/nothing")
    assert answer.status_code == 404
    assert pointers(answer) == []


def test_health_needs_no_key(service_stack: Stack) -> None:
    assert httpx.get(service_stack.url + "/livez").json() == {"status": "alive"}
    ready = httpx.get(service_stack.url + "/readyz").json()
    assert (ready["status"], ready["database"], ready["broker"]) == ("ready", "ok", "ok")


def test_the_api_process_never_imports_torch(service_stack: Stack) -> None:
    """Every route has been loaded by now; torch's shared objects would show among the process's mappings."""
    pid = service_stack.pids["api"]
    loaded = Path(f"/proc/{pid}/maps").read_text()
    assert "psycopg" in loaded
    assert "/torch/" not in loaded

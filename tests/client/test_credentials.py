"""Which service and which key: what is said, the environment, what was stored."""

import stat
from pathlib import Path

import pytest
from windthrow import AuthError, RequestError
from windthrow.credentials import Credentials, credentials, store

HERE = Credentials("http://here", "wt_here")


def test_what_is_stored_is_found_and_nobody_else_reads_it(nowhere_logged_in: Path) -> None:
    assert store(HERE) == nowhere_logged_in
    assert credentials() == HERE
    assert stat.S_IMODE(nowhere_logged_in.stat().st_mode) == 0o600
    assert [path.name for path in nowhere_logged_in.parent.iterdir()] == ["credentials.json"]


def test_the_environment_goes_before_it_and_what_is_said_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    store(HERE)
    monkeypatch.setenv("WINDTHROW_URL", "http://there/")
    monkeypatch.setenv("WINDTHROW_KEY", "wt_there")
    assert credentials() == Credentials("http://there", "wt_there")
    assert credentials("http://said", "wt_said") == Credentials("http://said", "wt_said")


def test_a_stored_key_is_sent_to_no_other_service(monkeypatch: pytest.MonkeyPatch) -> None:
    store(HERE)
    monkeypatch.setenv("WINDTHROW_URL", "http://there")
    with pytest.raises(AuthError, match="no API key for http://there"):
        credentials()
    assert credentials("http://here/") == HERE


def test_nothing_known_says_what_to_do() -> None:
    with pytest.raises(RequestError, match="windthrow login"):
        credentials()


def test_a_broken_file_says_what_to_do(nowhere_logged_in: Path) -> None:
    store(HERE)
    nowhere_logged_in.write_text("{")
    with pytest.raises(RequestError, match="windthrow login"):
        credentials()


def test_a_key_is_not_shown() -> None:
    assert "wt_here" not in repr(HERE)


@pytest.mark.parametrize(
    "url", ["wt_secret", "ftp://wt_secret", "https://wt_secret@host", "http://", "http://[wt_secret"]
)
def test_what_is_no_url_is_refused_and_not_told(url: str) -> None:
    with pytest.raises(RequestError, match="is no URL") as caught:
        credentials(url, "wt_key")
    assert "secret" not in str(caught.value)

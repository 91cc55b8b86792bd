"""Where a change stands: remotes in one spelling, facts of CIs and of git, and nothing where there is nothing."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from windthrow.repository import Facts, Repository, repository_name


def git(place: Path, *command: str) -> str:
    identity = ["-c", "user.name=ci", "-c", "user.email=ci@example.org", "-c", "commit.gpgsign=false"]
    allowed = ["-c", "protocol.file.allow=always"]
    ended = subprocess.run(
        ["git", "-C", str(place), *identity, *allowed, *command],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    )
    return ended.stdout.strip()


def commit(place: Path, message: str) -> str:
    git(place, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(place, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    place = tmp_path / "depth"
    place.mkdir()
    git(place, "init", "--quiet", "--initial-branch", "main")
    git(place, "remote", "add", "origin", "https://user:secret@GitHub.com/acme/depth.git/")
    return place


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("https://github.com/acme/depth", "github.com/acme/depth"),
        ("https://user:token@GitHub.com:8443/acme/Depth.git/", "github.com/acme/Depth"),
        ("http://github.com//acme/depth.git", "github.com/acme/depth"),
        ("ssh://git@github.com:22/acme/depth.git", "github.com/acme/depth"),
        ("git@github.com:acme/depth.git", "github.com/acme/depth"),
        ("github.com:acme/depth", "github.com/acme/depth"),
        ("git@gitlab.com:group/part/depth.git/", "gitlab.com/group/part/depth"),
        ("git://host/depth.git", "host/depth"),
        ("https://host/a%20b/c", "host/a b/c"),
        ("/srv/git/depth.git", "depth"),
        ("file:///srv/git/depth/", "depth"),
        ("../depth", "depth"),
        ("C:\\repositories\\depth", "depth"),
        ("https://[broken/acme", None),
        ("https://github.com", None),
        ("/", None),
        ("", None),
    ],
)
def test_a_remote_has_one_spelling(remote: str, name: str | None) -> None:
    assert repository_name(remote) == name


@given(st.text(max_size=60))
def test_whatever_a_remote_is_it_is_a_name_or_none(remote: str) -> None:
    assert repository_name(remote) != ""


def test_git_tells_it(checkout: Path) -> None:
    head = commit(checkout, "one")
    git(checkout, "tag", "v1")
    facts = Repository(checkout, {}).facts()
    assert facts == Facts("github.com/acme/depth", head, "main", "v1", None)
    git(checkout, "checkout", "--quiet", "--detach")
    assert Repository(checkout, {}).facts().branch is None


def test_github_goes_before_git(checkout: Path) -> None:
    commit(checkout, "one")
    said = {
        "GITHUB_SERVER_URL": "https://Git.Example.org",
        "GITHUB_REPOSITORY": "acme/other",
        "GITHUB_SHA": "a" * 40,
        "GITHUB_REF_TYPE": "branch",
        "GITHUB_REF_NAME": "7/merge",
        "GITHUB_HEAD_REF": "refs/heads/change/one",
        "GITHUB_BASE_REF": "main",
    }
    facts = Repository(checkout, said).facts()
    assert facts == Facts("git.example.org/acme/other", "a" * 40, "change/one", None, "main")
    pushed = {**said, "GITHUB_HEAD_REF": "", "GITHUB_BASE_REF": "", "GITHUB_REF_NAME": "main"}
    assert Repository(checkout, pushed).facts().branch == "main"
    tagged = {**pushed, "GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "v2"}
    assert Repository(checkout, tagged).facts().tag == "v2"


def test_gitlab_goes_before_git(checkout: Path) -> None:
    head = commit(checkout, "one")
    said = {
        "CI_SERVER_HOST": "gitlab.com",
        "CI_PROJECT_PATH": "acme/depth",
        "CI_COMMIT_SHA": head,
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "change",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": "b" * 40,
    }
    repository = Repository(checkout, said)
    assert repository.facts() == Facts("gitlab.com/acme/depth", head, "change", None, "main")
    assert repository.merge_base("main") == "b" * 40


def test_a_change_left_its_base_somewhere(checkout: Path) -> None:
    base = commit(checkout, "one")
    assert Repository(checkout, {}).merge_base("main") is None
    git(checkout, "checkout", "--quiet", "-b", "change")
    commit(checkout, "two")
    assert Repository(checkout, {}).merge_base("main") == base
    git(checkout, "update-ref", "refs/remotes/origin/main", "HEAD~1")
    assert Repository(checkout, {}).merge_base("main") == base
    assert Repository(checkout, {}).merge_base("nowhere") is None
    assert Repository(checkout, {}).merge_base("--help") is None
    assert Repository(checkout, {}).merge_base(None) is None


def test_a_shallow_clone_does_not_know(checkout: Path, tmp_path: Path) -> None:
    commit(checkout, "one")
    git(checkout, "checkout", "--quiet", "-b", "change")
    commit(checkout, "two")
    shallow = tmp_path / "shallow"
    git(
        tmp_path, "clone", "--quiet", "--depth", "1", "--branch", "change", f"file://{checkout}", str(shallow)
    )
    assert Repository(shallow, {}).shallow
    assert Repository(shallow, {}).merge_base("main") is None
    assert Repository(shallow, {}).facts().repository == "depth"


def test_without_git_or_a_repository_there_is_nothing(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Facts(None, None, None, None, None)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "bare").mkdir()
    assert Repository(tmp_path / "bare", {}).facts() == nothing
    assert Repository(tmp_path / "bare", {}).root is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Repository(checkout, {}).facts() == nothing
    assert Repository(checkout, {}).merge_base("main") is None


@pytest.mark.parametrize(
    "remote",
    ["https://host/a@b/c", "https://host/a%40b/c", "/srv/a@b.git", "https://host/a%1B/c", "git@host:a/\x07c"],
)
def test_a_name_that_nothing_should_be_called_is_none(remote: str) -> None:
    assert repository_name(remote) is None

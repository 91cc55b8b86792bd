"""Where a change stands: its repository, commit, branch, tag and merge base, from a CI's environment or from git.

Whatever cannot be found out is None: there may be no git, no repository, or only a part of its history.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GIT_SECONDS = 20
SCP = re.compile(r"(?:[^@/\s]+@)?(?P<host>[^:/\s]{2,}):(?P<path>[^\s].*)")
"""`git@host:owner/name.git`; a single letter before the colon is a drive."""


@dataclass(frozen=True)
class Facts:
    """Where a checkout stands.

    Attributes:
        repository: such as `github.com/acme/depth`, however its remote is spelled.
        base: the branch that a change is proposed for, as the CI says.
    """

    repository: str | None
    commit: str | None
    branch: str | None
    tag: str | None
    base: str | None


class Repository:
    """A checkout at `path`, or below."""

    def __init__(self, path: Path, environment: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._environment = os.environ if environment is None else environment

    @property
    def root(self) -> str | None:
        """The topmost directory."""
        return self._git("rev-parse", "--show-toplevel")

    @property
    def shallow(self) -> bool:
        """Whether only a part of the history is here."""
        return self._git("rev-parse", "--is-shallow-repository") == "true"

    def facts(self) -> Facts:
        """What the CI says, else what git does."""
        said, event = self._said, self._said("GITHUB_REF_TYPE")
        name = said("GITHUB_REF_NAME")
        return Facts(
            repository=self._name(),
            commit=said("GITHUB_SHA") or said("CI_COMMIT_SHA") or self._git("rev-parse", "--verify", "HEAD"),
            branch=said("GITHUB_HEAD_REF")
            or (name if event == "branch" else None)
            or said("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
            or said("CI_COMMIT_BRANCH")
            or plain(self._git("symbolic-ref", "--quiet", "HEAD")),
            tag=(name if event == "tag" else None)
            or said("CI_COMMIT_TAG")
            or self._git("describe", "--tags", "--exact-match", "HEAD"),
            base=said("GITHUB_BASE_REF") or said("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"),
        )

    def merge_base(self, branch: str | None) -> str | None:
        """The commit where this one left a branch, as the CI says or git finds.

        None where it has not left it: what is on the branch itself compares with the branch's baseline.
        """
        told = self._said("CI_MERGE_REQUEST_DIFF_BASE_SHA")
        if told or branch is None:
            return told
        for ref in (f"refs/remotes/origin/{branch}", f"refs/heads/{branch}"):
            found = self._git("merge-base", "HEAD", ref)
            if found is not None:
                return None if found == self._git("rev-parse", "--verify", "HEAD") else found
        return None

    def _name(self) -> str | None:
        server, path = self._said("GITHUB_SERVER_URL"), self._said("GITHUB_REPOSITORY")
        if server and path:
            return repository_name(f"{server.rstrip('/')}/{path}")
        host, path = self._said("CI_SERVER_HOST"), self._said("CI_PROJECT_PATH")
        if host and path:
            return repository_name(f"https://{host}/{path}")
        remote = self._git("remote", "get-url", "origin")
        return None if remote is None else repository_name(remote)

    def _said(self, name: str) -> str | None:
        return plain(self._environment.get(name, "").strip() or None)

    def _git(self, *arguments: str) -> str | None:
        """What git says in a line; None if it fails, or is not there."""
        command = ["git", "-C", str(self._path), *arguments]
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        try:
            ended = subprocess.run(  # noqa: S603 - no shell, and what may look like an option stands behind its prefix
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=GIT_SECONDS,
            )
        except (OSError, ValueError, subprocess.SubprocessError):
            return None
        return ended.stdout.decode("utf-8", "replace").strip() or None


def repository_name(remote: str) -> str | None:
    """A repository's name in one spelling, `host/owner/name`; of a local path, its last directory.

    Without credentials, port, `.git` and a slash at its end; the host in small letters. None of what nothing should
    be called: with an @, before which a password may stand, or with what cannot be printed.
    """
    name = _spelled(remote.strip())
    return name if name and name.isprintable() and "@" not in name else None


def _spelled(text: str) -> str | None:
    scp = None if "://" in text else SCP.fullmatch(text)
    if scp is not None:
        return _joined(scp["host"], scp["path"])
    if "://" in text and not text.lower().startswith("file://"):
        try:
            split = urlsplit(text)
            return _joined(split.hostname or "", unquote(split.path))
        except ValueError:
            return None
    path = re.sub(r"^file://[^/]*", "", text, flags=re.IGNORECASE).replace("\\", "/")
    return _without_git(path).rpartition("/")[2] or None


def plain(ref: str | None) -> str | None:
    """A branch or tag without `refs/heads/` or `refs/tags/`."""
    return None if ref is None else re.sub(r"^refs/(?:heads|tags)/", "", ref) or None


def _joined(host: str, path: str) -> str | None:
    inner = _without_git(path).strip("/")
    return f"{host.lower()}/{inner}" if host and inner else None


def _without_git(path: str) -> str:
    return path.rstrip("/").removesuffix(".git").rstrip("/")

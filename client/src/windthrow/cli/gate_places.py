"""Where a gate file stands in its repository, and where the baseline of a change is looked for."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Optional

from windthrow.cli.output import say
from windthrow.records import Json
from windthrow.repository import Facts, Repository


@dataclass(frozen=True)
class Said:
    """What the command line says of the place; None is found out."""

    repository: Optional[str]
    merge_base: Optional[str]
    branch: Optional[str]
    tag: Optional[str]


class Places:
    """The place of a gate file."""

    def __init__(self, file: Path, said: Said) -> None:
        self._file = file
        self._said = said
        self._repository = Repository(file.absolute().parent)
        self._facts: Optional[Facts] = None

    @property
    def root(self) -> Path:
        """The repository's; without one, the gate file's directory."""
        found = self._repository.root
        return Path(found) if found else self._file.absolute().parent

    @property
    def roots(self) -> tuple[Path, ...]:
        """Where the model is looked for: a gate file may also belong to a part of a repository."""
        return self.root, self._file.absolute().parent

    @property
    def policy_file(self) -> str:
        """The gate file's path from the root, as reports name it."""
        try:
            inside = self._file.resolve().relative_to(self.root.resolve())
        except (OSError, ValueError):
            return self._file.name
        path = PurePosixPath(*inside.parts).as_posix()
        return path if path.isprintable() and "\\" not in path and ":" not in path else "windthrow.yaml"

    @property
    def facts(self) -> Facts:
        """What the CI or git says."""
        if self._facts is None:
            self._facts = self._repository.facts()
        return self._facts

    @property
    def repository(self) -> Optional[str]:
        """Its name."""
        return self._said.repository or self.facts.repository

    def baseline(self, file: Json) -> dict[str, Optional[str]]:
        """Where to look for a change's baseline, by its checked gate file: what is said, the file, the CI."""
        said, inside = self._said, file.get("baseline") or {}
        tagged = inside.get("tag") is not None and inside.get("branch") is None
        base = None if tagged else (inside.get("branch") or self.facts.base)
        branch = said.branch or base
        merge_base = said.merge_base
        if merge_base is None and (said.branch is not None or not tagged):
            merge_base = self._left(said.branch or self.facts.base or base)
        tag = said.tag or inside.get("tag")
        return {"repository": self.repository, "merge_base": merge_base, "branch": branch, "tag": tag}

    def here(self) -> list[tuple[str, str]]:
        """Kinds and refs under which an evaluation of this very commit is kept as a baseline."""
        facts = self.facts
        found = (("commit", facts.commit), ("branch", facts.branch), ("tag", facts.tag))
        return [(kind, ref) for kind, ref in found if ref]

    def _left(self, branch: Optional[str]) -> Optional[str]:
        found = self._repository.merge_base(branch)
        if found is None and branch is not None and self._repository.shallow:
            say(
                f"this clone has not the whole history, so it cannot be found out where it left {branch}: its "
                "newest baseline is taken (a fetch-depth of 0, GIT_DEPTH in GitLab, brings the history)"
            )
        return found

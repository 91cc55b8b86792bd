"""What a checkpoint turned out to be: backbone, layout, tasks, and which of its tensors is which of ours."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.backbones import BackboneReference, backbone
from core.checkpoint_files.errors import UnknownTasksError
from core.checkpoint_files.weights import Style
from core.checkpoints import MismatchedCheckpointError, Shapes, expected_tensors
from core.layouts import Layout
from core.specs.preprocessing import Preprocessing
from core.tasks import PROFILES, Profile, Task, profile

ProfileReference = str | Mapping[str, Any]
"""How manifests say a profile: by name, or its tasks written out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What the caller knows of a checkpoint: the fields of a model's manifest, each of them optional.

    Attributes:
        layout: anything that `Layout.parse` takes. For TreeMTL's weights without their layout object, the sets
            of each level in the order of the authors' list, which numbers the blocks; an index implies it.
        tasks: names, in the order that the layout numbers them.
        field: dotted path of the state dict inside the file.
    """

    backbone: BackboneReference | None = None
    layout: Any = None
    profile: ProfileReference | None = None
    tasks: tuple[str, ...] | None = None
    field: str | None = None

    @classmethod
    def of(cls, manifest: Mapping[str, Any], *, field: str | None = None) -> "Hints":
        """The hints in a manifest's JSON, complete or not; what it says beside them is left alone."""
        tasks = manifest.get("tasks")
        return cls(
            backbone=manifest.get("backbone"),
            layout=manifest.get("layout"),
            profile=manifest.get("profile"),
            tasks=None if tasks is None else tuple(tasks),
            field=field,
        )

    @property
    def profiles(self) -> dict[str, Profile]:
        """The profiles that come into question: the caller's, or all that have a name."""
        if self.profile is None:
            return PROFILES
        return {(found := resolved_profile(self.profile)).name: found}


NO_HINTS = Hints()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Everything beside the weights that makes the model.

    Attributes:
        style: whose names the tensors had.
        profile: the bundle that the tasks are from: as the caller said it, or the name of the one that fits.
        tasks: in the order that the layout numbers them.
        preprocessing: what the model was trained on, where its origin tells; None where the user has to say.
        names: from the file's tensor names to ours.
    """

    style: Style
    backbone: BackboneReference
    layout: Layout
    profile: ProfileReference
    tasks: tuple[Task, ...]
    names: Mapping[str, str]
    preprocessing: Preprocessing | None = None

    @property
    def expected(self) -> Shapes:
        """Name and shape of every tensor that the model needs."""
        return expected_tensors(backbone(self.backbone), self.layout, self.tasks)

    @property
    def manifest(self) -> dict[str, Any]:
        """The model's manifest as JSON, as far as the file tells."""
        known: dict[str, Any] = {
            "backbone": self.backbone,
            "layout": self.layout.canonical.to_json(),
            "profile": self.profile,
            "tasks": [task.name for task in self.tasks],
        }
        if self.preprocessing is not None:
            known["preprocessing"] = asdict(self.preprocessing)
        return known


def resolved_profile(reference: ProfileReference) -> Profile:
    """The profile of that name, or the one written out as JSON.

    Raises:
        InvalidError: there is none of that name, or a task is not what a task is.
    """
    if isinstance(reference, str):
        return profile(reference)
    tasks = tuple(
        Task(**{name: _tupled(value) for name, value in task.items()}) for task in reference["tasks"]
    )
    return Profile(reference["name"], reference.get("title") or reference["name"], tasks)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def check_hint(field: str, hint: object, found: object) -> None:
    """Refuse a file that contradicts what the caller said of it.

    Raises:
        MismatchedCheckpointError: hint and finding differ.
    """
    if hint is not None and hint != found:
        raise MismatchedCheckpointError(f"the checkpoint's {field} is {found}, not {hint}", field=field)


def one_profile(heads: Sequence[str], fitting: Sequence[Profile], hints: Hints) -> Profile:
    """The one profile that fits a file's heads.

    Raises:
        UnknownTasksError: none does, or several do and the caller has not said which.
    """
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(heads)[:200]
    if fitting:
        among = ", ".join(each.name for each in fitting)
        raise UnknownTasksError(
            f"the heads ({listed}) could be of {among}: say which profile", field="profile"
        )
    raise UnknownTasksError(
        f"the heads ({listed}) have not the names and channels of the tasks of {' or '.join(hints.profiles)}: "
        "say which profile, or write out its tasks",
        field="profile",
    )


def in_order(names: Sequence[str], hint: Sequence[str] | None) -> tuple[str, ...]:
    """The heads' names in the order that the caller says, if he does.

    Raises:
        MismatchedCheckpointError: the caller's tasks are others.
    """
    if hint is not None and sorted(hint) != sorted(names):
        raise MismatchedCheckpointError(
            f"the checkpoint has heads for {', '.join(names)[:200]}, not {', '.join(hint)[:200]}",
            field="tasks",
        )
    return tuple(hint or names)

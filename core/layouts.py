"""Layouts: on which levels of the backbone which tasks still share a branch.

A layout is a list of levels, each a partition of the tasks; every task set lies inside one set of the level
above, because branches never merge again. One instance of a backbone's level is built per task set.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import comb

from core.backbones import Backbone, BackboneReference, ParameterConvention
from core.backbones import backbone as backbone_named
from core.errors import InvalidError
from core.layout_catalogue import Partition, catalogue_size, mask_layouts

DEFAULT_LEVELS = 5
MAX_TASKS = 16
MAX_LEVELS = 64
MAX_CATALOGUE = 100_000
"""Sizes with more layouts than this have no indices: listing them takes seconds."""

TaskSet = frozenset[int]
Level = tuple[TaskSet, ...]


class LayoutError(InvalidError):
    """The layout is not acceptable; `field` points at the offending place, such as "levels.2.0"."""

    code = "invalid_layout"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Layout:
    """A valid layout. Layouts are equal when their sets are, in whatever order each level lists them.

    Equal layouts answer alike, except that `levels` and `to_json` keep the order given.

    Attributes:
        levels: the task sets of each level, from the image downwards.

    Raises:
        LayoutError: a level does not partition the tasks, or a set is not inside one set of the level above.
    """

    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        """Check the levels; the tasks are those that level 0 has."""
        tasks = 1 + max((task for group in self.levels[0] for task in group), default=0) if self.levels else 1
        _check_size(tasks, len(self.levels))
        _check_levels(self.levels, _numbered(tasks))

    @classmethod
    def parse(cls, value: object, *, tasks: int | Sequence[str], levels: int = DEFAULT_LEVELS) -> "Layout":
        """The layout that a JSON value (or a Layout) describes.

        Args:
            value: levels as lists of lists of tasks, `{"levels": [...]}`, `{"index": 14}` for the position in
                `enumerate_layouts`, "all-shared" or "independent".
            tasks: how many tasks there are, or their names; with names, the value can use names or numbers.
            levels: how many levels the layout must have.

        Raises:
            LayoutError: the value is none of these, or not a layout of these tasks with so many levels.
        """
        _check_size(tasks if isinstance(tasks, int) else len(tasks), levels)
        labels = _numbered(tasks) if isinstance(tasks, int) else tuple(tasks)
        names = () if isinstance(tasks, int) else labels
        match value:
            case Layout():
                given = value.levels
            case "all-shared":
                return cls.all_shared(len(labels), levels)
            case "independent":
                return cls.independent(len(labels), levels)
            case {"index": index, **rest} if not rest:
                return _at_index(index, len(labels), levels)
            case {"levels": listed, **rest} if not rest:
                given = _read_levels(listed, levels, names=names, tasks=len(labels))
            case list() | tuple():
                given = _read_levels(value, levels, names=names, tasks=len(labels))
            case _:
                raise LayoutError(
                    'a layout is a list of levels, {"levels": [...]}, {"index": n}, "all-shared" or '
                    f'"independent"; got {_shown(value)}'
                )
        if len(given) != levels:
            raise LayoutError(f"the layout must have {levels} levels; got {len(given)}", field="levels")
        _check_levels(given, labels)
        return value if isinstance(value, Layout) else cls(given)

    @classmethod
    def all_shared(cls, tasks: int, levels: int = DEFAULT_LEVELS) -> "Layout":
        """One branch for all tasks, down to the heads.

        Raises:
            LayoutError: there are no tasks or levels, or too many.
        """
        _check_size(tasks, levels)
        return cls(((frozenset(range(tasks)),),) * levels)

    @classmethod
    def independent(cls, tasks: int, levels: int = DEFAULT_LEVELS) -> "Layout":
        """A backbone of its own for every task.

        Raises:
            LayoutError: there are no tasks or levels, or too many.
        """
        _check_size(tasks, levels)
        return cls((tuple(frozenset((task,)) for task in range(tasks)),) * levels)

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return sum(map(len, self.levels[0]))

    @property
    def canonical_levels(self) -> tuple[Level, ...]:
        """The levels with each level's sets in the order of their smallest task."""
        return tuple(tuple(sorted(level, key=min)) for level in self.levels)

    @property
    def canonical(self) -> "Layout":
        """The equal layout whose sets stand in the order of their smallest task."""
        return Layout(self.canonical_levels)

    @property
    def index(self) -> int | None:
        """Position in `enumerate_layouts`, the paper's model index; None where there are too many to list."""
        size = self.tasks, len(self.levels)
        return _positions(*size)[self] if catalogue_size(*size) <= MAX_CATALOGUE else None

    @property
    def sharing_level(self) -> int:
        """On how many levels all tasks are still together: the paper's 5L (all-shared) to 0L."""
        return sum(len(level) == 1 for level in self.levels)

    @property
    def pair_sharing(self) -> float:
        """Fraction of task pairs that share a branch, averaged over the levels: 1 all-shared, 0 independent.

        Unlike `sharing_level`, it sees what goes on below the first cut. A single task counts as sharing.
        """
        pairs = comb(self.tasks, 2)
        together = sum(comb(len(group), 2) for level in self.levels for group in level)
        return together / (pairs * len(self.levels)) if pairs else 1.0

    def parent(self, level: int, group: int) -> int:
        """Index, among the canonical sets of the level above, of the set that this one branches from.

        Args:
            level: at least 1; level 0 reads the image.
            group: index among `canonical_levels[level]`.

        Raises:
            LayoutError: there is no such set, or it is on level 0.
        """
        levels = self.canonical_levels
        if not 1 <= level < len(levels) or not 0 <= group < len(levels[level]):
            raise LayoutError(f"no set {group} on level {level} that branches from another")
        child = levels[level][group]
        return next(i for i, above in enumerate(levels[level - 1]) if child <= above)

    def path(self, task: int) -> tuple[int, ...]:
        """Which set the task is in on each level, as an index among that level's canonical sets.

        Raises:
            LayoutError: there is no such task.
        """
        if not 0 <= task < self.tasks:
            raise LayoutError(f"no task {task}; tasks run from 0 to {self.tasks - 1}")
        return tuple(
            next(i for i, group in enumerate(level) if task in group) for level in self.canonical_levels
        )

    def parameter_count(
        self, backbone: BackboneReference | Backbone, convention: ParameterConvention = "paper"
    ) -> int:
        """Parameters of the backbone with these branches, without heads: `#Params` of the paper's Table 16.

        Raises:
            InvalidError: there is no such backbone.
            LayoutError: the backbone has another number of levels.
        """
        chosen = backbone_named(backbone) if isinstance(backbone, str | Mapping) else backbone
        if chosen.levels != len(self.levels):
            raise LayoutError(
                f"{chosen.name} has {chosen.levels} levels; this layout has {len(self.levels)}",
                field="levels",
            )
        counts = chosen.level_parameters(convention)
        return sum(len(level) * count for level, count in zip(self.levels, counts, strict=True))

    def to_json(self) -> list[list[list[int]]]:
        """The levels as sorted lists, the sets of a level in the order given; `parse` reads them back."""
        return [[sorted(group) for group in level] for level in self.levels]

    def drawing(self, names: Sequence[str] | None = None) -> str:
        """A line of text per branch that reaches a head, with a dot per level, from the image on the left.

        Raises:
            LayoutError: there is not one name per task.
        """
        labels = _numbered(self.tasks) if names is None else names
        if len(labels) != self.tasks:
            raise LayoutError(f"the drawing needs {self.tasks} task names; got {len(labels)}")
        return "\n".join(_drawn(self.canonical_levels, frozenset(range(self.tasks)), labels))

    def __repr__(self) -> str:
        return f"Layout({self.to_json()})"

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Layout) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[frozenset[TaskSet], ...]:
        return tuple(map(frozenset, self.levels))


def enumerate_layouts(tasks: int, levels: int = DEFAULT_LEVELS) -> tuple[Layout, ...]:
    """Every layout, in the order of the paper's model indices: 0 is all-shared. Computed once per size.

    Three tasks over five levels have 51 layouts, five tasks 7,556.

    Raises:
        LayoutError: there are no tasks or levels, or more than `MAX_CATALOGUE` layouts.
    """
    _check_size(tasks, levels)
    if (size := catalogue_size(tasks, levels)) > MAX_CATALOGUE:
        raise LayoutError(
            f"{tasks} tasks over {levels} levels have {size:.3g} layouts, too many to number; "
            "give the levels instead"
        )
    return _catalogue(tasks, levels)


@lru_cache(maxsize=8)
def _catalogue(tasks: int, levels: int) -> tuple[Layout, ...]:
    @cache
    def as_level(partition: Partition) -> Level:
        return tuple(frozenset(task for task in range(tasks) if group >> task & 1) for group in partition)

    return tuple(Layout(tuple(map(as_level, masks))) for masks in mask_layouts(tasks, levels))


@lru_cache(maxsize=8)
def _positions(tasks: int, levels: int) -> dict[Layout, int]:
    return {layout: position for position, layout in enumerate(_catalogue(tasks, levels))}


def _at_index(index: object, tasks: int, levels: int) -> Layout:
    try:
        layouts = enumerate_layouts(tasks, levels)
    except LayoutError as error:
        raise LayoutError(str(error), field="index") from None
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(layouts):
        raise LayoutError(
            f"{tasks} tasks over {levels} levels have layouts 0 to {len(layouts) - 1}; got {_shown(index)}",
            field="index",
        )
    return layouts[index]


def _read_levels(value: object, levels: int, *, names: Sequence[str], tasks: int) -> tuple[Level, ...]:
    """The levels of a JSON value; whether they make a layout is checked afterwards."""
    if not isinstance(value, list | tuple) or len(value) != levels:
        got = len(value) if isinstance(value, list | tuple) else _shown(value)
        raise LayoutError(f"the layout must be a list of {levels} levels; got {got}", field="levels")
    read: list[Level] = []
    for i, level in enumerate(value):
        if not isinstance(level, list | tuple):
            raise LayoutError(
                f"a level must be a list of task sets; got {_shown(level)}", field=f"levels.{i}"
            )
        read.append(tuple(_read_set(group, f"levels.{i}.{j}", names, tasks) for j, group in enumerate(level)))
    return tuple(read)


def _read_set(value: object, field: str, names: Sequence[str], tasks: int) -> TaskSet:
    if not isinstance(value, list | tuple | set | frozenset):
        raise LayoutError(f"a task set must be a list of tasks; got {_shown(value)}", field=field)
    group: set[int] = set()
    for k, entry in enumerate(value):
        task = names.index(entry) if isinstance(entry, str) and entry in names else entry
        if isinstance(task, bool) or not isinstance(task, int) or not 0 <= task < tasks:
            among = f"{', '.join(names)}, or 0 to {tasks - 1}" if names else f"0 to {tasks - 1}"
            raise LayoutError(f"no task {_shown(entry)}; tasks are {among}", field=f"{field}.{k}")
        if task in group:
            raise LayoutError(f"task {_shown(entry)} is listed twice in one set", field=f"{field}.{k}")
        group.add(task)
    return frozenset(group)


def _check_size(tasks: int, levels: int) -> None:
    if not 1 <= tasks <= MAX_TASKS:
        raise LayoutError(f"a layout has 1 to {MAX_TASKS} tasks; got {_shown(tasks)}")
    if not 1 <= levels <= MAX_LEVELS:
        raise LayoutError(f"a layout has 1 to {MAX_LEVELS} levels; got {_shown(levels)}", field="levels")


def _check_levels(levels: Sequence[Level], labels: Sequence[str]) -> None:
    """Refuse levels that are not ever finer partitions of the labelled tasks."""
    everyone = frozenset(range(len(labels)))
    above: Level = (everyone,)
    for i, level in enumerate(levels):
        if level == above:
            continue
        seen: set[int] = set()
        for j, group in enumerate(level):
            _check_set(group, seen, above, f"levels.{i}.{j}", labels)
            seen |= group
        if missing := everyone - seen:
            raise LayoutError(f"level {i} lacks {_listed(missing, labels)}", field=f"levels.{i}")
        above = level


def _check_set(group: TaskSet, seen: set[int], above: Level, field: str, labels: Sequence[str]) -> None:
    if not group:
        raise LayoutError("a task set must have at least one task", field=field)
    if not group <= set(range(len(labels))):
        raise LayoutError(f"there are only {len(labels)} tasks; got task {_shown(max(group))}", field=field)
    if repeated := seen & group:
        raise LayoutError(f"{_listed(repeated, labels)} is already in another set of this level", field=field)
    if not any(group <= parent for parent in above):
        raise LayoutError(
            f"{_listed(group, labels)} cannot share a branch here: they are apart on the level above",
            field=field,
        )


def _numbered(tasks: int) -> tuple[str, ...]:
    return tuple(f"task {task}" for task in range(tasks))


def _listed(tasks: Iterable[int], labels: Sequence[str]) -> str:
    return ", ".join(labels[task] for task in sorted(tasks))


def _shown(value: object) -> str:
    """A value of unknown size and depth, short enough for a message."""
    match value:
        case list():
            return "a list"
        case dict():
            return "an object"
        case int() if abs(value) > 10**9:
            return "a number far out of range"
        case str():
            return repr(value if len(value) <= 40 else value[:40] + "…")
        case None | int() | float():
            return repr(value)
        case _:
            return f"a value of type {type(value).__name__}"


def _drawn(levels: Sequence[Level], inside: TaskSet, labels: Sequence[str]) -> list[str]:
    """The drawing's lines for the branches inside one set."""
    if not levels:
        return ["  " + _listed(inside, labels)]
    groups = [group for group in levels[0] if group <= inside]
    lines: list[str] = []
    for group in groups:
        is_first, is_last = group == groups[0], group == groups[-1]
        joint = {(True, True): "───", (True, False): "─┬─", (False, False): " ├─", (False, True): " └─"}
        head, *rest = _drawn(levels[1:], group, labels)
        lines.append(joint[is_first, is_last] + "●" + head)
        lines += [("    " if is_last else " │  ") + line for line in rest]
    return lines

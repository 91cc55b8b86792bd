"""Layouts: the enumeration and its indices, reading and refusing JSON, and what a layout says."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import core
from core import layouts
from core.backbones import backbone
from core.errors import InvalidError
from core.layout_catalogue import catalogue_size
from core.layouts import Layout, LayoutError, enumerate_layouts

NYUV2 = json.loads((Path(core.__file__).parent / "reference" / "nyuv2.json").read_text())
NAMES = ("segmentation", "normals", "depth")

Partition = frozenset[frozenset[int]]


def partitions(tasks: tuple[int, ...]) -> Iterator[Partition]:
    """Every partition: put the first task alone, or into a set of a partition of the others."""
    if not tasks:
        yield frozenset()
        return
    first, *others = tasks
    for partition in partitions(tuple(others)):
        yield partition | {frozenset({first})}
        for group in partition:
            yield (partition - {group}) | {group | {first}}


def refines(finer: Partition, coarser: Partition) -> bool:
    return all(any(group <= parent for parent in coarser) for group in finer)


def every_layout(tasks: int, levels: int) -> set[tuple[Partition, ...]]:
    """All chains of ever finer partitions, found without cuts, masks or indices."""
    known = list(partitions(tuple(range(tasks))))
    chains: set[tuple[Partition, ...]] = {()}
    for _ in range(levels):
        chains = {(*chain, p) for chain in chains for p in known if not chain or refines(p, chain[-1])}
    return chains


def layouts_of(tasks: int, levels: int = 5) -> st.SearchStrategy[Layout]:
    return st.sampled_from(enumerate_layouts(tasks, levels))


def refused(value: object, *, tasks: int | tuple[str, ...] = 3, levels: int = 2) -> LayoutError:
    with pytest.raises(LayoutError) as caught:
        Layout.parse(value, tasks=tasks, levels=levels)
    return caught.value


# The enumeration


@pytest.mark.parametrize("index", NYUV2["models"], ids=str)
def test_each_printed_layout_stands_at_its_model_index_with_its_sets_in_order(index: str) -> None:
    assert enumerate_layouts(3, 5)[int(index)].to_json() == NYUV2["models"][index]["layout"]


@pytest.mark.parametrize("index", NYUV2["models"], ids=str)
def test_each_printed_parameter_count_follows_from_the_layout(index: str) -> None:
    millions = enumerate_layouts(3, 5)[int(index)].parameter_count("deeplab_resnet34") / 1e6
    assert millions == pytest.approx(NYUV2["models"][index]["params_millions"], abs=0.01)


def test_the_first_layout_is_all_shared_and_of_three_tasks_the_third_is_independent() -> None:
    catalogue = enumerate_layouts(tasks=3, levels=5)
    assert catalogue[0] == Layout.all_shared(3, 5)
    assert catalogue[2] == Layout.independent(3, 5)


@pytest.mark.parametrize(
    ("tasks", "levels"), [(1, 5), (2, 1), (2, 5), (3, 1), (3, 2), (3, 5), (4, 1), (4, 3), (5, 2)]
)
def test_the_enumeration_reaches_every_layout_once(tasks: int, levels: int) -> None:
    catalogue = enumerate_layouts(tasks, levels)
    reached = {tuple(map(frozenset, layout.levels)) for layout in catalogue}
    assert len(catalogue) == len(reached)
    assert reached == every_layout(tasks, levels)


@pytest.mark.parametrize(("tasks", "levels", "count"), [(2, 5, 6), (3, 5, 51), (4, 5, 561), (5, 5, 7556)])
def test_the_number_of_layouts_is_known_before_listing_them(tasks: int, levels: int, count: int) -> None:
    assert len(enumerate_layouts(tasks, levels)) == catalogue_size(tasks, levels) == count


def test_five_tasks_on_five_levels_take_less_than_a_second() -> None:
    seconds = []
    for _ in range(3):
        layouts._catalogue.cache_clear()
        started = perf_counter()
        enumerate_layouts(5, 5)
        seconds.append(perf_counter() - started)
    assert min(seconds) < 1


def test_a_size_is_enumerated_once() -> None:
    assert enumerate_layouts(3, 5) is enumerate_layouts(tasks=3, levels=5)


@pytest.mark.parametrize(("tasks", "levels"), [(6, 5), (5, 11), (16, 64)])
def test_a_huge_catalogue_is_refused_at_once(tasks: int, levels: int) -> None:
    with pytest.raises(LayoutError, match="too many to number"):
        enumerate_layouts(tasks, levels)


@pytest.mark.parametrize(("tasks", "levels"), [(0, 5), (-1, 5), (17, 1), (3, 0), (3, 65)])
def test_sizes_that_no_layout_has_are_refused(tasks: int, levels: int) -> None:
    with pytest.raises(LayoutError, match="a layout has 1 to"):
        enumerate_layouts(tasks, levels)


# Equality


@given(st.data(), layouts_of(4))
def test_the_order_of_sets_within_a_level_does_not_matter(data: st.DataObject, layout: Layout) -> None:
    shuffled = Layout(tuple(tuple(data.draw(st.permutations(level))) for level in layout.levels))
    assert shuffled == layout
    assert hash(shuffled) == hash(layout)
    assert shuffled.canonical.levels == layout.canonical.levels
    assert shuffled.drawing() == layout.drawing()
    assert shuffled.index == layout.index


@given(layouts_of(4), layouts_of(4))
def test_layouts_are_equal_exactly_when_their_canonical_levels_are(one: Layout, other: Layout) -> None:
    assert (one == other) == (one.canonical_levels == other.canonical_levels)


def test_canonical_sets_stand_in_the_order_of_their_smallest_task() -> None:
    layout = Layout.parse([[[2], [0, 1]], [[2], [1], [0]]], tasks=3, levels=2)
    assert layout.canonical.to_json() == [[[0, 1], [2]], [[0], [1], [2]]]
    assert layout.to_json() == [[[2], [0, 1]], [[2], [1], [0]]]


def test_a_layout_is_no_list() -> None:
    layout = Layout.all_shared(2, 1)
    assert layout != layout.to_json()


def test_a_layout_survives_pickling() -> None:
    layout = Layout.independent(3)
    assert pickle.loads(pickle.dumps(layout)) == layout  # noqa: S301 - our own bytes


# Reading


@given(layouts_of(5))
def test_levels_in_json_read_back_with_their_order(layout: Layout) -> None:
    read = Layout.parse(json.loads(json.dumps(layout.to_json())), tasks=5)
    assert read.levels == layout.levels


@given(st.integers(0, 50))
def test_an_index_reads_as_the_layout_that_has_it(index: int) -> None:
    layout = Layout.parse({"index": index}, tasks=3)
    assert layout.levels == enumerate_layouts(3, 5)[index].levels
    assert layout.index == index


@pytest.mark.parametrize(
    "value",
    [
        [[[0, 1], [2]]],
        {"levels": [[[2], [1, 0]]]},
        [[["depth"], ["normals", "segmentation"]]],
        [[["depth"], [0, "normals"]]],
        (({2}, frozenset({0, 1})),),
    ],
    ids=str,
)
def test_the_same_layout_can_be_written_in_several_ways(value: object) -> None:
    assert Layout.parse(value, tasks=NAMES, levels=1).canonical.to_json() == [[[0, 1], [2]]]


def test_the_extremes_have_names() -> None:
    assert Layout.parse("all-shared", tasks=NAMES) == Layout.all_shared(3)
    assert Layout.parse("independent", tasks=NAMES) == Layout.independent(3)


def test_a_layout_reads_as_itself() -> None:
    layout = enumerate_layouts(3, 5)[14]
    assert Layout.parse(layout, tasks=NAMES) is layout


# Refusing


@pytest.mark.parametrize(
    ("value", "field", "sentence"),
    [
        ([[[0, 1, 2]], [[0, 1]]], "levels.1", "level 1 lacks depth"),
        ([[[0, 1]], [[0, 1]]], "levels.0", "level 0 lacks depth"),
        ([[], []], "levels.0", "level 0 lacks segmentation, normals, depth"),
        ([[[0], [1, 2], []], [[0], [1, 2]]], "levels.0.2", "a task set must have at least one task"),
        ([[[0, 1], [1, 2]], [[0], [1, 2]]], "levels.0.1", "normals is already in another set of this level"),
        ([[[0], [1, 2]], [[0, 1], [2]]], "levels.1.0", "segmentation, normals cannot share"),
        ([[[0, 0, 1, 2]], [[0, 1, 2]]], "levels.0.0.1", "task 0 is listed twice in one set"),
        ([[[0, 1, 3]], [[0, 1, 2]]], "levels.0.0.2", "no task 3; tasks are segmentation, .*, or 0 to 2"),
        ([[["edges"]], []], "levels.0.0.0", "no task 'edges'"),
        ([[[-1]], []], "levels.0.0.0", "no task -1"),
        ([[[True]], []], "levels.0.0.0", "no task True"),
        ([[[1.0]], []], "levels.0.0.0", "no task 1.0"),
        ([[[None]], []], "levels.0.0.0", "no task None"),
        ([[[[0]]], []], "levels.0.0.0", "no task a list"),
        ([[[10**100]], []], "levels.0.0.0", "no task a number far out of range"),
        ([[0], []], "levels.0.0", "a task set must be a list of tasks; got 0"),
        (["all", []], "levels.0", "a level must be a list of task sets; got 'all'"),
        ([], "levels", "must be a list of 2 levels; got 0"),
        ([[[0, 1, 2]]] * 100_000, "levels", "must be a list of 2 levels; got 100000"),
        ({"levels": 5}, "levels", "must be a list of 2 levels; got 5"),
        ({"index": 12}, "index", "have layouts 0 to 11; got 12"),
        ({"index": -1}, "index", "got -1"),
        ({"index": True}, "index", "got True"),
        ({"index": "2"}, "index", "got '2'"),
        ({"index": 0, "levels": []}, "", "got an object"),
        ({}, "", "a layout is a list of levels"),
        ("shared", "", "got 'shared'"),
        ("x" * 10_000, "", "got 'x{40}…'"),
        (b"", "", "got a value of type bytes"),
        (None, "", "got None"),
    ],
    ids=lambda value: repr(value)[:40] if not isinstance(value, list) else None,
)
def test_a_refusal_says_what_is_wrong_and_where(value: object, field: str, sentence: str) -> None:
    error = refused(value, tasks=NAMES)
    assert error.field == field
    assert error.code == "invalid_layout"
    with pytest.raises(InvalidError, match=sentence):
        raise error


def test_a_number_too_long_to_print_is_refused_like_any_other() -> None:
    assert refused({"index": 10**5000}).field == "index"
    assert refused([[[-(10**5000)]], []]).field == "levels.0.0.0"


def test_without_names_tasks_are_called_by_number() -> None:
    assert str(refused([[[0, 1]], [[0, 1]]])) == "level 0 lacks task 2"


def test_a_name_is_unknown_where_tasks_have_none() -> None:
    assert str(refused([[["depth"]], []])) == "no task 'depth'; tasks are 0 to 2"


def test_a_layout_of_other_tasks_or_levels_is_refused() -> None:
    assert refused(Layout.all_shared(2, 2)).field == "levels.0"
    assert refused(Layout.all_shared(4, 2)).field == "levels.0.0"
    assert refused(Layout.all_shared(3, 3)).field == "levels"


@pytest.mark.parametrize(("tasks", "levels"), [(0, 5), (17, 5), (10**100, 5), (3, 0), (3, 65), (3, -1)])
def test_absurd_sizes_are_refused(tasks: int, levels: int) -> None:
    assert "a layout has 1 to" in str(refused("independent", tasks=tasks, levels=levels))


def test_an_index_into_a_catalogue_too_large_to_list_is_refused() -> None:
    assert refused({"index": 0}, tasks=16, levels=64).field == "index"


@pytest.mark.parametrize(
    "levels",
    [
        (),
        ((),),
        ((frozenset({1}),),),
        ((frozenset({-1}),),),
        ((frozenset({10**12}),),),
        ((frozenset({0}),), (frozenset({5}),)),
        ((frozenset({0}), frozenset({1})), (frozenset({0, 1}),)),
    ],
)
def test_no_invalid_layout_can_be_made_directly(levels: tuple[layouts.Level, ...]) -> None:
    with pytest.raises(LayoutError):
        Layout(levels)


SCALARS = st.none() | st.booleans() | st.integers() | st.integers(-1, 4) | st.floats() | st.text(max_size=3)
JSON = st.recursive(
    SCALARS | st.sampled_from([*NAMES, "all-shared", "independent"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["index", "levels", "x"]), inner, max_size=2)
    ),
    max_leaves=12,
)
ALMOST_LEVELS = st.lists(st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=3), max_size=3)


@given(JSON | ALMOST_LEVELS | st.builds(lambda levels: {"levels": levels}, ALMOST_LEVELS), st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_any_json_reads_as_a_layout_or_is_refused(value: Any, levels: int) -> None:
    try:
        layout = Layout.parse(value, tasks=NAMES, levels=levels)
    except LayoutError:
        return
    assert tuple(map(frozenset, layout.levels)) in every_layout(3, levels)


# What a layout says


def test_sharing_level_counts_the_levels_before_the_first_cut() -> None:
    assert Layout.all_shared(3).sharing_level == 5
    assert Layout.independent(3).sharing_level == 0
    assert enumerate_layouts(3, 5)[42].sharing_level == 3


def test_pair_sharing_runs_from_independent_to_all_shared() -> None:
    assert Layout.all_shared(3).pair_sharing == 1
    assert Layout.independent(3).pair_sharing == 0
    one_pair_of_three_on_one_level_of_two = Layout.parse([[[0, 1], [2]], [[0], [1], [2]]], tasks=3, levels=2)
    assert one_pair_of_three_on_one_level_of_two.pair_sharing == pytest.approx(1 / 6)


def test_a_single_task_shares_with_itself() -> None:
    assert Layout.independent(1) == Layout.all_shared(1)
    assert Layout.all_shared(1).pair_sharing == 1


@given(layouts_of(5))
def test_a_path_follows_parents_from_the_heads_to_the_image(layout: Layout) -> None:
    for task in range(layout.tasks):
        path = layout.path(task)
        assert all(task in layout.canonical_levels[level][group] for level, group in enumerate(path))
        assert [layout.parent(level, path[level]) for level in range(1, 5)] == list(path[:-1])


@pytest.mark.parametrize(("level", "group"), [(0, 0), (5, 0), (-1, 0), (1, 3), (1, -1)])
def test_sets_without_a_parent_are_refused(level: int, group: int) -> None:
    with pytest.raises(LayoutError, match="no set"):
        Layout.independent(3).parent(level, group)


@pytest.mark.parametrize("task", [-1, 3])
def test_a_path_of_an_unknown_task_is_refused(task: int) -> None:
    with pytest.raises(LayoutError, match="no task"):
        Layout.independent(3).path(task)


@given(layouts_of(4))
def test_the_index_is_the_position_in_the_catalogue(layout: Layout) -> None:
    assert layout.index is not None
    assert enumerate_layouts(4, 5)[layout.index].levels == layout.levels


def test_there_is_no_index_where_there_are_too_many_layouts() -> None:
    assert Layout.independent(16, 64).index is None


@pytest.mark.parametrize("name", ["deeplab_resnet34", "sapling"])
def test_independent_branches_cost_a_backbone_per_task(name: str) -> None:
    one, three = Layout.all_shared(3), Layout.independent(3)
    assert three.parameter_count(name, "torch") == 3 * one.parameter_count(name, "torch")


def test_parameters_can_be_counted_for_a_backbone_that_is_not_listed_by_name() -> None:
    sapling = backbone("sapling")
    assert Layout.all_shared(2).parameter_count(sapling) == sum(sapling.level_parameters())


def test_a_backbone_with_other_levels_is_refused() -> None:
    with pytest.raises(LayoutError, match="sapling has 5 levels; this layout has 2"):
        Layout.all_shared(3, 2).parameter_count("sapling")


def test_a_drawing_shows_where_the_branches_part() -> None:
    assert enumerate_layouts(3, 5)[14].drawing(NAMES).splitlines() == [
        "─┬─●───●─┬─●───●───●  segmentation",
        " │       └─●───●───●  normals",
        " └─●───●───●───●───●  depth",
    ]


def test_tasks_that_share_to_the_end_share_a_line_of_the_drawing() -> None:
    assert Layout.all_shared(2, 3).drawing() == "───●───●───●  task 0, task 1"


def test_a_drawing_needs_a_name_for_every_task() -> None:
    with pytest.raises(LayoutError, match="needs 3 task names; got 2"):
        Layout.all_shared(3).drawing(["left", "right"])

"""Checkpoints of the paper's authors: everything is read off the file, and every weight goes where it belongs."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.checkpoint_files import Hints, Identity, convert, identify
from core.checkpoint_files.errors import UnknownTasksError
from core.checkpoint_files.identity import NO_HINTS
from core.checkpoint_files.inert import Global, Instance
from core.checkpoint_files.treemtl import identify_treemtl
from core.checkpoints import CheckpointError, TensorInfo, check_tensors
from core.layouts import enumerate_layouts
from core.models import TreeModel, build_model, load_checkpoint, weights_of
from core.specs.preprocessing import Preprocessing
from core.tasks import Task, profile
from tests.core.checkpoint_files.authors import (
    Form,
    State,
    authors_names,
    authors_state_dict,
    fine_state,
    save_as_authors,
)
from tests.core.checkpoint_files.files import refusal, same_tensors, saved

NYUV2 = profile("nyuv2").tasks
TASKONOMY = profile("taskonomy").tasks
TREE = [[[0, 1, 2]], [[1], [2, 0]], [[1], [2, 0]], [[1], [2], [0]], [[2], [1], [0]]]
"""Its lists are not in the order of ours."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "segment_semantic_normal_depth_zbuffer.model"


def blank(backbone: str, coarse: Sequence[Sequence[Sequence[int]]], tasks: Sequence[Task]) -> TreeModel:
    """A model without weights."""
    with torch.device("meta"):
        return build_model(backbone, coarse, tasks)


def layout_object(state: State) -> Instance:
    """What the pickle machine makes of the authors' layout object."""
    sets = [[Instance(Global("__builtin__", "set"), (sorted(group),)) for group in level] for level in state]
    return Instance(Global("main.layout", "Layout"), state={"T": 3, "B": len(state), "state": sets})


def identified(
    model: TreeModel, state: State, form: Form, *, saved_layout: object = None, hints: Hints = NO_HINTS
) -> Identity:
    tensors = authors_state_dict(model, state, form)
    infos = {
        name: TensorInfo("F32", tuple(value.shape), 0, 0)
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    found = identify_treemtl(infos, saved_layout, hints)
    check_tensors({found.names[name]: info for name, info in infos.items()}, found.expected)
    return found


def counted(names: dict[str, str]) -> dict[str, str]:
    return {theirs: ours for theirs, ours in names.items() if not theirs.endswith("num_batches_tracked")}


@pytest.mark.parametrize("index", [0, 1, 2, 7, 23, 38, 50])
@pytest.mark.parametrize(
    ("backbone", "form"),
    [("deeplab_resnet34", "roles"), ("deeplab_resnet34", "numbers"), ("mobilenet_v2", "numbers")],
)
def test_every_tensor_of_three_tasks_is_given_its_place(backbone: str, form: Form, index: int) -> None:
    """The lists of an enumerated layout stand in the authors' own order."""
    coarse = enumerate_layouts(3)[index].to_json()
    model, state = blank(backbone, coarse, NYUV2), fine_state(coarse, backbone)
    found = identified(model, state, form, saved_layout=layout_object(state))
    assert found.names == counted(authors_names(model, state, form))
    assert (found.backbone, found.layout, found.profile) == (backbone, model.layout, "nyuv2")


@pytest.mark.parametrize("index", [1, 4711, 7555])
@pytest.mark.parametrize("form", ["roles", "numbers"])
def test_every_tensor_of_five_tasks_is_given_its_place(form: Form, index: int) -> None:
    coarse = enumerate_layouts(5)[index].to_json()
    model, state = blank("deeplab_resnet34", coarse, TASKONOMY), fine_state(coarse, "deeplab_resnet34")
    found = identified(model, state, form, saved_layout=layout_object(state))
    assert found.names == counted(authors_names(model, state, form))
    assert (found.layout, found.profile, found.tasks) == (model.layout, "taskonomy", TASKONOMY)


def test_lists_in_another_order_than_ours_are_followed() -> None:
    model, state = blank("deeplab_resnet34", TREE, NYUV2), fine_state(TREE, "deeplab_resnet34")
    found = identified(model, state, "roles", saved_layout=layout_object(state))
    assert found.names == counted(authors_names(model, state, "roles"))
    assert found.layout.to_json() == model.layout.to_json()


def test_lists_whose_order_changes_within_a_stage_are_followed() -> None:
    state = fine_state(TREE, "deeplab_resnet34")
    state[9] = state[9][::-1]
    model = blank("deeplab_resnet34", TREE, NYUV2)
    found = identified(model, state, "roles", saved_layout=layout_object(state))
    assert found.names == counted(authors_names(model, state, "roles"))


def randomised(model: TreeModel) -> TreeModel:
    """Batch statistics too, so that no two branches compute the same."""
    generator = torch.Generator().manual_seed(5)
    for name, value in weights_of(model).items():
        if "norm" in name:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def resnet() -> TreeModel:
    """Three tasks in a tree, its weights such as half precision holds."""
    torch.manual_seed(3)
    return randomised(build_model("deeplab_resnet34", TREE, NYUV2)).half().float()


def halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}


@torch.no_grad()
def test_an_authors_checkpoint_predicts_what_its_weights_do_here(path: Path) -> None:
    torch.manual_seed(3)
    model = randomised(build_model("deeplab_resnet34", TREE, NYUV2)).half().float()
    state = fine_state(TREE, "deeplab_resnet34")
    save_as_authors(path, halved(authors_state_dict(model, state, "roles")), state)
    out = path.with_name("out.safetensors")
    found = convert(path, out).identity
    read = load_checkpoint(out, backbone=found.backbone, layout=found.layout, tasks=found.tasks)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    predicted = read(images)
    for name, value in model(images).items():
        torch.testing.assert_close(predicted[name], value, rtol=1e-5, atol=0.0)


@torch.no_grad()
def test_an_authors_mobilenet_becomes_the_same_weights(path: Path) -> None:
    """A number for each tensor, so that every one is told from the others."""
    coarse = [[[0, 1]], [[0, 1]], [[1], [0]], [[1], [0]], [[1], [0]]]
    model = blank("mobilenet_v2", coarse, TASKONOMY[:2]).half().to_empty(device="cpu")
    for number, value in enumerate(model.state_dict().values()):
        value.fill_(number)
    state = fine_state(coarse, "mobilenet_v2")
    save_as_authors(path, authors_state_dict(model, state, "numbers"), state, pickle_protocol=4)
    out = path.with_name("out.safetensors")
    assert convert(path, out).identity.backbone == "mobilenet_v2"
    assert same_tensors(load_file(out), weights_of(model))


def test_the_manifest_of_an_authors_checkpoint_is_complete() -> None:
    state = fine_state(TREE, "deeplab_resnet34")
    found = identified(
        blank("deeplab_resnet34", TREE, NYUV2), state, "roles", saved_layout=layout_object(state)
    )
    assert found.manifest == {
        "backbone": "deeplab_resnet34",
        "layout": [[[0, 1, 2]], [[0, 2], [1]], [[0, 2], [1]], [[0], [1], [2]], [[0], [1], [2]]],
        "profile": "nyuv2",
        "tasks": ["segmentation", "normals", "depth"],
        "preprocessing": {
            "channel_order": "bgr",
            "scale": 255.0,
            "mean": (104.00698793, 116.66876762, 122.67891434),
            "std": (1.0, 1.0, 1.0),
            "size": None,
        },
    }
    assert found.preprocessing == Preprocessing(**found.manifest["preprocessing"])


def tiny(state: State, tasks: Sequence[Task] = NYUV2) -> dict[str, Tensor]:
    """An authors' state dict whose tensors have the right shapes over one number each."""
    coarse = [[sorted(group) for group in state[blocks]] for blocks in (0, 1, 4, 8, 14)]
    model = blank("deeplab_resnet34", coarse, tasks)
    tensors = authors_state_dict(model, state, "roles")
    return {name: torch.zeros((), dtype=torch.half).expand(value.shape) for name, value in tensors.items()}


def test_a_model_that_branches_inside_a_stage_is_refused_with_the_place(path: Path) -> None:
    state = fine_state(TREE, "deeplab_resnet34")
    tensors = tiny(state)
    state[2] = [{0, 1, 2}]
    state[1] = [{0, 1, 2}]
    error = refusal(save_as_authors(path, tensors, state))
    assert (error.code, error.field) == ("layout_inside_stage", "layout")
    assert "block 3, inside stage 1 (blocks 1 to 3)" in str(error)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param([[{0, 1, 2}]] * 5, id="too few blocks"),
        pytest.param([[{0, 1}]] * 17, id="a task missing"),
        pytest.param([[{0, 1, 2, 3}]] * 17, id="a task too many"),
        pytest.param([[{0, 1}, {1, 2}]] * 17, id="a task twice"),
        pytest.param([[{0}, {1}, {2}]] * 8 + [[{0, 1, 2}]] * 9, id="branches that merge"),
        pytest.param([[{0, 1, -2}]] * 17, id="no tasks"),
        pytest.param([[{0, 1, 10**12}]] * 17, id="a huge task"),
        pytest.param([[{"a"}]] * 17, id="names"),
        pytest.param([[{0}] * 100] * 17, id="too many sets"),
        pytest.param([3] * 17, id="numbers"),
        pytest.param([[3]] * 17, id="lists of numbers"),
    ],
)
def test_a_layout_object_that_is_none_is_refused(path: Path, state: State) -> None:
    tensors = tiny(fine_state([[[0, 1, 2]]] * 5, "deeplab_resnet34"))
    saved(path, {"state_dict": tensors, "layout": state})
    error = refusal(path)
    assert (error.code, error.field) == ("unknown_layout", "layout")


@pytest.mark.parametrize("layout", ["all-shared", {"levels": 3}, 7, torch.zeros(2)])
def test_a_layout_entry_that_is_something_else_is_refused(path: Path, layout: object) -> None:
    tensors = tiny(fine_state([[[0, 1, 2]]] * 5, "deeplab_resnet34"))
    assert refusal(saved(path, {"state_dict": tensors, "layout": layout})).code == "unknown_layout"


def test_a_bare_state_dict_without_branches_needs_no_layout() -> None:
    coarse = [[[0, 1, 2]]] * 5
    model, state = blank("deeplab_resnet34", coarse, NYUV2), fine_state(coarse, "deeplab_resnet34")
    assert identified(model, state, "roles").layout.to_json() == coarse


def test_a_bare_state_dict_with_branches_needs_its_layout_said() -> None:
    model, state = blank("deeplab_resnet34", TREE, NYUV2), fine_state(TREE, "deeplab_resnet34")
    with pytest.raises(CheckpointError, match="give the layout") as caught:
        identified(model, state, "roles")
    assert caught.value.code == "unknown_layout"
    found = identified(model, state, "roles", hints=Hints(layout=TREE))
    assert found.names == counted(authors_names(model, state, "roles"))


def test_a_layout_said_otherwise_than_the_file_says_is_refused() -> None:
    model, state = blank("deeplab_resnet34", TREE, NYUV2), fine_state(TREE, "deeplab_resnet34")
    with pytest.raises(CheckpointError) as caught:
        identified(model, state, "roles", saved_layout=layout_object(state), hints=Hints(layout="all-shared"))
    assert (caught.value.code, caught.value.field) == ("checkpoint_mismatch", "layout")
    assert identified(model, state, "roles", saved_layout=layout_object(state), hints=Hints(layout=TREE))


@pytest.mark.parametrize(
    ("hints", "code", "field"),
    [
        (Hints(backbone="mobilenet_v2"), "checkpoint_mismatch", "backbone"),
        (Hints(profile="taskonomy"), "unknown_tasks", "profile"),
        (Hints(tasks=("depth",)), "checkpoint_mismatch", "tasks"),
    ],
)
def test_a_checkpoint_that_is_not_what_was_said_is_refused(
    path: Path, hints: Hints, code: str, field: str
) -> None:
    state = fine_state([[[0, 1, 2]]] * 5, "deeplab_resnet34")
    error = refusal(save_as_authors(path, tiny(state), state), hints=hints)
    assert (error.code, error.field) == (code, field)


def test_tasks_that_both_data_sets_have_need_the_profile_said() -> None:
    coarse = [[[0, 1]]] * 5
    model = blank("deeplab_resnet34", coarse, NYUV2[1:])
    state = fine_state(coarse, "deeplab_resnet34")
    with pytest.raises(UnknownTasksError, match="nyuv2, taskonomy"):
        identified(model, state, "roles")
    found = identified(model, state, "roles", hints=Hints(profile="taskonomy"))
    assert found.tasks == (TASKONOMY[1], TASKONOMY[2])


def test_tasks_of_a_profile_written_out_are_taken() -> None:
    coarse = [[[0, 1]]] * 5
    tasks = (Task("segmentation", "segmentation", 9), Task("depth", "depth", 1, metrics=("abs_error",)))
    model, state = blank("deeplab_resnet34", coarse, tasks), fine_state(coarse, "deeplab_resnet34")
    with pytest.raises(UnknownTasksError):
        identified(model, state, "roles")
    written = {
        "name": "rooms",
        "tasks": [
            {"name": "segmentation", "kind": "segmentation", "channels": 9},
            {"name": "depth", "kind": "depth", "channels": 1, "metrics": ["abs_error"]},
        ],
    }
    found = identified(model, state, "roles", hints=Hints(profile=written))
    assert (found.tasks, found.profile) == (tasks, written)


def test_tensors_in_another_order_than_the_models_do_not_say_which_task_is_which() -> None:
    model, state = blank("deeplab_resnet34", TREE, NYUV2), fine_state(TREE, "deeplab_resnet34")
    infos = {
        name: TensorInfo("F32", tuple(value.shape), 0, 0)
        for name, value in sorted(authors_state_dict(model, state, "roles").items())
    }
    with pytest.raises(UnknownTasksError) as caught:
        identify_treemtl(infos, layout_object(state), Hints())
    assert caught.value.field == "tasks"
    names = tuple(task.name for task in NYUV2)
    assert identify_treemtl(infos, layout_object(state), Hints(tasks=names)).layout == model.layout


def test_tasks_in_another_order_are_numbered_as_the_file_has_them() -> None:
    coarse = [[[0, 1, 2]], [[0], [1, 2]], [[0], [1, 2]], [[0], [1, 2]], [[0], [1, 2]]]
    tasks = (NYUV2[2], NYUV2[0], NYUV2[1])
    model, state = blank("deeplab_resnet34", coarse, tasks), fine_state(coarse, "deeplab_resnet34")
    found = identified(model, state, "roles", saved_layout=layout_object(state))
    assert found.tasks == tasks
    assert found.names == counted(authors_names(model, state, "roles"))


@pytest.mark.parametrize(
    "name", ["backbone.mtl_blocks.17.residual_block.0.weight", "backbone.mtl_blocks.3.ds.0.weight"]
)
def test_a_tensor_that_the_model_has_not_is_named(path: Path, name: str) -> None:
    state = fine_state([[[0, 1, 2]]] * 5, "deeplab_resnet34")
    tensors = {**tiny(state), name: torch.zeros(1)}
    error = refusal(save_as_authors(path, dict(sorted(tensors.items(), key=_block_number)), state))
    assert (error.code, error.field) == ("checkpoint_mismatch", name)


def _block_number(item: tuple[str, Tensor]) -> int:
    return int(item[0].split(".")[2]) if item[0].startswith("backbone") else 99


def test_a_backbone_that_is_not_known_is_refused(path: Path) -> None:
    state = fine_state([[[0, 1, 2]]] * 5, "deeplab_resnet34")
    tensors = tiny(state) | {"backbone.mtl_blocks.0.residual_block.0.weight": torch.zeros(32, 3, 5, 5)}
    assert refusal(save_as_authors(path, tensors, state)).code == "unsupported_backbone"


def test_a_file_with_their_layout_is_nothing_that_pickle_could_load_here(path: Path) -> None:
    state = fine_state([[[0, 1, 2]]] * 5, "deeplab_resnet34")
    save_as_authors(path, tiny(state), state)
    with pytest.raises(pickle.UnpicklingError, match=r"main\.layout\.Layout"):
        torch.load(path, weights_only=True)
    assert refusal(path, hints=Hints(field="optimizer")).code == "no_weights"
    assert identify(path)[1].profile == "nyuv2"

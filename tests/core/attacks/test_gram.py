"""PCGrad and MGDA against their definitions: sequential projection, and the nearest point of a convex hull."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.attacks.gram import mgda_weights, pcgrad_weights, subsets

KINDS = ("any", "conflicting", "mixed sizes", "in one plane", "twins", "one silent")


def drawn(kind: str, tasks: int, seed: int) -> Tensor:
    """Gradients of two samples, [2, tasks, 7], in double precision."""
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(2, tasks, 7, generator=generator, dtype=torch.float64)
    if kind == "conflicting":
        gradients -= gradients.sum(1, keepdim=True) * (1 / tasks - 0.01)
    if kind == "mixed sizes":
        gradients *= 10 ** (6 * torch.rand(2, tasks, 1, generator=generator, dtype=torch.float64) - 3)
    if kind == "in one plane":
        gradients[..., 2:] = 0
    if kind == "twins":
        gradients[:, 1] = gradients[:, 0]
    if kind == "one silent":
        gradients[:, 0] = 0
    return gradients


SETS = st.builds(drawn, st.sampled_from(KINDS), st.integers(2, 5), st.integers(0, 2**31))
properties = settings(max_examples=40, deadline=None, derandomize=True)


def combined(weights: Tensor, gradients: Tensor) -> Tensor:
    return torch.einsum("nt,ntd->nd", weights, gradients)


def pcgrad_by_hand(gradients: Tensor) -> Tensor:
    """One sample's, vector by vector (Yu et al. 2020, Algorithm 1, the order cyclic)."""
    tasks, total = len(gradients), torch.zeros_like(gradients[0])
    for first in range(tasks):
        vector = gradients[first].clone()
        for offset in range(1, tasks):
            other = gradients[(first + offset) % tasks]
            if vector @ other < 0:
                vector -= (vector @ other) / (other @ other) * other
        total += vector
    return total


def nearest_by_grid(gradients: Tensor, parts: int) -> float:
    """The least square length on a grid over one sample's hull."""
    tasks = len(gradients)
    grid = [
        torch.tensor(point, dtype=torch.float64) / parts
        for point in itertools.product(range(parts + 1), repeat=tasks)
        if sum(point) == parts
    ]
    return float((torch.stack(grid) @ gradients).square().sum(1).min())


@properties
@given(SETS)
def test_pcgrad_is_projection_off_one_conflicting_gradient_after_the_other(gradients: Tensor) -> None:
    found = combined(pcgrad_weights(gradients @ gradients.mT), gradients)
    torch.testing.assert_close(found, torch.stack([pcgrad_by_hand(each) for each in gradients]))


@properties
@given(st.builds(drawn, st.sampled_from(KINDS), st.just(2), st.integers(0, 2**31)))
def test_pcgrad_of_two_tasks_lowers_neither(gradients: Tensor) -> None:
    found = combined(pcgrad_weights(gradients @ gradients.mT), gradients)
    inner = torch.einsum("ntd,nd->nt", gradients, found)
    assert (inner >= -1e-9 * gradients.square().sum()).all()


def test_pcgrad_without_conflict_is_the_sum() -> None:
    gradients = drawn("any", 4, seed=0).abs()
    assert torch.equal(pcgrad_weights(gradients @ gradients.mT), torch.ones(2, 4, dtype=torch.float64))


@properties
@given(SETS)
def test_mgda_lies_in_the_hull_and_lowers_no_task(gradients: Tensor) -> None:
    weights = mgda_weights(gradients @ gradients.mT)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(2, dtype=torch.float64))
    found = combined(weights, gradients)
    inner = torch.einsum("ntd,nd->nt", gradients, found)
    alive = gradients.square().sum(2) > 0
    shortest = found.square().sum(1, keepdim=True)
    size = gradients.square().sum(2).clamp_min(1e-300)
    assert ((inner >= shortest - 1e-5 * (shortest * size).sqrt() - 1e-9 * size) | ~alive).all()


@pytest.mark.parametrize(("tasks", "parts"), [(2, 400), (3, 60), (4, 20)])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "one silent"])
def test_mgda_is_no_longer_than_any_point_of_a_grid_over_the_hull(kind: str, tasks: int, parts: int) -> None:
    gradients = drawn(kind, tasks, seed=5)
    found = combined(mgda_weights(gradients @ gradients.mT), gradients).square().sum(1)
    for length, each in zip(found, gradients, strict=True):
        assert length <= nearest_by_grid(each, parts) * (1 + 1e-6) + 1e-9


@properties
@given(st.integers(0, 2**31))
def test_mgda_of_two_tasks_is_the_closed_form(seed: int) -> None:
    gradients = drawn("conflicting", 2, seed)
    first, second = gradients.unbind(1)
    share = ((second * (second - first)).sum(1) / (first - second).square().sum(1)).clamp(0, 1)
    torch.testing.assert_close(
        mgda_weights(gradients @ gradients.mT), torch.stack((share, 1 - share), 1), atol=1e-8, rtol=1e-6
    )


@properties
@given(SETS, st.floats(-6, 6))
def test_the_common_unit_of_the_gradients_does_not_matter(gradients: Tensor, exponent: float) -> None:
    gram = gradients @ gradients.mT
    for rule in (pcgrad_weights, mgda_weights):
        scaled = rule(gram * 10 ** (2 * exponent))
        torch.testing.assert_close(
            combined(scaled, gradients), combined(rule(gram), gradients), atol=1e-7, rtol=1e-5
        )


@pytest.mark.parametrize("rule", [pcgrad_weights, mgda_weights])
def test_a_sample_of_nan_or_of_nothing_spoils_no_other(rule: object) -> None:
    assert callable(rule)
    gradients = drawn("any", 3, seed=1)
    gram = gradients @ gradients.mT
    for bad in (torch.nan, 0.0, torch.inf):
        spoilt = torch.cat((gram[:1], torch.full_like(gram[:1], bad), gram[1:]))
        assert torch.equal(rule(spoilt)[[0, 2]], rule(gram))


def test_a_task_without_a_gradient_takes_no_part() -> None:
    gradients = drawn("any", 3, seed=2)
    silent = torch.cat((gradients, torch.zeros_like(gradients[:, :1])), 1)
    for rule in (pcgrad_weights, mgda_weights):
        torch.testing.assert_close(
            combined(rule(silent @ silent.mT), silent), combined(rule(gradients @ gradients.mT), gradients)
        )


def test_every_set_of_three_tasks() -> None:
    sets = {tuple(row) for row in subsets(3, torch.device("cpu")).tolist()}
    assert sets == set(itertools.product([True, False], repeat=3)) - {(False, False, False)}

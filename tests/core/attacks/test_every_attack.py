"""What every algorithm promises with every objective and norm: where images end up, what it costs, what it may draw."""

import pytest
import torch
from torch import Tensor, nn

from core.attacks import AttackSpec, attacked_tasks, run_attack
from core.data.batch import Batch
from core.specs.algorithms import METHODS
from core.specs.objective import WEIGHTED
from tests.core.attacks.toys import (
    ALGORITHMS,
    ASCENDING,
    EPS,
    GRADIENT,
    RANDOM_START,
    TOYS,
    Pixelwise,
    attempt,
    every,
    label,
    sizes,
    snapshot,
    toy_batch,
    undisturbed,
    worth,
)

FROM_RANDOM = every(RANDOM_START, random_start=True)
RANDOM = FROM_RANDOM + [spec for spec in every() if spec.method.random]
NOT_THEIR_VALUES_SLOPE = ("sign_total", "mgda", "stealth:depth")
"""Directions along which the value may fall, so that the clean image can stay the best there is."""
KEEP_THE_BEST = every(("apgd", "square")) + every(("apgd",), random_start=True)


def run(spec: AttackSpec, model: nn.Module | None = None, batch: Batch | None = None) -> Tensor:
    return run_attack(model or Pixelwise(), batch or toy_batch(), TOYS, spec).images


@pytest.mark.parametrize("spec", every() + FROM_RANDOM, ids=label)
def test_images_stay_inside_ball_and_box(spec: AttackSpec) -> None:
    low, width = -2.0, 5.0
    plain = toy_batch()
    cornered = torch.cat([plain.images[:2], plain.images[2:].round()])  # two lie in the corners of the box
    batch = Batch(cornered * width + low, plain.labels, plain.masks)
    images = run_attack(Pixelwise(), batch, TOYS, spec.scaled(width), bounds=(low, low + width)).images
    assert images.isfinite().all()
    assert low <= images.min()
    assert images.max() <= low + width
    assert (sizes(images - batch.images, spec.norm) <= EPS[spec.norm] * width * (1 + 1e-5)).all()


@pytest.mark.parametrize(
    "spec",
    [spec for spec in every() if spec.algorithm != "apgd" or spec.objective not in NOT_THEIR_VALUES_SLOPE],
    ids=label,
)
def test_every_image_is_moved(spec: AttackSpec) -> None:
    moved = sizes(undisturbed(spec).images - toy_batch().images, spec.norm)
    assert ((moved > 0) & (moved <= EPS[spec.norm] * (1 + 1e-5))).all()


@pytest.mark.parametrize("spec", every(eps=1e-7), ids=label)
def test_a_tiny_eps_is_nearly_the_identity(spec: AttackSpec) -> None:
    assert (run(spec) - toy_batch().images).abs().max() <= 2e-7


@pytest.mark.parametrize("spec", every(), ids=label)
def test_model_and_batch_are_left_as_they_were_and_the_model_is_run_in_eval_mode(spec: AttackSpec) -> None:
    model = Pixelwise().train()
    model.weights["edges"].requires_grad_(False)
    model.weights["depth"].grad = torch.ones_like(model.weights["depth"])
    before, batch, twin = snapshot(model), toy_batch(), toy_batch()
    images = run(spec, model, batch)
    assert snapshot(model) == before
    assert torch.equal(images, undisturbed(spec).images), "dropout and batch statistics took part"
    assert not images.requires_grad
    images.fill_(0.5)
    assert torch.equal(batch.images, twin.images)
    assert all(torch.equal(batch.labels[name], twin.labels[name]) for name in twin.labels)
    assert all(torch.equal(batch.masks[name], twin.masks[name]) for name in twin.masks)


@pytest.mark.parametrize("spec", every(), ids=label)
def test_only_a_drawing_attack_depends_on_its_seed_and_none_on_the_global_random_state(
    spec: AttackSpec,
) -> None:
    torch.rand(3)
    before = torch.random.get_rng_state()
    seed = 0 if spec.method.random else 1
    assert torch.equal(run(AttackSpec(**spec.to_json() | {"seed": seed})), undisturbed(spec).images)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("spec", RANDOM, ids=label)
def test_another_seed_gives_other_images_where_numbers_are_drawn(spec: AttackSpec) -> None:
    assert spec.seed == 0
    other = AttackSpec(**spec.to_json() | {"seed": 1})
    assert not torch.equal(undisturbed(spec).images, run(other))


def documented_passes(spec: AttackSpec) -> tuple[int, int]:
    """Forward and backward passes, from the docstrings of the algorithms."""
    aim, steps = spec.aim, spec.resolved().steps or 0
    tasks = len(attacked_tasks(spec, TOYS))
    each = 1 if aim is None or aim.family in WEIGHTED else tasks
    forwards, backwards = {
        "fgsm": (1, each),
        "pgd": (steps, steps * each),
        "mim": (steps, steps * each),
        "apgd": (steps + 1, steps * each),
        "auto_sage": (2 * steps, steps * (tasks + 1)),
        "square": (steps, 0),
    }.get(spec.algorithm, (0, 0))
    relative = aim is not None and aim.family in ("gb_mta", "stealth", "power")
    away_from_clean = spec.random_start or spec.method.random
    return forwards * spec.eot + (relative and away_from_clean), backwards * spec.eot


@pytest.mark.parametrize("spec", every() + FROM_RANDOM + every(GRADIENT, eot=2), ids=label)
def test_an_attack_costs_what_is_documented_and_counts_what_it_costs(spec: AttackSpec) -> None:
    model, seen = Pixelwise(), {"forwards": 0, "backwards": 0}

    def back(_: Tensor) -> None:
        seen["backwards"] += 1

    def watch(_: nn.Module, __: object, output: Tensor) -> None:
        seen["forwards"] += 1
        if output.requires_grad:
            output.register_hook(back)  # type: ignore[no-untyped-call]

    model.normalise.register_forward_hook(watch)
    outcome = run_attack(model, toy_batch(), TOYS, spec)
    assert (outcome.forwards, outcome.backwards) == documented_passes(spec)
    assert (seen["forwards"], seen["backwards"]) == documented_passes(spec)


@pytest.mark.parametrize("spec", KEEP_THE_BEST, ids=label)
def test_what_keeps_its_best_point_returns_that_point_and_its_value(spec: AttackSpec) -> None:
    found, ascent = attempt(Pixelwise().eval(), toy_batch(), spec)
    assert found.value is not None
    trace = torch.stack(ascent.trace)
    assert torch.equal(found.value, trace.amax(0))
    assert torch.equal(found.value, ascent.value(found.images)), "the value is of another image"
    assert (found.value >= trace[0]).all()


@pytest.mark.parametrize("spec", every(("apgd",)), ids=label)
def test_more_steps_of_what_keeps_its_best_are_worth_more_than_none(spec: AttackSpec) -> None:
    model, batch = Pixelwise(), toy_batch()
    assert (
        worth(model, batch, spec, undisturbed(spec).images) >= worth(model, batch, spec, batch.images)
    ).all()


@pytest.mark.parametrize(
    "spec", every(RANDOM_START, random_start=True, restarts=2) + every(("square",), restarts=2), ids=label
)
def test_restarts_keep_each_samples_best_run_by_the_objective(spec: AttackSpec) -> None:
    model, batch = Pixelwise(), toy_batch()
    runs = torch.stack([attempt(model, batch, spec, restart=n)[0].images for n in range(2)])
    values = torch.stack([worth(model, batch, spec, images) for images in runs])
    assert not torch.equal(runs[0], runs[1])
    once = AttackSpec(**spec.to_json() | {"restarts": 1})
    assert torch.equal(undisturbed(once).images, runs[0]), "the first restart is the attack without restarts"
    expected = torch.stack([runs[values[:, n].argmax(), n] for n in range(len(batch))])
    images = run(spec)
    assert torch.equal(images, expected)
    assert (worth(model, batch, spec, images) >= values[0]).all()


def test_the_grid_has_every_algorithm_objective_and_norm_that_there_is() -> None:
    seen = {(spec.algorithm, spec.norm, spec.objective) for spec in every()}
    assert len(seen) == len(every())
    assert {algorithm for algorithm, _, _ in seen} == set(METHODS) - {"auto_mta"} == set(ALGORITHMS)
    assert {(name, "linf") for name in ALGORITHMS} <= {(name, norm) for name, norm, _ in seen}
    assert len(ASCENDING) == 6

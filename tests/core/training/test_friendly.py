"""PGD-K-tau: ordinary PGD for tau = K, and for less each sample let go when its time has come."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.attacks import AttackSpec, run_attack
from core.attacks.draws import Draws
from core.data.batch import Batch
from core.specs.training import Adversarial, Fooled, FooledWhen
from core.training import FriendlyOutcome, friendly_attack
from core.training.fooling import NOT_JUDGED
from tests.core.attacks.toys import TOYS, Pixelwise, snapshot, toy_batch
from tests.core.synthetic import SMALL, Counting, Poisoned, losses, small_batch, small_model, trained_model

K = 6
SAMPLES = 8
DENSE = SMALL[:4]
EPS: dict[str, float] = {"linf": 8.0, "l2": 80.0}

SPECS: list[dict[str, Any]] = [
    {"algorithm": algorithm, "norm": norm, "eps": EPS[norm], **fields}
    for norm in EPS
    for algorithm, fields in (
        ("fgsm", {}),
        ("pgd", {"steps": K}),
        ("pgd", {"steps": K, "random_start": True}),
        ("pgd", {"steps": K, "objective": "single:depth"}),
        ("pgd", {"steps": K, "objective": "sign_total"}),
        ("pgd", {"steps": K, "objective": "mgda"}),
        ("pgd", {"steps": K, "objective": "stealth:depth", "random_start": True}),
        ("mim", {"steps": K, "preset": "paper"}),
        ("mim", {"steps": K, "decay": 0.5, "random_start": True}),
    )
]
THRESHOLDS = {"segmentation": 0.02, "depth": 0.006, "edges": 0.05}
EASY = Fooled(tasks={name: FooledWhen(threshold=value) for name, value in THRESHOLDS.items()})
"""Reached by the toys within K steps, by each sample and task after a number of its own."""


OF_DEPTH = Fooled(rule=FooledWhen(threshold=THRESHOLDS["depth"]))


def toy(**fields: Any) -> Adversarial:
    attack = AttackSpec(algorithm="pgd", eps=8, steps=K, preset="paper")
    return Adversarial(**{"attack": attack, "fooled": EASY, **fields})


def friendly(
    adversarial: Adversarial, *, batch: Batch | None = None, model: nn.Module | None = None
) -> FriendlyOutcome:
    return friendly_attack(model or Pixelwise(), batch or toy_batch(SAMPLES), TOYS, adversarial)


def path(adversarial: Adversarial, *, batch: Batch | None = None) -> list[Tensor]:
    """The images after 0, 1, ... K steps of plain PGD."""
    batch = batch or toy_batch(SAMPLES)
    spec = adversarial.attack.scaled(1 / 255)
    size = spec.step_size
    later = [
        run_attack(Pixelwise(), batch, TOYS, replace(spec, steps=steps, step_size=size)).images
        for steps in range(1, K + 1)
    ]
    return [batch.images, *later]


def rises(images: Tensor) -> Tensor:
    """[tasks, N], what the toys' losses rose by, each over its threshold."""
    batch = toy_batch(SAMPLES)
    clean = losses(Pixelwise().eval(), batch, batch.images, TOYS)
    thresholds = torch.tensor(list(THRESHOLDS.values()))[:, None]
    return (losses(Pixelwise().eval(), batch, images, TOYS) - clean) / (thresholds * clean.clamp_min(0.01))


def when_fooled(adversarial: Adversarial) -> Tensor:
    """[tasks, N], by plain PGD: the first step whose image fools a task, K if none before it does."""
    fooled = torch.stack([rises(images) >= 1 for images in path(adversarial)[:K]])
    return torch.where(fooled.any(0), fooled.float().argmax(0), K)


@pytest.mark.parametrize("fields", SPECS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_with_tau_at_k_it_is_the_ordinary_attack_bit_for_bit(fields: dict[str, Any]) -> None:
    spec = AttackSpec(**fields)
    model, batch = trained_model(), small_batch(DENSE, side=32)
    rules = Fooled(rule=FooledWhen(threshold=0.02))
    ordinary = run_attack(model, batch, DENSE, spec.scaled(1 / 255))
    outcome = friendly_attack(model, batch, DENSE, Adversarial(attack=spec, fooled=rules))
    assert torch.equal(outcome.images, ordinary.images)
    assert outcome.steps.tolist() == [Adversarial(attack=spec).steps] * len(batch)


def test_the_tests_samples_are_fooled_after_numbers_of_steps_of_their_own() -> None:
    assert len(set(when_fooled(toy()).amax(0).tolist())) >= 3
    assert len(set(when_fooled(toy()).flatten().tolist())) >= 4


@pytest.mark.parametrize("tau", range(K + 1))
def test_each_sample_stops_tau_steps_after_it_is_fooled_where_plain_pgd_was_then(tau: int) -> None:
    adversarial = toy(tau=tau)
    outcome = friendly(adversarial)
    expected = (when_fooled(adversarial).amax(0) + tau).clamp_max(K)
    assert torch.equal(outcome.steps, expected)
    steps = path(adversarial)
    assert torch.equal(outcome.images, torch.stack([steps[k][n] for n, k in enumerate(expected.tolist())]))


@pytest.mark.parametrize("tau", [0, 1, K])
def test_steps_to_fool_are_those_of_plain_pgd_as_far_as_the_sample_went(tau: int) -> None:
    assert torch.equal(friendly(toy(tau=tau)).steps_to_fool, when_fooled(toy()))


def test_with_tau_0_a_sample_stops_at_the_first_image_that_fools_it() -> None:
    outcome = friendly(toy(tau=0))
    early = outcome.steps < K
    assert early.any()
    assert (rises(outcome.images).amin(0)[early] >= 1).all()
    before = path(toy())
    for sample in early.nonzero()[:, 0].tolist():
        assert rises(before[int(outcome.steps[sample]) - 1])[:, sample].amin() < 1


@pytest.mark.parametrize("algorithm", ["pgd", "mim"])
@pytest.mark.parametrize("more", [{}, {"omega": 1.0}, {"goal_aware": True}], ids=str)
@pytest.mark.parametrize("norm", list(EPS))
def test_results_depend_on_neither_neighbours_nor_order(
    algorithm: Any, more: dict[str, Any], norm: Any
) -> None:
    attack = AttackSpec(
        algorithm=algorithm, norm=norm, eps=EPS[norm], steps=K, preset="paper", random_start=bool(more)
    )
    adversarial = toy(attack=attack, tau=1, **more)
    batch, order = toy_batch(SAMPLES), torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    together = friendly(adversarial, batch=batch)
    for rows in (order[:1], order[1:4], order[4:]):
        alone = friendly(adversarial, batch=batch.select(rows))
        assert torch.equal(alone.images, together.images[rows])
        assert torch.equal(alone.steps, together.steps[rows])
        assert torch.equal(alone.steps_to_fool, together.steps_to_fool[:, rows])


def test_a_step_is_one_pass_of_the_samples_that_are_left() -> None:
    for tau in (0, 2, K):
        model = Counting(Pixelwise())
        outcome = friendly(toy(tau=tau), model=model)
        looked = (outcome.steps + (tau == 0)).clamp_max(
            K
        )  # a sample is seen to be fooled in a pass of its own
        assert model.forwards == outcome.passes == int(looked.sum())
        assert model.backwards <= model.forwards


def test_a_random_start_takes_one_forward_pass_more_for_the_clean_losses_and_only_where_they_count() -> None:
    spec = AttackSpec(algorithm="pgd", eps=8, steps=K, random_start=True, objective="total")
    relative, absolute = Counting(Pixelwise()), Counting(Pixelwise())
    friendly(Adversarial(attack=spec), model=relative)
    assert (relative.forwards, relative.backwards) == ((K + 1) * SAMPLES, K * SAMPLES)
    metric = FooledWhen(by="metric", metric="abs_error", threshold=100)
    rules = Fooled(rule=metric, tasks={"segmentation": FooledWhen(by="metric", metric="miou", threshold=-1)})
    friendly(Adversarial(attack=spec, fooled=rules), model=absolute)
    assert absolute.forwards == absolute.backwards == K * SAMPLES


@pytest.mark.parametrize("tau", [0, 2])
def test_a_classification_is_fooled_when_its_label_changes_and_a_wrong_one_from_the_start(tau: int) -> None:
    digit = (SMALL[4],)
    model, batch = small_model(digit), small_batch(SMALL, samples=12)
    with torch.no_grad():
        right = model(batch.images)["digit"].argmax(1)
    batch.labels["digit"][::2] = right[::2]
    attack = AttackSpec(algorithm="pgd", eps=40, steps=K, preset="paper")
    outcome = friendly_attack(model, batch, digit, Adversarial(attack=attack, tau=tau))
    wrong = right != batch.labels["digit"]
    assert torch.equal(outcome.steps_to_fool[0] == 0, wrong)
    assert torch.equal(outcome.steps, (outcome.steps_to_fool[0] + tau).clamp_max(K))
    with torch.no_grad():
        predicted = model(outcome.images)["digit"].argmax(1)
    early = outcome.steps < K
    assert (early & ~wrong).any()
    if tau == 0:
        assert (predicted != batch.labels["digit"])[early].all()


def test_only_the_attacked_tasks_are_judged() -> None:
    spec = AttackSpec(algorithm="pgd", eps=8, steps=K, objective="single:depth", preset="paper")
    outcome = friendly(toy(attack=spec, tau=0, fooled=OF_DEPTH))
    assert [task.name for task in outcome.tasks] == ["depth"]
    assert outcome.steps_to_fool.shape == (1, SAMPLES)


def test_tasks_that_stealth_holds_are_not_judged() -> None:
    spec = AttackSpec(algorithm="pgd", eps=8, steps=K, objective="stealth:depth", preset="paper")
    assert [task.name for task in friendly(toy(attack=spec, fooled=OF_DEPTH)).tasks] == ["depth"]


def test_fooled_tasks_leave_a_goal_aware_objective_until_the_whole_sample_is_fooled() -> None:
    plain, aware = friendly(toy(tau=0)), friendly(toy(tau=0, goal_aware=True))
    assert not torch.equal(plain.images, aware.images)
    first = when_fooled(toy()).amin(0)
    differs = (plain.images != aware.images).flatten(1).any(1)
    assert not differs[first == when_fooled(toy()).amax(0)].any(), (
        "nothing leaves where all are fooled at once"
    )


def test_a_goal_aware_attack_of_one_task_is_the_plain_one() -> None:
    spec = AttackSpec(algorithm="pgd", eps=8, steps=K, objective="single:depth", preset="paper")
    plain, aware = (
        friendly(toy(attack=spec, tau=2, fooled=OF_DEPTH, goal_aware=aware)) for aware in (False, True)
    )
    assert torch.equal(plain.images, aware.images)


def test_a_goal_aware_attack_fools_more_samples_in_all_their_tasks() -> None:
    plain, aware = (friendly(toy(tau=0, goal_aware=aware)) for aware in (False, True))
    assert int((aware.steps_to_fool < K).all(0).sum()) >= int((plain.steps_to_fool < K).all(0).sum())
    assert int(aware.steps.sum()) <= int(plain.steps.sum())


def test_noise_moves_the_images_inside_the_ball_and_repeats_itself_under_its_key() -> None:
    quiet, noisy = friendly(toy()), friendly(toy(omega=2.0))
    assert not torch.equal(quiet.images, noisy.images)
    batch = toy_batch(SAMPLES)
    assert (noisy.images - batch.images).abs().amax() <= 8 / 255 + 1e-6
    assert torch.equal(noisy.images, friendly(toy(omega=2.0)).images)
    other = friendly_attack(Pixelwise(), batch, TOYS, toy(omega=2.0), draws=Draws(0, batch.indices, 1))
    assert not torch.equal(noisy.images, other.images)


def test_draws_are_left_as_they_were_handed_over() -> None:
    batch = toy_batch(SAMPLES)
    draws = Draws(3, batch.indices)
    friendly_attack(Pixelwise(), batch, TOYS, toy(tau=0, omega=1.0), draws=draws)
    assert len(draws.generators) == SAMPLES


def without_labels(*names: str) -> Batch:
    """The toy batch, no label of its sample 1 valid for these tasks."""
    batch = toy_batch(SAMPLES)
    for name in names:
        batch.masks.setdefault(name, torch.ones(batch.images[:, 0].shape, dtype=torch.bool))
        batch.masks[name][1] = False
    return batch


def test_a_task_without_labels_neither_blocks_its_sample_nor_is_judged() -> None:
    outcome = friendly(toy(tau=0), batch=without_labels("edges"))
    assert outcome.steps_to_fool[:, 1].tolist()[2] == NOT_JUDGED
    assert int(outcome.steps[1]) == int(outcome.steps_to_fool[:2, 1].amax())
    others = [0, *range(2, SAMPLES)]
    assert torch.equal(outcome.images[others], friendly(toy(tau=0)).images[others])


def test_a_sample_without_any_label_is_let_go_at_once() -> None:
    batch = without_labels(*(task.name for task in TOYS))
    outcome = friendly(toy(tau=0), batch=batch)
    assert int(outcome.steps[1]) == 0
    assert outcome.steps_to_fool[:, 1].tolist() == [NOT_JUDGED] * len(TOYS)
    assert torch.equal(outcome.images[1], batch.images[1])


def test_a_sample_whose_loss_is_no_number_is_never_fooled_and_disturbs_no_other() -> None:
    batch = toy_batch(SAMPLES)
    batch.images[1, :, 0, 0] = 1.0
    outcome = friendly(toy(tau=0), batch=batch, model=Poisoned(Pixelwise()))
    assert int(outcome.steps[1]) == K
    assert torch.equal(outcome.images[1], batch.images[1])
    others = [0, *range(2, SAMPLES)]
    assert torch.equal(outcome.images[others], friendly(toy(tau=0)).images[others])


def test_the_model_is_attacked_in_eval_mode_and_left_as_it_was() -> None:
    model = Pixelwise().train()
    before = snapshot(model)
    outcome = friendly(toy(tau=1), model=model)
    assert snapshot(model) == before
    assert torch.equal(outcome.images, friendly(toy(tau=1), model=Pixelwise().eval()).images)
    assert not outcome.images.requires_grad


def test_a_convolutional_models_samples_stop_as_if_alone_up_to_rounding() -> None:
    model, batch = small_model(DENSE), small_batch(DENSE, samples=SAMPLES, side=32)
    attack = AttackSpec(algorithm="pgd", norm="l2", eps=300, steps=K, preset="paper")
    adversarial = Adversarial(attack=attack, tau=1, fooled=Fooled(rule=FooledWhen(threshold=0.01)))
    together = friendly_attack(model, batch, DENSE, adversarial)
    alone = [
        friendly_attack(model, batch.select(slice(n, n + 1)), DENSE, adversarial) for n in range(SAMPLES)
    ]
    assert [int(one.steps[0]) for one in alone] == together.steps.tolist()
    torch.testing.assert_close(torch.cat([one.images for one in alone]), together.images, atol=1e-4, rtol=0)

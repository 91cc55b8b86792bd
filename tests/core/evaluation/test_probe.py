"""The probe: models with a fault each, which it must find, and a sound one, on which it must find nothing."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.attacks import AttackSpec
from core.evaluation import evaluate
from core.evaluation.probe import (
    Probe,
    gradient_facts,
    plain,
    probe,
    reference_attack,
    relative_difference,
    with_more_steps,
)
from core.models.prepare import Prepared
from core.specs.attack_fields import MAX_STEPS
from core.specs.precision import Precision
from tests.core.synthetic import (
    SMALL,
    Counting,
    Poisoned,
    Reader,
    Rescaled,
    SyntheticDataset,
    small_model,
    trained_model,
)

DENSE = SMALL[:4]
DATA = SyntheticDataset(DENSE, samples=8, side=8, eight_bit=True)
APGD = AttackSpec(algorithm="apgd", eps=8, steps=10)


def probed(
    model: nn.Module, attack: AttackSpec = APGD, *, prepared: Prepared | None = None, samples: int = 8
) -> Probe:
    found = probe(model, DATA, [attack], tasks=DENSE, prepared=prepared, samples=samples)
    json.dumps([found.facts, [flag.to_json() for flag in found.flags]], allow_nan=False)
    return found


def codes(found: Probe) -> set[str]:
    return {flag.code for flag in found.flags}


def evidence(found: Probe, code: str) -> dict[str, Any]:
    return next(flag.evidence for flag in found.flags if flag.code == code)


def severity(found: Probe, code: str) -> str:
    return next(flag.severity for flag in found.flags if flag.code == code)


@cache
def sound() -> Probe:
    return probed(Reader())


def test_a_sound_model_raises_no_flag() -> None:
    assert sound().flags == ()


def test_neither_does_a_trained_one_raise_an_error() -> None:
    data = SyntheticDataset(DENSE, samples=8, side=32)
    found = probe(trained_model(), data, [AttackSpec(algorithm="apgd", eps=8, steps=20)], tasks=DENSE)
    assert {flag.severity for flag in found.flags} <= {"info", "warning"}


def test_everything_that_was_measured_is_there() -> None:
    facts = sound().facts
    assert facts.keys() == {
        "samples",
        "attack",
        "repeatability",
        "outputs",
        "gradients",
        "preparation",
        "reference",
        "more_steps",
        "noise",
        "square",
        "full_range",
    }
    names = {task.name for task in DENSE}
    assert (facts["samples"], facts["attack"]) == (8, APGD.label)
    assert facts["gradients"]["cosine"].keys() == names
    assert facts["gradients"]["cosine"]["depth"]["depth"] == pytest.approx(1)
    assert facts["reference"]["tasks"].keys() == names
    assert facts["full_range"]["arp"] > facts["reference"]["arp"] > facts["noise"]["arp"]


def test_its_cost_is_every_pass_that_was_made() -> None:
    counting = Counting(Reader())
    cost = probed(counting).cost
    assert (cost.forwards, cost.backwards) == (counting.forwards, counting.backwards)
    assert (cost.forwards, cost.backwards) == (sound().cost.forwards, sound().cost.backwards)


class Masked(Reader):
    """Gradients that are exactly zero, of predictions that do follow the images."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: value.detach() + 0 * images.sum() for name, value in super().forward(images).items()}


class Quantised(Reader):
    """Sees its images rounded to 32 levels: no gradient, and noise of 8 steps goes through."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return super().forward((images * 32).round() / 32)


@pytest.mark.parametrize("model", [Masked(), Quantised()], ids=["masked", "quantised"])
def test_noise_and_square_beat_an_attack_whose_gradients_are_zero(model: nn.Module) -> None:
    found = probed(model)
    assert severity(found, "beaten_without_gradients") == "error"
    assert found.facts["reference"]["arp"] == pytest.approx(0, abs=1e-6)
    assert found.facts["square"]["difference"][0] > 0
    assert found.facts["gradients"]["mean_length"] == dict.fromkeys((task.name for task in DENSE), 0.0)
    assert severity(found, "full_range_survived") == "error"


@pytest.mark.parametrize("model", [Masked(), Quantised()], ids=["masked", "quantised"])
def test_a_zero_gradient_makes_an_attacks_result_unreliable(model: nn.Module) -> None:
    rivals = [AttackSpec(algorithm="sign_noise", eps=8), AttackSpec(algorithm="square", eps=8, steps=30)]
    result = evaluate(model, DATA, [APGD, *rivals], health=False, prepared=False)
    raised = {flag.code: flag.severity for flag in result.flags[0]}
    assert raised["zero_gradient"] == "error"
    assert raised["beaten_without_gradients"] == "error"
    assert not result.reliable
    assert result.flags[1:] == ((), ())


class BrokenGradient(Reader):
    """Right predictions; the root's slope at 0 makes their gradients NaN."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: value + (0 * images).sqrt().sum() for name, value in super().forward(images).items()}


def test_gradients_that_are_nan_make_a_result_unreliable_and_facts_none() -> None:
    result = evaluate(BrokenGradient(), DATA, [APGD], health=False, prepared=False)
    assert {flag.code: flag.severity for flag in result.flags[0]}["non_finite"] == "error"
    assert not result.reliable
    found = probed(BrokenGradient())
    assert found.facts["gradients"]["mean_length"] == dict.fromkeys(task.name for task in DENSE)
    assert "full_range_survived" in codes(found)


def test_a_model_that_predicts_nan_is_probed_to_the_end() -> None:
    class Broken(Poisoned):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {name: value * torch.nan for name, value in super().forward(images).items()}

    found = probed(Broken(Reader()))
    assert "stochastic_forward" not in codes(found), "twice the same NaN"
    assert severity(found, "full_range_survived") == "error"


class Stochastic(Reader):
    """Dropout that eval mode does not switch off."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return super().forward(nn.functional.dropout(images, 0.05, training=True))


def test_a_random_model_is_found() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = probed(Stochastic())
    assert severity(found, "stochastic_forward") == "error"
    assert evidence(found, "stochastic_forward")["difference"] > 1e-3


def test_a_difference_is_relative_and_nan_is_equal_to_nan() -> None:
    one, other = torch.tensor([1.0, -4.0]), torch.tensor([2.0, -4.0])
    nan, inf = torch.tensor([torch.nan, 1.0]), torch.tensor([torch.inf, 1.0])
    assert float(relative_difference(one, other)) == 0.25
    assert float(relative_difference(nan, nan)) == float(relative_difference(inf, inf)) == 0
    assert float(relative_difference(nan, one)) == torch.inf
    assert float(relative_difference(torch.zeros(2), torch.zeros(2))) == 0


class Softmaxed(Reader):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions = super().forward(images)
        return predictions | {"segmentation": predictions["segmentation"].softmax(1)}


def test_probabilities_in_the_place_of_scores_are_found() -> None:
    found = probed(Softmaxed())
    assert severity(found, "normalised_twice") == "error"
    assert evidence(found, "normalised_twice") == {"tasks": ["segmentation"]}


class Blind(Reader):
    """Some of its tasks do not look at the image, whose gradient there is zero or none at all."""

    def __init__(self, *blind: str, detached: bool = False) -> None:
        super().__init__()
        self.blind = blind
        self.detached = detached

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions = super().forward(images)
        grey = super().forward(torch.full_like(images, 0.4))
        unseen = 0 if self.detached else 0 * images.sum()
        return predictions | {name: grey[name] + unseen for name in self.blind}


def test_a_model_that_ignores_its_images_survives_any_attack() -> None:
    found = probed(Blind(*(task.name for task in DENSE)))
    assert severity(found, "full_range_survived") == "error"
    assert evidence(found, "full_range_survived")["arp"] == 0


@pytest.mark.parametrize("detached", [False, True])
def test_a_single_task_that_ignores_them_is_named_in_a_warning(detached: bool) -> None:
    found = probed(Blind("depth", detached=detached))
    assert severity(found, "full_range_survived") == "warning"
    assert evidence(found, "full_range_survived")["tasks"].keys() == {"depth"}
    assert found.facts["gradients"]["mean_length"]["depth"] == 0


def test_a_model_without_any_gradient_has_gradients_of_0() -> None:
    names = [task.name for task in DENSE]
    facts, flags = gradient_facts(Blind(*names, detached=True), DATA.batch(range(2)), DENSE)
    assert facts["mean_length"] == dict.fromkeys(names, 0.0)
    assert facts["cosine"]["depth"]["depth"] == 0
    assert flags == []


def test_a_task_whose_loss_is_ten_thousand_times_the_others_decides_alone() -> None:
    found = probed(Rescaled(Reader(), "depth", 1e4))
    assert severity(found, "one_task_decides") == "info"
    facts = evidence(found, "one_task_decides")
    assert facts["task"] == "depth"
    assert facts["share"] > 0.95
    assert "one_task_decides" not in codes(probed(Rescaled(Reader(), "depth", 2.0)))


class NearlyPerfect(Reader):
    """Its edges are right but for a millionth."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions = super().forward(images)
        return predictions | {"edges": predictions["edges"] - 0.05 + 1e-6}


def test_losses_next_to_0_are_found() -> None:
    found = probed(NearlyPerfect())
    assert severity(found, "losses_near_floor") == "warning"
    assert evidence(found, "losses_near_floor") == {"share": {"edges": 1.0}}


def test_samples_without_a_label_have_a_loss_of_0_and_are_not_meant() -> None:
    class Unlabelled(SyntheticDataset):
        def batch(self, indices: Any) -> Any:
            batch = super().batch(indices)
            batch.masks["depth"][:] = False
            return batch

    data = Unlabelled(DENSE, samples=4, side=8)
    found = probe(Reader(), data, [APGD], tasks=DENSE, samples=4)
    assert found.facts["gradients"]["near_floor"]["depth"] == 0
    assert "losses_near_floor" not in codes(found)


def test_an_attack_that_is_not_converged_is_found() -> None:
    short = AttackSpec(algorithm="pgd", eps=8, steps=1, step_size=2)
    found = probed(Reader(), short)
    assert severity(found, "more_steps_help") == "warning"
    assert evidence(found, "more_steps_help")["difference"][0] > 0
    assert found.facts["more_steps"]["attack"] == "pgd/gb_mta/eps=8/steps=2/step_size=2"


@pytest.mark.parametrize(
    ("attack", "steps"),
    [
        (AttackSpec(algorithm="pgd", eps=8, steps=7), 14),
        (AttackSpec(algorithm="apgd", eps=8), 40),
        (AttackSpec(algorithm="pgd", eps=8, steps=MAX_STEPS - 1), MAX_STEPS),
        (AttackSpec(algorithm="pgd", eps=8, steps=MAX_STEPS), None),
        (AttackSpec(algorithm="fgsm", eps=8), None),
    ],
    ids=lambda value: value.label if isinstance(value, AttackSpec) else str(value),
)
def test_steps_are_doubled_as_far_as_they_can_be(attack: AttackSpec, steps: int | None) -> None:
    longer = with_more_steps(attack)
    assert (None if longer is None else longer.steps) == steps


def test_a_single_step_has_nothing_to_be_compared_with() -> None:
    found = probed(Reader(), AttackSpec(algorithm="fgsm", eps=8))
    assert found.facts["more_steps"] == {"skipped": "fgsm/gb_mta/eps=8 cannot take more steps"}


def in_precision(module: nn.Module, precision: Precision) -> Prepared:
    return Prepared(module, 0, 0.0, precision, ())


def test_a_precision_that_costs_strength_is_found() -> None:
    found = probed(Reader(), prepared=in_precision(Masked(), "bfloat16"))
    assert severity(found, "precision_costs") == "warning"
    assert evidence(found, "precision_costs")["difference"][0] > 0
    assert found.facts["precision"]["arp"] > found.facts["reference"]["arp"]
    assert found.facts["preparation"]["precision"] == "bfloat16"


def test_a_precision_that_costs_nothing_is_none_to_warn_of() -> None:
    found = probed(Reader(), prepared=in_precision(Reader(), "bfloat16"))
    assert "precision_costs" not in codes(found)
    assert found.facts["precision"]["arp"] == pytest.approx(found.facts["reference"]["arp"])


def test_float32_is_not_compared_with_itself() -> None:
    assert "precision" not in probed(Reader(), prepared=in_precision(Reader(), "float32")).facts


def test_in_the_euclidean_ball_there_is_neither_square_nor_a_full_range() -> None:
    found = probed(Reader(), AttackSpec(algorithm="apgd", eps=40, norm="l2", steps=10))
    assert found.flags == ()
    assert found.facts.keys() >= {"noise", "more_steps"}
    assert not found.facts.keys() & {"square", "full_range"}


@pytest.mark.parametrize("samples", [1, 2])
def test_a_sample_or_two_are_probed_too(samples: int) -> None:
    assert probed(Reader(), samples=samples).facts["samples"] == samples


def test_the_model_is_left_as_it_was() -> None:
    model = small_model(DENSE).train()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    probe(model, SyntheticDataset(DENSE, samples=2, side=16), [APGD], tasks=DENSE, samples=2)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_a_check_that_raises_ends_it() -> None:
    def stop() -> None:
        raise InterruptedError("cancelled")

    with pytest.raises(InterruptedError):
        probe(Reader(), DATA, [APGD], tasks=DENSE, samples=2, check=stop)


FEW = AttackSpec(algorithm="pgd", eps=16, steps=5)
MANY = AttackSpec(algorithm="mim", objective="total", eps=4, steps=40)


@pytest.mark.parametrize(
    ("attacks", "expected"),
    [
        ([FEW, MANY], MANY),
        ([FEW, AttackSpec(algorithm="pgd", eps=8, steps=5)], FEW),
        ([FEW, AttackSpec(algorithm="square", eps=32), AttackSpec(algorithm="auto_mta", eps=32)], FEW),
        ([FEW, AttackSpec(algorithm="pgd", objective="single:depth", eps=32, steps=50)], FEW),
        ([FEW, AttackSpec(algorithm="pgd", objective="stealth:depth", eps=32, steps=50)], FEW),
        ([FEW, AttackSpec(algorithm="pgd", eps=32, steps=50, targets={"depth": 1.0})], FEW),
        ([FEW, AttackSpec(algorithm="pgd", eps=32, steps=50, weights={"depth": 0.0})], FEW),
        (
            [
                AttackSpec(algorithm="apgd", objective=name, eps=4)
                for name in ("total", "gb_mta", "sign_total")
            ],
            AttackSpec(algorithm="apgd", objective="gb_mta", eps=4),
        ),
        ([AttackSpec(algorithm="auto_mta", eps=4)], AttackSpec(algorithm="apgd", eps=4)),
        (
            [AttackSpec(algorithm="sign_noise", eps=3, norm="l2")],
            AttackSpec(algorithm="apgd", eps=3, norm="l2"),
        ),
        ([], AttackSpec(algorithm="apgd", eps=8)),
    ],
)
def test_what_is_doubted_is_the_attack_on_all_tasks_with_most_steps(
    attacks: list[AttackSpec], expected: AttackSpec
) -> None:
    assert reference_attack(attacks) == expected


def test_json_has_none_for_what_is_no_number() -> None:
    value: Mapping[str, Any] = {"a": [1.5, float("nan")], "b": {"c": float("inf"), "d": "inf"}, "e": True}
    assert plain(dict(value)) == {"a": [1.5, None], "b": {"c": None, "d": "inf"}, "e": True}

"""`evaluate`, the call that library users make."""

import pytest
import torch
from torch import Tensor, nn

from core.attacks import AttackSpec
from core.errors import InvalidError
from core.evaluation import EvaluationResult, evaluate
from core.intervals import Interval
from core.losses import LabelError, PredictionError
from core.specs import AttackSpecError
from tests.core.synthetic import (
    SMALL,
    Poisoned,
    Reader,
    SyntheticDataset,
    WithoutOnly,
    small_model,
    trained_model,
)

DENSE = SMALL[:4]
DATA = SyntheticDataset(DENSE, samples=6, side=32)
ATTACKS = (
    AttackSpec(algorithm="fgsm", objective="single:depth", eps=4),
    AttackSpec(algorithm="pgd", objective="gb_mta", eps=8, steps=5),
)


@pytest.fixture(scope="module")
def result() -> EvaluationResult:
    return evaluate(trained_model(), DATA, ATTACKS)


def test_the_table_has_a_line_for_each_attack_and_a_column_for_each_task(result: EvaluationResult) -> None:
    head, *lines = result.table().splitlines()
    columns = ["attack", "ARP", "%", "95", "%", "interval", "segmentation", "normals", "depth", "edges"]
    assert head.split() == columns
    assert [line.split()[0] for line in lines] == ["fgsm/single:depth/eps=4", "pgd/gb_mta/eps=8/steps=5"]
    assert len({len(line) for line in (head, *lines)}) == 1


def test_the_tables_numbers_are_arp_overall_its_interval_and_arp_by_task(result: EvaluationResult) -> None:
    line = result.table().splitlines()[2].split()[1:]
    arp, bounds = result.attacks[1].arp, result.attacks[1].interval
    assert arp is not None
    assert bounds is not None
    by_task = [f"{arp.tasks[task.name]:.2f}" for task in DENSE]
    assert line == [f"{arp.overall:.2f}", f"{bounds.low:.2f}", "..", f"{bounds.high:.2f}", *by_task]


def test_a_number_that_there_is_none_of_is_a_dash_in_the_table() -> None:
    one = evaluate(Reader(), DATA, ATTACKS[:1], limit=1, health=False, prepared=False)
    assert one.intervals == {"fgsm/single:depth/eps=4": None}
    assert one.table().splitlines()[1].split()[2] == "-"


def test_arp_is_keyed_by_the_attacks_label(result: EvaluationResult) -> None:
    assert list(result.arp) == [attack.label for attack in ATTACKS]
    assert result.arp["pgd/gb_mta/eps=8/steps=5"] == result.attacks[1].arp.overall  # type: ignore[union-attr]


def test_intervals_are_keyed_by_the_attacks_label_and_hold_arp(result: EvaluationResult) -> None:
    assert list(result.intervals) == list(result.arp)
    for label, bounds in result.intervals.items():
        assert bounds is not None
        assert bounds.low < (result.arp[label] or 0) < bounds.high


def test_the_difference_of_two_attacks_is_paired(result: EvaluationResult) -> None:
    weak, strong = result.arp
    ahead = result.difference(strong, weak)
    assert ahead is not None
    assert ahead.low < (result.arp[strong] or 0) - (result.arp[weak] or 0) < ahead.high
    assert result.difference(weak, weak) == Interval(0.0, 0.0)


def test_a_trained_model_suffers_and_raises_no_objection(result: EvaluationResult) -> None:
    weak, strong = result.arp.values()
    assert weak is not None
    assert strong is not None
    assert 0 < weak < strong
    assert result.probe is not None
    assert result.reliable


def test_without_health_nothing_is_probed() -> None:
    result = evaluate(Reader(), DATA, ATTACKS, health=False)
    assert result.probe is None
    assert len(result.flags) == 2


def test_attacks_that_differ_in_their_steps_alone_both_have_their_arp() -> None:
    attacks = [AttackSpec(algorithm="pgd", objective="total", eps=8, steps=steps) for steps in (1, 2, 20)]
    assert len(evaluate(Reader(), DATA, attacks, limit=2, health=False).arp) == 3


def test_clean_metrics_have_no_arp_and_the_same_samples(result: EvaluationResult) -> None:
    assert result.clean.attack is None
    assert result.clean.arp is None
    assert result.clean.flagged == {}
    assert result.clean.samples == result.attacks[0].samples == 6


def test_without_attacks_there_is_the_clean_pass_and_a_head(result: EvaluationResult) -> None:
    only_clean = evaluate(trained_model(), DATA, [])
    assert only_clean.clean.metrics == result.clean.metrics
    assert only_clean.arp == {}
    assert only_clean.probe is None
    assert only_clean.reliable
    assert len(only_clean.table().splitlines()) == 1


def test_the_model_is_left_as_it_was() -> None:
    model = small_model(DENSE)
    model.train()
    model.heads.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    evaluate(model, DATA, ATTACKS, limit=2)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_limit_takes_the_first_samples() -> None:
    short = SyntheticDataset(DENSE, samples=3, side=32)
    limited, whole = (
        evaluate(Reader(), data, ATTACKS, limit=3, health=False, prepared=False) for data in (DATA, short)
    )
    assert limited.clean.samples == 3
    assert limited.arp == whole.arp


def test_a_limit_above_the_data_sets_size_takes_all_of_it() -> None:
    assert evaluate(trained_model(), DATA, [], limit=100).clean.samples == 6


@pytest.mark.parametrize("limit", [0, -1])
def test_no_samples_is_refused(limit: int) -> None:
    with pytest.raises(InvalidError, match="no samples") as caught:
        evaluate(trained_model(), DATA, [], limit=limit)
    assert caught.value.field == "limit"


def test_a_plain_module_without_only_gives_the_same_numbers(result: EvaluationResult) -> None:
    assert evaluate(WithoutOnly(trained_model()), DATA, ATTACKS, health=False).arp == result.arp


def test_an_unprepared_model_has_the_same_arp_to_rounding(result: EvaluationResult) -> None:
    plain = evaluate(trained_model(), DATA, ATTACKS, health=False, prepared=False)
    assert plain.clean.metrics == result.clean.metrics
    assert plain.arp == pytest.approx(result.arp, rel=0.02)


def test_batches_of_any_size_give_the_same_numbers_to_rounding() -> None:
    few, many = (
        evaluate(Reader(), DATA, ATTACKS, batch_size=size, health=False, prepared=False) for size in (1, 4)
    )
    assert few.arp == pytest.approx(many.arp, rel=1e-3)


def test_an_eps_next_to_nothing_does_next_to_nothing() -> None:
    tiny = AttackSpec(algorithm="apgd", eps=1e-4, steps=3)
    data = SyntheticDataset(DENSE, samples=4, side=8, eight_bit=True)
    (attack,) = evaluate(Reader(), data, [tiny], health=False, prepared=False).attacks
    assert attack.arp is not None
    assert attack.arp.overall == pytest.approx(0, abs=1e-2)
    assert attack.arp_8bit is not None
    assert attack.arp_8bit.overall == 0


@pytest.mark.parametrize("prepared", [True, False])
def test_precision_is_what_attacks_compute_in_and_is_compared_with_float32(prepared: bool) -> None:
    result = evaluate(Reader(), DATA, ATTACKS, limit=4, precision="bfloat16", prepared=prepared)
    assert result.probe is not None
    assert result.probe.facts["preparation"]["precision"] == "bfloat16"
    assert result.probe.facts["precision"]["attack"] == "pgd/gb_mta/eps=8/steps=5"


class Pooled(nn.Module):
    """A module that knows nothing of trees: a convolution a task."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = nn.ModuleDict({task.name: nn.Conv2d(3, task.channels, 3, stride=2) for task in DENSE})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: layer(images) for name, layer in self.tasks.items()}


def test_any_module_that_maps_images_to_predictions_can_be_evaluated() -> None:
    torch.manual_seed(0)
    plain = evaluate(Pooled(), DATA, ATTACKS, limit=4)
    assert len(plain.arp) == 2
    assert all(value is not None for value in plain.arp.values())


def test_a_model_that_lacks_a_task_is_refused_by_the_tasks_name() -> None:
    with pytest.raises(PredictionError, match="does not predict normals") as caught:
        evaluate(small_model(SMALL[:1]), DATA, ATTACKS)
    assert caught.value.field == "normals"


def test_a_model_that_gives_a_bare_tensor_is_refused() -> None:
    with pytest.raises(PredictionError, match=r"\{task: prediction\}; it gave a Tensor"):
        evaluate(nn.Conv2d(3, 1, 1), DATA, ATTACKS)


def test_a_task_that_the_data_set_has_no_labels_for_is_refused() -> None:
    with pytest.raises(LabelError, match="no labels for digit"):
        evaluate(small_model(SMALL), DATA, [], tasks=SMALL)


def test_tasks_may_be_fewer_than_the_data_sets() -> None:
    result = evaluate(Reader(), DATA, ATTACKS, tasks=DENSE[2:3], health=False)
    assert result.clean.metrics.keys() == {"depth"}


def test_an_attack_on_a_task_that_is_not_there_is_refused_before_any_work() -> None:
    done: list[tuple[int, int]] = []
    wrong = AttackSpec(algorithm="fgsm", objective="single:gloss", eps=4)
    with pytest.raises(AttackSpecError, match="no task 'gloss'"):
        evaluate(Reader(), DATA, [*ATTACKS, wrong], progress=lambda *step: done.append(step))
    assert done == []


def test_a_target_that_a_task_cannot_have_is_refused_before_any_work() -> None:
    done: list[tuple[int, int]] = []
    wrong = AttackSpec(algorithm="pgd", objective="total", eps=4, targets={"depth": "next"})
    with pytest.raises(AttackSpecError, match="depth has no classes"):
        evaluate(Reader(), DATA, [wrong], progress=lambda *step: done.append(step))
    assert done == []


def test_progress_counts_the_clean_pass_and_every_attack() -> None:
    done: list[tuple[int, int]] = []
    evaluate(Reader(), DATA, iter(ATTACKS), limit=2, health=False, progress=lambda *step: done.append(step))
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_the_paper_rules_change_segmentation_alone() -> None:
    paper = evaluate(small_model(DENSE), DATA, [], rules="paper").clean.metrics
    standard = evaluate(small_model(DENSE), DATA, []).clean.metrics
    assert paper["segmentation"]["miou"] != standard["segmentation"]["miou"]
    assert {name: paper[name] for name in ("normals", "depth", "edges")} == {
        name: standard[name] for name in ("normals", "depth", "edges")
    }


def test_flags_are_counted_over_the_whole_data_set() -> None:
    data = SyntheticDataset(DENSE, samples=6, side=32)
    original = data._image

    def whitened(index: int) -> Tensor:
        image = original(index)
        if index in (1, 4):
            image[:, 0, 0] = 1.0
        return image

    data._image = whitened  # type: ignore[method-assign]
    result = evaluate(Poisoned(Reader()), data, ATTACKS, batch_size=4, health=False, prepared=False)
    assert [attack.flagged["non_finite"] for attack in result.attacks] == [2, 2]
    for flags in result.flags:
        assert {"non_finite", "undefined_arp"} <= {flag.code for flag in flags}
    assert not result.reliable


def test_the_same_call_gives_the_same_numbers(result: EvaluationResult) -> None:
    again = evaluate(trained_model(), DATA, ATTACKS, health=False)
    assert again.arp == result.arp
    assert again.intervals == result.intervals
    assert again.clean.metrics == result.clean.metrics

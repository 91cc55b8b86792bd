"""`evaluate`, the call that library users make."""

import pytest
import torch
from torch import Tensor, nn

from core.attacks import AttackSpec
from core.errors import InvalidError
from core.evaluation import EvaluationResult, evaluate
from core.losses import LabelError, PredictionError
from core.specs import AttackSpecError
from tests.core.synthetic import SMALL, Poisoned, SyntheticDataset, WithoutOnly, small_model, trained_model

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
    assert head.split() == ["attack", "ARP", "%", "segmentation", "normals", "depth", "edges"]
    assert [line.split()[0] for line in lines] == ["fgsm/single:depth/eps=4", "pgd/gb_mta/eps=8/steps=5"]
    assert len({len(line) for line in (head, *lines)}) == 1


def test_the_tables_numbers_are_arp_overall_and_by_task(result: EvaluationResult) -> None:
    line = result.table().splitlines()[2].split()[1:]
    arp = result.attacks[1].arp
    assert arp is not None
    assert line == [f"{arp.overall:.2f}", *(f"{arp.tasks[task.name]:.2f}" for task in DENSE)]


def test_arp_is_keyed_by_the_attacks_label(result: EvaluationResult) -> None:
    assert list(result.arp) == [attack.label for attack in ATTACKS]
    assert result.arp["pgd/gb_mta/eps=8/steps=5"] == result.attacks[1].arp.overall  # type: ignore[union-attr]


def test_a_trained_model_suffers(result: EvaluationResult) -> None:
    weak, strong = result.arp.values()
    assert weak is not None
    assert strong is not None
    assert 0 < weak < strong


def test_attacks_that_differ_in_their_steps_alone_both_have_their_arp() -> None:
    attacks = [AttackSpec(algorithm="pgd", objective="total", eps=8, steps=steps) for steps in (1, 2, 20)]
    assert len(evaluate(small_model(DENSE), DATA, attacks, limit=2).arp) == 3


def test_clean_metrics_have_no_arp_and_the_same_samples(result: EvaluationResult) -> None:
    assert result.clean.attack is None
    assert result.clean.arp is None
    assert result.clean.flagged == {}
    assert result.clean.samples == result.attacks[0].samples == 6


def test_without_attacks_there_is_the_clean_pass_and_a_head(result: EvaluationResult) -> None:
    only_clean = evaluate(trained_model(), DATA, [])
    assert only_clean.clean.metrics == result.clean.metrics
    assert only_clean.arp == {}
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
    limited = evaluate(trained_model(), DATA, ATTACKS, limit=3)
    assert limited.clean.samples == 3
    assert limited.arp == evaluate(trained_model(), short, ATTACKS).arp


def test_a_limit_above_the_data_sets_size_takes_all_of_it() -> None:
    assert evaluate(trained_model(), DATA, [], limit=100).clean.samples == 6


@pytest.mark.parametrize("limit", [0, -1])
def test_no_samples_is_refused(limit: int) -> None:
    with pytest.raises(InvalidError, match="no samples") as caught:
        evaluate(trained_model(), DATA, [], limit=limit)
    assert caught.value.field == "limit"


def test_a_plain_module_without_only_gives_the_same_numbers(result: EvaluationResult) -> None:
    assert evaluate(WithoutOnly(trained_model()), DATA, ATTACKS).arp == result.arp


class Pooled(nn.Module):
    """A module that knows nothing of trees: a convolution a task."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = nn.ModuleDict({task.name: nn.Conv2d(3, task.channels, 3, stride=2) for task in DENSE})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: layer(images) for name, layer in self.tasks.items()}


def test_any_module_that_maps_images_to_predictions_can_be_evaluated() -> None:
    torch.manual_seed(0)
    plain = evaluate(Pooled(), DATA, ATTACKS)
    assert len(plain.arp) == 2
    assert all(value is not None for value in plain.arp.values())


def test_a_model_that_lacks_a_task_is_refused_by_the_tasks_name() -> None:
    with pytest.raises(PredictionError, match="does not predict normals") as caught:
        evaluate(small_model(SMALL[:1]), DATA, ATTACKS)
    assert caught.value.field == "normals"


def test_a_model_that_gives_a_bare_tensor_is_refused() -> None:
    with pytest.raises(PredictionError, match="does not predict segmentation"):
        evaluate(nn.Conv2d(3, 1, 1), DATA, ATTACKS)


def test_a_task_that_the_data_set_has_no_labels_for_is_refused() -> None:
    with pytest.raises(LabelError, match="no labels for digit"):
        evaluate(small_model(SMALL), DATA, [], tasks=SMALL)


def test_tasks_may_be_fewer_than_the_data_sets() -> None:
    result = evaluate(trained_model(), DATA, ATTACKS, tasks=DENSE[2:3])
    assert result.clean.metrics.keys() == {"depth"}


def test_an_attack_on_a_task_that_is_not_there_is_refused_before_any_work() -> None:
    done: list[tuple[int, int]] = []
    wrong = AttackSpec(algorithm="fgsm", objective="single:gloss", eps=4)
    with pytest.raises(AttackSpecError, match="no task 'gloss'"):
        evaluate(trained_model(), DATA, [*ATTACKS, wrong], progress=lambda *step: done.append(step))
    assert done == []


def test_progress_counts_the_clean_pass_and_every_attack() -> None:
    done: list[tuple[int, int]] = []
    evaluate(trained_model(), DATA, iter(ATTACKS), limit=2, progress=lambda *step: done.append(step))
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
    result = evaluate(Poisoned(trained_model()), data, ATTACKS, batch_size=4)
    assert [attack.flagged["non_finite"] for attack in result.attacks] == [2, 2]


def test_the_same_call_gives_the_same_numbers(result: EvaluationResult) -> None:
    again = evaluate(trained_model(), DATA, ATTACKS)
    assert again.arp == result.arp
    assert again.clean.metrics == result.clean.metrics

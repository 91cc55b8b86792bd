"""Named suites: which attacks, on how many samples."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from core.errors import InvalidError
from core.gates.decide import MAX_OUTCOMES
from core.gates.suites import SUITES, check_escalation, check_rules, suite_evaluation
from core.specs.attack import AttackSpec
from core.specs.documents import MAX_ATTACKS, Attacked, EvaluationSpec
from core.specs.gate_file import SUITE_NAMES, GateFile, SuiteName
from core.tasks import Task, profile
from tests.core.gates.made import Json

TASKS = profile("nyuv2").tasks
QUICK = ["pgd/gb_mta/eps=8", "pgd/total/eps=8"]
STANDARD = [
    *QUICK,
    "apgd/gb_mta/eps=8/steps=50",
    *(f"pgd/single:{task.name}/eps=8" for task in TASKS),
    "pgd/sign_total/eps=8",
]


def gate_file(**more: Any) -> GateFile:
    document: Json = {
        "version": 1,
        "model": {"file": "a.pt"},
        "dataset": {"name": "nyuv2"},
        "suite": "quick",
        "rules": [{"name": "trust", "on": "health"}],
    }
    return GateFile.model_validate({**document, **more})


def labels(evaluation: Attacked) -> list[str]:
    return [attack.label for attack in evaluation.attacks]


@pytest.mark.parametrize(
    ("name", "attacks", "samples", "health"),
    [("quick", QUICK, 64, False), ("standard", STANDARD, 256, True)],
)
def test_a_suite_has_what_the_documentation_says(
    name: SuiteName, attacks: list[str], samples: int, health: bool
) -> None:
    found = suite_evaluation(gate_file(suite=name), TASKS)
    assert (labels(found), found.dataset.limit, found.health) == (attacks, samples, health)


def test_thorough_adds_searches_restarts_and_an_attack_without_gradients() -> None:
    found = suite_evaluation(gate_file(suite="thorough"), TASKS)
    assert labels(found)[: len(STANDARD)] == STANDARD
    search, apgd, square = found.attacks[len(STANDARD) :]
    assert (search.algorithm, search.objective) == ("auto_mta", None)
    assert (apgd.algorithm, apgd.random_start, apgd.restarts) == ("apgd", True, 5)
    assert (square.algorithm, square.steps) == ("square", 1_000)
    assert (found.dataset.limit, found.health) == (1_024, True)


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_every_suite_is_for_every_radius_and_always_the_same(name: SuiteName) -> None:
    document = gate_file(suite=name, eps=[2, 8])
    found = suite_evaluation(document, TASKS)
    assert found == suite_evaluation(document, TASKS)
    each = len(found.attacks) // 2
    assert [attack.eps for attack in found.attacks] == [2] * each + [8] * each
    assert set(SUITES) == set(SUITE_NAMES)


def test_a_suite_is_for_models_of_one_task_too() -> None:
    found = suite_evaluation(gate_file(suite="thorough"), TASKS[:1])
    assert "pgd/single:segmentation/eps=8" in labels(found)
    assert "pgd/single:depth/eps=8" not in labels(found)


@pytest.mark.parametrize("suite", ["standard", {"attacks": [{"algorithm": "pgd", "eps": 2}]}])
def test_the_data_sets_limit_goes_first(suite: Any) -> None:
    document = gate_file(suite=suite, dataset={"name": "nyuv2", "limit": 100, "split": "train"})
    found = suite_evaluation(document, TASKS)
    assert (found.dataset.limit, found.dataset.split) == (100, "train")


def test_attacks_written_out_are_those() -> None:
    attack = {"algorithm": "mim", "objective": "single:depth", "eps": 3}
    found = suite_evaluation(gate_file(suite={"attacks": [attack], "samples": 12}), TASKS)
    assert found.attacks == [AttackSpec(algorithm="mim", objective="single:depth", eps=3)]
    assert (found.dataset.limit, found.health) == (12, True)


def test_an_attack_on_a_task_that_there_is_not_is_refused() -> None:
    attacks = [{"algorithm": "pgd", "eps": 1}, {"algorithm": "pgd", "eps": 1, "objective": "single:edges"}]
    with pytest.raises(InvalidError, match="no task 'edges'") as caught:
        suite_evaluation(gate_file(suite={"attacks": attacks}), TASKS)
    assert caught.value.field == "suite.attacks.1.objective"


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_what_comes_of_a_suite_can_be_submitted(name: SuiteName) -> None:
    document = suite_evaluation(gate_file(suite=name), TASKS).model_dump(mode="json")
    model = "00000000-0000-7000-8000-000000000000"
    spec = EvaluationSpec.model_validate({**document, "kind": "evaluation", "model": model})
    assert spec.dataset.name == "nyuv2"


def test_attacks_written_out_are_there_once() -> None:
    attacks = [{"algorithm": "pgd", "eps": 1}, {"algorithm": "pgd", "eps": 1, "objective": "gb_mta"}]
    with pytest.raises(ValidationError, match="the same attack as number 0"):
        gate_file(suite={"attacks": attacks})


def test_a_suite_of_too_many_attacks_is_refused() -> None:
    tasks = [replace(TASKS[0], name=f"task{number}") for number in range(60)]
    with pytest.raises(InvalidError, match=f"at most {MAX_ATTACKS} items") as caught:
        suite_evaluation(gate_file(suite="thorough", eps=list(range(1, 17))), tasks)
    assert caught.value.field == "suite"


def test_a_suite_that_cannot_be_made_is_refused_as_a_suite() -> None:
    """Steps of 0, and an objective on a task whose name has letters that no objective takes."""
    for document, tasks in (
        (gate_file(eps=[5e-324]), TASKS),
        (gate_file(suite="standard"), [replace(TASKS[0], name="höhe")]),
    ):
        with pytest.raises(InvalidError) as caught:
            suite_evaluation(document, tasks)
        assert caught.value.field == "suite"


def refused(document: GateFile, tasks: Sequence[Task] = TASKS) -> list[tuple[str, str]]:
    """What is wrong with a file's rules: places and sentences."""
    found = check_rules(document, suite_evaluation(document, tasks), tasks)
    return [(error.field, str(error)) for error in found]


@pytest.mark.parametrize(("rules", "taken"), [(100, True), (101, False)])
def test_rules_about_too_many_attacks_are_refused_before_they_are_run(rules: int, taken: bool) -> None:
    """The last attack is left out by all of them."""
    attacks = [{"algorithm": "pgd", "eps": 1, "steps": 1 + number} for number in range(100)]
    left_out = {"algorithm": "fgsm", "eps": 1}
    asked = [
        {"name": f"rule {number}", "on": "arp", "at_most": 40, "attacks": {"algorithm": "pgd"}}
        for number in range(rules)
    ]
    found = refused(gate_file(suite={"attacks": [*attacks, left_out]}, rules=asked))
    message = f"the rules are about more than {MAX_OUTCOMES} attacks together; let `attacks` choose"
    assert found == ([] if taken else [("rules", message)])


def test_transferability_needs_another_task() -> None:
    rules = [{"name": "apart", "on": "transferability", "at_most": 0.5}]
    document = gate_file(rules=rules)
    assert refused(document) == []
    message = "transferability needs at least two tasks"
    assert refused(document, TASKS[:1]) == [("rules.0.on", message)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (None, None),
        ({"effort": 2}, None),
        ({"samples": 65}, None),
        ({"samples": 64, "effort": 2}, "the file asks for 64 samples already"),
        ({"samples": 2}, "the file asks for 64 samples already"),
    ],
)
def test_going_on_takes_more_samples_than_the_file_asks_for(more: Json | None, message: str | None) -> None:
    document = gate_file(escalate=more)
    evaluation = suite_evaluation(document, TASKS)
    if message is None:
        check_escalation(document, evaluation)
        return
    with pytest.raises(InvalidError, match=message) as caught:
        check_escalation(document, evaluation)
    assert caught.value.field == "escalate.samples"

"""From rules and numbers to a verdict."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.gates import Measured, decide
from core.gates.measured import MeasuredResult
from core.specs.policies import PolicyError
from tests.core.gates.made import (
    TODAY,
    Json,
    evaluation,
    flag,
    outcome,
    policy,
    replicates,
    result,
    transferred,
    verdict,
)

ARP: Json = {"on": "arp", "at_most": 60}
TASK: Json = {"on": "task_arp", "task": "left", "at_most": 60}
METRIC: Json = {"on": "metric", "task": "left", "metric": "accuracy", "at_least": 78}
RELATIVE: Json = {"on": "arp", "no_worse_than_baseline_by": 5}
TASK_RELATIVE: Json = {"on": "task_arp", "task": "left", "no_worse_than_baseline_by": 5}
METRIC_RELATIVE: Json = {"on": "metric", "task": "left", "metric": "accuracy", "no_worse_than_baseline_by": 5}
ARA: Json = {"on": "ara", "no_worse_than_baseline_by": 3}
GAIN: Json = {"on": "robust_gain", "at_least": 10}
TRANSFER: Json = {"on": "transferability", "task": "left", "at_most": 0.55}
HEALTH: Json = {"on": "health"}

COMPARING = [RELATIVE, TASK_RELATIVE, METRIC_RELATIVE, ARA, GAIN]
LIMITED = [ARP, TASK, METRIC, *COMPARING]
ALL = [*LIMITED, TRANSFER, HEALTH]

GOOD, PLAIN = evaluation(20.0), evaluation(50.0)


@pytest.mark.parametrize("rule", ALL, ids=str)
def test_a_good_model_keeps_every_kind_of_rule(rule: Json) -> None:
    found = verdict(rule, GOOD, PLAIN, transfer=transferred())
    assert (found.status, found.exit_code, found.counts) == ("passed", 0, {"pass": 1})


@pytest.mark.parametrize("rule", [RELATIVE, TASK_RELATIVE, GAIN], ids=str)
def test_the_other_way_round_it_breaks_those_on_attacks(rule: Json) -> None:
    found = verdict(rule, PLAIN, GOOD)
    assert (found.status, found.exit_code, found.counts) == ("failed", 1, {"fail": 1})


def test_an_outcome_says_what_was_measured_what_allowed_and_how_far_off() -> None:
    found = outcome({**ARP, "at_most": 18.5}, GOOD)
    assert found.message == (
        "ARP under fgsm/gb_mta/eps=1 is 20 % (95 %: 19 to 21); at most 18.5 % allowed: "
        "missed by 1.5 points, and by the whole interval"
    )
    assert found.model_dump(mode="json") == {
        "rule": "rule 0",
        "on": "arp",
        "level": "error",
        "status": "fail",
        "finding": "fail",
        "message": found.message,
        "attack": "fgsm/gb_mta/eps=1",
        "ordinal": 0,
        "observed": {"value": 20.0, "interval": [19.0, 21.0], "unit": "%"},
        "limit": {"bound": "at_most", "value": 18.5, "unit": "%", "relative": False, "strict": True},
        "baseline": None,
        "worse_by": None,
        "samples": 100,
        "samples_needed": None,
        "flags": [],
        "waiver": None,
    }


def test_what_is_too_close_to_say_is_inconclusive_with_the_samples_it_would_take() -> None:
    found = verdict({**ARP, "at_most": 20.5}, GOOD)
    assert (found.status, found.exit_code) == ("inconclusive", 4)
    assert found.outcomes[0].samples_needed == 400
    assert found.outcomes[0].message.endswith(
        "the estimate keeps it by 0.5 points, but not all of its interval does; "
        "about 400 samples would settle that if the estimate stayed"
    )
    assert verdict({**ARP, "at_most": 20.5, "strict": False}, GOOD).status == "passed"
    assert "no number of samples" in outcome({**ARP, "at_most": 20}, GOOD).message


def test_a_difference_is_paired_and_so_narrower_than_its_ends() -> None:
    found = outcome(RELATIVE, evaluation(24.0), evaluation(20.0))
    assert found.worse_by is not None
    assert found.worse_by.model_dump() == {"value": 4.0, "interval": (4.0, 4.0), "unit": "points"}
    assert found.baseline is not None
    assert found.baseline.value == 20.0
    assert found.message == (
        "ARP under fgsm/gb_mta/eps=1 is 24 %, 4 points worse than the baseline's 20 % (95 %: 4 to 4); "
        "at most 5 points worse allowed: kept by 1 point, and by the whole interval"
    )


def test_better_than_the_baseline_is_said_so() -> None:
    found = outcome(RELATIVE, GOOD, PLAIN)
    assert "30 points better than the baseline's 50 % (95 %: 30 to 30)" in found.message


def test_metrics_are_compared_in_percent_of_the_baselines() -> None:
    sturdy = evaluation(clean={"metrics": {"left": {"accuracy": 72.0}, "right": {"accuracy": 50.0}}})
    kept = replicates(None, 72.0)
    sturdy = replace(sturdy, clean=replace(sturdy.clean, read=lambda: kept))
    found = outcome(METRIC_RELATIVE, sturdy, evaluation())
    assert found.status == "fail"
    assert found.worse_by is not None
    assert found.worse_by.value == pytest.approx(10.0)
    assert found.worse_by.unit == "%"
    assert "10 % worse than the baseline's 80 %" in found.message
    assert (
        outcome({**METRIC_RELATIVE, "no_worse_than_baseline_by": 11}, sturdy, evaluation()).status == "pass"
    )


def test_an_absolute_rule_shows_the_baseline_too() -> None:
    found = outcome(ARP, GOOD, PLAIN)
    assert found.worse_by is not None
    assert (found.worse_by.value, found.status) == (-30.0, "pass")
    assert found.limit is not None
    assert not found.limit.relative


def test_every_attack_that_matches_is_decided_by_itself() -> None:
    found = verdict(ARP, evaluation(20.0, 90.0))
    assert [(entry.ordinal, entry.status) for entry in found.outcomes] == [(0, "pass"), (1, "fail")]
    one = verdict({**ARP, "attacks": {"eps": 2}}, evaluation(20.0, 90.0))
    assert [entry.attack for entry in one.outcomes] == ["fgsm/gb_mta/eps=2"]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            {**ARP, "attacks": {"algorithm": "apgd", "eps": 8}},
            "has algorithm apgd, eps 8; there are fgsm/gb_mta/eps=1",
        ),
        ({**ARP, "attacks": {"objective": "gb_mta", "eps": 8}}, "there are fgsm/gb_mta/eps=1"),
        ({**ARP, "attacks": {"objective": "single:left"}}, "no attack with the objective 'single:left'"),
        ({**TASK, "task": "lft"}, "there is no task 'lft'; did you mean 'left'?"),
        (
            {**TASK, "task": "right"},
            "ARP of right under fgsm/gb_mta/eps=1 cannot be decided: it has no value",
        ),
        ({**METRIC, "task": "middle"}, "there is no task 'middle'; there are left, right"),
        ({**METRIC, "metric": "miou"}, "there is no metric of left 'miou'; there are accuracy"),
        ({**ARA, "task": "middle"}, "there is no task 'middle'"),
        ({**GAIN, "task": "middle"}, "there is no task 'middle'"),
    ],
)
def test_what_is_not_there_is_an_error(rule: Json, said: str) -> None:
    found = verdict(rule, GOOD, PLAIN)
    assert (found.status, found.outcomes[0].status) == ("failed", "error")
    assert said in found.outcomes[0].message


def test_more_than_anybody_reads_is_refused() -> None:
    many = evaluation(*[20.0] * 200)
    with pytest.raises(PolicyError, match="let `attacks` choose") as caught:
        decide(policy(*[ARP] * 51), many, today=TODAY)
    assert caught.value.field == "rules"


def test_no_attack_at_all_is_an_error() -> None:
    assert outcome(ARP, evaluation()).message == "the rule cannot be decided: there is none at all"


@pytest.mark.parametrize("rule", COMPARING, ids=str)
def test_comparing_takes_a_baseline(rule: Json) -> None:
    found = verdict(rule, GOOD)
    assert (found.status, found.exit_code, found.counts) == ("no_baseline", 4, {"no_baseline": 1})


def test_where_another_model_has_a_baseline_it_is_named() -> None:
    def said(*others: str) -> str:
        return decide(policy(RELATIVE), GOOD, today=TODAY, others=others).outcomes[0].message

    assert said().endswith("there is no baseline to compare with")
    assert said("depth", "seg").endswith("; there are baselines there for: depth, seg")
    assert said("").endswith("; there are baselines there for: a model without a name")


@pytest.mark.parametrize("rule", [RELATIVE, TASK_RELATIVE, GAIN], ids=str)
def test_and_one_that_was_attacked_so(rule: Json) -> None:
    assert outcome(rule, GOOD, evaluation()).status == "no_baseline"


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": {"name": "digits", "version": "2"}},
        {"metric_rules": "paper"},
        {"metric_version": "2"},
        {"tasks": PLAIN.tasks[:1]},
        {"clean": result(-1, None, None, metrics={"left": {"accuracy": 1.0}, "right": {}})},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("rule", COMPARING, ids=str)
def test_a_baseline_that_was_measured_otherwise_is_an_error(rule: Json, change: Json) -> None:
    strange = replace(PLAIN, **change)
    found = outcome(rule, GOOD, strange)
    assert found.status == "error"
    assert "evaluate both alike" in found.message
    assert outcome(ARP, GOOD, strange).status == "pass"


@pytest.mark.parametrize("rule", COMPARING, ids=str)
def test_so_is_one_on_other_samples(rule: Json) -> None:
    kept = replicates(50.0, 55.0, dataset="digits 2"), replicates(None, 80.0, dataset="digits 2")
    strange = evaluation(50.0, attacked={"read": lambda: kept[0]}, clean={"read": lambda: kept[1]})
    assert outcome(rule, GOOD, strange).status == "error"
    assert outcome(ARP, GOOD, strange).worse_by is None


@pytest.mark.parametrize("rule", LIMITED, ids=str)
@pytest.mark.parametrize("where", ["evaluation", "clean"])
def test_what_is_unreliable_cannot_pass(rule: Json, where: str) -> None:
    flags = [flag("stochastic_forward"), flag("floored", "warning")]
    bad = evaluation(20.0, flags=flags) if where == "evaluation" else evaluation(20.0, clean={"flags": flags})
    found = outcome(rule, bad, PLAIN)
    assert (found.status, found.flags) == ("error", ["stochastic_forward"])
    assert "unreliable: stochastic_forward" in found.message


def test_an_error_on_an_attack_is_no_error_on_the_clean_pass() -> None:
    bad = evaluation(20.0, attacked={"flags": [flag("zero_gradient")]})
    assert outcome(ARP, bad).status == "error"
    assert outcome(METRIC, bad).status == "pass"


@pytest.mark.parametrize("rule", COMPARING, ids=str)
def test_an_unreliable_baseline_is_nothing_to_compare_with(rule: Json) -> None:
    found = outcome(rule, GOOD, replace(PLAIN, flags=[flag("beaten_without_gradients")]))
    assert (found.status, found.flags) == ("error", ["beaten_without_gradients"])
    assert "the baseline is unreliable" in found.message


def test_health_asks_for_checks_and_no_errors() -> None:
    assert outcome(HEALTH, evaluation(20.0, flags=[flag("low", "warning")])).status == "pass"
    bad = outcome(HEALTH, evaluation(20.0, attacked={"flags": [flag("zero_gradient")]}))
    assert (bad.status, bad.flags) == ("fail", ["zero_gradient"])
    assert outcome(HEALTH, evaluation(20.0, probed=False)).status == "error"


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ({**ARP, "at_most": 10}, "warn"),
        ({**ARP, "at_most": 20.5}, "inconclusive"),
        ({**RELATIVE}, "no_baseline"),
        ({**TASK, "task": "middle"}, "error"),
    ],
)
def test_a_warning_is_said_and_fails_nothing(rule: Json, status: str) -> None:
    found = verdict({**rule, "level": "warn"}, GOOD)
    assert (found.status, found.exit_code, found.outcomes[0].status) == ("passed", 0, status)


def test_a_failure_outweighs_what_cannot_be_decided() -> None:
    rules = [{**ARP, "at_most": 20.5}, RELATIVE, {**ARP, "at_most": 10}]
    assert [decide(policy(*rules[:n]), GOOD, today=TODAY).status for n in (1, 2, 3)] == [
        "inconclusive",
        "inconclusive",
        "failed",
    ]


def test_the_same_gives_the_same() -> None:
    rules = policy(*ALL)
    first, second = (
        decide(rules, evaluation(20.0), evaluation(50.0), today=TODAY, transfer=transferred())
        for _ in range(2)
    )
    assert first.to_json() == second.to_json()
    assert first.policy == rules.digest()
    assert first.to_json()["today"] == "2026-05-01"
    assert first.baseline is not None
    assert first.baseline.model_name == "made up"


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3), st.floats(-1e3, 1e3), st.booleans())
def test_a_stronger_attack_turns_no_failure_into_a_pass(
    arp: float, more: float, limit: float, strict: bool
) -> None:
    order = ["pass", "inconclusive", "fail"]
    for rule in ({**ARP, "at_most": limit}, {**RELATIVE, "no_worse_than_baseline_by": abs(limit)}):
        mild, hard = (
            outcome({**rule, "strict": strict}, evaluation(value), PLAIN).status
            for value in (arp, arp + more)
        )
        assert order.index(mild) <= order.index(hard)


LOST: dict[str, Any] = {"arp": None, "task_arp": None, "intervals": None, "read": lambda: None, "metrics": {}}
NOT_NUMBERS = {"arp": float("nan"), "task_arp": {"left": float("inf")}}


def _without(measured: Measured, name: str, value: Any) -> Measured:
    def lose(found: MeasuredResult) -> MeasuredResult:
        lost: Json = {name: {"left": {}, "right": {}} if name == "metrics" else value}
        return replace(found, **lost)

    return replace(measured, clean=lose(measured.clean), attacks=[lose(found) for found in measured.attacks])


NEEDED = {
    "arp": [ARP, RELATIVE, GAIN],
    "task_arp": [TASK, TASK_RELATIVE, RELATIVE, GAIN],  # a mean over other tasks is another number
    "intervals": [ARP, TASK, METRIC],
    "read": COMPARING,
    "metrics": [METRIC, *COMPARING],  # results with other metrics are not compared
}


@pytest.mark.parametrize("name", LOST)
@pytest.mark.parametrize("side", ["model", "baseline"])
@pytest.mark.parametrize("rule", LIMITED, ids=str)
def test_losing_a_number_is_an_error_where_it_counts_and_changes_nothing_elsewhere(
    rule: Json, name: str, side: str
) -> None:
    lost = name, LOST[name]
    model, other = (_without(GOOD, *lost), PLAIN) if side == "model" else (GOOD, _without(PLAIN, *lost))
    counts = rule in NEEDED[name] and (side == "model" or rule in COMPARING)
    assert outcome(rule, model, other).status == ("error" if counts else "pass")


@pytest.mark.parametrize("side", ["model", "baseline"])
def test_ara_leaves_out_no_task_that_one_of_the_two_lost(side: str) -> None:
    dead = evaluation(20.0, clean={"metrics": {"left": {"accuracy": 80.0}, "right": {"accuracy": None}}})
    sides = (dead, PLAIN) if side == "model" else (GOOD, dead)
    found = outcome(ARA, *sides)
    assert (found.status, "right.accuracy" in found.message) == ("error", True)
    assert outcome(ARA, dead, dead).status == "pass"


def test_a_task_that_was_not_measured_is_no_clean_price() -> None:
    blind = evaluation(20.0, clean={"metrics": {"left": {"accuracy": 80.0}}})
    assert "nothing was measured of right" in outcome(ARA, blind, blind).message


@pytest.mark.parametrize("name", NOT_NUMBERS)
def test_what_is_no_number_is_none(name: str) -> None:
    rule = ARP if name == "arp" else TASK
    assert outcome(rule, _without(GOOD, name, NOT_NUMBERS[name])).status == "error"


def test_results_are_all_told() -> None:
    """Whoever adds a field says here what losing it does."""
    assert {entry.name for entry in fields(MeasuredResult)} == {
        *LOST,
        *("ordinal", "attack", "samples", "flags"),
    }

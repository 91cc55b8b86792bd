"""Rules on transferability: a job that was measured by itself, and what it must have to be relied on."""

from uuid import UUID

import pytest

from core.gates import MeasuredTransfer, Verdict
from tests.core.gates.made import SAMPLES, Json, evaluation, flag, transferred, verdict

RULE: Json = {"on": "transferability", "at_most": 0.55}
LEFT: Json = {**RULE, "task": "left"}
GOOD = evaluation(20.0)


def decided(rule: Json, transfer: MeasuredTransfer | None, *, level: float = 0.95) -> Verdict:
    return verdict(rule, GOOD, transfer=transfer, level=level)


def test_every_task_is_decided_by_itself() -> None:
    found = decided(RULE, transferred())
    assert [each.status for each in found.outcomes] == ["pass", "inconclusive"]
    kept, open_ = (each.message for each in found.outcomes)
    assert kept == (
        "transferability of left under pgd/single:each/eps=8 is 0.4 (95 %: 0.3 to 0.5); at most 0.55 allowed: "
        "kept by 0.15, and by the whole interval"
    )
    assert open_ == (
        "transferability of right under pgd/single:each/eps=8 is 0.6 (95 %: 0.5 to 0.7); at most 0.55 allowed: "
        "the estimate misses it by 0.05, but not all of its interval does; "
        "about 401 samples would settle that if the estimate stayed"
    )


def test_an_outcome_is_of_the_job_and_of_no_result() -> None:
    found = decided(LEFT, transferred(samples=64))
    assert found.transferability == UUID(int=5)
    (outcome,) = found.outcomes
    assert (outcome.attack, outcome.ordinal, outcome.samples) == ("pgd/single:each/eps=8", None, 64)
    assert outcome.observed is not None
    assert outcome.observed.model_dump() == {"value": 0.4, "interval": (0.3, 0.5), "unit": ""}
    assert outcome.limit is not None
    assert outcome.limit.unit == ""


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        ({"at_most": 0.5}, "pass"),
        ({"at_most": 0.45}, "inconclusive"),
        ({"at_most": 0.2}, "fail"),
        ({"at_least": 0.3}, "pass"),
        ({"at_least": 0.35}, "inconclusive"),
        ({"at_least": 0.6}, "fail"),
        ({"at_most": 0.2, "level": "warn"}, "warn"),
        ({"at_most": 0.45, "strict": False}, "pass"),
    ],
    ids=str,
)
def test_it_is_held_against_either_limit(limit: Json, status: str) -> None:
    (outcome,) = decided({"on": "transferability", "task": "left", **limit}, transferred()).outcomes
    assert outcome.status == status


def test_it_is_judged_at_95_percent_whatever_the_level() -> None:
    usual, wider = (decided(RULE, transferred(), level=level) for level in (0.95, 0.999))
    assert usual.outcomes == wider.outcomes
    assert (usual.level, wider.level) == (0.95, 0.999)


def test_without_a_job_it_is_an_error() -> None:
    for rule in (RULE, LEFT):
        found = decided(rule, None)
        (outcome,) = found.outcomes
        assert (found.status, found.transferability, outcome.status) == ("failed", None, "error")
        assert outcome.message.endswith("no transferability job was given to the verdict")
        assert (outcome.attack, outcome.samples) == (None, None)


@pytest.mark.parametrize(
    ("transfer", "said"),
    [
        (transferred(model=UUID(int=9)), "the transferability job is of another model"),
        (transferred(metric_rules="paper"), "have different metric rules"),
        (
            transferred(dataset={"name": "digits", "version": "2", "split": "test"}),
            "have different data sets",
        ),
        (transferred(flags=[flag("zero_gradient")]), "the transferability job is unreliable: zero_gradient"),
        (
            transferred(transfer={"left": None, "right": 0.6}, undefined={"left": "it did not harm it"}),
            "it did not harm it",
        ),
        (transferred(transfer={"left": None, "right": 0.6}), "it has no value"),
        (transferred(transfer={"left": float("nan"), "right": 0.6}), "it has no value"),
        (transferred(unstable=["left"]), "it divides by an ARP that may as well be 0"),
        (transferred(transfer={"right": 0.6}), "the transferability job did not attack it"),
        (transferred(intervals={}), "has no interval"),
    ],
)
def test_what_cannot_be_relied_on_is_an_error(transfer: MeasuredTransfer, said: str) -> None:
    found = decided(LEFT, transfer)
    (outcome,) = found.outcomes
    assert (found.status, outcome.status) == ("failed", "error")
    assert said in outcome.message


def test_errors_are_said_by_their_code_and_warnings_change_nothing() -> None:
    flags = [flag("zero_gradient"), flag("few_samples", "warning")]
    (outcome,) = decided(LEFT, transferred(flags=flags)).outcomes
    assert outcome.flags == ["zero_gradient"]
    assert decided(LEFT, transferred(flags=flags[1:])).status == "passed"


def test_what_is_wrong_with_one_task_leaves_the_others() -> None:
    found = decided(RULE, transferred(unstable=["right"]))
    assert [each.status for each in found.outcomes] == ["pass", "error"]


def test_a_task_that_there_is_not_is_an_error() -> None:
    (outcome,) = decided({**RULE, "task": "lft"}, transferred()).outcomes
    assert outcome.status == "error"
    assert "there is no task 'lft'; did you mean 'left'?" in outcome.message


def test_another_number_of_the_same_samples_is_no_other_data_set() -> None:
    dataset = {**transferred().dataset, "limit": 2 * SAMPLES}
    assert decided(LEFT, transferred(dataset=dataset, samples=2 * SAMPLES)).status == "passed"


def test_a_job_that_no_rule_is_about_changes_nothing_else() -> None:
    rule: Json = {"on": "arp", "at_most": 60}
    with_job, without = decided(rule, transferred(unstable=["left"])), decided(rule, None)
    assert with_job.outcomes == without.outcomes
    assert with_job.transferability == UUID(int=5)

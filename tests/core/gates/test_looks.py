"""The looks of a gate: what is planned, and what follows from a verdict."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.gates import Measured, Outcome, Verdict
from core.gates.case import Case
from core.gates.looks import MAX_SIZES, Look, level_of, next_look, plan_looks, strengthened
from core.gates.verdict import LimitSaid
from core.specs.attack import AttackSpec
from core.specs.documents import Attacked
from core.specs.gate_file import GateFile
from tests.core.gates.made import TODAY, Json, evaluation, flag, transferred

FGSM: Json = {"algorithm": "fgsm", "eps": 1}
PGD: Json = {"algorithm": "pgd", "eps": 1, "steps": 20}
ARP: Json = {"name": "strong", "on": "arp", "at_most": 40}


def gate_file(**more: Any) -> GateFile:
    document: Json = {
        "version": 1,
        "model": {"file": "a.pt"},
        "dataset": {"name": "digits"},
        "suite": {"attacks": [PGD]},
        "rules": [ARP],
    }
    return GateFile.model_validate({**document, **more})


def looks(samples: int, *attacks: Json, available: int = 100_000, **more: Any) -> tuple[Look, ...]:
    asked = Attacked.model_validate(
        {"dataset": {"name": "digits", "version": "1", "limit": samples}, "attacks": attacks or [PGD]}
    )
    return plan_looks(gate_file(**more), asked, available=available)


def sizes(plan: tuple[Look, ...]) -> list[tuple[int, int]]:
    return [(look.samples, look.effort) for look in plan]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(32, [32]), (64, [64]), (127, [127]), (128, [64, 128]), (256, [64, 256]), (1024, [64, 256, 1024])],
)
def test_it_looks_at_fewer_samples_first(samples: int, expected: list[int]) -> None:
    plan = looks(samples)
    assert [look.samples for look in plan] == expected
    assert [look.early for look in plan] == [one < samples for one in expected]
    assert [look.number for look in plan] == list(range(1, len(expected) + 1))
    assert sizes(looks(samples, stop_early=False)) == [(samples, 1)]


def test_it_goes_on_to_more_samples_then_more_steps_then_restarts() -> None:
    plan = looks(64, FGSM, PGD, escalate={"samples": 1024, "effort": 4})
    assert sizes(plan) == [(64, 1), (256, 1), (1024, 1), (1024, 4), (1024, 4)]
    stronger = ["pgd/gb_mta/eps=1/steps=80", "pgd/gb_mta/eps=1/steps=80/random_start=0/restarts=4"]
    for look, more in ((plan[3], stronger[:1]), (plan[4], stronger)):
        labels = [attack.label for attack in look.evaluation.attacks]
        assert labels == ["fgsm/gb_mta/eps=1", "pgd/gb_mta/eps=1", *more]
    assert [look.restarts for look in plan] == [None, None, None, None, 4]


def test_what_is_searched_for_is_not_looked_at_early() -> None:
    assert sizes(looks(256, PGD, {"algorithm": "auto_mta", "eps": 1})) == [(256, 1)]


def test_more_samples_than_few_are_enough_to_say_something() -> None:
    assert sizes(looks(5, escalate={"samples": 1000})) == [(5, 1), (64, 1), (256, 1), (1000, 1)]


def test_no_more_samples_are_planned_than_there_are() -> None:
    assert sizes(looks(64, available=100, escalate={"samples": 1024})) == [(64, 1), (100, 1)]
    assert sizes(looks(64, available=64, escalate={"samples": 1024})) == [(64, 1)]


def test_effort_that_changes_no_attack_is_no_look() -> None:
    assert sizes(looks(64, FGSM, escalate={"effort": 8})) == [(64, 1)]


@given(st.integers(1, 10**6), st.integers(2, 10**6), st.booleans(), st.one_of(st.none(), st.integers(2, 16)))
def test_a_plan_is_short_ascends_and_holds_what_the_file_asks_for(
    samples: int, most: int, early: bool, effort: int | None
) -> None:
    plan = looks(samples, escalate={"samples": most, "effort": effort}, stop_early=early, available=10**6)
    by_samples = [look.samples for look in plan if look.effort == 1]
    assert len(by_samples) <= MAX_SIZES
    assert by_samples == sorted(set(by_samples))
    assert samples in by_samples
    assert by_samples[-1] == max(samples, most)
    assert all(look.early == (look.samples < samples) for look in plan)
    assert 0.95 <= level_of(plan) < 1
    assert len({look.evaluation.canonical() for look in plan}) == len(plan)


def test_attacks_that_come_out_alike_are_there_once() -> None:
    twice = [AttackSpec(**PGD), AttackSpec(**PGD, random_start=True, restarts=4)]
    assert len(strengthened(twice, effort=4, restarts=None)) == 2
    assert len(strengthened(twice, effort=4, restarts=4)) == 1


class Gate:
    """A gate that is at one of its looks."""

    def __init__(self, *rules: Json, early: bool = False, escalate: Json | None = None) -> None:
        samples = 256 if early else 64
        self.file = gate_file(rules=list(rules), escalate=escalate)
        self.looks = looks(samples, rules=list(rules), escalate=escalate)

    def at(self, number: int, arp: float, **changes: Any) -> Verdict:
        """The verdict on a look where the one attack has this ARP, 1 to either side."""
        found: Measured = evaluation(arp, attacks=[PGD], **changes)
        case = Case(measured=found, baseline=None, transfer=None, today=TODAY)
        return case.decide_look(self.file, self.looks[number - 1], self.looks)


def following(verdict: Verdict) -> int | None:
    return None if verdict.next is None else verdict.next.number


def test_a_clear_pass_or_failure_is_settled_at_once() -> None:
    gate = Gate(ARP, early=True, escalate={"samples": 1024, "effort": 4})
    for arp, status in ((20.0, "passed"), (60.0, "failed")):
        verdict = gate.at(1, arp)
        assert (verdict.status, following(verdict)) == (status, None)
    assert verdict.look is not None
    assert (verdict.look.number, verdict.look.of, verdict.look.samples) == (1, 5, 64)
    assert verdict.level == pytest.approx(0.99)


def test_what_is_open_is_looked_at_again_until_there_is_nothing_more() -> None:
    gate = Gate(ARP, early=True, escalate={"samples": 1024, "effort": 4})
    open_ = [gate.at(number, 40.2) for number in range(1, 6)]
    assert [following(verdict) for verdict in open_] == [2, 3, 4, 5, None]
    assert {(verdict.status, verdict.exit_code) for verdict in open_} == {("inconclusive", 4)}
    assert open_[0].next is not None
    assert open_[0].next.why == "more samples may settle strong"
    assert open_[2].next is not None
    assert "stronger attacks may break it" in open_[2].next.why


def test_stronger_attacks_cannot_settle_what_must_be_high() -> None:
    gate = Gate({**ARP, "at_most": None, "at_least": 40}, escalate={"effort": 4})
    assert following(gate.at(1, 40.2)) is None


def test_a_pass_under_attacks_that_were_cut_short_is_looked_at_again() -> None:
    gate = Gate(ARP, early=True, escalate={"effort": 4})
    weak = gate.at(1, 20.0, flags=[flag("more_steps_help", "warning")])
    assert (weak.status, weak.exit_code, following(weak)) == ("inconclusive", 4, 3)
    failed = gate.at(1, 60.0, flags=[flag("more_steps_help", "warning")])
    assert (failed.status, following(failed)) == ("failed", None)
    without = Gate(ARP).at(1, 20.0, flags=[flag("more_steps_help", "warning")])
    assert (without.status, following(without)) == ("passed", None)


@pytest.mark.parametrize("arp", [20.0, 60.0])
def test_what_goes_by_the_estimate_waits_for_all_samples(arp: float) -> None:
    gate = Gate({**ARP, "strict": False}, early=True, escalate={"samples": 1024})
    early = gate.at(1, arp)
    assert (early.status, following(early)) == ("inconclusive", 2)
    assert gate.at(2, arp).status == ("passed" if arp == 20.0 else "failed")
    assert following(gate.at(2, arp)) is None


def test_an_error_of_a_result_is_looked_at_again_only_before_all_samples_are_seen() -> None:
    gate = Gate({"name": "trust", "on": "health"}, ARP, early=True, escalate={"samples": 1024})
    doubtful = {"attacked": {"flags": [flag("zero_gradient")]}}
    assert following(gate.at(1, 20.0, **doubtful)) == 2
    assert gate.at(2, 20.0, **doubtful).status == "failed"
    assert following(gate.at(2, 20.0, **doubtful)) is None


def test_what_the_health_checks_found_is_found_at_every_look() -> None:
    gate = Gate({"name": "trust", "on": "health"}, ARP, early=True, escalate={"samples": 1024})
    found = gate.at(1, 20.0, flags=[flag("full_range_survived")])
    assert (found.status, following(found)) == ("failed", None)


def test_what_does_not_count_is_not_looked_at_again() -> None:
    counted, warned = {**ARP, "at_most": 50}, {**ARP, "name": "ideal", "level": "warn"}
    gate = Gate(counted, warned, early=True)
    assert (gate.at(1, 40.2).status, following(gate.at(1, 40.2))) == ("passed", None)


def test_only_rules_that_stronger_attacks_can_break_are_looked_at_with_them() -> None:
    clean = {"name": "clean", "on": "metric", "task": "left", "metric": "accuracy", "at_least": 40}
    weak = {"flags": [flag("more_steps_help", "warning")]}
    for rule, number in ((clean, None), ({**ARP, "at_most": None, "at_least": 4}, None), (ARP, 2)):
        gate = Gate(rule, escalate={"effort": 4})
        assert following(gate.at(1, 20.0, **weak)) == number
    open_ = Gate(ARP, {**clean, "at_least": 69.8}, escalate={"effort": 4})
    assert following(open_.at(1, 20.0, **weak)) == 2


def test_an_interval_that_is_missing_may_come_with_more_samples() -> None:
    none = {"attacked": {"intervals": {}, "read": lambda: None}}
    gate = Gate(ARP, escalate={"samples": 1024})
    assert following(gate.at(1, 20.0, **none)) == 2
    last = gate.at(3, 20.0, **none)
    assert (last.status, following(last)) == ("failed", None)


STATUSES = ("pass", "fail", "error", "inconclusive", "no_baseline", "waived", "warn")


@given(
    plan=st.sampled_from(
        [
            looks(256),
            looks(64, escalate={"effort": 4}),
            looks(256, escalate={"samples": 1024}),
            looks(256, escalate={"samples": 4096, "effort": 2}),
        ]
    ),
    place=st.floats(0, 1, exclude_max=True),
    states=st.lists(
        st.tuples(
            st.sampled_from(STATUSES),
            st.sampled_from(("arp", "metric", "health", "transferability")),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
    ),
    flags=st.sampled_from([(), ("more_steps_help",), ("full_range_survived",)]),
)
def test_looks_go_forward_and_never_take_back_a_failure(
    plan: tuple[Look, ...],
    place: float,
    states: list[tuple[str, str, bool, bool]],
    flags: tuple[str, ...],
) -> None:
    outcomes = [_made(*state) for state in states]
    severity = "error" if flags == ("full_range_survived",) else "warning"
    measured = evaluation(20.0, flags=[flag(code, severity) for code in flags])
    look = plan[int(place * len(plan))]
    said = Gate(ARP).at(1, 20.0).model_copy(update={"outcomes": outcomes})
    found = next_look(said, measured, look, plan)
    broken = any(
        one.level == "error" and one.status == "fail" and one.limit is not None and one.limit.strict
        for one in outcomes
    )
    if found is None:
        return
    assert found.number > look.number
    assert not broken
    assert any(one.level == "error" and one.status not in ("waived", "warn") for one in outcomes)


def _made(status: str, on: str, strict: bool, counting: bool) -> Outcome:
    limit = LimitSaid(bound="at_most", value=40, unit="%", relative=False, strict=strict)
    return Outcome.model_validate(
        {
            "rule": "made",
            "on": on,
            "level": "warn" if status == "warn" or not counting else "error",
            "status": status,
            "finding": status if status in ("pass", "inconclusive", "error", "no_baseline") else "fail",
            "message": "made up",
            "limit": None if on == "health" else limit,
        }
    )


def test_transferability_is_measured_once_whatever_comes_of_it() -> None:
    apart = {"name": "apart", "on": "transferability", "task": "left", "at_most": 0.5}
    for strict, value, status in (
        (True, 0.52, "inconclusive"),
        (True, 0.9, "failed"),
        (False, 0.9, "failed"),
        (False, 0.1, "passed"),
    ):
        gate = Gate({**apart, "strict": strict}, early=True, escalate={"samples": 1024, "effort": 4})
        found = evaluation(20.0, attacks=[PGD])
        transfer = transferred(transfer={"left": value}, intervals={"left": [value - 0.1, value + 0.1]})
        case = Case(measured=found, baseline=None, transfer=transfer, today=TODAY)
        verdict = case.decide_look(gate.file, gate.looks[0], gate.looks)
        assert (verdict.status, following(verdict)) == (status, None)


def test_without_a_baseline_more_samples_are_no_help() -> None:
    relative = {"name": "no worse", "on": "arp", "no_worse_than_baseline_by": 2}
    gate = Gate(relative, early=True, escalate={"samples": 1024, "effort": 4})
    verdict = gate.at(1, 20.0)
    assert (verdict.status, following(verdict)) == ("no_baseline", None)


def test_a_case_that_is_no_look_is_decided_by_itself() -> None:
    case = Case(measured=evaluation(20.0, attacks=[PGD]), baseline=None, transfer=None, today=TODAY)
    verdict = case.decide(gate_file().policy)
    assert (verdict.look, verdict.next, verdict.level, verdict.job) == (None, None, 0.95, UUID(int=1))


def test_intervals_are_wider_the_more_looks_there_are() -> None:
    few, many = Gate(ARP, escalate={"effort": 2}), Gate(ARP, escalate={"samples": 4096, "effort": 2})
    widths = []
    for gate in (few, many):
        (outcome,) = gate.at(1, 20.0).outcomes
        assert outcome.observed is not None
        assert outcome.observed.interval is not None
        low, high = outcome.observed.interval
        widths.append(high - low)
    assert widths[0] < widths[1]

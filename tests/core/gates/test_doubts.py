"""What the health checks hold against a verdict's numbers is in it once each, and in words in what people read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.gates import Verdict
from core.gates.rendering import junit, markdown, page, text
from core.gates.rendering.markdown import MAX_BYTES
from core.gates.verdict import Doubt
from tests.core.gates.made import Json, evaluation, flag, outcome, transferred, verdict

HEALTH: Json = {"on": "health"}
ARP: Json = {"on": "arp", "at_most": 90}
DOUBT = st.builds(
    Doubt,
    code=st.text(),
    severity=st.sampled_from(["error", "warning"]),
    message=st.text(),
    attacks=st.lists(st.text(), max_size=5),
    of_baseline=st.booleans(),
)


def masking(severity: str = "error") -> Json:
    return {**flag("zero_gradient", severity), "message": "the model masks its gradients"}


def with_doubts(*doubts: Doubt) -> Verdict:
    return verdict(HEALTH, evaluation(10)).model_copy(update={"doubts": list(doubts)})


def test_a_verdict_without_flags_has_no_doubts() -> None:
    found = verdict(HEALTH, evaluation(10))
    assert found.doubts == []
    for written in (text(found), markdown(found), page(found)):
        assert "health checks found" not in written


def test_the_same_flag_on_several_attacks_is_one_doubt_that_names_them() -> None:
    (doubt,) = verdict(HEALTH, evaluation(10, 20, attacked={"flags": [masking()]})).doubts
    assert (doubt.code, doubt.severity, doubt.message) == (
        "zero_gradient",
        "error",
        "the model masks its gradients",
    )
    assert len(doubt.attacks) == 2
    assert all("fgsm" in attack for attack in doubt.attacks)


@pytest.mark.parametrize("place", [{"clean": {"flags": [masking()]}}, {"flags": [masking()]}])
def test_a_flag_on_what_all_numbers_rest_on_names_no_attack(place: Json) -> None:
    (doubt,) = verdict(HEALTH, evaluation(10, **place)).doubts
    assert doubt.attacks == []


def test_errors_come_before_warnings_and_what_is_only_worth_knowing_is_left_out() -> None:
    flags = [flag("curious", "info"), flag("odd", "warning"), flag("broken")]
    found = verdict(HEALTH, evaluation(10, flags=flags))
    assert [doubt.code for doubt in found.doubts] == ["broken", "odd"]


def test_errors_of_the_baseline_and_of_the_transferability_job_are_doubts_too() -> None:
    baseline = evaluation(10, flags=[masking(), flag("odd", "warning")])
    transfer = transferred(flags=[flag("broken")], label="pgd/single:each/eps=8")
    found = verdict(HEALTH, evaluation(10), baseline, transfer=transfer)
    assert [(doubt.code, doubt.of_baseline, doubt.attacks) for doubt in found.doubts] == [
        ("broken", False, ["pgd/single:each/eps=8"]),
        ("zero_gradient", True, []),
    ]


def test_a_doubt_decides_nothing() -> None:
    assert verdict(ARP, evaluation(10, flags=[flag("odd", "warning")])).status == "passed"


def test_a_broken_rule_on_health_says_what_the_flags_mean() -> None:
    found = outcome(HEALTH, evaluation(10, flags=[masking(), flag("broken")]))
    assert found.message == (
        "the evaluation has errors: zero_gradient (the model masks its gradients); broken (do not trust)"
    )
    assert found.flags == ["zero_gradient", "broken"]
    assert "the model masks its gradients" in junit(verdict(HEALTH, evaluation(10, flags=[masking()])))


def test_people_read_what_a_flag_means_and_on_which_attacks_it_was_raised() -> None:
    arps = [10 + number for number in range(5)]
    found = verdict(ARP, evaluation(*arps, attacked={"flags": [masking("warning")]}))
    for written in (text(found), markdown(found), page(found)):
        assert "the model masks its gradients; on fgsm/" in written
        assert "2 more" in written


@given(st.lists(DOUBT, max_size=4))
def test_doubts_break_no_format(doubts: list[Doubt]) -> None:
    found = with_doubts(*doubts)
    lines = text(found).splitlines()
    assert len(lines) == len(found.outcomes) + len(doubts) + 1
    assert len(page(found).split("<li>")) == len(doubts) + 1
    assert len(markdown(found).splitlines()) - len(markdown(with_doubts()).splitlines()) in (
        0,
        3 + len(doubts),
    )


def test_a_summary_with_very_many_doubts_is_cut_and_says_so() -> None:
    doubts = [Doubt(code=f"code {number}", severity="error", message="x" * 500) for number in range(2_000)]
    written = markdown(with_doubts(*doubts))
    assert len(written.encode()) <= MAX_BYTES
    assert "more findings are left out" in written

"""Leave to break a rule for a while."""

from datetime import date, timedelta

import pytest

from tests.core.gates.made import TODAY, Json, evaluation, flag, verdict

BROKEN: Json = {"on": "arp", "at_most": 10}
KEPT: Json = {"on": "arp", "at_most": 60}


def waiver(expires: date, rule: str = "rule 0") -> Json:
    return {"rule": rule, "reason": "the camera team knows", "expires": expires.isoformat()}


def days(count: int) -> date:
    return TODAY + timedelta(days=count)


@pytest.mark.parametrize("count", [0, 1, 14, 15, 400])
def test_until_it_ends_a_broken_rule_does_not_count(count: int) -> None:
    found = verdict(BROKEN, evaluation(20.0), waivers=[waiver(days(count))])
    (outcome,) = found.outcomes
    assert (found.status, outcome.status, outcome.finding) == ("passed", "waived", "fail")
    assert outcome.waiver is not None
    assert outcome.waiver.reason == "the camera team knows"
    assert [note.code for note in found.notes] == (["waiver_expires_soon"] if count <= 14 else [])


def test_then_it_counts_again_and_that_is_said() -> None:
    found = verdict(BROKEN, evaluation(20.0), waivers=[waiver(days(-1))])
    assert (found.status, found.outcomes[0].status, found.outcomes[0].waiver) == ("failed", "fail", None)
    assert [note.code for note in found.notes] == ["waiver_expired"]
    assert "ended on 2026-04-30" in found.notes[0].message


def test_one_for_no_rule_is_said() -> None:
    found = verdict(BROKEN, evaluation(20.0), waivers=[waiver(days(90), "rule O")])
    assert (found.status, [note.code for note in found.notes]) == ("failed", ["waiver_unknown_rule"])
    assert "did you mean 'rule 0'?" in found.notes[0].message


def test_one_that_is_not_needed_is_said_and_hides_no_pass() -> None:
    found = verdict(KEPT, evaluation(20.0), waivers=[waiver(days(3))])
    assert (found.outcomes[0].status, found.outcomes[0].waiver) == ("pass", None)
    assert [note.code for note in found.notes] == ["waiver_not_needed"]


def test_it_covers_what_is_unreliable_or_cannot_be_decided() -> None:
    given = [waiver(days(90))]
    unreliable = verdict(KEPT, evaluation(20.0, flags=[flag("masked")]), waivers=given).outcomes[0]
    assert (unreliable.status, unreliable.finding, unreliable.flags) == ("waived", "error", ["masked"])
    close = verdict({**KEPT, "at_most": 20.5}, evaluation(20.0), waivers=given)
    assert (close.status, close.outcomes[0].finding) == ("passed", "inconclusive")
    alone = verdict({"on": "ara", "at_least": 0}, evaluation(20.0), waivers=given)
    assert (alone.status, alone.outcomes[0].finding) == ("passed", "no_baseline")

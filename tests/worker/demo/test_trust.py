"""The verdict on each model's numbers names every objection, and says so where there is none."""

from tests.worker.demo.evaluations import evaluated, flag
from worker.demo.findings import Findings
from worker.demo.shown import TIED
from worker.demo.trust import count_flags, verdict


def test_without_flags_there_is_nothing_to_object() -> None:
    found = verdict(Findings(evaluated()))
    assert found.sentence == "Nothing to object: no check found an error or a warning."
    assert found.objections == []


def test_what_is_worth_knowing_is_shown_and_is_no_objection() -> None:
    raised = flag("info", code="one_task_decides", share=0.83, task="depth")
    found = verdict(Findings(evaluated(flags=[raised])))
    assert found.sentence.startswith("Nothing to object")
    (objection,) = found.objections
    assert (objection.name, objection.details) == ("worth knowing", "share 83%; task depth")


def test_errors_come_first_and_make_the_numbers_unreliable() -> None:
    flags = [
        flag("warning", share={"left": 0.5, "right": 0.25}),
        flag("error", code="masked", difference=[1.0, 3.25]),
    ]
    found = verdict(Findings(evaluated(flags=flags)))
    assert found.sentence == "Not as they are: 1 error and 1 warning."
    assert [(objection.severity, objection.details) for objection in found.objections] == [
        ("error", f"difference [1.0,{TIED}3.2]"),
        ("warning", "share left 50% and right 25%"),
    ]
    assert found.objections[0].message == "Something is wrong: masked."


def test_a_flag_on_several_attacks_is_one_objection_of_its_gravest_severity() -> None:
    changes = {
        "apgd/total/eps=4": {"flags": [flag("info", samples=3, share=0.03)]},
        "apgd/total/eps=8": {"flags": [flag("warning", samples=30, share=0.3)]},
        "auto_mta/eps=8": {"flags": [flag("info", samples=2, share=0.02)]},
    }
    model = Findings(evaluated(changes=changes))
    assert count_flags(model) == {"error": 0, "warning": 1, "info": 0}
    (objection,) = verdict(model).objections
    assert (objection.severity, objection.details) == ("warning", "3 of 36 attacks, on up to 30 of 96 images")


def test_what_the_checks_reached_is_said() -> None:
    assert verdict(Findings(evaluated())).checks == (
        "ARP on the 16 images of the checks: 37.5 by apgd/total/eps=8, 38.0 with twice the steps, 0.8 by random signs "
        "and 150.0 without a bound."
    )


def test_what_rounding_to_8_bits_changes_is_said_where_it_can_be_seen() -> None:
    assert "the ARP of no attack changes by 0.5 points or more" in verdict(Findings(evaluated())).rounding
    model = evaluated(changes={"apgd/gb_mta/eps=8": {"arp_8bit": 40.0}, "auto_mta/eps=8": {"arp_8bit": 51.9}})
    assert verdict(Findings(model)).rounding == (
        "Rounded to 8 bits, the ARP of 2 of 36 attacks changes by 0.5 points or more, "
        "most for APGD GB-MTA at ε = 8: from 42.4 to 40.0."
    )

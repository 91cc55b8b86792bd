"""The language of policies: what is refused, where, and what may have been meant."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from core.specs.attack import AttackSpec
from core.specs.document import first_error
from core.specs.policies import AttackMatch, GatePolicy, Limit
from tests.core.gates.made import Json, policy

ARP: Json = {"name": "strong", "on": "arp", "at_most": 60}


def refused(document: Any) -> tuple[str, str]:
    """Where the first thing is that is wrong with a policy, and what."""
    with pytest.raises(ValidationError) as caught:
        GatePolicy.model_validate(document)
    error = first_error(caught.value)
    return error.field, str(error)


def with_rules(*rules: Any, **more: Any) -> Json:
    return {"version": 1, "rules": list(rules), **more}


@pytest.mark.parametrize(
    ("document", "place", "said"),
    [
        (with_rules({**ARP, "at_mots": 3}), "rules.0.at_mots", "did you mean 'at_most'?"),
        (with_rules({**ARP, "on": "apr"}), "rules.0.on", "did you mean 'arp'?"),
        (with_rules({"name": "x"}), "rules.0.on", "robust_gain, transferability, health"),
        (with_rules({**ARP, "on": ["arp"]}), "rules.0.on", "on says what the rule is about"),
        (with_rules(ARP | {"attacks": {"algorithm": "apdg"}}), "rules.0.attacks.algorithm", "'apgd'"),
        (with_rules(ARP | {"attacks": {"objective": "gb_mat"}}), "rules.0.attacks.objective", "'gb_mta'"),
        (with_rules(ARP | {"attacks": {"esp": 8}}), "rules.0.attacks.esp", "did you mean 'eps'?"),
        (with_rules(ARP | {"attacks": {"eps": 0}}), "rules.0.attacks.eps", "greater than 0"),
        (
            with_rules(ARP | {"attacks": {"min_steps": 0}}),
            "rules.0.attacks.min_steps",
            "greater than or equal",
        ),
        (
            with_rules({"name": "x", "on": "transferability", "no_worse_than_baseline_by": 3}),
            "rules.0.no_worse_than_baseline_by",
            "no field",
        ),
        (with_rules({"name": "x", "on": "transferability"}), "rules.0", "this has none"),
        (with_rules(ARP | {"at_most": None}), "rules.0", "this has none"),
        (with_rules(ARP | {"at_least": 3}), "rules.0", "this has at_most and at_least"),
        (with_rules(ARP | {"at_most": float("nan")}), "rules.0.at_most", "finite"),
        (with_rules(ARP | {"level": "fatal"}), "rules.0.level", "'error' or 'warn'"),
        (with_rules({"name": "x", "on": "ara", "at_most": 3}), "rules.0.at_most", "no field 'at_most'"),
        (with_rules({"name": "x", "on": "health", "strict": True}), "rules.0.strict", "no field 'strict'"),
        (
            with_rules({"name": "x", "on": "metric", "task": "left", "metric": "acuracy", "at_least": 3}),
            "rules.0.metric",
            "did you mean 'accuracy'?",
        ),
        (with_rules(ARP, ARP), "rules.1.name", "'strong' is there twice"),
        (with_rules(5), "rules.0", "dictionary"),
        (with_rules(), "rules", "at least 1"),
        (with_rules(ARP, ruels=[]), "ruels", "did you mean 'rules'?"),
        ({"version": 2, "rules": [ARP]}, "version", "1"),
        (
            with_rules(ARP, waivers=[{"rule": "strong", "expires": "2026-01-01"}]),
            "waivers.0.reason",
            "required",
        ),
        (
            with_rules(ARP, waivers=[{"rule": "strong", "reason": "x", "expires": "soon"}]),
            "waivers.0.expires",
            "date",
        ),
        (
            with_rules(ARP, waivers=[{"rule": "strong", "reason": "x", "expires": "2026-01-01"}] * 2),
            "waivers.1.rule",
            "'strong' is there twice",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(document: Json, place: str, said: str) -> None:
    field, message = refused(document)
    assert field == place
    assert said in message


def test_several_mistakes_are_all_named() -> None:
    with pytest.raises(ValidationError) as caught:
        GatePolicy.model_validate(with_rules({**ARP, "at_most": "many", "strict": "perhaps"}, {"on": "arpp"}))
    places = [error["loc"] for error in caught.value.errors()]
    assert places == [("rules", 0, "strict"), ("rules", 0, "at_most"), ("rules", 1)]


def test_a_policy_is_strict_and_about_all_attacks_unless_said() -> None:
    written = {**ARP, "strict": True, "level": "error", "attacks": {}}
    assert GatePolicy.model_validate(with_rules(ARP)).digest() == policy(written).digest()


def test_no_worse_on_ara_is_a_lower_bound() -> None:
    rules = policy(
        {"on": "ara", "no_worse_than_baseline_by": 3}, {"on": "ara", "at_least": -3}, {"on": "health"}
    ).rules
    assert [getattr(rule, "limit", None) for rule in rules] == [
        Limit("at_least", -3),
        Limit("at_least", -3),
        None,
    ]


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ({}, True),
        ({"algorithm": "pgd"}, True),
        ({"algorithm": "apgd"}, False),
        ({"objective": "gb_mta"}, True),
        ({"algorithm": "pgd", "eps": 8}, True),
        ({"algorithm": "pgd", "eps": 4}, False),
        ({"eps": 8, "norm": "l2"}, False),
    ],
)
def test_an_attack_matches_by_all_that_is_said(wanted: Json, matches: bool) -> None:
    assert (
        AttackMatch.model_validate(wanted).matches(AttackSpec(algorithm="pgd", eps=8).resolved()) is matches
    )


@pytest.mark.parametrize(
    ("attack", "least"),
    [
        ({"algorithm": "pgd", "steps": 49}, 49),
        ({"algorithm": "apgd", "steps": 50}, 50),
        ({"algorithm": "pgd"}, AttackSpec(algorithm="pgd", eps=8).resolved().steps),
        ({"algorithm": "fgsm"}, 1),
        ({"algorithm": "uniform_noise"}, 0),
    ],
)
def test_an_attack_has_at_least_as_many_steps_as_it_takes(attack: Json, least: int) -> None:
    found = AttackSpec(eps=8, **attack).resolved()
    assert [steps for steps in (1, 49, 50, 500) if AttackMatch(min_steps=steps).matches(found)] == [
        steps for steps in (1, 49, 50, 500) if steps <= least
    ]


def test_what_is_said_of_attacks_reads_as_words() -> None:
    said = AttackMatch(algorithm="apgd", eps=8, min_steps=50)
    assert said.text == "algorithm apgd, eps 8, at least 50 steps"
    assert AttackMatch(min_steps=1).text == "at least 1 step"


def test_the_order_of_raised_tasks_does_not_matter() -> None:
    attack = AttackSpec(algorithm="pgd", eps=8, objective="stealth:b+a").resolved()
    assert AttackMatch(objective="stealth:a+b").matches(attack)
    assert AttackMatch(objective="stealth:b+a").matches(attack)


def test_every_field_is_described() -> None:
    schema = GatePolicy.model_json_schema()
    assert sorted(_undescribed(schema)) == []
    assert schema["$defs"]["ArpRule"]["description"].startswith("How much attacks harm the model")


def _undescribed(schema: Json) -> Iterator[str]:
    for name, part in [("GatePolicy", schema), *schema["$defs"].items()]:
        for field, value in part.get("properties", {}).items():
            if "description" not in value:
                yield f"{name}.{field}"

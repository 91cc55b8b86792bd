"""A gate's samples are drawn: in one order for all looks, unless its file says not."""

from dataclasses import replace
from typing import Any

import pytest

from core.datasets import DATASETS
from core.gates.plan import GatePlan, plan_gate
from core.gates.policy_file import GateFileError, read_gate_file
from core.specs.documents import TransferabilitySpec
from core.specs.gate_file import GateFile, gate_file_schema
from core.tasks import profile
from tests.core.gates.made import Json, evaluation, transferred, verdict

DIGITS = DATASETS["digits"]
MODEL = "00000000-0000-0000-0000-000000000007"
TEXT = """\
version: 1
model: {file: a.pt, manifest: {profile: digits}}
dataset: {name: digits, shuffle: SHUFFLE}
suite: standard
rules: [{name: robust, on: arp, at_most: 40}]
"""


def gate_file(**dataset: Any) -> GateFile:
    document: Json = {
        "version": 1,
        "model": {"file": "a.pt"},
        "dataset": {"name": "digits", **dataset},
        "suite": "standard",
        "rules": [
            {"name": "robust", "on": "arp", "at_most": 40},
            {"name": "apart", "on": "transferability", "at_most": 1},
        ],
    }
    return GateFile.model_validate(document)


def plan(**dataset: Any) -> GatePlan:
    return plan_gate(gate_file(**dataset), profile("digits").tasks, DIGITS)


def test_a_gate_draws_its_samples_unless_its_file_says_not() -> None:
    for said, shuffle in (({}, 0), ({"shuffle": 5}, 5), ({"shuffle": None}, None)):
        planned = plan(**said)
        assert {look.evaluation.dataset.shuffle for look in planned.looks} == {shuffle}
        assert planned.transferability is not None
        assert planned.transferability.dataset.shuffle == shuffle
        assert gate_file(**said).model_dump(mode="json")["dataset"]["shuffle"] == shuffle


def test_a_file_that_takes_the_given_order_asks_for_what_it_always_did() -> None:
    (look, *_) = plan(shuffle=None).looks
    asked = look.evaluation.model_dump(mode="json")["dataset"]
    assert asked == {"name": "digits", "version": "1", "split": "test", "limit": 64}


def test_looks_in_another_order_are_no_looks() -> None:
    planned, others = plan(), (plan(shuffle=None), plan(shuffle=1))
    assert all(planned.look_of(look.evaluation) == look for look in planned.looks)
    for other in others:
        assert [planned.look_of(look.evaluation) for look in other.looks] == [None] * len(other.looks)


def test_a_transferability_job_in_another_order_is_not_the_files() -> None:
    planned = plan()

    def asked(of: GatePlan) -> TransferabilitySpec:
        assert of.transferability is not None
        spec = of.transferability.model_dump()
        return TransferabilitySpec.model_validate({**spec, "kind": "transferability", "models": [MODEL]})

    assert planned.is_transferability(asked(planned))
    assert not planned.is_transferability(asked(plan(shuffle=None)))


def test_a_rule_on_transferability_needs_the_evaluations_order() -> None:
    transfer = transferred()
    drawn = replace(transfer, dataset={**transfer.dataset, "shuffle": 0})
    (outcome,) = verdict(
        {"on": "transferability", "task": "left", "at_most": 0.5}, evaluation(20.0), transfer=drawn
    ).outcomes
    assert outcome.status == "error"
    assert "different data sets" in outcome.message


@pytest.mark.parametrize(("written", "shuffle"), [("null", None), ("~", None), ("7", 7)])
def test_the_order_is_read_from_yaml(written: str, shuffle: int | None) -> None:
    assert read_gate_file(TEXT.replace("SHUFFLE", written)).file.dataset.shuffle == shuffle


@pytest.mark.parametrize("written", ["false", "true", "no", "0.5", "-1", "4294967296"])
def test_what_is_no_seed_is_refused_at_its_place(written: str) -> None:
    """`false` is not 0, which would draw."""
    with pytest.raises(GateFileError) as refused:
        read_gate_file(TEXT.replace("SHUFFLE", written))
    (problem,) = refused.value.problems
    assert (problem.pointer, problem.place.line) == ("#/dataset/shuffle", 3)


def test_the_schema_says_so() -> None:
    schema = gate_file_schema()
    field = schema["$defs"]["GatedSamples"]["properties"]["shuffle"]
    assert field["default"] == 0
    assert {"type": "null"} in field["anyOf"]
    assert "random draw" in field["description"]

"""`shuffle` in a spec: documents without it are what they were before there was any, byte for byte."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.datasets import DATASETS
from core.specs.document import Document
from core.specs.documents import DatasetRef, EvaluationSpec, TransferabilitySpec
from core.specs.trainings import TrainingData, TrainingSpec

MODEL = "00000000-0000-0000-0000-000000000007"
EVALUATION = {
    "kind": "evaluation",
    "model": MODEL,
    "dataset": {"name": "digits", "limit": 64},
    "attacks": [{"algorithm": "pgd", "objective": "gb_mta", "eps": 8}],
}
TRANSFERABILITY = {
    "kind": "transferability",
    "models": [MODEL],
    "dataset": {"name": "digits"},
    "attack": {"algorithm": "pgd", "eps": 8},
}
TRAINING = {
    "kind": "training",
    "model": MODEL,
    "dataset": {"name": "digits"},
    "recipe": {"preset": "paper"},
    "evaluation": {"dataset": {"name": "digits"}, "attacks": [{"algorithm": "fgsm", "eps": 8}]},
}


@pytest.mark.parametrize(
    ("kind", "said", "digest"),
    [
        (EvaluationSpec, EVALUATION, "27cc129e4b120f5ceb8d69b654dc6894c52ba6e7fcef965a0f0a7eca43a12d06"),
        (
            TransferabilitySpec,
            TRANSFERABILITY,
            "a2f8ddf4bb79e3a2e86aefed06a99577f54e1d19ceaf352c3ea8d64b04b8727d",
        ),
        (TrainingSpec, TRAINING, "6ffbcf8cfbcafabb411069dc004aaa2bd5c934d32b035ca6d4526a9747087947"),
    ],
)
def test_a_spec_without_it_has_the_digest_of_before(
    kind: type[Document], said: dict[str, Any], digest: str
) -> None:
    assert kind.model_validate(said).digest() == digest
    null = {**said, "dataset": {**said["dataset"], "shuffle": None}}
    assert kind.model_validate(null).digest() == digest
    assert kind.model_validate({**said, "dataset": {**said["dataset"], "shuffle": 0}}).digest() != digest


def test_a_stored_spec_of_before_is_read_and_stored_as_it_was() -> None:
    stored = {"name": "digits", "version": "1", "split": "test", "limit": 64}
    read = DatasetRef.model_validate(stored)
    assert read.shuffle is None
    assert read.model_dump(mode="json") == stored
    assert read.pinned(DATASETS["digits"]).model_dump(mode="json") == stored
    assert DatasetRef.model_validate({**stored, "shuffle": 3}).model_dump() == {**stored, "shuffle": 3}


@pytest.mark.parametrize("shuffle", [-1, 2**32, 0.5, True, "0"])
def test_a_seed_is_a_whole_number_of_32_bits(shuffle: object) -> None:
    for kind in (DatasetRef, TrainingData):
        with pytest.raises(ValidationError, match="shuffle"):
            kind.model_validate({"name": "digits", "shuffle": shuffle})
        assert kind.model_validate({"name": "digits", "shuffle": 2**32 - 1}).shuffle == 2**32 - 1

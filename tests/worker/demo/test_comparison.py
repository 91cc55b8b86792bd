"""The demo asks for attacks that the service takes."""

from uuid import UUID

import pytest

from core.datasets import DATASETS
from core.specs.documents import EvaluationSpec
from worker.demo.findings import AUTO_MTA
from worker.demo.models import DEMO_MODELS, DemoModel
from worker.demo.run import FULL, QUICK, Comparison


@pytest.mark.parametrize("comparison", [FULL, QUICK])
@pytest.mark.parametrize("demo", DEMO_MODELS, ids=lambda demo: demo.name)
def test_every_shipped_model_can_be_attacked_as_asked(demo: DemoModel, comparison: Comparison) -> None:
    spec = EvaluationSpec.model_validate(comparison.spec(demo, str(UUID(int=1))))
    spec.check_model(demo.manifest, DATASETS[demo.dataset])
    assert spec.dataset.pinned(DATASETS[demo.dataset]).samples == spec.dataset.limit
    assert {attack.eps for attack in spec.attacks} == set(comparison.eps)


def test_auto_mta_has_no_more_steps_than_what_it_is_compared_with() -> None:
    attacks = FULL.attacks(["depth"])
    assert {attack["steps"] for attack in attacks if "steps" in attack} == {FULL.steps}
    assert any(attack["algorithm"] == AUTO_MTA for attack in attacks)

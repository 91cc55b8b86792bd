"""Attacks on multi-task models: threat model, objectives, algorithms."""

from core.attacks.run import AttackOutcome, run_attack
from core.specs.attack import AttackSpec
from core.specs.fitting import attacked_tasks

__all__ = ["AttackOutcome", "AttackSpec", "attacked_tasks", "run_attack"]

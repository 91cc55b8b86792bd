"""Attacks on multi-task models: threat model, objectives, algorithms."""

from core.attacks.run import AttackOutcome, attacked_tasks, run_attack
from core.specs.attack import AttackSpec

__all__ = ["AttackOutcome", "AttackSpec", "attacked_tasks", "run_attack"]

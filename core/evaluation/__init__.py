"""From a model and attacks to numbers: per-sample statistics, metrics, ARP, intervals, transferability, health."""

from core.arp import Arp, average_relative_performance
from core.evaluation.evaluate import EvaluationResult, evaluate
from core.evaluation.health import Flag, attack_flags
from core.evaluation.metrics import all_metrics, metric_values
from core.evaluation.shard import Cost, Plan, evaluate_plan, evaluate_shard
from core.evaluation.statistics import Statistics, take_statistics
from core.evaluation.tally import AttackResult, Tally
from core.evaluation.transfer import TransferResult, evaluate_transferability
from core.evaluation.transferability import Transferability, transferability

__all__ = [
    "Arp",
    "AttackResult",
    "Cost",
    "EvaluationResult",
    "Flag",
    "Plan",
    "Statistics",
    "Tally",
    "TransferResult",
    "Transferability",
    "all_metrics",
    "attack_flags",
    "average_relative_performance",
    "evaluate",
    "evaluate_plan",
    "evaluate_shard",
    "evaluate_transferability",
    "metric_values",
    "take_statistics",
    "transferability",
]

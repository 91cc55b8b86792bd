"""From a model and attacks to numbers: per-sample statistics, metrics, ARP."""

from core.evaluation.arp import Arp, average_relative_performance
from core.evaluation.evaluate import AttackResult, EvaluationResult, evaluate, score
from core.evaluation.metrics import all_metrics, metric_values
from core.evaluation.shard import Cost, evaluate_shard
from core.evaluation.statistics import Statistics, take_statistics

__all__ = [
    "Arp",
    "AttackResult",
    "Cost",
    "EvaluationResult",
    "Statistics",
    "all_metrics",
    "average_relative_performance",
    "evaluate",
    "evaluate_shard",
    "metric_values",
    "score",
    "take_statistics",
]

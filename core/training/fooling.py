"""Whether and when a sample is fooled, judged from the losses and predictions that a step has anyway."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import assert_never

import torch
from torch import Tensor

from core.data.batch import Batch
from core.evaluation.metrics import metric_arrays
from core.evaluation.statistics import task_statistics
from core.losses import labels_of, prediction_of
from core.specs.training import Fooled, FooledWhen
from core.tasks import Task

NOT_JUDGED = -1


class Judge:
    """Applies each task's rule, and puts the tasks' verdicts together.

    Args:
        fooled: the rules; `Fooled.check` has been asked.
        tasks: those that are judged.
        batch: the samples' labels.
    """

    def __init__(self, fooled: Fooled, tasks: Sequence[Task], batch: Batch) -> None:
        self._fooled = fooled
        self._rules = [(task, fooled.rule_of(task)) for task in tasks]
        self._batch = batch
        device = batch.images.device
        self._threshold = torch.tensor([[rule.rise] for _, rule in self._rules], device=device)
        self._floor = torch.tensor([[rule.least] for _, rule in self._rules], device=device)

    @property
    def relative(self) -> bool:
        """Whether any task is judged by what its loss rose by."""
        return any(rule.by == "rise" for _, rule in self._rules)

    def keep(self, rows: Tensor) -> None:
        """Let the other samples go."""
        if any(rule.by != "rise" for _, rule in self._rules):
            self._batch = self._batch.select(rows)

    def scores(self, losses: Tensor, clean: Tensor, predictions: Mapping[str, Tensor]) -> Tensor:
        """[tasks, N], 1 or more where a task is fooled; NaN, which is not, where its loss is.

        Args:
            losses: [tasks, N] at the attacked images.
            clean: the same at the clean ones.
            predictions: by task, at the attacked images.
        """
        scores = (losses - clean) / (self._threshold * clean.maximum(self._floor))
        for place, (task, rule) in enumerate(self._rules):
            if rule.by != "rise":
                prediction = prediction_of(task, predictions, samples=losses.shape[1]).detach()
                scores[place] = self._verdict(task, rule, prediction).to(scores)
        return scores

    def together(self, scores: Tensor, counted: Tensor) -> Tensor:
        """[N] bool, the verdict over a sample's tasks; a sample that no task counts for has nothing left to lose.

        Args:
            scores: [tasks, N].
            counted: [tasks, N] bool; a task that a sample has no labels for is left out of its verdict.
        """
        fooled = (scores >= 1) & counted
        number = counted.sum(0)
        match self._fooled.aggregate:
            case "all":
                verdict = fooled.sum(0) == number
            case "any":
                verdict = fooled.any(0)
            case "count":
                verdict = fooled.sum(0) >= number.clamp_max(self._fooled.count or 0)
            case "mean":
                verdict = torch.where(counted, scores, 0.0).sum(0) >= number
            case unknown:
                assert_never(unknown)
        return verdict | (number == 0)

    def _verdict(self, task: Task, rule: FooledWhen, prediction: Tensor) -> Tensor:
        """[N] bool, under a rule that looks at predictions."""
        label, mask = labels_of(task, self._batch)
        if rule.by == "label":
            return prediction.argmax(1) != label
        assert rule.metric is not None
        assert rule.threshold is not None
        asked = replace(task, metrics=(rule.metric,))
        counts = task_statistics(asked, prediction, label, mask)
        totals = {name: values.cpu().double().numpy() for name, values in counts.items()}
        value = torch.from_numpy(metric_arrays(asked, totals)[rule.metric])
        better = rule.worse(task)
        return value <= rule.threshold if better == "higher" else value >= rule.threshold


class Record:
    """When the samples of a batch were fooled, and when each is to be let go.

    Args:
        counted: [tasks, N] bool, whether a sample has labels for a task.
        steps, tau: K, and how many a sample still takes once it is fooled.

    Attributes:
        seen: [tasks, N] int64, steps after which a task was first seen fooled: K where it was not, -1 where it does
            not count.
        until: [N] int64, steps that a sample is to take.
    """

    def __init__(self, counted: Tensor, *, steps: int, tau: int) -> None:
        self.counted = counted
        self.seen = torch.where(counted, steps, NOT_JUDGED)
        self.until = torch.full_like(self.seen[0], steps)
        self._first = self.until
        self._steps, self._tau = steps, tau

    def note(self, step: int, fooled: Tensor, together: Tensor) -> None:
        """After so many steps these tasks [tasks, N] and these samples [N] are fooled."""
        self.seen = torch.where(fooled, self.seen.clamp_max(step), self.seen)
        self._first = torch.where(together, self._first.clamp_max(step), self._first)
        self.until = (self._first + self._tau).clamp_max(self._steps)

    @property
    def fooled(self) -> Tensor:
        """[N] bool: the samples that have been fooled, all in all."""
        return self._first < self._steps

    def keep(self, rows: Tensor) -> None:
        """Let the other samples go."""
        self.counted, self.seen = self.counted[:, rows], self.seen[:, rows]
        self.until, self._first = self.until[rows], self._first[rows]

"""What rules on transferability are about, read off a transferability job."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from core.gates.measured import Measured, MeasuredTransfer
from core.gates.reading import Obstacle, Reading, unreliable
from core.specs.policies import TransferabilityRule
from core.specs.suggestions import unknown


def transferred(
    rule: TransferabilityRule, measured: Measured, transfer: MeasuredTransfer | None
) -> Iterator[Reading]:
    """A rule's numbers, one for each attacked task that it is about."""
    of = "" if rule.task is None else f" of {rule.task}"
    refused = _unfit(transfer, measured)
    if transfer is None or refused:
        yield Reading(
            subject=f"transferability{of}", unit="", obstacle=Obstacle(finding="error", message=refused)
        )
        return
    names = [task.name for task in measured.tasks]
    flags = [flag for flag in transfer.flags if flag["severity"] == "error"]
    for task in names if rule.task is None else [rule.task]:
        bare = Reading(
            subject=f"transferability of {task} under {transfer.label}",
            attack=transfer.label,
            samples=transfer.samples,
            unit="",
            observed=transfer.number(task),
        )
        if flags:
            yield replace(bare, obstacle=unreliable(flags, "the transferability job"))
        elif missing := unknown("task", task, names) if task not in names else _undefined(task, transfer):
            yield replace(bare, obstacle=Obstacle(finding="error", message=missing))
        else:
            yield bare


def _unfit(transfer: MeasuredTransfer | None, measured: Measured) -> str:
    """Why a transferability job says nothing about what was evaluated; "" if it does."""
    if transfer is None:
        return "no transferability job was given to the verdict"
    if transfer.model != measured.model:
        return "the transferability job is of another model"
    differing = [
        name
        for name, mine, theirs in (
            ("data sets", _split(measured.dataset), _split(transfer.dataset)),
            ("metric rules", measured.metric_rules, transfer.metric_rules),
        )
        if mine != theirs
    ]
    if differing:
        return f"the evaluation and the transferability job have different {' and '.join(differing)}"
    return ""


def _split(dataset: Mapping[str, Any]) -> tuple[object, ...]:
    """What the samples are of, and in which order they are taken; how many, each job says for itself."""
    return tuple(dataset.get(name) for name in ("name", "version", "split", "shuffle"))


def _undefined(task: str, transfer: MeasuredTransfer) -> str:
    """Why a task has no transferability that can be relied on; "" if it has."""
    if task in transfer.undefined:
        return transfer.undefined[task]
    if task not in transfer.transfer:
        return "the transferability job did not attack it"
    return "it divides by an ARP that may as well be 0" if task in transfer.unstable else ""

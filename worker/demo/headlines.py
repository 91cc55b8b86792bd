"""How the attacks stand, in sentences: headline, cards, what AUTO-MTA settled on; each difference has its interval.

An attack is called stronger than another only where the interval of their difference leaves no doubt.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.intervals import Interval
from worker.demo.findings import AUTO_MTA, Attack, Difference, Findings
from worker.demo.shown import (
    NONE,
    algorithm_name,
    attack_name,
    counted,
    listed,
    number,
    percent,
    sizes,
    span,
    way_name,
)

MOST_NAMED = 3
"""Attacks level with the highest ARP, beyond which it is not worth a name."""


@dataclass(frozen=True, slots=True)
class Card:
    """What stands out about one model, at its largest eps."""

    title: str
    arp: str
    interval: str
    sentences: list[str]


def headline(models: Sequence[Findings]) -> str:
    """On how many models AUTO-MTA is the strongest attack."""
    leads = [lead for model in models if (lead := _auto_mta(model)) is not None]
    if not leads:
        return "How far attacks move multi-task models"
    wins = sum(lead.is_told and lead.points > 0 for lead in leads)
    level = sum(not lead.is_told for lead in leads)
    largest = {model.largest for model in models}
    at = f"at ε = {largest.pop():g}" if len(largest) == 1 else "at the largest ε"
    if len(leads) == 1:
        place = (
            "the strongest attack" if wins else "level with another" if level else "not the strongest attack"
        )
        return f"AUTO-MTA is {place} on “{models[0].title}” {at}"
    return f"AUTO-MTA is the strongest attack on {_share(wins, level, len(leads))} {at}"


def _auto_mta(model: Findings) -> Difference | None:
    """AUTO-MTA less the strongest fixed attack."""
    pairs = ((one, other) for one, other in model.spoken_of() if one.algorithm == AUTO_MTA)
    return next((model.difference(*pair) for pair in pairs), None)


def _share(wins: int, level: int, models: int) -> str:
    """On how many of the models it is strongest, alone or level with another."""
    if wins == models:
        return f"all {models} models"
    tied = f", level with another on {level}," if level else ""
    return f"{wins or 'none'} of {models} models{tied}"


def card(model: Findings) -> Card:
    """A model's card."""
    top = model.strongest(model.largest)
    if top is None:
        known = any(attack.arp is not None for attack in model.attacks)
        why = "No attack does damage" if known else "No attack has an ARP"
        return Card(model.title, NONE, "", [f"{why} at ε = {model.largest:g}."])
    sentences = [f"{_lead(model, [model.largest])}."]
    for position, (one, other) in enumerate(model.spoken_of()):
        follows_on = position == 0 and sentences[0].startswith(attack_name(one))
        subject = "It" if follows_on else f"{attack_name(one)} ({number(one.arp)})"
        sentences.append(f"{subject} {_compared(one, other, model.difference(one, other))}.")
    sentences += _elsewhere(model)
    return Card(model.title, percent(top.arp), span(top.interval), sentences)


def _lead(model: Findings, at: Sequence[float]) -> str:
    """Who leads at these eps, where it is the same everywhere."""
    top, level = model.strongest(at[0]), model.level(at[0])
    assert top is not None
    if not level:
        return f"{attack_name(top)} is the strongest attack at ε = {sizes(at)}"
    if len(level) > MOST_NAMED:
        return f"No attack stands out at ε = {sizes(at)}"
    names = listed([attack_name(attack) for attack in level])
    return f"{attack_name(top)} has the highest ARP at ε = {sizes(at)}, not told from {names}"


def _compared(one: Attack, other: Attack, difference: Difference) -> str:
    """What one is, next to the best of those that it is compared with."""
    kind = "the strongest fixed attack" if one.algorithm == AUTO_MTA else "the best SINGLE"
    rival = attack_name(other) if one.algorithm == AUTO_MTA else other.task
    against = f"{kind}, {rival} ({number(other.arp)})"
    points, bounds = difference.points, difference.interval
    if not difference.is_told:
        apart = f"{number(points)} points {span(bounds)}" if bounds else "there is no interval"
        return f"cannot be told from {against}: {apart}"
    if points < 0 and bounds is not None:
        bounds = Interval(-bounds.high, -bounds.low)
    return f"is {number(abs(points))} points {span(bounds)} {'above' if points > 0 else 'below'} {against}"


def _elsewhere(model: Findings) -> Iterator[str]:
    """Who leads at the smaller eps, where it is not the attack that leads at the largest."""
    top = model.strongest(model.largest)
    assert top is not None
    leaders: dict[object, list[float]] = {}
    for eps in model.sizes[:-1]:
        there, level = model.strongest(eps), [attack.way for attack in model.level(eps)]
        if there is not None and top.way not in (there.way, *level):
            leaders.setdefault((there.way, *level), []).append(eps)
    return (f"{_lead(model, at)}." for at in leaders.values())


def settled(model: Findings) -> str:
    """What AUTO-MTA's search at the largest eps came to; empty without one."""
    attack = model.find(AUTO_MTA)
    search = model.results["searches"].get(str(attack.ordinal)) if attack else None
    if search is None:
        return ""
    chosen = listed([_candidate(finalist) for finalist in search["finalists"]])
    if not search["trials"]:
        return f"AUTO-MTA\N{RIGHT SINGLE QUOTATION MARK}s budget does not pay for a search: it ran {chosen}."
    tried = counted(len(search["trials"]), "attack")
    return f"AUTO-MTA tried {tried} on {search['samples']} other images and settled on {chosen}."


def _candidate(found: Mapping[str, Any]) -> str:
    attack, softness = found["attack"], found["softness"]
    raised = f"the tasks\N{RIGHT SINGLE QUOTATION MARK} {'losses' if softness is None else 'damage'}"
    details = [] if softness is None else [f"softness {softness:g}"]
    if attack["objective"] == "power":
        details.append(f"p = {attack['power']:g}")
    else:
        raised = way_name((attack["algorithm"], attack["objective"]))
    details += [f"{task} × {weight:g}" for task, weight in (attack.get("weights") or {}).items()]
    aside = f" ({', '.join(details)})" if details else ""
    return f"{algorithm_name(attack['algorithm'])} of {attack['steps']} steps on {raised}{aside}"

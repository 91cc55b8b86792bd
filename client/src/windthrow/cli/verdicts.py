"""A verdict for people: a table of its outcomes, what was not kept and why, and in the last line what it is."""

from typing import Any, Optional

from windthrow.cli.output import NONE, clean, print_table
from windthrow.records import Json

HEAD = ("status", "rule", "attack", "observed", "limit")


def show(verdict: Json, *, links: dict[str, Optional[str]]) -> None:
    """Print a verdict on standard output."""
    print_table(HEAD, [_row(outcome) for outcome in verdict["outcomes"]])
    print()
    for outcome in verdict["outcomes"]:
        if outcome.get("status") != "pass":
            print(clean(f"{outcome.get('status')}: {outcome.get('rule')}: {outcome.get('message')}"))
    for doubt in verdict.get("doubts") or ():
        print(clean(_doubt(doubt)))
    for note in verdict.get("notes") or ():
        print(clean(f"note: {note.get('message')}"))
    for name, value in {**_facts(verdict), **links}.items():
        if value:
            print(clean(f"{name}: {value}"))
    print(clean(f"{verdict['status']}: {verdict['message']}"))


def counts(verdict: Json) -> str:
    """How many outcomes of which status."""
    found = verdict.get("counts")
    return (
        ", ".join(f"{count} {status}" for status, count in found.items()) if isinstance(found, dict) else NONE
    )


def _row(outcome: Json) -> tuple[str, ...]:
    limit: Json = outcome.get("limit") or {}
    relative = bool(limit.get("relative"))
    number = outcome.get("worse_by" if relative else "observed")
    attack = str(outcome.get("attack") or NONE)
    observed = ("worse by " if relative and number else "") + _observed(number)
    return str(outcome.get("status")), str(outcome.get("rule")), attack, observed, _limit(limit)


def _observed(number: Any) -> str:
    if not isinstance(number, dict) or number.get("value") is None:
        return NONE
    interval = number.get("interval")
    between = f" [{_short(interval[0])}, {_short(interval[1])}]" if interval else ""
    return f"{_short(number['value'])} {number.get('unit') or ''}".rstrip() + between


def _limit(limit: Json) -> str:
    if not limit:
        return NONE
    bound = str(limit.get("bound")).replace("_", " ")
    return f"{bound} {_short(limit.get('value'))} {limit.get('unit') or ''}".rstrip()


def _doubt(doubt: Json) -> str:
    attacks = [str(attack) for attack in doubt.get("attacks") or ()]
    of = ", the baseline's" if doubt.get("of_baseline") else ""
    more = f" and {len(attacks) - 1} more" if len(attacks) > 1 else ""
    on = f"; on {attacks[0]}{more}" if attacks else ""
    return f"health {doubt.get('severity')}{of}: {doubt.get('code')}: {doubt.get('message')}{on}"


def _facts(verdict: Json) -> dict[str, Optional[str]]:
    look, baseline, level = verdict.get("look"), verdict.get("baseline"), verdict.get("level")
    model = f"{verdict.get('model_name') or ''} {verdict.get('model')}".strip()
    return {
        "model": model,
        "evaluation": str(verdict.get("job")),
        "baseline": f"{baseline.get('job')}, by {baseline.get('resolved_by')}" if baseline else None,
        "look": f"{look.get('number')} of {look.get('of')}, {look.get('samples')} samples" if look else None,
        "intervals": f"{100 * level:g} %" if isinstance(level, float) else None,
    }


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)

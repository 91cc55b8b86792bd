"""What the demo prints: ARP by attack, model and eps, and below it how sure that is."""

from collections.abc import Iterator, Sequence

from rich.console import Console

from core.intervals import Interval
from worker.demo.findings import Attack, Findings, Way, grouped
from worker.demo.shown import NONE, counted
from worker.demo.trust import count_flags

LABEL_WIDTH = 24
NUMBER_WIDTH = 6
"""Three models at three sizes fit into 80 columns."""


def print_findings(models: Sequence[Findings], console: Console) -> None:
    """Print a table for each group of models that underwent the same attacks."""

    def show(line: str) -> None:
        console.print(line, no_wrap=True, overflow="ignore", crop=False)

    for group in grouped(models):
        dataset, samples = group[0].results["dataset"]["name"], group[0].results["clean"]["samples"]
        show(f"\n[bold]ARP %, {dataset}, {samples} images[/bold]")
        for line in _table(group):
            show(line)
    show("\nWith 95% intervals:")
    for model in models:
        show(f"  {_lead(model)}")
    for line in filter(None, map(_warning, models)):
        show(line)
    console.print(
        "\nARP: the mean relative change of every metric for the worse; higher is a stronger attack."
    )


def _table(models: Sequence[Findings]) -> Iterator[str]:
    """Attacks down, the weakest algorithm first, models and eps across; the strongest of each column bold."""
    sizes = models[0].sizes
    columns = [(model, [(eps, model.strongest(eps)) for eps in sizes]) for model in models]
    margins = [" " * max(0, len(model.title) + 1 - NUMBER_WIDTH * len(sizes)) for model in models]
    heads = "".join(f"eps {eps:g}".rjust(NUMBER_WIDTH) for eps in sizes)
    yield " " * LABEL_WIDTH + "".join(
        model.title.rjust(len(margin + heads)) for model, margin in zip(models, margins, strict=True)
    )
    yield " " * LABEL_WIDTH + "".join(margin + heads for margin in margins)
    for way in dict.fromkeys(attack.way for attack in models[0].attacks):
        cells = (
            margin + "".join(_cell(model.find(*way, eps=eps), top) for eps, top in tops)
            for margin, (model, tops) in zip(margins, columns, strict=True)
        )
        yield _name(way).ljust(LABEL_WIDTH) + "".join(cells)


def _cell(attack: Attack | None, strongest: Attack | None) -> str:
    text = (NONE if attack is None or attack.arp is None else f"{attack.arp:.1f}").rjust(NUMBER_WIDTH)
    return f"[bold]{text}[/bold]" if attack is not None and attack is strongest else text


def _lead(model: Findings) -> str:
    """The strongest attack at the largest eps, and its lead over the next."""
    where = f"{model.title}, eps {model.largest:g}"
    ranked = model.ranked(model.largest)
    if not ranked:
        return f"{where}: no attack does damage"
    top, *rest = ranked
    line = f"{where}: {_name(top.way)} {top.arp:.1f}{_bounds(top.interval)}"
    if not rest:
        return line
    lead = model.difference(top, rest[0])
    points = f"{lead.points:.1f}{_bounds(lead.interval)}"
    apart = f"{points} above" if lead.is_told else f"a lead of {points}, no more than chance, on"
    return f"{line}, {apart} {_name(rest[0].way)}"


def _bounds(interval: Interval | None) -> str:
    """Escaped: Rich reads brackets as styles."""
    return "" if interval is None else rf" \[{interval.low:.1f}, {interval.high:.1f}]"


def _warning(model: Findings) -> str | None:
    """What speaks against a model's numbers; None where nothing does."""
    counts = count_flags(model)
    if counts["error"]:
        return (
            f"[bold]{model.title} is unreliable[/bold]: {counted(counts['error'], 'error')}, see the report"
        )
    if counts["warning"]:
        return f"{model.title}: {counted(counts['warning'], 'warning')}, see the report"
    return None


def _name(way: Way) -> str:
    return " ".join(filter(None, way))

"""What the demo prints in a terminal."""

import io

from rich.console import Console

from tests.worker.demo.evaluations import STRENGTH, evaluated, flag
from worker.demo.findings import Evaluated, Findings
from worker.demo.terminal import print_findings


def printed(*models: Evaluated, colours: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=80, force_terminal=colours, highlight=False)
    print_findings([Findings(model) for model in models], console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def line_of(lines: list[str], start: str) -> str:
    return next(line for line in lines if line.startswith(start))


def test_three_models_at_three_sizes_fit_into_80_columns_the_strongest_bold() -> None:
    models = [evaluated(title) for title in ("all shared", "branched", "independent")]
    lines = printed(*models)
    table = lines[: lines.index("With 95% intervals:")]
    assert max(map(len, table)) <= 80
    assert line_of(table, "auto_mta").split() == ["auto_mta", *["12.8", "25.6", "51.2"] * 3]
    assert line_of(table, "apgd gb_mta").split() == ["apgd", "gb_mta", *["10.6", "21.2", "42.4"] * 3]
    bold = [line for line in printed(*models, colours=True) if "\x1b[1m  51.2\x1b[0m" in line]
    assert len(bold) == 1


def test_with_one_size_titles_keep_apart() -> None:
    lines = printed(*(evaluated(title, sizes=(8.0,)) for title in ("all shared", "branched", "independent")))
    assert line_of(lines, " ").split() == ["all", "shared", "branched", "independent"]
    assert line_of(lines, "auto_mta").split() == ["auto_mta", "51.2", "51.2", "51.2"]


def test_each_model_has_a_line_that_tells_how_sure_the_lead_is() -> None:
    close = evaluated("branched", strength=STRENGTH | {"auto_mta": 5.35})
    lines = printed(evaluated(), close)
    told = "auto_mta 51.2 [49.7, 52.7], 8.8 [8.3, 9.3] above apgd gb_mta"
    assert f"  all shared, eps 8: {told}" in lines
    chance = "auto_mta 42.8 [41.3, 44.3], a lead of 0.4 [-0.1, 0.9], no more than chance, on apgd gb_mta"
    assert f"  branched, eps 8: {chance}" in lines


def test_unreliable_numbers_are_said_to_be_so() -> None:
    assert not any("see the report" in line for line in printed(evaluated()))
    lines = printed(evaluated("one", flags=[flag("error")]), evaluated("two", flags=[flag("warning")]))
    assert "one is unreliable: 1 error, see the report" in lines
    assert "two: 1 warning, see the report" in lines


def test_where_nothing_does_damage_it_is_said() -> None:
    lines = printed(evaluated(strength=dict.fromkeys(STRENGTH, 0.0)))
    assert "  all shared, eps 8: no attack does damage" in lines

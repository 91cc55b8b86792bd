"""The report: every number is there with its interval, and the page needs nothing but itself."""

import re
from pathlib import Path

from core.intervals import Interval
from tests.worker.demo.evaluations import HALF, STRENGTH, evaluated, flag
from tests.worker.demo.page import Cell, Page
from worker.demo.findings import Evaluated
from worker.demo.report import write_report
from worker.demo.shown import span

MARKS = ("", "strongest ", "not told from the strongest ")


def written(path: Path, *models: Evaluated) -> tuple[str, Page]:
    write_report(path / "report.html", models, facts={"machine": "2 CPU cores", "samples": "96"})
    html = (path / "report.html").read_text(encoding="utf-8")
    return html, Page(html)


def table(page: Page, caption: str) -> list[list[Cell]]:
    return next(rows for rows in page.tables if any(caption in text for row in rows for text, _ in row))


def every_attack(page: Page) -> list[list[Cell]]:
    return table(page, "FGSM, a single step")


def numbers(row: list[Cell]) -> list[str]:
    return [text for text, classes in row if "num" in classes]


def row_of(rows: list[list[Cell]], name: str) -> list[Cell]:
    return next(row for row in rows if row[0][0] == name)


def test_every_arp_stands_in_the_table_of_its_group_with_its_interval(tmp_path: Path) -> None:
    models = [evaluated("all shared"), evaluated("branched", strength=dict.fromkeys(STRENGTH, 0.31))]
    _, page = written(tmp_path, *models, evaluated("short", sizes=(8.0,)))
    lines = [numbers(row) for row in every_attack(page) if numbers(row)][1:]  # the first has the sizes
    shown = {cell for line in lines for cell in line}
    for row in (row for model in models for row in model.results["attacks"]):
        interval = span(Interval(row["arp"] - HALF, row["arp"] + HALF))
        assert any(cell in shown for cell in (f"{row['arp']:.1f} {mark}{interval}" for mark in MARKS)), row
    last = [
        rows for rows in page.tables if any("FGSM, a single step" in text for row in rows for text, _ in row)
    ]
    assert numbers(row_of(last[-1], "GB-MTA"))[0].startswith("42.4")  # other attacks, a table of its own


def test_the_strongest_of_each_column_is_marked_and_those_it_is_not_told_from(tmp_path: Path) -> None:
    model = evaluated(strength=STRENGTH | {"gb_mta": 6.3}, noise=0.5)
    _, page = written(tmp_path, model)
    marked = [
        (row[0][0], text.split("[")[0].split(" ", 1)[1].strip(), column)
        for row in every_attack(page)
        for column, (text, classes) in enumerate(row)
        if classes & {"best", "level"}
    ]
    assert marked == [
        *(("AUTO-MTA", "strongest", column) for column in (1, 2, 3)),
        *(
            ("GB-MTA", "not told from the strongest", column) for column in (1, 2)
        ),  # at ε = 8 they are 0.8 apart
    ]


def test_where_nothing_does_damage_nothing_is_called_strongest(tmp_path: Path) -> None:
    _, page = written(tmp_path, evaluated(strength=dict.fromkeys(STRENGTH, 0.0)))
    assert "No attack does damage at ε = 8." in page.text
    assert not any(classes & {"best", "level"} for row in every_attack(page) for _, classes in row)


def test_an_attack_without_arp_is_a_dash_with_its_reason(tmp_path: Path) -> None:
    lost = {
        "arp": None,
        "arp_8bit": None,
        "task_arp": {"depth": None, "edges": None},
        "flags": [flag("error", code="undefined_arp", metrics=["edges.abs_error"])],
    }
    _, page = written(tmp_path, evaluated(changes={"apgd/total/eps=8": lost}))
    assert numbers(row_of(every_attack(page), "TOTAL"))[-1].startswith("–")
    assert "– marks an attack without ARP" in page.text
    assert "APGD TOTAL at ε = 8; metrics edges.abs_error" in page.text


def test_a_single_model_with_one_size_makes_a_whole_page(tmp_path: Path) -> None:
    _, page = written(tmp_path, evaluated(sizes=(8.0,)))
    assert "AUTO-MTA is the strongest attack on “all shared” at ε = 8" in page.text
    assert [tag for tag, _ in page.elements].count("svg") == 1


def test_whatever_the_names_say_is_text(tmp_path: Path) -> None:
    hostile = "<script>alert('x')</script> & \"$y$\" " + "long" * 40
    html, page = written(tmp_path, evaluated(hostile))
    assert "script" not in {tag for tag, _ in page.elements}
    assert "<script" not in html
    assert page.text.count(hostile) >= 5


def test_the_page_loads_nothing_and_stays_small(tmp_path: Path) -> None:
    html, page = written(tmp_path, *(evaluated(title) for title in ("one", "two", "three")))
    loads = [
        attributes[name]
        for _, attributes in page.elements
        for name in ("src", "href", "srcset", "data", "action", "poster")
        if name in attributes
    ]
    assert loads
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in loads)
    assert "http://" not in html
    assert "https://" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "@import" not in html
    assert len(html) < 1_000_000


def test_ids_are_unique_and_pictures_and_headers_are_described(tmp_path: Path) -> None:
    _, page = written(tmp_path, evaluated("one"), evaluated("two"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"][1:] for tag, attributes in page.elements if tag == "use"}
    assert targets <= set(ids)
    assert all(attributes["alt"] for tag, attributes in page.elements if tag == "img")
    assert all(attributes["scope"] for tag, attributes in page.elements if tag == "th")


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    assert written(tmp_path, evaluated())[0] == written(tmp_path, evaluated())[0]

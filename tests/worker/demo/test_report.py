"""The report: every number is there, the strongest is marked, and the page needs nothing but itself."""

import io
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from worker.demo.figures import amplified_difference, spread
from worker.demo.report import Evaluated, write_report

TASKS = ("depth", "edges")
OBJECTIVES = ("single:depth", "single:edges", "total", "sign_total", "gb_mta")
STRENGTH = dict(zip(OBJECTIVES, (3.1, 1.2, 4.7, 4.2, 5.3), strict=True))
EPS = (2.0, 4.0, 8.0)
VOID = {"meta", "img", "col", "br"}

Cell = tuple[str, frozenset[str]]


class Page(HTMLParser):
    """The page's elements, its text, and its tables cell by cell; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.tables: list[list[list[Cell]]] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append(("", frozenset(attributes.get("class", "").split())))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "td" in self._open or "th" in self._open:
            text, classes = self.tables[-1][-1].pop()
            self.tables[-1][-1].append((text + data.strip(), classes))


def png(*, shift: int = 0) -> bytes:
    image = np.full((4, 4, 3), 100, np.uint8)
    image[0, 0] += np.uint8(shift)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def evaluated(
    title: str = "all shared",
    *,
    algorithms: Sequence[str] = ("fgsm", "pgd"),
    sizes: Sequence[float] = EPS,
    strength: dict[str, float] = STRENGTH,
) -> Evaluated:
    """A model whose ARP grows with eps: PGD strength times eps, FGSM half of that."""
    attacks = [
        {
            "ordinal": ordinal,
            "label": f"{algorithm}/{objective}/eps={eps:g}",
            "attack": {"algorithm": algorithm, "objective": objective, "eps": eps},
            "arp": (arp := strength[objective] * eps * (0.5 if algorithm == "fgsm" else 1.0)),
            "task_arp": {"depth": arp * 1.5, "edges": arp * 0.5},
            "metrics": {"depth": {"within_1.25": 40.0}, "edges": {"abs_error": 0.2}},
            "samples": 96,
            "cost": {},
            "notes": [],
        }
        for ordinal, (algorithm, objective, eps) in enumerate(
            (algorithm, objective, eps)
            for algorithm in algorithms
            for objective in OBJECTIVES
            for eps in sizes
        )
    ]
    clean = {"metrics": {"depth": {"within_1.25": 81.25}, "edges": {"abs_error": 0.125}}, "samples": 96}
    results: dict[str, Any] = {
        "job": "6f0c3f0e",
        "model_name": "scenes-all-shared",
        "dataset": {"name": "scenes", "split": "test", "limit": 96},
        "metric_version": "1",
        "metric_rules": "standard",
        "metrics": {
            "depth": {"within_1.25": {"direction": "higher", "unit": "%"}},
            "edges": {"abs_error": {"direction": "lower", "unit": ""}},
        },
        "clean": clean,
        "attacks": attacks,
    }
    previews = {-1: [png(), png()]} | {row: [png(shift=8), png(shift=8)] for row in range(len(attacks))}
    return Evaluated(title, results, previews, "───●─┬─●  depth\n     └─●  edges", 123456)


def written(path: Path, *models: Evaluated) -> tuple[str, Page]:
    write_report(path / "report.html", models, facts={"machine": "2 CPU cores", "samples": "96"})
    html = (path / "report.html").read_text(encoding="utf-8")
    return html, Page(html)


def numbers(row: list[Cell]) -> list[str]:
    return [text.removesuffix("strongest") for text, classes in row if "num" in classes]


def row_of(page: Page, name: str, table: int = 0) -> list[Cell]:
    return next(row for row in page.tables[table] if row[0][0] == name)


def test_every_arp_stands_in_the_table_of_its_group_to_one_decimal(tmp_path: Path) -> None:
    models = [evaluated("all shared"), evaluated("branched", strength=dict.fromkeys(OBJECTIVES, 0.31))]
    _, page = written(tmp_path, *models, evaluated("short", sizes=(8.0,)))
    shown = [numbers(row) for row in page.tables[0] if numbers(row)][1:]  # the first has the sizes
    expected = [
        [
            f"{row['arp']:.1f}"
            for model in models
            for row in model.results["attacks"]
            if (row["attack"]["algorithm"], row["attack"]["objective"]) == (algorithm, objective)
        ]
        for algorithm in ("pgd", "fgsm")
        for objective in OBJECTIVES
    ]
    assert shown == expected
    assert numbers(row_of(page, "GB-MTA", table=1)) == ["42.4"]  # other attacks, a table of its own


def test_the_strongest_of_each_column_is_marked_and_those_that_look_level_with_it(tmp_path: Path) -> None:
    model = evaluated(strength=STRENGTH | {"total": 5.301})
    _, page = written(tmp_path, model)
    marked = [(row[0][0], text) for row in page.tables[0] for text, classes in row if "marked" in classes]
    assert marked == [
        *(("TOTAL", f"{text}strongest") for text in ("10.6", "21.2", "42.4")),
        *(("GB-MTA", f"{text}strongest") for text in ("10.6", "21.2", "42.4")),
    ]
    assert "PGD TOTAL and PGD GB-MTA are level as the strongest attacks at ε = 8." in page.text


@pytest.mark.parametrize(
    ("total", "headline", "sentence"),
    [
        (
            4.7,
            "on all 2 models at ε = 8",
            "It is 4.8 points above TOTAL (37.6) and 17.6 points above the best SINGLE",
        ),
        (
            6.0,
            "on none of 2 models at ε = 8",
            "GB-MTA is not: PGD GB-MTA reaches 42.4%.It is 5.6 points below TOTAL",
        ),
    ],
)
def test_the_headline_says_plainly_where_gb_mta_stands(
    tmp_path: Path, total: float, headline: str, sentence: str
) -> None:
    models = [evaluated(title, strength=STRENGTH | {"total": total}) for title in ("one", "two")]
    _, page = written(tmp_path, *models)
    assert f"GB-MTA is the strongest attack {headline}" in page.text
    assert sentence in re.sub(r"\s*\n\s*", "", page.text)


def test_a_single_model_with_one_size_and_one_algorithm_makes_a_whole_page(tmp_path: Path) -> None:
    _, page = written(tmp_path, evaluated(algorithms=("pgd",), sizes=(8.0,)))
    assert "GB-MTA is the strongest attack on “all shared” at ε = 8" in page.text
    assert numbers(row_of(page, "SINGLE edges")) == ["9.6"]
    assert "FGSM" not in page.text
    assert [tag for tag, _ in page.elements].count("svg") == 1


def test_an_attack_without_arp_is_a_dash_with_its_reason(tmp_path: Path) -> None:
    model = evaluated()
    for row in model.results["attacks"]:
        if row["attack"]["objective"] == "total":
            row.update(arp=None, task_arp={"depth": None, "edges": None})
            row["notes"] = [{"code": "undefined_arp", "metrics": ["edges.abs_error"]}]
    _, page = written(tmp_path, model)
    assert numbers(row_of(page, "TOTAL")) == ["–", "–", "–"]
    assert "– marks an attack without ARP" in page.text
    assert "all shared: edges.abs_error left out of ARP" in page.text


def test_where_nothing_does_damage_nothing_is_called_strongest(tmp_path: Path) -> None:
    _, page = written(tmp_path, evaluated(strength=dict.fromkeys(OBJECTIVES, 0.0)))
    assert "No attack does damage at ε = 8." in page.text
    assert not any("marked" in classes for row in page.tables[0] for _, classes in row)


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


def test_the_difference_is_amplified_about_grey_and_clipped() -> None:
    clean = png()
    for shift, expected in ((0, 128), (2, 160), (8, 255), (100, 255)):
        with Image.open(io.BytesIO(amplified_difference(clean, png(shift=shift)))) as image:
            shown = np.asarray(image)
        assert shown[0, 0].tolist() == [expected] * 3
        assert (shown[1:] == 128).all()


@given(st.lists(st.floats(0, 100), max_size=12), st.floats(0.1, 5))
def test_labels_keep_their_order_their_distance_and_the_axes(wanted: list[float], gap: float) -> None:
    placed = spread(wanted, gap, low=0, high=100)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    for lower, upper in pairwise(order):
        assert placed[upper] - placed[lower] >= gap or math.isclose(placed[upper] - placed[lower], gap)
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in placed)

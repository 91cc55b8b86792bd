"""A verdict as a page: one file that anyone can open, and that shows what users wrote as text."""

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.gates import Outcome, Verdict
from core.gates.rendering import page
from core.gates.rendering.saying import WORST_FIRST
from core.gates.verdict import EXIT_CODES, LimitSaid, Number
from tests.core.gates.made import Json, evaluation
from tests.core.gates.made import verdict as decided
from tests.core.gates.test_rendering import HOSTILE, PLACED, looked, one_of_each, outcome, verdict

SVG = "{http://www.w3.org/2000/svg}"
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def read(document: str) -> ET.Element:
    """The page, which is XML too."""
    assert document.startswith("<!DOCTYPE html>\n<html")
    return ET.fromstring(document)  # noqa: S314 - our own output


def said(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def outcomes_of(found: Verdict) -> list[ET.Element]:
    return list(read(page(found)).iter("article"))


def drawn(value: Outcome) -> dict[str, tuple[float, float]]:
    """Where the allowed side, the interval, the limit and the estimate are drawn, in percent of the width."""
    (article,) = outcomes_of(verdict(value))
    (strip,) = article.iter(f"{SVG}svg")
    places = {}
    for part in strip.iter():
        name = part.get("class") or part.tag.removeprefix(SVG)
        at = [float(part.get(key, "nan%").removesuffix("%")) for key in ("x", "x1", "x2", "cx", "width")]
        x, x1, x2, cx, width = at
        places[name] = (x, x + width) if name == "allowed" else (cx, cx) if name == "circle" else (x1, x2)
    return places


def measured(value: float, interval: tuple[float, float] | None, bound: str, limit: float) -> Outcome:
    asked = LimitSaid.model_validate(
        {"bound": bound, "value": limit, "unit": "%", "relative": False, "strict": True}
    )
    number = Number(value=value, interval=interval, unit="%")
    return outcome("fail").model_copy(update={"observed": number, "limit": asked})


def test_the_verdict_is_its_headline_in_its_colour() -> None:
    for status in EXIT_CODES:
        found = read(page(verdict(status=status)))
        (header,) = found.iter("header")
        assert header.get("class") == status
        assert said(header).startswith("Gate ")
        assert "made up" in said(header)
        (title,) = found.iter("title")
        assert said(title).endswith("made up (00000000-0000-0000-0000-000000000002)")


def test_every_outcome_has_a_row_from_the_worst_on() -> None:
    found = outcomes_of(one_of_each())
    assert [str(row.get("class")).split()[0] for row in found] == list(WORST_FIRST)
    assert [str(row.get("class")).endswith(" counts") for row in found] == [True] * 4 + [False] * 3
    for row, status in zip(found, WORST_FIRST, strict=True):
        assert f"rule {status} fgsm/gb_mta/eps=1" in said(row)
        assert f"what came of it was {status}" in said(row)
    (waived,) = [row for row in found if row.get("class") == "waived"]
    assert said(waived).endswith("Waived until 2026-06-01: known")


def test_facts_and_notes_are_there() -> None:
    found = read(page(looked(one_of_each()), PLACED))
    names, values = ([said(each) for each in found.iter(tag)] for tag in ("dt", "dd"))
    facts = dict(zip(names, values, strict=True))
    assert facts["dataset"] == "digits 1, split test, limit 100"
    assert facts["look"] == "2 of 3, 256 samples, intervals at 98.3 %"
    after = "3 of 3, 1024 samples, 4 times the steps, 4 random starts or more: rule 1 is open"
    assert facts["next look"] == after
    assert facts["report"] == PLACED.report
    assert [said(each) for each in found.iter("li")] == ["note 0 of <x>"]
    assert [said(each) for each in found.iter("small")] == ["intervals at 98.3 %, the worst first"]


def test_nothing_is_run_and_nothing_is_loaded() -> None:
    document = page(looked(one_of_each()), PLACED)
    found = read(document)
    assert {each.tag for each in found.iter()}.isdisjoint(
        {"script", "link", "img", "iframe", "object", "base"}
    )
    assert not any(name.startswith("on") or name == "src" for each in found.iter() for name in each.attrib)
    assert not re.search(r"url\(|@import", document)
    links = [each.get("href") for each in found.iter() if "href" in each.attrib]
    assert links == [PLACED.report]
    policies = [each.get("content") for each in found.iter("meta") if each.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_an_interval_is_drawn_where_it_is() -> None:
    places = drawn(measured(59.0, (56.0, 64.0), "at_most", 60.0))
    assert places["bar"] == (10.0, 90.0)
    assert places["circle"] == (40.0, 40.0)
    assert places["limit"] == (50.0, 50.0)
    assert places["allowed"] == (0.0, 50.0)
    assert drawn(measured(59.0, (56.0, 64.0), "at_least", 60.0))["allowed"] == (50.0, 100.0)


def test_what_a_strip_shows_reads_aloud() -> None:
    (row,) = outcomes_of(verdict(measured(59.0, (56.0, 64.0), "at_most", 60.0)))
    assert [each.get("aria-label") for each in row.iter(f"{SVG}svg")] == ["59 %, from 56 to 64; ≤ 60 %"]


def test_where_the_limit_is_on_the_difference_that_is_drawn() -> None:
    rule: Json = {"on": "arp", "no_worse_than_baseline_by": 2}
    (row,) = outcomes_of(decided(rule, evaluation(21.0), evaluation(20.0)))
    assert [said(each) for each in row.iter(f"{SVG}text")] == ["1 point worse", "≤ 2 points worse"]


@pytest.mark.parametrize(
    "missing",
    [{"observed": None}, {"limit": None}, {"observed": Number(value=None, interval=None, unit="%")}],
)
def test_without_a_number_or_a_limit_nothing_is_drawn(missing: Json) -> None:
    (row,) = outcomes_of(verdict(outcome("error").model_copy(update=missing)))
    assert not list(row.iter(f"{SVG}svg"))
    assert "what came of it was error" in said(row)


@given(FINITE, FINITE, FINITE, FINITE, st.sampled_from(["at_most", "at_least"]), st.booleans())
def test_any_numbers_are_drawn_inside_in_their_order(
    value: float, one: float, other: float, limit: float, bound: str, alone: bool
) -> None:
    low, high = sorted([one, other])
    places = drawn(measured(value, None if alone else (low, high), bound, limit))
    assert all(0 <= at <= 100 for name in ("allowed", "bar", "limit", "circle") for at in places[name])
    assert places["bar"][0] <= places["bar"][1]
    kept = value <= limit if bound == "at_most" else value >= limit
    left, right = places["allowed"]
    at = places["circle"][0]
    assert not kept or left - 0.02 <= at <= right + 0.02


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_users_write_is_shown_and_nothing_else(hostile: str) -> None:
    found = verdict(outcome("waived", name=hostile, attack=hostile), name=hostile, notes=1)
    document = page(looked(found, why=hostile), PLACED)
    tags = {each.tag for each in read(document).iter()}
    assert tags == {
        each.tag for each in read(page(looked(verdict(outcome("waived"), notes=1)), PLACED)).iter()
    }
    assert not re.search(r"<script|[\0\x1b\u202e]", document)


@given(st.text())
def test_any_name_at_all_leaves_the_page_readable(name: str) -> None:
    (row,) = outcomes_of(verdict(outcome("fail", name=f"x{name}"), name=name))
    assert "what came of it was fail" in said(row)


def test_thousands_of_outcomes_all_have_their_row() -> None:
    found = verdict(*(outcome("pass", name=f"rule {number}") for number in range(5000)))
    assert len(outcomes_of(found)) == 5000

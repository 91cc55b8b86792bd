"""Headlines and cards claim no more than the intervals allow."""

from core.intervals import Interval
from tests.worker.demo.evaluations import STRENGTH, evaluated
from worker.demo.findings import Difference, Findings
from worker.demo.headlines import card, headline, settled
from worker.demo.shown import MINUS, TIED

WEAK = STRENGTH | {"auto_mta": 4.0}
CLOSE = STRENGTH | {"auto_mta": 5.35}


def models(*strengths: dict[str, float]) -> list[Findings]:
    return [
        Findings(evaluated(f"model {number}", strength=strength)) for number, strength in enumerate(strengths)
    ]


def sentences(model: Findings) -> list[str]:
    return [sentence.replace(TIED, " ") for sentence in card(model).sentences]


def test_the_headline_counts_the_models_on_which_auto_mta_leads() -> None:
    strong = dict(STRENGTH)
    assert headline(models(strong, strong)) == "AUTO-MTA is the strongest attack on all 2 models at ε = 8"
    assert headline(models(WEAK, WEAK)) == "AUTO-MTA is the strongest attack on none of 2 models at ε = 8"
    assert (
        headline(models(strong, WEAK, CLOSE))
        == "AUTO-MTA is the strongest attack on 1 of 3 models, level with another on 1, at ε = 8"
    )
    assert headline(models(CLOSE)) == "AUTO-MTA is level with another on “model 0” at ε = 8"


def test_without_auto_mta_the_headline_claims_nothing() -> None:
    fixed = {name: value for name, value in STRENGTH.items() if name != "auto_mta"}
    assert headline(models(fixed)) == "How far attacks move multi-task models"


def test_a_card_gives_each_lead_with_the_interval_of_the_difference() -> None:
    (model,) = models(dict(STRENGTH))
    found = card(model)
    assert (found.arp, found.interval) == ("51.2%", f"[49.7,{TIED}52.7]")
    assert sentences(model) == [
        "AUTO-MTA is the strongest attack at ε = 8.",
        "It is 8.8 points [8.3, 9.3] above the strongest fixed attack, APGD GB-MTA (42.4).",
        "APGD GB-MTA (42.4) is 17.6 points [17.1, 18.1] above the best SINGLE, depth (24.8).",
    ]


def test_a_card_says_where_an_attack_loses() -> None:
    (model,) = models(WEAK)
    assert sentences(model)[:2] == [
        "APGD GB-MTA is the strongest attack at ε = 8.",
        "AUTO-MTA (32.0) is 10.4 points [9.9, 10.9] below the strongest fixed attack, APGD GB-MTA (42.4).",
    ]


def test_a_lead_within_its_interval_is_no_lead() -> None:
    (model,) = models(CLOSE)
    assert sentences(model)[:2] == [
        "AUTO-MTA has the highest ARP at ε = 8, not told from APGD GB-MTA.",
        f"It cannot be told from the strongest fixed attack, APGD GB-MTA (42.4): 0.4 points [{MINUS}0.1, 0.9].",
    ]


def test_among_many_that_are_level_none_is_named() -> None:
    (model,) = models(dict.fromkeys(STRENGTH, 1.0))
    assert card(model).sentences[0] == "No attack stands out at ε = 8."


def test_a_difference_without_an_interval_tells_nothing() -> None:
    assert not Difference(5.0, None).is_told
    assert not Difference(5.0, Interval(0.04, 9.0)).is_told  # shown as [0.0, 9.0]
    assert Difference(-5.0, Interval(-9.0, -0.1)).is_told


def test_what_auto_mta_settled_on_is_said() -> None:
    (model,) = models(dict(STRENGTH))
    assert settled(model) == (
        "AUTO-MTA tried 2 attacks on 8 other images and settled on "
        "APGD of 16 steps on the tasks\N{RIGHT SINGLE QUOTATION MARK} damage (softness 1, p = 0, depth × 2)."
    )


def test_a_budget_too_small_for_a_search_is_said_to_be_so() -> None:
    (model,) = models(dict(STRENGTH))
    plain = {"attack": {"algorithm": "apgd", "objective": "gb_mta", "steps": 5}, "softness": None}
    for search in model.results["searches"].values():
        search.update(trials=[], finalists=[plain])
    assert "does not pay for a search: it ran APGD of 5 steps on GB-MTA." in settled(model)

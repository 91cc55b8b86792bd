"""Flags of an attack's result: when each is raised, how grave it is, and what it says."""

import json
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from core.attacks import AttackSpec
from core.evaluation import Arp, AttackResult, Cost, Flag, attack_flags
from core.evaluation.health import Severity, aims_at_all_tasks, is_reliable
from core.intervals import Origin, Replicates, stored

SAMPLES = 100
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
PGD = AttackSpec(algorithm="pgd", eps=8)
NOISE = AttackSpec(algorithm="sign_noise", eps=8)
SQUARE = AttackSpec(algorithm="square", eps=8)


def result(
    attack: AttackSpec | None = PGD,
    arp: float | None = 50.0,
    *,
    spread: float = 2.0,
    arp_8bit: float | None = None,
    undefined: tuple[str, ...] = (),
    abs_error: float | None = 1.0,
    **flagged: int,
) -> AttackResult:
    """Made up; its replicates are spread about its ARP alike for all."""
    drawn = stored((arp or 0) + spread * np.random.default_rng(0).standard_normal(1000))
    origin = Origin.of("made up", np.arange(SAMPLES), seed=0, replicates=1000)
    return AttackResult(
        attack,
        {"depth": {"abs_error": abs_error, "rel_error": 1.0}},
        None if attack is None else Arp({"depth": arp}, arp, undefined),
        None if arp_8bit is None else Arp({"depth": arp_8bit}, arp_8bit),
        Replicates(origin, {}, {"depth": drawn}, drawn),
        SAMPLES,
        flagged,
        Cost(0, 0, 0.0),
    )


def only(flags: tuple[Flag, ...]) -> Flag:
    (flag,) = flags
    return flag


def test_a_sound_result_raises_nothing() -> None:
    sound = result(arp_8bit=49.5, floored=0, non_finite=0, zero_gradient=0, rising=0)
    assert attack_flags(sound, [result(NOISE, 10.0), result(SQUARE, 40.0), result(None), sound]) == ()


def test_the_clean_pass_has_no_flags() -> None:
    assert attack_flags(result(None, zero_gradient=SAMPLES)) == ()


@pytest.mark.parametrize(
    ("code", "count", "severity"),
    [
        ("zero_gradient", 1, "warning"),
        ("zero_gradient", 9, "warning"),
        ("zero_gradient", 10, "error"),
        ("non_finite", 1, "warning"),
        ("non_finite", 10, "error"),
        ("floored", 1, "info"),
        ("floored", 10, "warning"),
        ("rising", 10, "info"),
        ("rising", 74, "info"),
        ("rising", 75, "warning"),
    ],
)
def test_a_fault_of_single_samples_is_graver_the_more_there_are(code: str, count: int, severity: str) -> None:
    flag = only(attack_flags(replace(result(), flagged={code: count})))
    assert (flag.code, flag.severity, flag.samples) == (code, severity, count)
    assert flag.evidence == {"share": count / SAMPLES}


def test_a_few_samples_that_still_rise_are_nothing_to_speak_of() -> None:
    assert attack_flags(result(rising=9)) == ()


def test_a_metric_left_out_of_arp_for_its_clean_value_is_a_warning() -> None:
    flag = only(attack_flags(result(undefined=("depth.abs_error",))))
    assert (flag.code, flag.severity) == ("undefined_arp", "warning")
    assert flag.evidence == {"metrics": ["depth.abs_error"], "without_value": []}


def test_a_metric_without_a_value_under_attack_is_an_error() -> None:
    flag = only(attack_flags(result(undefined=("depth.rel_error", "depth.abs_error"), abs_error=None)))
    assert flag.severity == "error"
    assert flag.evidence["without_value"] == ["depth.abs_error"]


@pytest.mark.parametrize(("arp_8bit", "raised"), [(49.0, False), (51.0, False), (40.0, True), (60.0, True)])
def test_rounding_is_flagged_where_it_leaves_the_interval(arp_8bit: float, raised: bool) -> None:
    flags = attack_flags(result(arp_8bit=arp_8bit))
    assert [flag.code for flag in flags] == (["eight_bit"] if raised else [])
    if raised:
        assert (only(flags).severity, only(flags).evidence) == (
            "warning",
            {"arp": 50.0, "arp_8bit": arp_8bit},
        )


@pytest.mark.parametrize("rival", [NOISE, SQUARE, AttackSpec(algorithm="uniform_noise", eps=8)])
@pytest.mark.parametrize(
    "attack", [PGD, AttackSpec(algorithm="auto_mta", eps=8), AttackSpec(algorithm="fgsm", eps=8)]
)
def test_an_attack_that_noise_or_square_beats_is_an_error(attack: AttackSpec, rival: AttackSpec) -> None:
    flag = only(attack_flags(result(attack, 50.0), [result(rival, 51.0)]))
    assert (flag.code, flag.severity) == ("beaten_without_gradients", "error")
    assert flag.evidence["by"] == rival.label
    assert flag.evidence["difference"] == pytest.approx([1.0, 1.0], abs=1e-3)
    assert rival.algorithm in flag.message


def test_to_be_ahead_by_chance_is_not_to_beat() -> None:
    other = result(NOISE, 51.0)
    drawn = stored(51 + 2 * np.random.default_rng(1).standard_normal(1000))
    independent = Replicates(other.replicates.origin, {}, {"depth": drawn}, drawn)
    assert attack_flags(result(), [replace(other, replicates=independent)]) == ()


@pytest.mark.parametrize(
    "rival",
    [
        AttackSpec(algorithm="sign_noise", eps=16),
        AttackSpec(algorithm="sign_noise", eps=8, norm="l2"),
        AttackSpec(algorithm="mim", eps=8),
        AttackSpec(algorithm="apgd", objective="single:depth", eps=8),
    ],
    ids=lambda spec: spec.label,
)
def test_only_attacks_without_gradients_at_the_same_ball_are_rivals(rival: AttackSpec) -> None:
    assert attack_flags(result(), [result(rival, 90.0)]) == ()


AIMED = [
    AttackSpec(algorithm="pgd", objective="single:depth", eps=8),
    AttackSpec(algorithm="pgd", objective="stealth:depth", eps=8),
    AttackSpec(algorithm="pgd", objective="total", eps=8, targets={"depth": 3.0}),
    AttackSpec(algorithm="pgd", objective="total", eps=8, weights={"depth": 0.0}),
]


@pytest.mark.parametrize("attack", AIMED, ids=lambda spec: spec.label)
def test_an_attack_that_does_not_aim_at_all_tasks_may_be_beaten(attack: AttackSpec) -> None:
    assert not aims_at_all_tasks(attack)
    assert attack_flags(result(attack, 5.0), [result(NOISE, 10.0), result(SQUARE, 50.0)]) == ()


def test_weights_of_1_aim_at_all_tasks() -> None:
    weighted: dict[str, Any] = {"algorithm": "pgd", "objective": "total", "eps": 8, "weights": {"depth": 1.0}}
    assert aims_at_all_tasks(AttackSpec(**weighted))


def test_attacks_without_gradients_are_no_attacks_to_be_beaten() -> None:
    assert attack_flags(result(NOISE, 5.0), [result(SQUARE, 50.0)]) == ()


def test_without_an_arp_nothing_is_compared() -> None:
    lost = result(arp=None, undefined=("depth.abs_error",), abs_error=None)
    assert [flag.code for flag in attack_flags(lost, [result(NOISE, 10.0)])] == ["undefined_arp"]


def test_errors_alone_make_a_result_unreliable() -> None:
    info, warning, error = (Flag("some", severity, "…") for severity in SEVERITIES)
    assert is_reliable([])
    assert is_reliable([info, warning])
    assert not is_reliable([info, error])


def test_flags_are_json() -> None:
    flags = attack_flags(
        result(arp_8bit=1.0, zero_gradient=3, rising=99, undefined=("depth.abs_error",)),
        [result(NOISE, 70.0)],
    )
    assert len(flags) == 5
    written = json.loads(json.dumps([flag.to_json() for flag in flags], allow_nan=False))
    assert {tuple(flag) for flag in written} == {("code", "severity", "message", "evidence", "samples")}
    assert [Flag(**flag) for flag in written] == list(flags)

"""Text and nesting that no database or parser should meet."""

import json

import pytest

from tests.service import DIGITS, Caller, pointers


@pytest.mark.parametrize("text", ["a\\u0000b", "a\\nb", "\\u001b[31m", "\\ud800", ""])
def test_control_characters_and_half_characters_are_refused(caller: Caller, text: str) -> None:
    body = f'{{"sha256": "{"0" * 64}", "size": 3, "name": "{text}"}}'
    headers = {"Content-Type": "application/json"}
    answer = caller.http.post("/v1/uploads", content=body, headers=headers)
    assert answer.status_code == 422
    assert pointers(answer) == ["#/name"]


def test_names_in_other_scripts_are_welcome(caller: Caller) -> None:
    body = {"sha256": "1" * 64, "size": 3, "name": "Mehrziel-Übung – 模型"}
    assert caller.post("/v1/uploads", body).status_code == 201


def test_a_control_character_in_a_spec_is_refused(caller: Caller, ready_model: str) -> None:
    answer = caller.post("/v1/jobs", caller.evaluation(ready_model, client_ref="a\0b"))
    assert answer.status_code == 422
    assert pointers(answer) == ["#/client_ref"]


@pytest.mark.parametrize("depth", [100, 900, 50_000])
def test_a_layout_nested_without_end_is_refused(caller: Caller, depth: int) -> None:
    manifest = json.dumps({**DIGITS, "layout": None}).replace("null", "[" * depth + "]" * depth)
    body = f'{{"upload": "00000000-0000-7000-8000-000000000000", "manifest": {manifest}}}'
    answer = caller.http.post("/v1/models", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"

"""The command line as its users run it: a process with standard output, standard error and an exit code."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from windthrow import Client

from tests.client.misbehaving import DONE, JOB, Misbehaving, answer, events, holding, problem
from tests.client.processes import LISTENING, ROOT, Windthrow, on_a_terminal
from tests.service import ATTACK, DIGITS, Caller, random_checkpoint
from worker.supervisor import Stack


def test_the_first_five_minutes(
    windthrow: Windthrow, service_stack: Stack, caller: Caller, tmp_path: Path
) -> None:
    login = windthrow("login", "--url", service_stack.url, "--key", "-", "--check", stdin=service_stack.key)
    assert login.returncode == 0, login.stderr
    assert windthrow("login", "--check").returncode == 0
    card = tmp_path / "card.json"
    card.write_text(json.dumps({"name": "a card", "manifest": DIGITS}))
    weights = random_checkpoint(tmp_path, seed=81)
    pushed = windthrow(
        "models", "push", str(weights), "--manifest", str(card), "--name", "eighty-one", "--json"
    )
    assert pushed.returncode == 0, pushed.stderr
    model = json.loads(pushed.stdout)
    assert (model["state"], model["name"]) == ("ready", "eighty-one")
    assert "random-81.safetensors: " in pushed.stderr
    assert model["id"] in windthrow("models", "list").stdout
    assert "sapling" in windthrow("models", "show", model["id"]).stdout

    spec = json.dumps(caller.evaluation(model["id"]))
    submitted = windthrow("submit", "-", "--wait", stdin=spec)
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.strip()
    lines = submitted.stderr.splitlines()
    assert (lines[0].split()[0], lines[-2].split()[0]) == ("job.queued", "job.succeeded")
    assert windthrow("watch", job, "--json").returncode == 0

    table = windthrow("results", job)
    assert table.returncode == 0, table.stderr
    assert table.stdout.split()[:3] == ["attack", "ARP", "%"]
    assert "fgsm" in table.stdout
    assert windthrow("results", job, "--csv").stdout.startswith("attack,")
    assert json.loads(windthrow("results", job, "--json").stdout)["model"] == model["id"]

    compared = windthrow("compare", job, job)
    assert compared.returncode == 0, compared.stderr
    assert "overall" in compared.stdout
    assert json.loads(windthrow("compare", job, job, "--json").stdout)["samples"] == 32
    listed = windthrow("jobs", "list", "--model", model["id"])
    assert job in listed.stdout
    assert "succeeded" in listed.stdout


@pytest.mark.usefixtures("logged_in")
def test_every_command_gives_json_alone(
    windthrow: Windthrow, client: Client, ready_model: str, caller: Caller
) -> None:
    job = client.submit(caller.evaluation(ready_model)).id
    client.wait(job, timeout=120)
    for command in (
        ("models", "list"),
        ("models", "show", ready_model),
        ("jobs", "list"),
        ("jobs", "show", job),
        ("watch", job),
        ("cancel", job),
        ("results", job),
        ("compare", job, job),
        ("login", "--check"),
    ):
        ended = windthrow(*command, "--json")
        assert ended.returncode == 0, ended.stderr
        json.loads(ended.stdout)


@pytest.mark.usefixtures("logged_in")
def test_what_is_wrongly_asked_is_2_and_says_where(
    windthrow: Windthrow, caller: Caller, ready_model: str
) -> None:
    spec = json.dumps(caller.evaluation(ready_model, attacks=[{**ATTACK, "eps": -3}]))
    ended = windthrow("submit", "-", "--json", stdin=spec)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "#/attacks/0/eps" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "nowhere.json"),
        ("submit", "-"),
        ("models", "push", "nowhere.pt"),
        ("results", "job-1", "--csv", "--json"),
        ("fell",),
        ("watch",),
        ("jobs", "list"),
        ("login", "--url", "http://here"),
    ],
)
def test_usage_is_2(windthrow: Windthrow, arguments: tuple[str, ...]) -> None:
    ended = windthrow(*arguments, stdin="[1, 2]")
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr


@pytest.mark.usefixtures("logged_in")
def test_a_key_that_is_not_accepted_is_2_and_not_stored(
    windthrow: Windthrow, nowhere_logged_in: Path
) -> None:
    ended = windthrow("login", "--key", "wt_wrong", "--check", WINDTHROW_KEY="")
    assert ended.returncode == 2
    assert "unknown" in ended.stderr
    assert not nowhere_logged_in.exists()


@pytest.mark.usefixtures("logged_in")
def test_a_rejected_model_is_1_and_still_printed(windthrow: Windthrow, tmp_path: Path) -> None:
    weights = random_checkpoint(tmp_path, seed=82)
    tensors = load_file(weights)
    tensors["heads.left.out.bias"][3] = torch.nan
    save_file(tensors, weights)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(DIGITS))
    ended = windthrow("models", "push", str(weights), "--manifest", str(manifest), "--json")
    assert ended.returncode == 1, ended.stderr
    assert json.loads(ended.stdout)["reason"]["code"] == "nonfinite_weights"
    assert "heads.left.out.bias" in ended.stderr


def test_a_failed_job_is_1_and_still_printed(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    failed: dict[str, Any] = {**JOB, "state": "failed", "error": {"code": "oom", "message": "out of memory"}}
    to_misbehaving.will(events('id: 3\nevent: job.failed\ndata: {"message": "no"}\n\n'), answer(200, failed))
    ended = windthrow("watch", "job-1", "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["state"] == "failed"
    assert ended.stderr.splitlines() == ["job.failed no", "windthrow: job job-1 failed: out of memory"]


def test_a_broken_service_is_3(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    to_misbehaving.will(problem(500, "internal_error", "something broke"))
    ended = windthrow("jobs", "list")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == "windthrow: something broke (request r-1)\n"


def test_a_wait_that_takes_too_long_is_3(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    to_misbehaving.will(*[answer(200, JOB, ETag='"1"')] * 1000)
    ended = windthrow("watch", "job-1", "--timeout", "0.1")
    assert ended.returncode == 3
    assert "it goes on" in ended.stderr


def test_hostile_text_reaches_no_terminal(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    hostile = {**JOB, "client_ref": "\x1b]0;owned\x07[bold]\u202e"}
    to_misbehaving.will(answer(200, {"items": [hostile], "next_cursor": None}))
    ended = windthrow("jobs", "list")
    assert "]0;owned" in ended.stdout
    assert "[bold]" in ended.stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(ended.stdout)


def test_an_unexpected_error_is_a_sentence_unless_debugging(windthrow: Windthrow) -> None:
    bottomless = '{"a":' * 100_000
    ended = windthrow("submit", "-", stdin=bottomless)
    assert ended.returncode == 3
    assert "WINDTHROW_DEBUG=1 shows where" in ended.stderr
    assert "Traceback" in windthrow("submit", "-", stdin=bottomless, WINDTHROW_DEBUG="1").stderr


def test_a_terminal_gets_drawn_tables_without_what_it_would_obey(to_misbehaving: Misbehaving) -> None:
    hostile = {**JOB, "client_ref": "\x1b]0;\x07[red]"}
    to_misbehaving.will(answer(200, {"items": [hostile], "next_cursor": None}))
    shown, code = on_a_terminal("jobs", "list")
    assert code == 0, shown
    assert "───" in shown
    assert "[red]" in shown
    assert "\x1b]0" not in shown


def test_a_terminal_gets_a_bar(to_misbehaving: Misbehaving) -> None:
    told = 'id: 3\nevent: shard.succeeded\ndata: {"work_done": 1, "work_total": 2}\n\n'
    to_misbehaving.will(
        events(told), answer(200, JOB), events("id: 4\nevent: job.succeeded\ndata: {}\n\n"), answer(200, DONE)
    )
    shown, code = on_a_terminal("watch", "job-1")
    assert code == 0, shown
    assert "50 %" in shown
    assert "windthrow results job-1" in shown


def test_interrupting_a_wait_says_that_the_job_goes_on(to_misbehaving: Misbehaving) -> None:
    released = threading.Event()
    to_misbehaving.will(holding("id: 3\nevent: job.started\ndata: {}\n\n", until=released))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "client" / "src")}
    command = [sys.executable, "-c", LISTENING, "watch", "job-1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "job.started\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        released.set()
    assert process.returncode == 130
    assert "job job-1 goes on: windthrow watch job-1" in said


def test_it_prints_where_only_ascii_is_spoken(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    to_misbehaving.will(answer(200, {"items": [{**JOB, "client_ref": "Bäume"}], "next_cursor": None}))
    ended = windthrow("jobs", "list", PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert "B?ume" in ended.stdout


def test_help_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys, typer; from windthrow.cli.app import cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit: pass\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'httpx', 'httpcore', 'anyio', 'asyncio', 'rich'}))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "client" / "src")}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert "Usage: " in ended.stdout
    assert ended.stdout.splitlines()[-1] == "[]"


def test_shells_complete_it(windthrow: Windthrow) -> None:
    ended = windthrow(_WINDTHROW_COMPLETE="complete_bash", COMP_WORDS="windthrow mo", COMP_CWORD="1")
    assert ended.stdout.split() == ["models"]

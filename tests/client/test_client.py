"""The client against the whole service, from a file to its results, blocking and not."""

import asyncio
import inspect
from pathlib import Path

import pytest
from windthrow import AsyncClient, AuthError, Client, Event, JobFailed, RequestError
from windthrow._operations import Operations

from tests.service import ATTACK, DIGITS, Caller, random_checkpoint
from worker.supervisor import Stack


def test_from_a_file_to_its_results(caller: Caller, client: Client, tmp_path: Path) -> None:
    model = client.push(random_checkpoint(tmp_path, seed=71), name="seventy-one", manifest=DIGITS)
    assert (model.state, model.name) == ("ready", "seventy-one")
    assert client.models(name="seventy-one") == [model] == [client.model(model.id)]
    assert client.models(sha256=model.sha256) == [model]
    assert client.models(sha256="0" * 64) == []
    seen: list[Event] = []
    job = client.submit(caller.evaluation(model.id, attacks=[ATTACK, {**ATTACK, "eps": 4}]))
    done = client.wait(job.id, timeout=120, on_event=seen.append)
    assert done.state == "succeeded"
    assert done.progress.fraction == 1.0
    assert [one.type for one in (seen[0], seen[-1])] == ["job.queued", "job.succeeded"]
    assert [one.fraction for one in seen if one.type == "shard.succeeded"][-1] == 1.0
    assert done in client.jobs(model=model.id, state="succeeded")
    assert [attack["ordinal"] for attack in client.results(job.id)["attacks"]] == [0, 1]
    assert client.results_csv(job.id).startswith("attack,")
    assert client.differences(job.id, 0, 1)["arp"] is not None


def test_two_models_are_compared(caller: Caller, client: Client, ready_model: str, tmp_path: Path) -> None:
    other = client.push(random_checkpoint(tmp_path, seed=72), manifest=DIGITS)
    jobs = [client.submit(caller.evaluation(model)) for model in (ready_model, other.id)]
    one, two = (client.wait(job.id, timeout=120).id for job in jobs)
    assert client.comparison(one, two)["other_model"] == other.id
    assert client.comparison_csv(one, two).startswith("quantity,value")
    assert client.differences(one, 0, 0, other_job=two)["other"]["job"] == two


def test_without_blocking_it_is_the_same(
    caller: Caller, service_stack: Stack, ready_model: str, checkpoint: Path
) -> None:
    async def whole() -> None:
        async with AsyncClient(service_stack.url, service_stack.key) as client:
            model = await client.push(checkpoint, manifest=DIGITS)
            assert model.id == ready_model
            seen: list[Event] = []
            job = await client.submit(caller.evaluation(model.id))
            done = await client.wait(job.id, timeout=120, on_event=seen.append)
            assert (done.state, seen[-1].type) == ("succeeded", "job.succeeded")
            results = await client.results(job.id)
            assert results["job"] == job.id

    asyncio.run(whole())


def test_a_cancelled_job_is_no_success(caller: Caller, client: Client, ready_model: str) -> None:
    slow = {"algorithm": "pgd", "objective": "gb_mta", "eps": 8, "steps": 500}
    job = client.submit(caller.evaluation(ready_model, attacks=[slow]))
    assert client.cancel(job.id).cancel_requested
    with pytest.raises(JobFailed, match="was cancelled") as caught:
        client.wait(job.id, timeout=120)
    assert caught.value.job is not None
    with pytest.raises(JobFailed):
        client.results(job.id)


def test_a_wrong_spec_is_refused_at_its_place(caller: Caller, client: Client, ready_model: str) -> None:
    with pytest.raises(RequestError) as caught:
        client.submit(caller.evaluation(ready_model, attacks=[{**ATTACK, "eps": -3}]))
    assert [place.pointer for place in caught.value.errors] == ["#/attacks/0/eps"]


def test_a_file_that_is_no_checkpoint_is_refused(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not weights")
    with pytest.raises(RequestError) as caught:
        client.push(path, manifest=DIGITS)
    assert [place.pointer for place in caught.value.errors] == ["#/upload"]


def test_a_key_that_is_not_known(service_stack: Stack) -> None:
    with Client(service_stack.url, "wt_unknown") as client, pytest.raises(AuthError, match="unknown"):
        client.jobs()


def test_both_clients_have_the_same_methods() -> None:
    methods = {name: value for name, value in vars(Operations).items() if not name.startswith("_")}
    for name, method in methods.items():
        mine = getattr(Client, name)
        assert inspect.signature(mine).parameters == inspect.signature(method).parameters, name
        assert mine.__doc__ == method.__doc__, name
    assert inspect.signature(Client) == inspect.signature(AsyncClient)

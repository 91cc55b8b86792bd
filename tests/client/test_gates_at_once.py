"""Who made a job, and who attached to it: of two gates that ask at once only the one that made it may cancel it."""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest
from windthrow import Client, Gated, Job, Step

from tests.client.processes import Windthrow
from tests.service import Caller, random_checkpoint
from worker.supervisor import Stack

GATE_FILE = """\
version: 1
model:
  file: model.safetensors
  name: {name}
  manifest: {{backbone: sapling, layout: all-shared, profile: digits}}
dataset: {{name: digits}}
suite: {{attacks: [{{algorithm: pgd, objective: gb_mta, eps: 8, steps: {steps}}}], samples: 32}}
rules:
  - {{name: attacked, on: arp, at_most: 1000}}
"""


class OneOfTwo:
    """A gate that submits when the other does; interrupted or not, it goes on when the other knows its job, too."""

    def __init__(self, stack: Stack, together: Barrier) -> None:
        self.client = Client(stack.url, stack.key)
        self.jobs: list[Step] = []
        self.interrupted = False
        self._together = together

    def run(self, text: str, root: Path, *, stops_if_mine: bool) -> Gated:
        """Run it to its end."""

        def heard(step: Step) -> None:
            if step.kind == "submitting" and not self.jobs:
                self._together.wait(60)
            if step.kind == "job":
                self.jobs.append(step)
                if len(self.jobs) == 1:
                    self._together.wait(60)
                if step.job is not None and step.mine and stops_if_mine and len(self.jobs) == 1:
                    self.client.cancel(step.job.id)
                    self.interrupted = True
                    raise KeyboardInterrupt

        with self.client:
            return self.client.gate(text, roots=[root], on_step=heard)


def two_at_once(
    stack: Stack, root: Path, *, steps: int, stops_if_mine: bool
) -> tuple[list[OneOfTwo], list[Future[Gated]]]:
    random_checkpoint(root, seed=steps).rename(root / "model.safetensors")
    text = GATE_FILE.format(name=f"at once {uuid4().hex}", steps=steps)
    with Client(stack.url, stack.key) as client:
        client.push(
            root / "model.safetensors",
            manifest={"backbone": "sapling", "layout": "all-shared", "profile": "digits"},
        )
    together = Barrier(2)
    gates = [OneOfTwo(stack, together) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        ended = [pool.submit(one.run, text, root, stops_if_mine=stops_if_mine) for one in gates]
    return gates, ended


def job_of(step: Step) -> Job:
    assert step.job is not None
    return step.job


def test_of_two_gates_at_once_one_made_the_job(service_stack: Stack, tmp_path: Path) -> None:
    gates, ended = two_at_once(service_stack, tmp_path, steps=11, stops_if_mine=False)
    told = [gate.jobs[0] for gate in gates]
    assert sorted(step.mine for step in told) == [False, True]
    assert len({job_of(step).id for step in told}) == 1
    assert [one.result().exit_code for one in ended] == [0, 0]


def test_a_gate_whose_job_its_maker_cancels_makes_its_own(service_stack: Stack, tmp_path: Path) -> None:
    gates, ended = two_at_once(service_stack, tmp_path, steps=401, stops_if_mine=True)
    (maker,) = (index for index, gate in enumerate(gates) if gate.interrupted)
    with pytest.raises(KeyboardInterrupt):
        ended[maker].result()
    attached, anew = gates[1 - maker].jobs
    assert (attached.mine, anew.mine) == (False, True)
    assert job_of(attached).id == job_of(gates[maker].jobs[0]).id != job_of(anew).id
    assert ended[1 - maker].result().job.id == job_of(anew).id


@pytest.mark.usefixtures("logged_in")
def test_submitting_again_under_a_name_says_that_it_attached(
    windthrow: Windthrow, client: Client, ready_model: str, caller: Caller
) -> None:
    spec = caller.evaluation(ready_model, client_ref=f"attached {uuid4().hex}")
    made = windthrow("submit", "-", stdin=json.dumps(spec))
    again = windthrow("submit", "-", stdin=json.dumps(spec))
    assert made.stdout == again.stdout
    job = made.stdout.strip()
    assert "attached" not in made.stderr
    assert f"attached to job {job}, which is there and " in again.stderr
    assert [client.submit(spec).attached, client.job(job).attached] == [True, False]

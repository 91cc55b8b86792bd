import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery

from core.jobs import outbox
from core.jobs.states import Urgency
from core.settings import Settings
from core.specs.manifests import ModelManifest
from core.store.database import Database
from tests.worker.bench import Bench, until
from worker.app import QUEUE, configure
from worker.processes import Child, Warden
from worker.relay import Relay
from worker.servers import valkey
from worker.supervisor import Stack


@pytest.fixture
def broker(warden: Warden, tmp_path: Path) -> Iterator[tuple[Child, str]]:
    """A broker that the test may kill, with its URL."""
    command, url = valkey(tmp_path / "valkey")
    child = Child(command, log=tmp_path / "valkey.log", warden=warden)
    child.start()
    child.wait_ready(10)
    yield child, url
    child.stop(5)


def test_jobs_are_accepted_while_the_broker_is_down_and_run_when_it_is_back(
    quick: Settings, broker: tuple[Child, str], tmp_path: Path, manifest: ModelManifest
) -> None:
    child, url = broker
    settings = quick.model_copy(update={"broker_url": url})
    with Stack(data_dir=tmp_path / "stack", components={"relay", "worker"}, settings=settings) as stack:
        bench = Bench(stack.settings, manifest)
        bench.wait(bench.submit(), "succeeded")
        child.stop(5)
        job_id = bench.submit()
        log = stack.data_dir / "logs" / "relay.log"
        until(lambda: "the broker is away" in log.read_text())
        assert bench.unsent() == len(bench.shards(job_id))
        assert bench.job(job_id).state == "queued"
        child.start()
        bench.wait(job_id, "succeeded", seconds=60)
        assert set(bench.runs().values()) == {1}
        assert log.read_text().count("the broker is away") == 1
        bench.database.dispose()


def test_a_stopped_relay_stops(quick: Settings, broker: tuple[Child, str], tmp_path: Path) -> None:
    settings = quick.model_copy(update={"broker_url": broker[1]})
    with Stack(data_dir=tmp_path / "stack", components={"relay"}, settings=settings) as stack:
        log = stack.data_dir / "logs" / "relay.log"
        until(lambda: "the relay listens" in log.read_text())
        relay = next(child for child in stack._children if child.command.name == "relay")
        assert relay.command.stop_signal == signal.SIGTERM
        relay.ask_to_stop()
        until(lambda: relay.poll() is not None, seconds=5)
        assert relay.poll() == 0


def test_the_broker_hands_out_what_is_urgent_then_what_resumed_and_each_in_the_order_it_was_rung(
    database: Database, broker: tuple[Child, str]
) -> None:
    settings = Settings(database_url=database.url, broker_url=broker[1])
    rung = {urgency: [uuid4(), uuid4(), uuid4()] for urgency in Urgency}
    with Celery(broker=settings.broker_url, set_as_current=False) as celery:
        celery.conf.update(configure(settings))
        relay = Relay(settings, celery)
        for turn in range(3):
            for urgency in reversed(Urgency):
                with database.session() as session:
                    outbox.ring(session, "shard", [rung[urgency][turn]], urgency=urgency)
                relay.publish()
        relay._database.dispose()
        with celery.connection_for_read() as connection:
            queue = connection.SimpleQueue(celery.amqp.queues[QUEUE])
            handed_out = [queue.get(timeout=5).payload[0][0] for _ in range(9)]
            queue.close()
    assert handed_out == [str(subject) for urgency in Urgency for subject in rung[urgency]]

"""An API by itself: no broker, no workers, so that a test decides what a job finds."""

from collections.abc import Iterator

import httpx
import pytest

from core.settings import Settings
from tests.api.desk import Desk
from tests.service import Caller
from worker.supervisor import Stack


@pytest.fixture(scope="module")
def desk(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Somebody with a key to an API by itself, and the hands of its workers."""
    settings = Settings(database_url=module_database_url, broker_url="")
    directory = tmp_path_factory.mktemp("desk")
    with Stack(data_dir=directory, components={"api"}, settings=settings) as stack:
        headers = {"Authorization": f"Bearer {stack.key}"}
        with httpx.Client(base_url=stack.url, headers=headers, timeout=30) as http:
            made = Desk(Caller(stack, http))
            yield made
            made.database.dispose()

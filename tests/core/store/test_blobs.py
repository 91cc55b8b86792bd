"""Every store keeps the same promises, on disk and in S3."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest

from core.settings import Settings
from core.store.blobs import (
    BlobNotFoundError,
    BlobStore,
    BlobStoreUnavailableError,
    BlobUrlError,
    CorruptBlobError,
    FileBlobs,
    open_blobs,
)
from core.store.blobs.s3 import S3Blobs
from tests.s3 import S3Server, s3_server
from worker.processes import Warden

MIB = 2**20
ABSENT = "0" * 64


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory, warden: Warden) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3"), warden) as server:
        yield server


@pytest.fixture
def remote(s3: S3Server, tmp_path: Path) -> Settings:
    """Settings of a store in S3, with a cache for 3 MiB."""
    return Settings(data_dir=tmp_path / "data", blob_url=s3.bucket(), blob_cache_bytes=3 * MIB)


@pytest.fixture(params=["disk", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "disk":
        return FileBlobs(tmp_path / "blobs")
    return open_blobs(request.getfixturevalue("remote"))


def test_blobs_come_back_by_digest(blobs: BlobStore) -> None:
    digest = blobs.put(b"bytes")
    assert digest == hashlib.sha256(b"bytes").hexdigest()
    assert blobs.put(b"bytes") == digest
    assert (blobs.exists(digest), blobs.size(digest)) == (True, 5)
    assert blobs.read(digest) == b"bytes"
    with blobs.local(digest) as path:
        assert path.read_bytes() == b"bytes"


def test_files_are_taken_over(blobs: BlobStore, tmp_path: Path) -> None:
    data, path = os.urandom(20 * MIB + 3), tmp_path / "draft"
    digest = hashlib.sha256(data).hexdigest()
    for _ in range(2):  # the second is here already
        path.write_bytes(data)
        blobs.adopt(path, digest)
        assert not path.exists()
        assert blobs.size(digest) == len(data)
        assert blobs.read(digest) == data
    path.write_bytes(b"another")
    assert blobs.read(blobs.put_file(path)) == b"another"
    assert not path.exists()


def test_a_blob_opens_as_a_file_that_can_be_sought_in(blobs: BlobStore) -> None:
    data = os.urandom(MIB)
    with blobs.open(blobs.put(data)) as file:
        assert file.read(8) == data[:8]
        assert file.seek(-10, io.SEEK_END) == MIB - 10
        assert file.read() == data[-10:]
        assert file.read(1) == b""
        file.seek(1000)
        file.seek(24, io.SEEK_CUR)
        assert file.tell() == 1024
        assert file.read(700_000) == data[1024:701_024]
        assert file.seek(2 * MIB) == 2 * MIB
        assert file.read(1) == b""
        with pytest.raises((ValueError, OSError)):
            file.seek(-1)


def test_a_missing_blob_is_said_to_be_missing(blobs: BlobStore) -> None:
    assert not blobs.exists(ABSENT)
    assert blobs.size(ABSENT) is None

    def local() -> None:
        with blobs.local(ABSENT):
            pass

    for ask in (lambda: blobs.read(ABSENT), lambda: blobs.open(ABSENT), local):
        with pytest.raises(BlobNotFoundError, match="there is no blob"):
            ask()


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_only_digests_name_blobs(blobs: BlobStore, digest: str) -> None:
    asks: tuple[Callable[[str], object], ...] = (blobs.read, blobs.size, blobs.open)
    for ask in asks:
        with pytest.raises(BlobNotFoundError, match="not a SHA-256 digest"):
            ask(digest)


def test_many_writers_of_the_same_bytes_agree(blobs: BlobStore) -> None:
    data = os.urandom(MIB)
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: blobs.put(data), range(16)))
    assert digests == {hashlib.sha256(data).hexdigest()}
    assert blobs.read(digests.pop()) == data


def test_a_file_from_another_file_system_is_copied(tmp_path: Path) -> None:
    other = Path("/dev/shm")  # noqa: S108 - a file system in memory
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    draft = other / f"windthrow-{os.getpid()}"
    draft.write_bytes(b"from afar")
    blobs = FileBlobs(tmp_path)
    digest = blobs.put_file(draft)
    assert not draft.exists()
    assert blobs.read(digest) == b"from afar"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_drafts_of_a_crash_are_swept_once_they_are_old(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    digest = blobs.put(b"kept")
    for name, moment in (("old", 0.0), ("new", None)):
        draft = tmp_path / "tmp" / name
        draft.write_bytes(b"draft")
        if moment is not None:
            os.utime(draft, (moment, moment))
    os.utime(blobs.path(digest), (0, 0))
    assert blobs.sweep(older_than=60) == 1
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["new"]
    assert blobs.exists(digest)


def test_objects_lie_under_the_prefix(s3: S3Server, remote: Settings) -> None:
    digest = open_blobs(remote).put(b"bytes")
    assert s3.keys(remote.blob_url) == [f"some/prefix/{digest[:2]}/{digest[2:]}"]


def test_a_large_file_goes_in_pieces_and_memory_stays_flat(remote: Settings, tmp_path: Path) -> None:
    """In a process of its own, whose peak is seen: S3's ETag of an object in pieces ends with their number."""
    script = """
import json, resource, sys
from pathlib import Path
from core.settings import Settings
from core.store.blobs import open_blobs
path, blobs = Path(sys.argv[1]), open_blobs(Settings())
blobs.exists("0" * 64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
digest = blobs.put_file(path)
sent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with blobs.local(digest) as copy:
    size = copy.stat().st_size
fetched = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([digest, size, sent - before, fetched - before]))
"""
    path = tmp_path / "large"
    hashed = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(200):
            hashed.update(piece := os.urandom(MIB))
            file.write(piece)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, **remote.environment()},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digest, size, sent, fetched = json.loads(done.stdout)
    assert (digest, size) == (hashed.hexdigest(), 200 * MIB)
    assert max(sent, fetched) < 64 * 1024  # KiB


def test_copies_are_kept_up_to_the_limit_and_the_ones_used_longest_ago_go(remote: Settings) -> None:
    blobs = open_blobs(remote)
    first, second, third, fourth = (blobs.put(os.urandom(MIB)) for _ in range(4))
    for moment, digest in enumerate((first, second, third), start=1):
        with blobs.local(digest) as path:
            pass
        os.utime(path, (moment, moment))
    with blobs.local(first):
        pass
    with blobs.local(fourth):
        pass
    kept = {path.name for path in remote.blob_cache.iterdir() if path.is_file()}
    assert kept == {first, third, fourth}
    assert list((remote.blob_cache / "tmp").iterdir()) == []


def test_a_copy_in_use_stays(remote: Settings) -> None:
    blobs = open_blobs(remote.model_copy(update={"blob_cache_bytes": 0}))
    first, second, third = blobs.put(b"first"), blobs.put(b"second"), blobs.put(b"third")
    with blobs.local(first) as path:
        with blobs.local(second) as other:
            assert other.read_bytes() == b"second"
        assert path.read_bytes() == b"first"
    with blobs.local(third):
        assert not path.exists()


def test_processes_that_need_a_blob_at_once_fetch_it_once(s3: S3Server, remote: Settings) -> None:
    data = os.urandom(2 * MIB)
    digest = open_blobs(remote).put(data)
    before = _fetches(s3, digest)
    script = f"""
import hashlib
from core.settings import Settings
from core.store.blobs import open_blobs
with open_blobs(Settings()).local({digest!r}) as path:
    assert hashlib.sha256(path.read_bytes()).hexdigest() == {digest!r}
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, **remote.environment()},
            cwd=Path(__file__).parents[3],
        )
        for _ in range(4)
    ]
    assert [process.wait(60) for process in started] == [0, 0, 0, 0]
    assert _fetches(s3, digest) - before == 1


def test_a_blob_that_is_not_what_it_should_be_is_not_handed_out(remote: Settings) -> None:
    blobs = open_blobs(remote)
    digest = blobs.put(b"bytes")
    assert isinstance(blobs, S3Blobs)
    obstore.put(blobs._store, f"{digest[:2]}/{digest[2:]}", b"other")
    for _ in range(2):
        with pytest.raises(CorruptBlobError, match=digest), blobs.local(digest):
            pass
    assert [path for path in remote.blob_cache.rglob("*") if path.is_file()] == []


def test_a_download_that_a_crash_broke_off_is_done_again(remote: Settings) -> None:
    blobs = open_blobs(remote)
    digest = blobs.put(b"bytes")
    half = remote.blob_cache / "tmp" / digest
    half.parent.mkdir(parents=True)
    half.write_bytes(b"by, and more than there should be")
    with blobs.local(digest) as path:
        assert path.read_bytes() == b"bytes"


def test_a_store_that_does_not_answer_is_no_fault_of_the_user(tmp_path: Path, warden: Warden) -> None:
    with s3_server(tmp_path, warden) as server:
        settings = Settings(data_dir=tmp_path, blob_url=server.bucket())
        blobs = open_blobs(settings)
        digest = blobs.put(b"bytes")
        server.child.stop(5)
        with pytest.raises(BlobStoreUnavailableError):
            blobs.read(digest)


def test_a_bucket_that_is_missing_is_no_missing_blob(s3: S3Server, tmp_path: Path) -> None:
    blobs = open_blobs(Settings(data_dir=tmp_path, blob_url=f"s3://nobodys?endpoint_url={s3.url}"))
    with pytest.raises((BlobStoreUnavailableError, BlobNotFoundError)):
        blobs.put(b"bytes")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host/blobs", "file:///… or s3://…"),
        ("/srv/blobs", "file:///… or s3://…"),
        ("file://host/blobs", "absolute path"),
        ("file:blobs", "absolute path"),
        ("s3:///prefix", "s3://bucket/prefix"),
        ("s3://id:secret@bucket", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket?endpoint=http://localhost", "endpoint_url"),
    ],
)
def test_urls_that_name_no_store_are_refused(tmp_path: Path, url: str, says: str) -> None:
    with pytest.raises(BlobUrlError, match=says):
        open_blobs(Settings(data_dir=tmp_path, blob_url=url))


def test_without_its_package_s3_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(
        sys.modules, "obstore", None
    )  # what Python itself takes for a module that is not there
    with pytest.raises(BlobUrlError, match=r"windthrow-server\[s3\]"):
        open_blobs(Settings(data_dir=tmp_path, blob_url="s3://bucket"))


def test_a_file_url_names_a_directory(tmp_path: Path) -> None:
    blobs = open_blobs(Settings(blob_url=f"file://{tmp_path}/with%20space"))
    digest = blobs.put(b"bytes")
    assert FileBlobs(tmp_path / "with space").read(digest) == b"bytes"


def _fetches(s3: S3Server, digest: str) -> int:
    """How many times the server was asked for the blob's bytes."""
    return sum("GET " in line and digest[2:] in line for line in s3.child.log.read_text().splitlines())

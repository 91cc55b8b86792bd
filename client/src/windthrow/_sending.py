"""A file on its way to the service: declared, sent, and sent on from where it broke off."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from windthrow._calls import record
from windthrow._files import FilePart, measure
from windthrow._http import Request
from windthrow.errors import RequestError, ServiceError, Unavailable
from windthrow.records import Upload

if TYPE_CHECKING:
    from pathlib import Path

    from windthrow._calls import Calls
    from windthrow._files import SendProgress

UPLOADS = "/v1/uploads"
FINISHING_SECONDS = 300.0
"""After its last byte the service may read gigabytes again, or send them on to S3."""
WORTH_ANOTHER_LOOK = frozenset({"offset_mismatch", "upload_busy"})
"""Refusals of bytes that somebody else is sending, or that came further than their sender knew."""


async def send_file(calls: Calls, path: Path, *, name: str, progress: SendProgress | None) -> Upload:
    """Have a file at the service, whichever part of it is there already.

    Raises:
        RequestError: it cannot be read, changes meanwhile, or is refused.
        ServiceError: it broke off too often without getting any further.
    """
    sha256, size = await calls.transport.run(lambda: measure(path))
    upload = await _begun(calls, sha256, size)
    if upload is None:
        declared = {"sha256": sha256, "size": size, "name": name[:200]}
        upload = await calls.record(Upload.read, Request.sending(UPLOADS, declared))
        if upload.size != size:
            raise ServiceError(
                f"the service takes {path.name} for a file of {upload.size} bytes; it has {size}"
            )
    if upload.state != "complete":
        return await _send_rest(calls, upload, path, progress)
    if progress is not None:
        progress(size, size)
    return upload


async def _begun(calls: Calls, sha256: str, size: int) -> Upload | None:
    """What an earlier process did not finish."""
    found = await calls.listed(Upload.read, UPLOADS, limit=20, state="open", sha256=sha256)
    return max((one for one in found if one.size == size), key=lambda one: one.received, default=None)


async def _send_rest(calls: Calls, upload: Upload, path: Path, progress: SendProgress | None) -> Upload:
    attempt = 0
    while upload.state != "complete":
        before = upload.received
        try:
            return await _send_once(calls, upload, path, progress)
        except Unavailable as error:
            if attempt >= calls.patience.retries or time.monotonic() >= calls.deadline:
                raise
            await calls.pause(error, calls.patience.delay(attempt))
        upload = await calls.record(Upload.read, Request("GET", _path(upload)))
        attempt = 0 if upload.received > before else attempt + 1
    return upload


async def _send_once(calls: Calls, upload: Upload, path: Path, progress: SendProgress | None) -> Upload:
    """Send from where it broke off.

    Raises:
        Unavailable: it broke off again, somebody else is sending it, or what was there before was something else:
            look how far it is.
    """
    put = Request(
        "PUT",
        f"{_path(upload)}/content",
        headers={"Upload-Offset": str(upload.received), "Content-Type": "application/octet-stream"},
        body=FilePart(path, upload.received, upload.size, progress),
        patience=FINISHING_SECONDS,
        repeatable=False,
    )
    try:
        return record(Upload.read, await calls.answer(put))
    except RequestError as error:
        spoilt = error.code == "digest_mismatch" and upload.received > 0
        if spoilt or error.code in WORTH_ANOTHER_LOOK:
            raise Unavailable(str(error)) from error
        raise


def _path(upload: Upload) -> str:
    return f"{UPLOADS}/{quote(upload.id, safe='')}"

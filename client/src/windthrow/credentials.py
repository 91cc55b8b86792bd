"""Which service, and with which key: said in the call, in the environment, or stored by `windthrow login`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from windthrow.errors import AuthError, RequestError

URL = "WINDTHROW_URL"
KEY = "WINDTHROW_KEY"
HOW = "windthrow login stores one, WINDTHROW_URL and WINDTHROW_KEY give one for a while"


@dataclass(frozen=True)
class Credentials:
    """A service's URL, without a slash at its end, and an API key to it."""

    url: str
    key: str = field(repr=False)


def credentials(url: str | None = None, key: str | None = None) -> Credentials:
    """What is said goes first, then the environment, then what is stored. A stored key goes to no other service.

    Raises:
        RequestError: there is no URL, or what is said is none.
        AuthError: there is no key for it.
    """
    kept = stored()
    found_url = url or os.environ.get(URL) or (kept.url if kept else "")
    if not found_url:
        raise RequestError(f"which service? {HOW}", code="no_url")
    found_url = plain(found_url)
    mine = kept.key if kept and kept.url == found_url else ""
    found_key = key or os.environ.get(KEY) or mine
    if not found_key:
        raise AuthError(f"there is no API key for {found_url}; {HOW}")
    return Credentials(found_url, found_key.strip())


def plain(url: str) -> str:
    """A URL as it is stored and compared.

    Raises:
        RequestError: it is none; it is not told what it is, which may be a key.
    """
    text = url.strip().rstrip("/")
    try:
        split = urlsplit(text)
        whole = split.scheme in ("http", "https") and bool(split.hostname) and "@" not in split.netloc
    except ValueError:
        whole = False
    if not whole:
        raise RequestError(
            "this is no URL of a service; it begins with http:// or https:// and names no user",
            code="invalid_url",
        )
    return text


def path() -> Path:
    """The file that `windthrow login` writes."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return base / "windthrow" / "credentials.json"


def stored() -> Credentials | None:
    """What was stored, if anything was.

    Raises:
        RequestError: the file is broken.
    """
    try:
        document = json.loads(path().read_text(encoding="utf-8"))
        return Credentials(str(document["url"]), str(document["key"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{path()} cannot be read; windthrow login writes it anew", code="login"
        ) from error


def store(found: Credentials) -> Path:
    """Store for later, readable by nobody else; returns where.

    Raises:
        RequestError: it cannot be written.
    """
    target = path()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=target.parent)  # mkstemp's files have mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(found), file)
        Path(draft).replace(target)
    except OSError as error:
        raise RequestError(f"{target} cannot be written: {error.strerror}", code="login") from error
    return target

"""Column types and identifiers that every table shares."""

import math
import secrets
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Dialect, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB


def json_safe(value: Any) -> Any:
    """The value as PostgreSQL's jsonb accepts it.

    NaN and infinities, which measurements of attacked models produce, become null. In text, NUL becomes
    U+FFFD and a lone surrogate "?". Tuples become lists, and keys text.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {json_safe(str(key)): json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    return value


class Json(TypeDecorator[Any]):
    """A jsonb column that is handed `json_safe` values only; None is SQL's NULL."""

    impl = JSONB(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        """Make the value safe on its way in."""
        return json_safe(value)


def uuid7() -> UUID:
    """A time-ordered identifier (RFC 9562): milliseconds, then random bits. Newer ids sort last."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)

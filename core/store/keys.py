"""API keys: made, recognised, revoked. The key itself is shown once; the database keeps an HMAC of it."""

import hmac
import secrets
import zlib
from collections.abc import Collection
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.orm import Session

from core.errors import InvalidError
from core.store.tables import ApiKey

Scope = Literal["read", "submit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
MARK = "wt_"
PREFIX_LENGTH = 8
SECRET_LENGTH = 37
CHECKSUM_LENGTH = 6
TOUCH_SECONDS = 60
"""`last_used_at` is written at most this often."""


class ScopeError(InvalidError):
    """A scope that does not exist, or none at all."""

    code = "invalid_scope"


def issue_key(
    session: Session, name: str, scopes: Collection[str], expires_at: datetime | None = None, *, secret: bytes
) -> tuple[ApiKey, str]:
    """Make a key; returns its row and its plaintext, `wt_` + prefix + 37 random characters + CRC-32.

    Args:
        session: the transaction to make it in.
        name: for its owner to know it by.
        scopes: out of `SCOPES`.
        expires_at: when it stops working; None is never.
        secret: what the digest is keyed with (`Settings.secret()`).

    Raises:
        ScopeError: an unknown scope, or none.
    """
    if not scopes or not set(scopes) <= set(SCOPES):
        raise ScopeError(
            f"scopes are one or more of {', '.join(SCOPES)}; got {', '.join(scopes) or 'none'}",
            field="scopes",
        )
    prefix = MARK + _random(PREFIX_LENGTH)
    body = prefix + _random(SECRET_LENGTH)
    plaintext = body + _checksum(body)
    row = ApiKey(
        name=name,
        prefix=prefix,
        digest=_digest(plaintext, secret),
        scopes=sorted(set(scopes)),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    return row, plaintext


def authenticate(session: Session, plaintext: str, *, secret: bytes) -> ApiKey | None:
    """The key's row, or None if it is malformed (which costs no query), unknown, expired or revoked."""
    if not well_formed(plaintext):
        return None
    key = session.scalar(
        select(ApiKey).where(
            ApiKey.digest == _digest(plaintext, secret),
            ApiKey.revoked_at.is_(None),
            or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()),
        )
    )
    if key is not None:
        _touch(session, key.id)
    return key


def revoke_key(session: Session, key_id: UUID) -> bool:
    """Stop a key from working; False if there is no such key, or it was revoked before."""
    statement = update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
    return session.execute(statement.values(revoked_at=func.now()).returning(ApiKey.id)).first() is not None


def well_formed(plaintext: str) -> bool:
    """Whether the text has a key's shape and its checksum fits."""
    length = len(MARK) + PREFIX_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH
    if len(plaintext) != length or not plaintext.isascii() or not plaintext.startswith(MARK):
        return False
    body, checksum = plaintext[:-CHECKSUM_LENGTH], plaintext[-CHECKSUM_LENGTH:]
    return hmac.compare_digest(_checksum(body), checksum)


def _touch(session: Session, key_id: UUID) -> None:
    stale = func.now() - text(f"interval '{TOUCH_SECONDS} seconds'")
    session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < stale))
        .values(last_used_at=func.now())
        .execution_options(synchronize_session=False)
    )


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    """CRC-32 in base 62: a mistyped key is told from a wrong one without a query."""
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        value, digit = divmod(value, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def _digest(plaintext: str, secret: bytes) -> str:
    return hmac.new(secret, plaintext.encode(), "sha256").hexdigest()

"""Text that users send: one line, without the control characters that PostgreSQL and terminals choke on."""

from typing import Annotated

from pydantic import StringConstraints

MAX_LENGTH = 200

Line = Annotated[str, StringConstraints(min_length=1, max_length=MAX_LENGTH, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A name or reference, 1 to 200 characters."""

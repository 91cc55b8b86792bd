"""What a gate file says of a service that cannot read it: two lines at its top level, written plainly."""

from __future__ import annotations

import re

DAY = 24 * 60

_ON_SERVICE_ERROR = re.compile(
    r"""^on_service_error:[ \t]+(?:warn|"warn"|'warn')[ \t]*(?:[ \t]#.*)?\r?$""", re.MULTILINE
)
_DEADLINE = re.compile(r"^deadline_minutes:[ \t]+([0-9]{1,4})[ \t]*(?:[ \t]#.*)?\r?$", re.MULTILINE)


def only_warns(text: str) -> bool:
    """Whether a gate file says, once and beyond doubt, `on_service_error: warn`."""
    return _once(text, "on_service_error") and _ON_SERVICE_ERROR.search(text) is not None


def deadline_minutes(text: str) -> int | None:
    """What a gate file says, once and beyond doubt, of `deadline_minutes`; None where it does not."""
    found = _DEADLINE.search(text) if _once(text, "deadline_minutes") else None
    minutes = 0 if found is None else int(found[1])
    return minutes if 1 <= minutes <= DAY else None


def _once(text: str, name: str) -> bool:
    """Whether the name is in the text only once outside of whole-line comments: else it is not for us to read."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return sum(name in line for line in lines) == 1

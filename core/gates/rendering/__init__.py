"""A verdict as files: for people, for a CI's test report, for its code scanning, for a README. Pure functions."""

from core.gates.rendering.badge import badge, shields
from core.gates.rendering.context import Context
from core.gates.rendering.formats import MEDIA_TYPES, Format, rendered
from core.gates.rendering.junit import junit
from core.gates.rendering.markdown import markdown
from core.gates.rendering.page import page
from core.gates.rendering.sarif import sarif
from core.gates.rendering.text import text

__all__ = [
    "MEDIA_TYPES",
    "Context",
    "Format",
    "badge",
    "junit",
    "markdown",
    "page",
    "rendered",
    "sarif",
    "shields",
    "text",
]

"""The outputs by name, as a query or a command line asks for them."""

import json
from collections.abc import Callable
from typing import Literal

from core.gates.rendering.badge import badge, shields
from core.gates.rendering.context import Context
from core.gates.rendering.junit import junit
from core.gates.rendering.markdown import markdown
from core.gates.rendering.page import page
from core.gates.rendering.sarif import sarif
from core.gates.rendering.text import text
from core.gates.verdict import Verdict

Format = Literal["json", "markdown", "html", "junit", "sarif", "badge", "shields", "text"]

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "markdown": "text/markdown",
    "html": "text/html",
    "junit": "application/xml",
    "sarif": "application/sarif+json",
    "badge": "image/svg+xml",
    "shields": "application/json",
    "text": "text/plain",
}

_WRITERS: dict[Format, Callable[[Verdict, Context | None], str]] = {
    "json": lambda verdict, _: verdict.model_dump_json(),
    "markdown": markdown,
    "html": page,
    "junit": junit,
    "sarif": lambda verdict, context: json.dumps(sarif(verdict, context), indent=1),
    "badge": lambda verdict, _: badge(verdict),
    "shields": lambda verdict, _: json.dumps(shields(verdict)),
    "text": lambda verdict, _: text(verdict),
}


def rendered(verdict: Verdict, output: Format, context: Context | None = None) -> str:
    """A verdict as a file's text, to be written in UTF-8."""
    return _WRITERS[output](verdict, context)

"""Server-sent events, from bytes as they come. Nothing here does input or output."""

from __future__ import annotations

import re

from windthrow._documents import parsed
from windthrow.errors import ServiceError
from windthrow.records import Event

EVENT_BYTES = 1 << 18
"""Of one event; a line that is longer is none of this service's."""
LINE_END = re.compile(rb"\r\n|\n|\r(?!$)")
"""A carriage return that ends what has come so far may be half of a CR LF."""


class EventReader:
    """Makes events of a stream; what breaks off before its blank line is no event.

    Attributes:
        last_id: of the newest whole event.
    """

    def __init__(self, last_id: int) -> None:
        self.last_id = last_id
        self._rest = b""
        self._fields: dict[str, str] = {}
        self._size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that end in this chunk, without those seen before.

        Raises:
            ServiceError: it is no stream of this service.
        """
        *lines, self._rest = LINE_END.split(self._rest + chunk)
        if len(self._rest) > EVENT_BYTES:
            raise ServiceError("the stream of events has a line without an end")
        return [event for line in lines if (event := self._line(line.decode("utf-8", "replace"))) is not None]

    def _line(self, line: str) -> Event | None:
        if line:
            name, _, value = line.partition(":")
            self._size += len(line) if name else 0
            if self._size > EVENT_BYTES:
                raise ServiceError("the stream of events has an event without an end")
            value = value.removeprefix(" ")
            joined = name == "data" and "data" in self._fields
            self._fields[name] = f"{self._fields['data']}\n{value}" if joined else value
            return None
        fields, self._fields, self._size = self._fields, {}, 0
        return self._event(fields) if "data" in fields else None

    def _event(self, fields: dict[str, str]) -> Event | None:
        try:
            event = Event(int(fields["id"]), fields["event"], parsed(fields["data"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ServiceError("the stream of events makes no sense") from error
        if event.id <= self.last_id:
            return None
        self.last_id = event.id
        return event

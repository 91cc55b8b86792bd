"""A pickle as a list of instructions. Nothing is executed here, and nothing of the `pickle` module runs.

`pickletools.genops` would read the same, but it knows every opcode since 1994, decodes arguments before anyone
can look at their length, and warns and raises as the interpreter's version likes. A checkpoint needs the few
opcodes of protocols 2 to 5 below; any other is refused.
"""

import struct
from collections.abc import Callable, Iterator

from core.checkpoint_files.errors import PickleError, PickleLimitError, PickleOpcodeError

MAX_OPCODES = 2_000_000
MAX_STRING_BYTES = 16 * 2**20
MAX_INTEGER_BYTES = 64
MAX_PROTOCOL = 5

Argument = int | float | str | bytes | tuple[str, str] | None
Reader = Callable[[bytes, int], tuple[Argument, int]]

_BARE = {
    b"(": "MARK",
    b".": "STOP",
    b"0": "POP",
    b"1": "POP_MARK",
    b"N": "NONE",
    b"\x88": "NEWTRUE",
    b"\x89": "NEWFALSE",
    b"]": "EMPTY_LIST",
    b"a": "APPEND",
    b"e": "APPENDS",
    b")": "EMPTY_TUPLE",
    b"t": "TUPLE",
    b"\x85": "TUPLE1",
    b"\x86": "TUPLE2",
    b"\x87": "TUPLE3",
    b"}": "EMPTY_DICT",
    b"s": "SETITEM",
    b"u": "SETITEMS",
    b"\x8f": "EMPTY_SET",
    b"\x90": "ADDITEMS",
    b"\x91": "FROZENSET",
    b"\x93": "STACK_GLOBAL",
    b"\x94": "MEMOIZE",
    b"R": "REDUCE",
    b"b": "BUILD",
    b"\x81": "NEWOBJ",
    b"\x92": "NEWOBJ_EX",
    b"Q": "BINPERSID",
}
_NUMBERS = {
    b"\x80": ("PROTO", "<B"),
    b"\x95": ("FRAME", "<Q"),
    b"K": ("INTEGER", "<B"),
    b"M": ("INTEGER", "<H"),
    b"J": ("INTEGER", "<i"),
    b"G": ("FLOAT", ">d"),
    b"q": ("PUT", "<B"),
    b"r": ("PUT", "<L"),
    b"h": ("GET", "<B"),
    b"j": ("GET", "<L"),
}
_TEXTS = {b"\x8c": "<B", b"X": "<L", b"\x8d": "<Q"}
_BYTES = {b"C": "<B", b"B": "<L", b"\x8e": "<Q", b"\x96": "<Q"}
_INTEGERS = {b"\x8a": "<B", b"\x8b": "<L"}


def instructions(data: bytes) -> Iterator[tuple[str, Argument]]:
    """Name and argument of each opcode, up to STOP; the names are `pickletools`' where it has one per kind.

    Raises:
        PickleError: the data ends before STOP, goes on after it, or has an opcode or a size that is refused.
    """
    at = 0
    for _ in range(MAX_OPCODES):
        if at >= len(data):
            raise PickleError("the pickle ends before its end mark")
        found = _OPCODES.get(data[at])
        if found is None:
            raise PickleOpcodeError(
                f"the pickle has the opcode {data[at : at + 1]!r}, which torch.save never writes"
            )
        name, read = found
        argument, at = read(data, at + 1)
        yield name, argument
        if name == "STOP":
            if at != len(data):
                raise PickleError("the pickle goes on after its end mark")
            return
    raise PickleLimitError(f"the pickle has more than {MAX_OPCODES} opcodes")


def _nothing(_: bytes, at: int) -> tuple[None, int]:
    return None, at


def _number(layout: str) -> Reader:
    record = struct.Struct(layout)

    def read(data: bytes, at: int) -> tuple[Argument, int]:
        if at + record.size > len(data):
            raise PickleError("the pickle ends inside a number")
        value: int | float = record.unpack_from(data, at)[0]
        return value, at + record.size

    return read


def _counted(layout: str, limit: int) -> Callable[[bytes, int], tuple[bytes, int]]:
    """Reads a length, then as many bytes."""
    record = struct.Struct(layout)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        begin = at + record.size
        if begin > len(data):
            raise PickleError("the pickle ends inside a length")
        length = record.unpack_from(data, at)[0]
        if length > limit:
            raise PickleLimitError(f"the pickle has a value of {length} bytes; at most {limit} are read")
        if begin + length > len(data):
            raise PickleError("the pickle ends inside a value")
        return data[begin : begin + length], begin + length

    return read


def _text(layout: str) -> Reader:
    counted = _counted(layout, MAX_STRING_BYTES)

    def read(data: bytes, at: int) -> tuple[str, int]:
        raw, end = counted(data, at)
        return _utf8(raw), end

    return read


def _integer(layout: str) -> Reader:
    counted = _counted(layout, MAX_INTEGER_BYTES)

    def read(data: bytes, at: int) -> tuple[int, int]:
        raw, end = counted(data, at)
        return int.from_bytes(raw, "little", signed=True), end

    return read


def _global(data: bytes, at: int) -> tuple[tuple[str, str], int]:
    """Two lines: a module and a name in it."""
    middle = data.find(b"\n", at)
    end = data.find(b"\n", middle + 1)
    if middle < 0 or end < 0:
        raise PickleError("the pickle ends inside a name")
    return (_utf8(data[at:middle]), _utf8(data[middle + 1 : end])), end + 1


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise PickleError("the pickle has a text that is no UTF-8") from error


_TABLE: dict[bytes, tuple[str, Reader]] = {
    **{code: (name, _nothing) for code, name in _BARE.items()},
    **{code: (name, _number(layout)) for code, (name, layout) in _NUMBERS.items()},
    **{code: ("TEXT", _text(layout)) for code, layout in _TEXTS.items()},
    **{code: ("BYTES", _counted(layout, MAX_STRING_BYTES)) for code, layout in _BYTES.items()},
    **{code: ("INTEGER", _integer(layout)) for code, layout in _INTEGERS.items()},
    b"c": ("GLOBAL", _global),
}
_OPCODES = {code[0]: found for code, found in _TABLE.items()}

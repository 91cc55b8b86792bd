"""Reads a pickle into plain data without executing any of it.

`pickle.Unpickler` calls what a pickle tells it to, and even with every name refused it allocates what a memo
index or a length asks for. This machine has the same stack and memo, but where pickle would import a class or
call a function it writes down the name (`core.checkpoint_files.inert`); the few calls that checkpoints contain
are listed in `core.checkpoint_files.rebuild`. What it makes may be nested deeply and refer to itself: whoever
reads it looks at a fixed depth and does not recurse.
"""

from collections.abc import Callable

from core.checkpoint_files.errors import PickleCallsError, PickleError, PickleLimitError
from core.checkpoint_files.inert import Attribute, Global, Instance, Key, TensorRef
from core.checkpoint_files.opcodes import MAX_PROTOCOL, Argument, instructions
from core.checkpoint_files.rebuild import called, storage

MAX_STACK = 200_000
MAX_MARKS = 200
MAX_GLOBAL = 200
SMALL = 2**31

_SET = Global("builtins", "set")
_FROZENSET = Global("builtins", "frozenset")


def read_pickle(data: bytes) -> object:
    """The data that a pickle describes: dicts, lists, tuples, scalars and the records of `inert`.

    Raises:
        PickleCallsError: it calls a function that no checkpoint needs.
        PickleLimitError: it is larger or deeper than any checkpoint.
        PickleError: it is damaged, or has an opcode that is refused.
        TensorRecordError: a tensor does not fit its storage.
    """
    machine = _Machine()
    for name, argument in instructions(data):
        _INSTRUCTIONS[name](machine, argument)
    return machine.result()


class _Machine:
    """Stack, marks and memo. A method for each kind of instruction; all take the instruction's argument."""

    def __init__(self) -> None:
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def result(self) -> object:
        """What is left on the stack at the end."""
        if len(self._stack) != 1 or self._marks:
            raise PickleError("the pickle does not end with one value")
        return self._stack[0]

    def protocol(self, version: Argument) -> None:
        assert isinstance(version, int)
        if not 2 <= version <= MAX_PROTOCOL:
            raise PickleError(f"the pickle has protocol {version}; 2 to {MAX_PROTOCOL} are read")

    def nothing(self, _: Argument) -> None:
        """STOP and FRAME only structure the bytes."""

    def push(self, value: object) -> None:
        if len(self._stack) >= MAX_STACK:
            raise PickleLimitError(f"the pickle puts more than {MAX_STACK} values on its stack")
        self._stack.append(value)

    def pop(self, _: Argument = None) -> object:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise PickleError("the pickle takes more from its stack than it put there")
        return self._stack.pop()

    def top(self) -> object:
        self.push(value := self.pop())
        return value

    def mark(self, _: Argument) -> None:
        if len(self._marks) >= MAX_MARKS:
            raise PickleLimitError(f"the pickle is nested more than {MAX_MARKS} deep")
        self._marks.append(len(self._stack))

    def pop_mark(self, _: Argument = None) -> list[object]:
        if not self._marks:
            raise PickleError("the pickle goes back to a mark that it did not set")
        begin = self._marks.pop()
        values = self._stack[begin:]
        del self._stack[begin:]
        return values

    def remember(self, place: Argument) -> None:
        assert isinstance(place, int)
        self._memo[place] = self.top()

    def memoize(self, _: Argument) -> None:
        self._memo[len(self._memo)] = self.top()

    def recall(self, place: Argument) -> None:
        assert isinstance(place, int)
        if place not in self._memo:
            raise PickleError("the pickle recalls a value that it did not keep")
        self.push(self._memo[place])

    def empty_list(self, _: Argument) -> None:
        self.push([])

    def empty_dict(self, _: Argument) -> None:
        self.push({})

    def empty_set(self, _: Argument) -> None:
        self.push(Instance(_SET))

    def make_frozenset(self, _: Argument) -> None:
        self.push(Instance(_FROZENSET, items=self.pop_mark()))

    def make_tuple(self, _: Argument) -> None:
        self.push(tuple(self.pop_mark()))

    def append(self, _: Argument) -> None:
        self._extend([self.pop()])

    def appends(self, _: Argument) -> None:
        self._extend(self.pop_mark())

    def _extend(self, values: list[object]) -> None:
        target = self.top()
        if isinstance(target, Instance):
            target = target.items
        if not isinstance(target, list):
            raise PickleError("the pickle appends to something that is no list")
        target.extend(values)

    def set_item(self, _: Argument) -> None:
        value = self.pop()
        self._update([self.pop(), value])

    def set_items(self, _: Argument) -> None:
        self._update(self.pop_mark())

    def _update(self, flat: list[object]) -> None:
        if len(flat) % 2:
            raise PickleError("the pickle has a key without a value")
        pairs = zip(flat[::2], flat[1::2], strict=True)
        target = self.top()
        if isinstance(target, Instance):
            target.items.extend(pairs)
        elif isinstance(target, dict):
            target.update((_key(key), value) for key, value in pairs)
        else:
            raise PickleError("the pickle sets an item of something that is no dict")

    def name(self, pair: Argument) -> None:
        assert isinstance(pair, tuple)
        module, name = pair
        if len(module) > MAX_GLOBAL or len(name) > MAX_GLOBAL:
            raise PickleLimitError("the pickle names a class by more than any class's name")
        self.push(Global(module, name))

    def stack_name(self, _: Argument) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise PickleError("the pickle names a class by something that is no text")
        self.name((module, name))

    def call(self, _: Argument) -> None:
        args = self.pop()
        self.push(called(self.pop(), args))

    def new(self, _: Argument) -> None:
        args = self.pop()
        self._instance(self.pop(), args)

    def new_with_keywords(self, _: Argument) -> None:
        keywords, args = self.pop(), self.pop()
        if not isinstance(keywords, dict):
            raise PickleError("the pickle makes an object without keyword arguments")
        self._instance(self.pop(), args)

    def _instance(self, kind: object, args: object) -> None:
        if not isinstance(kind, Global) or not isinstance(args, tuple):
            raise PickleError("the pickle makes an object without a class")
        self.push(Instance(kind, args))

    def build(self, _: Argument) -> None:
        """Hand an object its state; dicts and tensors go without theirs, which is not part of the weights."""
        state, target = self.pop(), self.top()
        if isinstance(target, Global | Attribute):
            raise PickleCallsError(f"loading this file would change {target}, which no checkpoint needs")
        if isinstance(target, Instance):
            target.state = state
        elif not isinstance(target, dict | TensorRef):
            raise PickleError("the pickle hands a state to something that has none")

    def persistent(self, _: Argument) -> None:
        self.push(storage(self.pop()))


def _key(key: object) -> object:
    if isinstance(key, str | bytes | bool | None) or (isinstance(key, int) and -SMALL <= key < SMALL):
        return key
    return Key(key)


def _tuple_of(count: int) -> Callable[[_Machine, Argument], None]:
    def build(machine: _Machine, _: Argument) -> None:
        machine.push(tuple(reversed([machine.pop() for _ in range(count)])))

    return build


def _constant(value: object) -> Callable[[_Machine, Argument], None]:
    return lambda machine, _: machine.push(value)


_INSTRUCTIONS: dict[str, Callable[[_Machine, Argument], object]] = {
    "PROTO": _Machine.protocol,
    "FRAME": _Machine.nothing,
    "STOP": _Machine.nothing,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "INTEGER": _Machine.push,
    "FLOAT": _Machine.push,
    "TEXT": _Machine.push,
    "BYTES": _Machine.push,
    "PUT": _Machine.remember,
    "GET": _Machine.recall,
    "MEMOIZE": _Machine.memoize,
    "EMPTY_LIST": _Machine.empty_list,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "EMPTY_DICT": _Machine.empty_dict,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "EMPTY_SET": _Machine.empty_set,
    "ADDITEMS": _Machine.appends,
    "FROZENSET": _Machine.make_frozenset,
    "EMPTY_TUPLE": _constant(()),
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "NEWOBJ": _Machine.new,
    "NEWOBJ_EX": _Machine.new_with_keywords,
    "BINPERSID": _Machine.persistent,
}

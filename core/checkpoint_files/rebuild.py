"""The calls that a checkpoint's pickle may write, each with what it becomes here. No other call is accepted."""

from collections.abc import Callable
from typing import TypeGuard

from core.checkpoint_files.errors import PickleCallsError, PickleError, TensorRecordError
from core.checkpoint_files.inert import STORAGE_DTYPES, Attribute, Global, Instance, StorageRef, TensorRef

MAX_DIMENSIONS = 64
MAX_COUNT = 2**48
MAX_NAME = 200

Args = tuple[object, ...]

_TORCH_DTYPES = {
    "float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "complex64": "C64", "complex128": "C128",
}  # fmt: skip

_DATA = frozenset(
    f"{module}.{name}"
    for modules, names in (
        # protocol 2 writes sets, bytes and complex numbers as calls, under the names they had in Python 2
        ("builtins __builtin__", "set frozenset bytes bytearray complex slice range xrange"),
        ("_codecs", "encode"),
        # MultiStepLR keeps a Counter, optimisers and metrics keep defaultdicts
        ("collections", "Counter defaultdict deque"),
        # metrics, seeds and the state of NumPy's generators
        ("numpy.core.multiarray numpy._core.multiarray", "scalar _reconstruct"),
        ("numpy.core.numeric numpy._core.numeric", "_frombuffer"),
        ("numpy", "dtype"),
        # arguments of the run
        ("types", "SimpleNamespace"),
        ("datetime", "datetime date time timedelta timezone"),
        ("pathlib pathlib._local", "PosixPath PurePosixPath WindowsPath PureWindowsPath"),
        # torch's own small values
        ("torch", "Size device"),
        ("torch.serialization", "_get_layout"),
    )
    for module in modules.split()
    for name in names.split()
)
"""Functions that build data: what they would build is kept as name and arguments."""


def called(function: object, args: object) -> object:
    """What a REDUCE instruction makes.

    Raises:
        PickleCallsError: the function is not among those that checkpoints need.
        PickleError: the arguments are not that function's.
    """
    if not isinstance(args, tuple):
        raise PickleError("the pickle calls a function without a list of arguments")
    if not isinstance(function, Global):
        name = str(function) if isinstance(function, Attribute) else "something that is no function"
        raise PickleCallsError(_refusal(name))
    name = str(function)
    if (build := _BUILDERS.get(name)) is not None:
        return build(args)
    if name in _DATA or name.startswith("torch._utils._rebuild_"):
        return Instance(function, args)
    raise PickleCallsError(_refusal(name))


def _refusal(name: str) -> str:
    shown = (name if name.isprintable() else ascii(name))[:MAX_NAME]
    return (
        f"loading this file would call {shown}, which no checkpoint needs; if it is yours, save the weights alone: "
        "torch.save(model.state_dict(), 'weights.pt')"
    )


def storage(saved_id: object) -> StorageRef:
    """The storage that a persistent id names: ("storage", class, key, location, size).

    Raises:
        PickleError: it is no such tuple.
    """
    match saved_id:
        case ("storage", Global() as kind, str(key), str(location), int(size)) if 0 <= size < MAX_COUNT:
            dtype = None if kind.name == "UntypedStorage" else STORAGE_DTYPES.get(kind.name, kind.name)
            return StorageRef(dtype, key, location, size)
    raise PickleError("the pickle refers to something that is no storage")


def _ordered_dict(args: Args) -> object:
    return {} if not args else Instance(Global("collections", "OrderedDict"), args)


def _tensor(args: Args) -> TensorRef:
    """Storage, offset, size, stride, whether it has a gradient, hooks and maybe metadata."""
    match args:
        case (StorageRef(dtype=str(dtype)) as block, offset, size, stride, *rest) if len(rest) <= 3:
            _check_metadata(rest[2:])
            return _view(block, dtype, offset, size, stride, elements=block.size)
    raise PickleError("the pickle has a tensor that is no view of a storage")


def _untyped_tensor(args: Args) -> TensorRef:
    """Version 3: as `_tensor`, with the dtype after the hooks and a storage counted in bytes."""
    match args:
        case (StorageRef() as block, offset, size, stride, _, _, Global("torch", name), *rest) if (
            len(rest) <= 1
        ):
            _check_metadata(rest)
            return _view(block, _TORCH_DTYPES.get(name, name), offset, size, stride, elements=None)
    raise PickleError("the pickle has a tensor that is no view of a storage")


def _check_metadata(metadata: list[object]) -> None:
    """Metadata says whether numbers are stored negated or conjugated."""
    if any(isinstance(entry, dict) and any(entry.values()) for entry in metadata):
        raise TensorRecordError("a tensor is stored negated or conjugated; save tensor.resolve_neg() instead")


def _view(
    block: StorageRef, dtype: str, offset: object, size: object, stride: object, *, elements: int | None
) -> TensorRef:
    offsets = (offset,)
    if not (_are_counts(offsets) and _are_counts(size) and _are_counts(stride)) or len(size) != len(stride):
        raise TensorRecordError("a tensor's offset, sizes and strides must be counts")
    start = offsets[0]
    last = start + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if elements is not None and 0 not in size and last >= elements:
        raise TensorRecordError(f"a tensor reaches element {last} of a storage that has {elements}")
    return TensorRef(dtype, size, stride, start, block)


def _are_counts(value: object) -> TypeGuard[tuple[int, ...]]:
    return (
        isinstance(value, tuple)
        and len(value) <= MAX_DIMENSIONS
        and all(type(number) is int and 0 <= number < MAX_COUNT for number in value)
    )


def _first(args: Args) -> object:
    """A parameter is the tensor it wraps."""
    if not args or not isinstance(args[0], TensorRef | Instance):
        raise PickleError("the pickle has a parameter without a tensor")
    return args[0]


def _from_type(args: Args) -> object:
    """A tensor's subclass, or one with attributes: the function and arguments that make the plain tensor."""
    match args:
        case (Global() as function, Global(), tuple(inner), _) if str(function) != _FROM_TYPE:
            return called(function, inner)
    raise PickleError("the pickle has a tensor of a kind that is not understood")


def _reconstructed(args: Args) -> Instance:
    match args:
        case (Global() as kind, Global(), base):
            return Instance(kind, (base,))
    raise PickleError("the pickle has an object without a class")


def _attribute(args: Args) -> Attribute:
    """`getattr(owner, name)`: how pickle writes a bound method, which learning-rate schedules keep."""
    match args:
        case (Global() | Instance() | Attribute() as owner, str(name)):
            return Attribute(f"{owner.of if isinstance(owner, Instance) else owner}.{name}"[:MAX_NAME])
    raise PickleCallsError(_refusal("builtins.getattr"))


_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_BUILDERS: dict[str, Callable[[Args], object]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _untyped_tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    _FROM_TYPE: _from_type,
    "copyreg._reconstructor": _reconstructed,
    "copy_reg._reconstructor": _reconstructed,
    "builtins.getattr": _attribute,
    "__builtin__.getattr": _attribute,
}

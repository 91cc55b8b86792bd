"""What a pickle's instructions make here: names, records and references to bytes, none of which can do anything."""

from dataclasses import dataclass, field

STORAGE_DTYPES = {
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
}
"""The dtypes, in safetensors' names, of torch's typed storages."""


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a class or function; it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class Attribute:
    """The name of something on an object or class, as `getattr` writes bound methods; nothing is looked up."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True, eq=False)
class Instance:
    """What would have become an object of a class: its class's name, and the data it would have been given.

    Attributes:
        of: the class, or the function that would have made it.
        args: what it would have been called with.
        state: what its `__dict__` would have been, as far as the pickle says.
        items: what it would hold, for sets and subclasses of lists; pairs, for subclasses of dicts.
    """

    of: Global
    args: tuple[object, ...] = ()
    state: object = None
    items: list[object] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A key that is neither text nor a small number, so that no pickle chooses what Python has to hash."""

    value: object


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A block of bytes in the archive.

    Attributes:
        dtype: in safetensors' names; None for a block without type.
        size: in elements, or bytes where there is no dtype.
        location: the device it was saved from, such as "cpu" or "cuda:0".
    """

    dtype: str | None
    key: str
    location: str
    size: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor as a view of a storage; offset and strides count elements.

    Attributes:
        dtype: in safetensors' names, or torch's where those have none.
    """

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: StorageRef

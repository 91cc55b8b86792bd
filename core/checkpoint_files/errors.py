"""Why a file of a kind that is read is not taken: one type, with one code, for each reason."""

from core.checkpoints import CheckpointError
from core.errors import InvalidError


class ZipError(CheckpointError):
    """The archive's records contradict each other or the file."""

    code = "zip_damaged"


class ZipNameError(ZipError):
    """An entry's name is absolute, climbs out with `..`, has a backslash or is no plain text."""

    code = "zip_name"


class ZipDuplicateError(ZipError):
    """Two entries have one name, so that readers disagree on what the file holds."""

    code = "zip_duplicate"


class ZipEncryptedError(ZipError):
    """An entry is encrypted."""

    code = "zip_encrypted"


class ZipLinkError(ZipError):
    """An entry is a symbolic link, a device or a folder rather than a file."""

    code = "zip_link"


class ZipCompressedError(ZipError):
    """An entry is compressed; torch.save stores, and what is stored cannot be a bomb."""

    code = "zip_compressed"


class ZipTooManyError(ZipError):
    """More entries than any model has tensors."""

    code = "zip_too_many"


class ZipOverlapError(ZipError):
    """Two entries share bytes."""

    code = "zip_overlap"


class ZipMismatchError(ZipError):
    """An entry's own header says something else than the directory."""

    code = "zip_mismatch"


class ByteOrderError(CheckpointError):
    """Written on a big-endian machine."""

    code = "byte_order"


class PickleError(CheckpointError):
    """The pickle ends too early, or its opcodes make no sense."""

    code = "pickle_damaged"


class PickleCallsError(PickleError):
    """The pickle calls a function that is not among those that checkpoints need; the message names it."""

    code = "pickle_calls"


class PickleOpcodeError(PickleError):
    """An opcode that torch.save never writes."""

    code = "pickle_opcode"


class PickleLimitError(PickleError):
    """Larger, longer or deeper than any checkpoint."""

    code = "pickle_limits"


class TensorRecordError(CheckpointError):
    """A tensor's record does not fit the bytes it points to."""

    code = "tensor_record"


class UnsupportedTensorError(CheckpointError):
    """A tensor of a dtype, or a kind, that holds no weights."""

    code = "unsupported_tensor"


class NonFiniteWeightsError(CheckpointError):
    """The checkpoint holds NaN or infinite weights."""

    code = "nonfinite_weights"


class NoWeightsError(CheckpointError):
    """No dict of tensors was found."""

    code = "no_weights"


class AmbiguousWeightsError(CheckpointError):
    """Several state dicts could be meant; the caller has to name one."""

    code = "ambiguous_weights"


class UnknownNamesError(CheckpointError):
    """The tensors' names are neither Windthrow's nor TreeMTL's."""

    code = "unknown_names"


class UnknownTasksError(CheckpointError):
    """The heads do not say which profile's tasks they serve, or in which order."""

    code = "unknown_tasks"


class UnknownLayoutError(CheckpointError):
    """The file does not say which tasks share which branches."""

    code = "unknown_layout"


class LayoutInsideStageError(CheckpointError):
    """The model branches between two blocks of one stage, where our layouts cannot."""

    code = "layout_inside_stage"


class UnsupportedBackboneError(CheckpointError):
    """The backbone is known, but not among those that run here."""

    code = "unsupported_backbone"


class TooHungryError(CheckpointError):
    """Reading the file took more memory, time or space than it may, and was stopped."""

    code = "checkpoint_too_hungry"


class ReaderFailedError(CheckpointError):
    """The process that reads files ended without an answer."""

    code = "checkpoint_unreadable"


def error_of(code: str, message: str, *, field: str = "") -> InvalidError:
    """The error that another process raised, out of its code and message."""
    kinds = [InvalidError]
    for kind in kinds:
        if kind.code == code:
            return kind(message, field=field)
        kinds += kind.__subclasses__()
    return ReaderFailedError(message, field=field)

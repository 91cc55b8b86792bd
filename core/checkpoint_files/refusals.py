"""Kinds of file that are never read, each with a way to convert it into one that is."""

from core.checkpoints import CheckpointError

TRUSTED = "where you trust the file, run "


class RefusedFormatError(CheckpointError):
    """A file of a kind that is never read.

    Attributes:
        sentence: what it is and how to convert it; the message, unless another is given.
    """

    code = "unknown_format"
    sentence = (
        "the file is neither safetensors nor written by torch.save: save the model's weights with "
        "torch.save(model.state_dict(), 'weights.pt')"
    )

    def __init__(self, message: str = "", *, field: str = "") -> None:
        super().__init__(message or self.sentence, field=field)


class EmptyFileError(RefusedFormatError):
    """Nothing was written, or the upload stopped before the first byte."""

    code = "empty_file"
    sentence = "the file is empty: save the weights again with torch.save(model.state_dict(), 'weights.pt')"


class TorchScriptError(RefusedFormatError):
    """TorchScript holds a program; loading it compiles code from the file."""

    code = "torchscript_file"
    sentence = (
        "the file is TorchScript, which holds a program: "
        "torch.save(torch.jit.load(path, map_location='cpu').state_dict(), 'weights.pt')"
    )


class ExportedProgramError(RefusedFormatError):
    """An archive of torch.export, whose loader has run code out of files (CVE-2026-4538)."""

    code = "exported_program"
    sentence = (
        "the file is a program of torch.export (.pt2): "
        "torch.save(dict(torch.export.load(path).state_dict), 'weights.pt')"
    )


class LegacyTorchError(RefusedFormatError):
    """What torch.save wrote before version 1.6: several pickles and the storages, one after the other."""

    code = "legacy_torch_file"
    sentence = (
        "the file is in the format that torch.save had before version 1.6: "
        "torch.save(torch.load(path, map_location='cpu', weights_only=True), 'weights.pt')"
    )


class TarFileError(RefusedFormatError):
    """A tar archive; the first versions of torch.save wrote such."""

    code = "tar_file"
    sentence = (
        "the file is a tar archive; unpack it, or if an early version of torch.save wrote it, "
        + TRUSTED
        + "torch.save(torch.load(path, map_location='cpu', weights_only=False), 'weights.pt')"
    )


class BarePickleError(RefusedFormatError):
    """A pickle that torch.save did not write."""

    code = "bare_pickle"
    sentence = (
        "the file is a bare pickle, a program for Python's pickle machine: "
        + TRUSTED
        + "torch.save(pickle.load(open(path, 'rb')), 'weights.pt')"
    )


class OnnxError(RefusedFormatError):
    """An ONNX graph."""

    code = "onnx_file"
    sentence = (
        "the file is an ONNX graph; save the model that it was exported from with "
        "torch.save(model.state_dict(), 'weights.pt')"
    )


class Hdf5Error(RefusedFormatError):
    """HDF5, as Keras writes it, or a Keras archive."""

    code = "hdf5_file"
    sentence = (
        "the file is HDF5 or Keras; copy its arrays into the torch model and save that with "
        "torch.save(model.state_dict(), 'weights.pt')"
    )


class NumpyFileError(RefusedFormatError):
    """An .npz archive or .npy array."""

    code = "numpy_file"
    sentence = (
        "the file is NumPy's: safetensors.numpy.save_file(dict(numpy.load(path, allow_pickle=False)), "
        "'weights.safetensors')"
    )


class OtherZipError(RefusedFormatError):
    """A zip archive that torch.save did not write."""

    code = "other_zip"
    sentence = (
        "the file is a zip archive without a state dict; if the checkpoint is inside, unpack it; else save "
        "it with torch.save(model.state_dict(), 'weights.pt')"
    )


class CompressedFileError(RefusedFormatError):
    """Compressed as a whole: gzip, bzip2, xz, zstd or 7z."""

    code = "compressed_file"
    sentence = "the file is compressed: unpack it, for example with gunzip, and send what was inside"


class WholeModuleError(RefusedFormatError):
    """torch.save(model) rather than torch.save(model.state_dict())."""

    code = "whole_module"
    sentence = (
        "the file holds a whole module, which needs its classes to be loaded: where its code is at hand and "
        "trusted, run torch.save(torch.load(path, map_location='cpu', weights_only=False).state_dict(), "
        "'weights.pt')"
    )

"""Users' data sets in folders: formats of published ones, and a general one; read in threads, known by fingerprints."""

from core.data.folders.checking import BadSample, Check
from core.data.folders.dataset import FolderDataset
from core.data.folders.errors import REASONS, DatasetChangedError, FolderError, SampleError
from core.data.folders.fingerprint import Difference, Fingerprint, fingerprint, known_fingerprint, verify
from core.data.folders.formats import FORMATS, Format
from core.data.folders.opening import Description, describe, open_folder

__all__ = [
    "FORMATS",
    "REASONS",
    "BadSample",
    "Check",
    "DatasetChangedError",
    "Description",
    "Difference",
    "Fingerprint",
    "FolderDataset",
    "FolderError",
    "Format",
    "SampleError",
    "describe",
    "fingerprint",
    "known_fingerprint",
    "open_folder",
    "verify",
]

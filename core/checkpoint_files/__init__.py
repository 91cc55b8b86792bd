"""Checkpoint files from outside: what they are, and their weights as safetensors, without executing any of them.

Plain Python: neither torch nor NumPy, so that the API and a bare child process can use it. A safetensors file with
our names is what `core.models.load_checkpoint` reads; everything else is converted to one here.
"""

from core.checkpoint_files.convert import Converted, convert, identify
from core.checkpoint_files.formats import Format, recognise
from core.checkpoint_files.identity import Hints, Identity
from core.checkpoint_files.limited import Limits, run_limited

__all__ = [
    "Converted",
    "Format",
    "Hints",
    "Identity",
    "Limits",
    "convert",
    "identify",
    "recognise",
    "run_limited",
]

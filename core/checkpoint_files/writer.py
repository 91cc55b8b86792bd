"""Writes safetensors: a JSON header of sorted names, padded to 8 bytes, then the tensors without a gap."""

import hashlib
import json
from collections.abc import Mapping
from typing import BinaryIO

from core.checkpoint_files.errors import NonFiniteWeightsError
from core.checkpoint_files.source import StoredTensor
from core.checkpoint_files.tensors import chunks, count_nonfinite

ALIGNMENT = 8


def write_safetensors(out: BinaryIO, file: BinaryIO, tensors: Mapping[str, StoredTensor]) -> str:
    """Copy tensors out of a checkpoint file, under the names given; the same tensors make the same bytes.

    Wide numbers come first, so that all are aligned.

    Returns:
        SHA-256 of what was written, in hex.

    Raises:
        NonFiniteWeightsError: a tensor holds NaN or infinite numbers, or some too large for float32.
        TruncatedCheckpointError: the file ends before its tensors do.
    """
    ordered = dict(sorted(tensors.items(), key=lambda item: (-item[1].item_bytes, item[0])))
    header = _header(ordered)
    digest = hashlib.sha256(header)
    out.write(header)
    for name, tensor in ordered.items():
        spoilt = 0
        for piece in chunks(file, tensor):
            spoilt += count_nonfinite(piece, tensor.dtype)
            digest.update(piece)
            out.write(piece)
        if spoilt:
            raise NonFiniteWeightsError(f"{name} holds {spoilt} NaN or infinite numbers", field=name)
    return digest.hexdigest()


def _header(tensors: Mapping[str, StoredTensor]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, tensor in tensors.items():
        offsets = [position, position + tensor.bytes]
        entries[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets}
        position += tensor.bytes
    text = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text

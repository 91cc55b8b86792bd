"""Data sets: what a batch is, the readers and renderers behind one protocol, and how to open them by name."""

from core.data.batch import Batch, Dataset
from core.data.order import in_order
from core.data.registry import open_dataset

__all__ = ["Batch", "Dataset", "in_order", "open_dataset"]

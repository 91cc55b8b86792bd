"""Branched multi-task models: backbones and heads as torch modules, the tree that joins them, checkpoints."""

from core.models.checkpoint import NonFiniteWeightsError, load_checkpoint, save_checkpoint, weights_of
from core.models.tree import Preprocess, TreeModel, build_model

__all__ = [
    "NonFiniteWeightsError",
    "Preprocess",
    "TreeModel",
    "build_model",
    "load_checkpoint",
    "save_checkpoint",
    "weights_of",
]

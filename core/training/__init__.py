"""Training multi-task models."""

from core.training.trainer import Progress, TrainingRecipe, train

__all__ = ["Progress", "TrainingRecipe", "train"]

"""Indoor scenes drawn by ray casting, with exact labels for five dense tasks, in numpy alone."""

from core.data.scenes.dataset import ScenesDataset
from core.data.scenes.records import Sample
from core.data.scenes.render import render

__all__ = ["Sample", "ScenesDataset", "render"]

"""Training multi-task models: clean, or against attacks. Training in several processes is `core.training.parallel`."""

from core.specs.fitting import check_recipe
from core.training.curves import Curves, Report
from core.training.friendly import FriendlyOutcome, friendly_attack
from core.training.iteration import DivergenceError
from core.training.loop import StoppedError, Trainer
from core.training.state import StateError, load_state, save_state
from core.training.trainer import Progress, TrainingRecipe, train

__all__ = [
    "Curves",
    "DivergenceError",
    "FriendlyOutcome",
    "Progress",
    "Report",
    "StateError",
    "StoppedError",
    "Trainer",
    "TrainingRecipe",
    "check_recipe",
    "friendly_attack",
    "load_state",
    "save_state",
    "train",
]

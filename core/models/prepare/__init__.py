"""A model made ready for being attacked: a frozen copy that gives the same predictions and gradients sooner.

`prepare` takes any model and changes none. How a model is attacked is `core.attacks`' matter.
"""

from core.models.prepare.precision import precision_context
from core.models.prepare.preparing import Prepared, prepare

__all__ = ["Prepared", "precision_context", "prepare"]

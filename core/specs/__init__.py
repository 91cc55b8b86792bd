"""The language users write: attacks here, the documents that Pydantic reads in `core.specs.documents`."""

from core.specs.attack import AttackSpec
from core.specs.attack_fields import AttackSpecError

__all__ = ["AttackSpec", "AttackSpecError"]

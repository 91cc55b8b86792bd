"""What attacks compute in. Standard library only."""

from typing import Literal

Precision = Literal["float32", "tf32", "bfloat16"]

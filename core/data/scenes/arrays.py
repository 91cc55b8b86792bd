"""Names for the types that the renderer passes around."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]

Point = tuple[float, float, float]
"""x, y, z in metres, or a direction."""

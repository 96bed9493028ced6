"""Every op of the core as plain float64 NumPy equations: what the tests compare with and what a student reads first.

Letters: ``T`` time, ``B`` batch, ``R`` rows, ``D`` input width, ``H`` units, ``G`` gates, ``V`` vocabulary, ``N``
output width. ``prev_`` is the step before; ``d`` in front of a name is the gradient of the loss with respect to it.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Ids: TypeAlias = npt.NDArray[np.integer]
Mask: TypeAlias = npt.NDArray[np.bool_]

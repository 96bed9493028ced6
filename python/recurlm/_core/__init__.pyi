"""The C++ core; a file of this folder describes a file of csrc/bindings.

Arrays are C-contiguous, float32 unless an annotation says otherwise, and outputs are arguments that are written in
place. An optional array that is ``None`` is not read or not computed. Sequences are time-major.

Letters: ``T`` time, ``B`` batch, ``R`` rows (often ``T * B``), ``D`` input width, ``H`` units, ``G`` gates of the cell,
``V`` vocabulary, ``N`` output width.

``precision`` is that of the operands of products: float32, or bfloat16, to which both are rounded; sums are float32.
Gradients of parameters (``dkernel``, ``dbias``, ...) are overwritten, or added to where ``accumulate`` is true.
Every function checks its arguments and raises ``TypeError`` (dtype, layout), ``ValueError`` (shape, option) or
``IndexError`` (ids out of range); a failed check writes nothing.
"""

from ._attention import *
from ._infer import *
from ._losses import *
from ._machine import *
from ._optimizers import *
from ._penalties import *
from ._recurrent import *
from ._rows import *
from ._text import *

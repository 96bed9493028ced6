"""Recurrent layers in plain NumPy, as fast as they go: the input and weight products of all steps are one product each,
the gates lie side by side in one array, and nothing is allocated in a step.

Letters: T steps, B batch, D input width, H units, G gates. Weights have Keras's layout and gate order.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]  # float32 when measured, float64 when the gradients are checked


class RecurrentLayer:
    """What the cells share. ``forward`` starts from the state in which the last call ended."""

    gates: ClassVar[int]

    def __init__(self, weights: Sequence[Array], gradients: Sequence[Array], steps: int, batch: int) -> None:
        self.kernel, self.recurrent_kernel, self.bias = weights  # (D, G*H), (H, G*H), (G*H,) or (2, 3*H)
        self.dkernel, self.drecurrent_kernel, self.dbias = gradients
        dim, columns = self.kernel.shape
        units = len(self.recurrent_kernel)
        dtype = self.kernel.dtype
        self.steps, self.batch, self.units = steps, batch, units
        self.z = np.empty((steps, batch, columns), dtype)  # pre-activations, then the gates
        self.dz = np.empty_like(self.z)
        self.h = np.zeros((steps + 1, batch, units), dtype)
        self.dh = np.empty((batch, units), dtype)
        self.dx = np.empty((steps * batch, dim), dtype)
        self.product = np.empty((batch, columns), dtype)  # of the state and the recurrent kernel
        self.scratch = np.empty((batch, units), dtype)
        self.recurrent_transposed = np.empty((columns, units), dtype)
        self.ones = np.ones(steps * batch, dtype)

    def reset_state(self) -> None:
        """The next ``forward`` starts from zero."""
        self.h[-1] = 0

    def forward(self, x: Array) -> Array:
        """x (T*B, D) -> outputs (T*B, H)."""
        self.x = x
        self.h[0] = self.h[-1]
        np.matmul(x, self.kernel, out=rows(self.z))
        for t in range(self.steps):
            np.matmul(self.h[t], self.recurrent_kernel, out=self.product)
            self.step_forward(t)
        return rows(self.h[1:])

    def backward(self, dy: Array) -> Array:
        """dy (T*B, H) -> dx (T*B, D); writes the gradients of the weights."""
        # OpenBLAS is a third faster on a transposed copy than on the transposed view, and the copy serves T products.
        np.copyto(self.recurrent_transposed, self.recurrent_kernel.T)
        dy = dy.reshape(self.steps, self.batch, self.units)
        self.dh[:] = dy[-1]
        for t in reversed(range(self.steps)):
            self.step_backward(t)
            if t > 0:
                self.state_gradient(t)
                self.dh += dy[t - 1]
        self.weight_gradients()
        return np.matmul(rows(self.dz), self.kernel.T, out=self.dx)

    def state_gradient(self, t: int) -> None:
        """dh of step t - 1, from dz of step t."""
        np.matmul(self.dz[t], self.recurrent_transposed, out=self.dh)

    def weight_gradients(self) -> None:
        dz = rows(self.dz)
        np.matmul(self.x.T, dz, out=self.dkernel)
        np.matmul(rows(self.h[:-1]).T, dz, out=self.drecurrent_kernel)
        np.matmul(self.ones, dz, out=self.dbias)

    def step_forward(self, t: int) -> None:
        raise NotImplementedError

    def step_backward(self, t: int) -> None:
        raise NotImplementedError


class Rnn(RecurrentLayer):
    """h = tanh(x W + h' U + b)."""

    gates = 1

    def step_forward(self, t: int) -> None:
        h = np.add(self.z[t], self.product, out=self.h[t + 1])
        h += self.bias
        np.tanh(h, out=h)

    def step_backward(self, t: int) -> None:
        dz = self.dz[t]
        np.multiply(self.h[t + 1], self.h[t + 1], out=dz)
        np.subtract(1, dz, out=dz)
        dz *= self.dh


class Gru(RecurrentLayer):
    """Keras's GRU with ``reset_after``: n = tanh(x W + r * (h' U + b)), h = z * h' + (1 - z) * n; gates z r n."""

    gates = 3

    def __init__(self, weights: Sequence[Array], gradients: Sequence[Array], steps: int, batch: int) -> None:
        super().__init__(weights, gradients, steps, batch)
        dtype = self.z.dtype
        self.candidates = np.empty((steps, batch, self.units), dtype)  # h' U + b of n
        self.dproduct = np.empty_like(self.z)  # gradient of h' U
        self.candidate_bias = np.zeros_like(self.bias[0])

    def step_forward(self, t: int) -> None:
        units = self.units
        a, product, candidate, scratch = self.z[t], self.product, self.candidates[t], self.scratch
        a += self.bias[0]
        product += self.bias[1]
        zr = a[:, : 2 * units]
        zr += product[:, : 2 * units]
        zr *= 0.5
        np.tanh(zr, out=zr)  # sigmoid(x) = (tanh(x / 2) + 1) / 2; NumPy's tanh is faster than its exp
        zr *= 0.5
        zr += 0.5
        z, r, n = split(a, 3)
        candidate[:] = product[:, 2 * units :]
        np.multiply(r, candidate, out=scratch)
        n += scratch
        np.tanh(n, out=n)
        h = np.subtract(self.h[t], n, out=self.h[t + 1])
        h *= z
        h += n

    def step_backward(self, t: int) -> None:
        z, r, n = split(self.z[t], 3)
        dz, dr, dn = split(self.dz[t], 3)
        dh, scratch = self.dh, self.scratch
        np.multiply(dh, z, out=self.product[:, : self.units])  # the direct path; see state_gradient
        np.subtract(dh, self.product[:, : self.units], out=scratch)  # dh * (1 - z)
        np.multiply(n, n, out=dn)
        np.subtract(1, dn, out=dn)
        dn *= scratch
        np.subtract(self.h[t], n, out=dz)
        dz *= z
        dz *= scratch
        np.subtract(1, r, out=dr)
        dr *= r
        dr *= self.candidates[t]
        dr *= dn
        dproduct = self.dproduct[t]
        dproduct[:] = self.dz[t]
        dproduct[:, 2 * self.units :] *= r

    def state_gradient(self, t: int) -> None:
        np.matmul(self.dproduct[t], self.recurrent_transposed, out=self.dh)
        self.dh += self.product[:, : self.units]

    def weight_gradients(self) -> None:
        dz, dproduct = rows(self.dz), rows(self.dproduct)
        np.matmul(self.x.T, dz, out=self.dkernel)
        np.matmul(rows(self.h[:-1]).T, dproduct, out=self.drecurrent_kernel)
        np.matmul(self.ones, dz, out=self.dbias[0])
        np.matmul(self.ones, dproduct, out=self.dbias[1])


class Lstm(RecurrentLayer):
    """c = f * c' + i * g, h = o * tanh(c); gates i f g o."""

    gates = 4

    def __init__(self, weights: Sequence[Array], gradients: Sequence[Array], steps: int, batch: int) -> None:
        super().__init__(weights, gradients, steps, batch)
        dtype = self.z.dtype
        self.c = np.zeros_like(self.h)
        self.tanh_c = np.empty((steps, batch, self.units), dtype)
        self.dc = np.empty((batch, self.units), dtype)
        # One tanh serves all four gates: sigmoid(x) = (tanh(x / 2) + 1) / 2, and it is NumPy's faster function besides.
        is_sigmoid = np.repeat(np.array([1, 1, 0, 1], dtype), self.units)
        self.is_sigmoid, self.is_tanh = is_sigmoid, 1 - is_sigmoid
        self.scale, self.shift = 1 - is_sigmoid / 2, is_sigmoid / 2

    def reset_state(self) -> None:
        super().reset_state()
        self.c[-1] = 0

    def forward(self, x: Array) -> Array:
        self.c[0] = self.c[-1]
        return super().forward(x)

    def backward(self, dy: Array) -> Array:
        self.dc.fill(0)
        return super().backward(dy)

    def step_forward(self, t: int) -> None:
        a = self.z[t]
        a += self.product
        a += self.bias
        a *= self.scale
        np.tanh(a, out=a)
        a *= self.scale
        a += self.shift
        i, f, g, o = split(a, 4)
        c = np.multiply(f, self.c[t], out=self.c[t + 1])
        np.multiply(i, g, out=self.scratch)
        c += self.scratch
        np.tanh(c, out=self.tanh_c[t])
        np.multiply(o, self.tanh_c[t], out=self.h[t + 1])

    def step_backward(self, t: int) -> None:
        a, tanh_c, dc, scratch = self.z[t], self.tanh_c[t], self.dc, self.scratch
        i, f, g, o = split(a, 4)
        di, df, dg, do = split(self.dz[t], 4)
        np.multiply(self.dh, tanh_c, out=do)
        np.multiply(tanh_c, tanh_c, out=scratch)
        np.subtract(1, scratch, out=scratch)
        scratch *= o
        scratch *= self.dh
        dc += scratch
        np.multiply(dc, g, out=di)
        np.multiply(dc, self.c[t], out=df)
        np.multiply(dc, i, out=dg)
        dc *= f
        slope = np.subtract(self.is_sigmoid, a, out=self.product)  # a (1 - a) of a sigmoid, 1 - a a of tanh
        slope *= a
        slope += self.is_tanh
        self.dz[t] *= slope


CELLS: dict[str, type[RecurrentLayer]] = {"rnn": Rnn, "gru": Gru, "lstm": Lstm}


def rows(sequence: Array) -> Array:
    """(T, B, N) -> (T*B, N), without a copy."""
    return sequence.reshape(-1, sequence.shape[-1])


def split(gates: Array, count: int) -> list[Array]:
    """(B, G*H) -> G views (B, H)."""
    units = gates.shape[1] // count
    return [gates[:, k * units : (k + 1) * units] for k in range(count)]

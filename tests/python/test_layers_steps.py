"""Reverse and Lengths."""

import numpy as np
import pytest

from recurlm import Input, Model
from recurlm.layers import GRU, LSTM, Bidirectional, Dense, Embedding, Lengths, Reverse
from tests.python.models import check_gradients, ids, normal

RNG = np.random.default_rng(31)
LENGTHS = np.array([[5], [2], [0], [9]], np.float32)


def test_reversed_steps() -> None:
    x = normal(RNG, 2, 5, 3)
    np.testing.assert_array_equal(Reverse()(x), x[:, ::-1])


def test_a_layer_backwards_and_reverse_are_half_of_bidirectional() -> None:
    x, lengths = Input((None, 3)), Input((1,))
    padded = Lengths()([x, lengths])
    both = Bidirectional(LSTM(4, return_sequences=True), merge_mode=None)
    alone = LSTM(4, return_sequences=True, go_backwards=True, zero_output_for_mask=True)
    model = Model([x, lengths], [both(padded)[1], Reverse()(alone(padded))])
    alone.set_weights(both.backward_layer.get_weights())
    one, other = model.predict([normal(RNG, 4, 5, 3), LENGTHS], verbose=0)
    np.testing.assert_array_equal(one, other)


def test_what_is_behind_the_length_of_a_row_is_padding() -> None:
    x, lengths = Input((None, 3)), Input((1,))
    model = Model([x, lengths], GRU(4)(Lengths()([x, lengths])))
    values = normal(RNG, 4, 5, 3)
    whole = model.predict([values, LENGTHS], verbose=0)
    changed = values.copy()
    for row, length in enumerate(LENGTHS[:, 0].astype(int)):
        changed[row, length:] = 7
    np.testing.assert_array_equal(model.predict([changed, LENGTHS], verbose=0), whole)
    np.testing.assert_array_equal(whole[2], 0)
    cut = model.predict([values[1:2, :2], LENGTHS[1:2]], verbose=0)
    np.testing.assert_array_equal(cut[0], whole[1])


def test_padding_of_an_embedding_stays_padding() -> None:
    tokens, lengths = Input((None,), dtype="int32"), Input((1,))
    model = Model([tokens, lengths], GRU(3)(Lengths()([Embedding(7, 4, mask_zero=True)(tokens), lengths])))
    one = model.predict([np.array([[1, 0, 2, 3]]), np.array([[3.0]])], verbose=0)
    other = model.predict([np.array([[1, 2, 0, 0]]), np.array([[4.0]])], verbose=0)
    np.testing.assert_array_equal(one, other)


def test_gradients() -> None:
    tokens, lengths = Input((None,), dtype="int32"), Input((1,))
    x = Lengths()([Dense(3)(Embedding(7, 4)(tokens)), lengths])
    model = Model([tokens, lengths], Dense(2)(Reverse()(GRU(3, return_sequences=True)(Reverse()(x)))))
    model.compile("sgd", "mse")
    check_gradients(model, [ids(RNG, 7, 4, 5), LENGTHS], normal(RNG, 4, 5, 2))


@pytest.mark.parametrize(("shape", "lengths"), [((5,), (1,)), ((5, 3), (2,))])
def test_other_shapes_are_refused(shape: tuple[int, ...], lengths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes \(batch, time, features\) and \(batch, 1\), got"):
        Lengths()([Input(shape), Input(lengths)])
    if len(shape) == 1:
        with pytest.raises(ValueError, match=r"takes one input \(batch, time, features\), got"):
            Reverse()(Input(shape))

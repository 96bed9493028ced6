"""Weights of PyTorch modules give the same outputs, and come back as they were; skipped where there is no torch."""

from typing import Any

import numpy as np
import pytest

from recurlm.interop import from_pytorch, to_pytorch

torch = pytest.importorskip("torch")
nn = torch.nn

CASES = 200
CLOSE = 1e-5  # of outputs below 1 in size: two orders of float32 sums


class Network(nn.Module):  # type: ignore[misc, name-defined]
    """An Embedding (or numbers as they are), a recurrent module and a Linear (or the outputs as they are)."""

    def __init__(self, rng: np.random.Generator):
        super().__init__()
        pick = lambda *choices: choices[rng.integers(len(choices))]  # noqa: E731
        self.kind = pick("RNN", "GRU", "LSTM")
        self.tied = bool(rng.random() < 0.3)
        both = False if self.tied else bool(rng.random() < 0.4)
        units = int(rng.integers(1, 20))
        width = units if self.tied else int(rng.integers(1, 24))
        vocabulary = int(rng.integers(2, 40))
        self.embedding = nn.Embedding(vocabulary, width) if self.tied or rng.random() < 0.7 else None
        options = {"nonlinearity": pick("tanh", "relu")} if self.kind == "RNN" else {}
        self.options = options
        self.rnn = getattr(nn, self.kind)(
            width, units, int(rng.integers(1, 4)), bias=bool(rng.random() < 0.7), batch_first=True, bidirectional=both,
            **options,
        )  # fmt: skip
        self.last_only = bool(rng.random() < 0.3)
        self.linear = None
        if self.tied or rng.random() < 0.8:
            size = vocabulary if self.tied else int(rng.integers(1, 40))
            self.linear = nn.Linear(units * (1 + both), size, bias=bool(rng.random() < 0.7))
        if self.tied:
            self.linear.weight = self.embedding.weight

    def forward(self, x: Any) -> Any:
        x = x if self.embedding is None else self.embedding(x)
        y, state = self.rnn(x)
        if self.last_only:
            h = state[0] if isinstance(state, tuple) else state
            y = torch.cat(list(h[-2 if self.rnn.bidirectional else -1 :]), -1)
        return y if self.linear is None else self.linear(y)

    def inputs(self, rng: np.random.Generator) -> Any:
        batch, steps = int(rng.integers(1, 6)), int(rng.integers(1, 12))
        if self.embedding is None:
            return rng.standard_normal((batch, steps, self.rnn.input_size), np.float32)
        return rng.integers(0, self.embedding.num_embeddings, (batch, steps), np.int32)

    def names(self) -> dict[str, str]:
        """Of modules that shapes may not tell apart."""
        return {name: name for name in ("embedding", "linear") if getattr(self, name) is not None and not self.tied}


def outputs_of(network: Network, x: Any) -> Any:
    with torch.no_grad():
        return network(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("seed", range(CASES))
def test_outputs_are_those_of_the_module_and_the_weights_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = Network(rng)
    model = from_pytorch(
        network.state_dict(), return_sequences=not network.last_only, **network.names(), **network.options
    )
    x = network.inputs(rng)
    np.testing.assert_allclose(model.predict(x, verbose=0), outputs_of(network, x), rtol=CLOSE, atol=CLOSE)
    assert (len({id(p) for p in model.weights}) < len(network.state_dict())) or not network.tied
    back = to_pytorch(model)
    expected = outputs_of(network, x)
    for parameter in network.parameters():
        parameter.data.zero_()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in back.items()})
    np.testing.assert_allclose(outputs_of(network, x), expected, rtol=CLOSE, atol=CLOSE)

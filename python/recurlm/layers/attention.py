"""Attention and AdditiveAttention, and what all layers of attention share."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .. import _core, initializers
from ..checks import check_rate
from ..seeding import check_seed
from ..tape import Call, Parameter
from ..typing import Array, Float, Mask, Shape
from .base import Layer


class Attending(Layer):
    """A query sequence (B, T, *) looks at a sequence of keys and values (B, S, *); inputs: query, value [, key].

    Masked steps of the value (and key) are not seen; nor, with ``use_causal_mask``, an argument of a call, are those
    behind the query. A query that sees nothing gets the mean of all values (in Keras's MultiHeadAttention with dropout,
    zeros). The query's mask passes on.
    """

    call_arguments: ClassVar[tuple[str, ...]] = ("use_causal_mask",)

    def __init__(self, dropout: float, seed: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dropout = check_rate(f"{self.name}: dropout", dropout)
        self.seed = None if seed is None else check_seed(seed)

    def attend_to(
        self, inputs: list[Any], mask: Any, training: bool, return_attention_scores: bool, use_causal_mask: bool
    ) -> Any:
        """``apply`` with the arguments of Keras's calls."""
        if return_attention_scores:
            raise ValueError(f"{self.name}: return_attention_scores is not supported; only False is")
        arguments = {"use_causal_mask": True} if use_causal_mask else {}
        return self.apply(inputs, training=training, mask=mask, arguments=arguments)

    def check_inputs(self, shapes: list[Shape]) -> None:
        if len(shapes) not in (2, 3) or any(len(shape) != 3 or shape[2] is None for shape in shapes):
            raise ValueError(
                f"{self.name} takes query, value and perhaps key, (batch, time, width) of known width, got {shapes}"
            )
        times = {shape[1] for shape in shapes[1:]} - {None}
        if len(times) > 1:
            raise ValueError(f"{self.name}: value and key must be equally long, got shapes {shapes[1]} and {shapes[2]}")

    def attend(
        self, call: Call, query: Float, key: Float, value: Float, masks: tuple[Mask | None, Mask | None], **scores: Any
    ) -> Float:
        """Output (T, B, *) of query (T, B, *), key and value (S, B, *); ``scores``: how the core scores them."""
        tape = call.tape
        how = scores | {"query_mask": masks[0], "key_mask": masks[1]}
        how["causal"] = bool(call.arguments.get("use_causal_mask", False))
        if self.dropout > 0 and tape.training:
            seed = tape.seed if self.seed is None else self.seed
            how |= {"dropout": self.dropout, "seed": seed, "stream": call.index, "step": tape.step}
        steps, batch = query.shape[:2]
        output = call.buffer("attended", (steps, batch, value.shape[2]))
        probabilities = call.buffer("probabilities", (batch, how.get("heads", 1), steps, len(key)))
        _core.attention_forward(query, key, value, output, probabilities, tape.workspace, **how)
        call.saved["attention"] = (query, key, value, probabilities), how
        return output

    def attend_backward(
        self, call: Call, doutput: Float, gradients: Sequence[Float], dadditive: Float | None = None
    ) -> None:
        """Into ``gradients`` of query, key and value."""
        (query, key, value, probabilities), how = call.saved["attention"]
        dquery, dkey, dvalue = gradients
        workspace, more = call.tape.workspace, how | {"dadditive": dadditive}
        _core.attention_backward(query, key, value, probabilities, doutput, dquery, dkey, dvalue, workspace, **more)

    def masks(self, call: Call, inputs: list[Array]) -> list[Mask | None]:
        return [call.mask]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"dropout": self.dropout, "seed": self.seed}


class Attention(Attending):
    """Dot-product attention (Luong et al., 2015): inputs [query, value] or [query, value, key] -> (B, T, value width).

    Scores are ``query . key``; with ``score_mode="concat"``, ``weight * sum(tanh(query + key))``. ``use_scale`` learns
    a factor: of the scores, or of what stands under the tanh. Where the query is masked, the output is zero. The mean
    that a query without keys gets has no gradient of scores here; in Keras it has one, of what rounding leaves.
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dropout, seed, **kwargs)
        if score_mode not in ("dot", "concat"):
            raise ValueError(f"{self.name}: score_mode must be 'dot' or 'concat', got {score_mode!r}")
        self.use_scale, self.score_mode = use_scale, score_mode
        self.scale: Parameter | None = None
        self.concat_score_weight: Parameter | None = None

    def __call__(
        self,
        inputs: Any,
        *,
        training: bool = False,
        mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """``inputs`` is a list; ``mask``, for arrays, one of query and value."""
        if not isinstance(inputs, (list, tuple)):
            raise ValueError(f"{self.name} takes a list, [query, value] or [query, value, key], got {inputs!r}")
        return self.attend_to(list(inputs), mask, training, return_attention_scores, use_causal_mask)

    def build(self, input_shapes: list[Shape]) -> None:
        ones = initializers.get("ones")
        if self.use_scale:
            self.scale = self.add_weight("scale", (), ones)
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight("concat_score_weight", (), ones)

    def check_inputs(self, shapes: list[Shape]) -> None:
        super().check_inputs(shapes)
        if shapes[0][2] != shapes[-1][2]:
            raise ValueError(f"{self.name}: query and key must be equally wide, got {shapes[0]} and {shapes[-1]}")

    def output_specs(self, input_shapes: list[Shape]) -> list[tuple[Shape, str]]:
        return [((*input_shapes[0][:2], input_shapes[1][2]), "float32")]

    def forward(self, call: Call, inputs: list[Array]) -> list[Array]:
        query, value, key = inputs[0], inputs[1], inputs[-1]
        call.saved["scored"] = query, key
        query, key, additive = self._operands(call, query, key)
        output = self.attend(call, query, key, value, (None, call.masks[1]), additive=additive)
        return [output if call.mask is None else np.multiply(output, call.mask[..., None], out=output)]

    def backward(self, call: Call, grads: list[Float | None]) -> list[Float | None]:
        dy = grads[0]
        if dy is None:
            return [None] * len(call.wanted)
        if call.mask is not None:
            dy *= call.mask[..., None]
        (query, key, value, _), how = call.saved["attention"]
        dquery, dkey, dvalue = gradients = [call.gradient(x.shape) for x in (query, key, value)]
        additive = how["additive"]
        dadditive = None if additive is None else call.buffer("dadditive", additive.shape)
        self.attend_backward(call, dy, gradients, dadditive)
        self._operands_backward(call, dquery, dkey, dadditive)
        if len(call.wanted) == 3:
            return _wanted(call, [dquery, dvalue, dkey])
        dvalue += dkey
        call.tape.give(dkey)
        return _wanted(call, [dquery, dvalue])

    def _operands(self, call: Call, query: Float, key: Float) -> tuple[Float, Float, Float | None]:
        """What the core scores, and the weights of additive scores."""
        additive = None
        if self.scale is not None:
            query = np.multiply(query, self.scale.value, out=call.buffer("query", query.shape))
        if self.concat_score_weight is not None:
            additive = call.buffer("additive", (query.shape[2],))
            additive.fill(self.concat_score_weight.value)
            if self.scale is not None:
                key = np.multiply(key, self.scale.value, out=call.buffer("key", key.shape))
        return query, key, additive

    def _operands_backward(self, call: Call, dquery: Float, dkey: Float, dadditive: Float | None) -> None:
        if dadditive is not None and self.concat_score_weight is not None:
            self._add_gradient(call, self.concat_score_weight, dadditive.sum(dtype=np.float64))
        if self.scale is not None:
            scaled = [dquery] if dadditive is None else [dquery, dkey]
            total = 0.0
            for gradient, x in zip(scaled, call.saved["scored"], strict=False):
                total += _core.weighted_sum(gradient.reshape(-1), x.reshape(-1))
                gradient *= self.scale.value
            self._add_gradient(call, self.scale, total)

    def _add_gradient(self, call: Call, parameter: Parameter, gradient: Any) -> None:
        if self.trainable:
            before = parameter.grad if call.tape.accumulate([parameter]) else 0
            parameter.grad[...] = before + gradient

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"use_scale": self.use_scale, "score_mode": self.score_mode}


class AdditiveAttention(Attention):
    """Additive attention (Bahdanau et al., 2014): scores ``sum(scale * tanh(query + key))``, scale (D,) or 1."""

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        if "score_mode" in kwargs:
            raise TypeError("AdditiveAttention has no argument 'score_mode'")
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def build(self, input_shapes: list[Shape]) -> None:
        if self.use_scale:
            self.scale = self.add_weight("scale", (input_shapes[0][2] or 0,), initializers.get("glorot_uniform"))

    def _operands(self, call: Call, query: Float, key: Float) -> tuple[Float, Float, Float | None]:
        if self.scale is not None:
            return query, key, self.scale.value
        ones = call.buffer("additive", (query.shape[2],))
        ones.fill(1)
        return query, key, ones

    def _operands_backward(self, call: Call, dquery: Float, dkey: Float, dadditive: Float | None) -> None:
        if self.scale is not None:
            self._add_gradient(call, self.scale, dadditive)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["score_mode"]
        return config


def _wanted(call: Call, gradients: list[Float]) -> list[Float | None]:
    """Those that are wanted; the memory of the others goes back."""
    for gradient, wanted in zip(gradients, call.wanted, strict=True):
        if not wanted:
            call.tape.give(gradient)
    return [gradient if wanted else None for gradient, wanted in zip(gradients, call.wanted, strict=True)]

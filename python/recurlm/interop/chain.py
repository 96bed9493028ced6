"""A model whose layers stand one on the other, as libraries of modules have them: no graph is written down there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..layers import (
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    InputLayer,
    Layer,
    SpatialDropout1D,
    TimeDistributed,
)
from ..layers.recurrent import Recurrent
from ..model import Model

_POOLING = (GlobalAveragePooling1D, GlobalMaxPooling1D)


@dataclass(frozen=True)
class Chain:
    """The layers that have weights, and the pooling before the last of them."""

    embedding: Embedding | None
    recurrent: list[Recurrent | Bidirectional]
    pooling: Layer | None
    dense: Dense | None

    @classmethod
    def of(cls, model: Model) -> Chain:
        """ValueError where there are other layers, in another order, or anything but one path through them."""
        nodes = model.graph.nodes
        branches = [node for node in nodes[1:] if len(node.inputs) != 1 or len(node.outputs) != 1]
        apart = [after for before, after in pairwise(nodes) if after.inputs != before.outputs]
        if branches or apart or model.outputs != nodes[-1].outputs:
            where = (branches or apart or nodes[-1:])[0].layer.name
            raise ValueError(f"{model.name} must be one chain of layers with one input and output each; see {where!r}")
        layers = [node.layer for node in nodes if not isinstance(node.layer, (InputLayer, Dropout, SpatialDropout1D))]
        embedding = layers.pop(0) if layers and isinstance(layers[0], Embedding) else None
        dense = layers.pop() if layers and isinstance(_unwrapped(layers[-1]), Dense) else None
        pooling = layers.pop() if layers and isinstance(layers[-1], _POOLING) else None
        recurrent = [layer for layer in layers if isinstance(layer, (Recurrent, Bidirectional))]
        strange = [layer for layer in layers if layer not in recurrent]
        if strange or not recurrent:
            raise ValueError(
                f"{model.name} must be an Embedding, recurrent layers, at most one pooling, and one Dense at the end, "
                f"{_found(strange[-1:])}"
            )
        assert embedding is None or isinstance(embedding, Embedding)
        end = None if dense is None else _unwrapped(dense)
        assert end is None or isinstance(end, Dense)
        chain = cls(embedding, recurrent, pooling, end)
        chain._check()
        return chain

    @classmethod
    def of_weights(cls, model: Model) -> Chain:
        """Where nothing but the weights is taken: ValueError also where there is more."""
        chain = cls.of(model)
        if chain.embedding is not None and chain.embedding.mask_zero:
            raise ValueError(f"{chain.embedding.name} has mask_zero: masks do not go with the weights")
        if chain.pooling is not None:
            raise ValueError(
                f"{model.name} must be an Embedding, recurrent layers and a Dense, {_found([chain.pooling])}"
            )
        return chain

    def _check(self) -> None:
        for layer in self.recurrent:
            if isinstance(layer, Bidirectional) and layer.merge_mode != "concat":
                raise ValueError(f"{layer.name}: merge_mode must be concat, got {layer.merge_mode!r}")
            one, *other = self.cells(layer)
            if one.go_backwards:
                raise ValueError(f"{layer.name}: go_backwards goes only with its twin in Bidirectional")
            if other and _shape(one) != _shape(other[0]):
                raise ValueError(f"{layer.name}: both directions must have the same cell, units and bias")

    @staticmethod
    def cells(layer: Recurrent | Bidirectional) -> list[Recurrent]:
        """One, or forward and backward."""
        return [layer.forward_layer, layer.backward_layer] if isinstance(layer, Bidirectional) else [layer]

    @property
    def uniform(self) -> bool:
        """Whether all recurrent layers are of one kind and width."""
        return len({(len(self.cells(layer)), *_shape(self.cells(layer)[0])) for layer in self.recurrent}) == 1


def _unwrapped(layer: Layer) -> Layer:
    """What is done at every step anyway needs no TimeDistributed."""
    return layer.layer if isinstance(layer, TimeDistributed) else layer


def _shape(cell: Recurrent) -> tuple[str, int, bool, str]:
    return cell.kind, cell.units, cell.use_bias, cell.activation


def _found(strange: list[Layer]) -> str:
    return f"got a {type(strange[0]).__name__}, {strange[0].name!r}" if strange else "got no recurrent layer"

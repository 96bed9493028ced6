"""Layers as JSON can hold them."""

from collections.abc import Mapping
from typing import Any

from .base import Layer


def serialize(layer: Layer) -> dict[str, Any]:
    """``{"class_name", "config"}``, without weights."""
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def deserialize(config: Any) -> Layer:
    """The inverse of ``serialize``, or a layer as it is; ValueError for a class that is no layer of recurlm."""
    from .. import layers

    if isinstance(config, Layer):
        return config
    name = config["class_name"] if isinstance(config, Mapping) else config
    cls = getattr(layers, name) if name in layers.__all__ else None
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        raise ValueError(f"unknown layer {name!r}")
    return cls.from_config(config["config"])

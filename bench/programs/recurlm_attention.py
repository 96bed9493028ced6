"""The layers of a configuration with attention, in recurlm."""

from bench.configs import Config
from recurlm.layers import Add, Dense, LayerNormalization, MultiHeadAttention, PositionEmbedding, SymbolicTensor

NORM_EPSILON = 1e-5


def attention_layers(config: Config, x: SymbolicTensor) -> SymbolicTensor:
    """Embedded tokens (B, T, D) -> what the projection reads."""
    x = Add()([x, PositionEmbedding(config.steps)(x)])
    for _ in range(config.layers):
        h = LayerNormalization(epsilon=NORM_EPSILON)(x)
        attention = MultiHeadAttention(config.heads, config.units // config.heads)
        x = Add()([x, attention(h, h, use_causal_mask=True)])
        h = LayerNormalization(epsilon=NORM_EPSILON)(x)
        x = Add()([x, Dense(config.units)(Dense(4 * config.units, activation="gelu")(h))])
    normalised: SymbolicTensor = LayerNormalization(epsilon=NORM_EPSILON)(x)
    return normalised

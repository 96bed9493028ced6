"""A language model of causal self-attention on the characters of a text.

    python examples/attention_language_model.py TEXT

The recipe is the CPU-sized one of karpathy/nanoGPT: 4 blocks of 4 heads, 128 wide, a context of 64, 2,000 steps on
batches of 12 random windows, AdamW under a cosine. Losses are in nats per character.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from recurlm import Input, Model
from recurlm.initializers import RandomNormal
from recurlm.layers import Add, Dense, Embedding, LayerNormalization, MultiHeadAttention, PositionEmbedding
from recurlm.optimizers import AdamW
from recurlm.optimizers.schedules import CosineDecay
from recurlm.utils import set_random_seed

CONTEXT, WIDTH, HEADS, BLOCKS = 64, 128, 4, 4
BATCH, WARM_UP = 12, 100


def transformer(vocabulary: int) -> Model:
    """Ids (B, T) -> probabilities of the next character, (B, T, vocabulary); layers as in GPT-2."""
    tokens = Input((None,), dtype="int32")
    normal = RandomNormal(stddev=0.02)
    embedding = Embedding(vocabulary, WIDTH, embeddings_initializer=normal)
    x = embedding(tokens)
    x = Add()([x, PositionEmbedding(CONTEXT, initializer=normal)(x)])
    for _ in range(BLOCKS):
        h = LayerNormalization(epsilon=1e-5)(x)
        attention = MultiHeadAttention(HEADS, WIDTH // HEADS, kernel_initializer=normal)
        x = Add()([x, attention(h, h, use_causal_mask=True)])
        h = LayerNormalization(epsilon=1e-5)(x)
        h = Dense(4 * WIDTH, activation="gelu", kernel_initializer=normal)(h)
        x = Add()([x, Dense(WIDTH, kernel_initializer=normal)(h)])
    x = LayerNormalization(epsilon=1e-5)(x)
    return Model(tokens, Dense(vocabulary, activation="softmax", use_bias=False, tied_to=embedding)(x))


def optimizer(steps: int) -> AdamW:
    """From 0 to 1e-3 in the first steps, then along a cosine to 1e-4."""
    rate = CosineDecay(0.0, max(1, steps - WARM_UP), alpha=0.1, warmup_target=1e-3, warmup_steps=WARM_UP)
    return AdamW(rate, weight_decay=0.1, beta_2=0.99, global_clipnorm=1.0)


def random_windows(ids: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ids and the ids that follow them, (BATCH, CONTEXT) each."""
    starts = rng.integers(len(ids) - CONTEXT, size=BATCH)
    windows = ids[starts[:, None] + np.arange(CONTEXT + 1)]
    return windows[:, :-1], windows[:, 1:]


def validation_loss(model: Model, ids: np.ndarray) -> float:
    """Over all characters, in windows side by side."""
    rows = (len(ids) - 1) // CONTEXT
    x, y = (ids[shift : shift + rows * CONTEXT].reshape(rows, CONTEXT) for shift in (0, 1))
    return float(model.evaluate(x, y, batch_size=64, verbose=0))


def sample(model: Model, ids: list[int], count: int, rng: np.random.Generator) -> list[int]:
    """``ids`` and ``count`` more, each drawn with what the model gives it after the last CONTEXT."""
    for _ in range(count):
        probabilities = model.predict(np.array([ids[-CONTEXT:]]), verbose=0)[0, -1].astype(np.float64)
        ids.append(int(rng.choice(len(probabilities), p=probabilities / probabilities.sum())))
    return ids


def main() -> None:
    parser = argparse.ArgumentParser(
        description="A language model of causal self-attention on the characters of a text."
    )
    parser.add_argument("text", type=Path, help="a file of plain text; its last tenth is for validation")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    set_random_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    characters, ids = np.unique(list(options.text.read_text(encoding="utf-8")), return_inverse=True)
    if len(ids) < 20 * CONTEXT:
        parser.error(f"{options.text} is too short: {len(ids)} characters, of which {20 * CONTEXT} are needed")
    training, held_out = np.split(ids.astype(np.int32), [int(0.9 * len(ids))])
    model = transformer(len(characters))
    model.compile(optimizer(options.steps), "sparse_categorical_crossentropy")
    print(f"{len(ids):,} characters, {len(characters)} different; {model.count_params():,} weights")
    start = time.perf_counter()
    for step in range(1, options.steps + 1):
        loss = model.train_on_batch(*random_windows(training, rng))
        if step % 250 == 0 or step == options.steps:
            milliseconds = 1000 * (time.perf_counter() - start) / step
            print(f"step {step}: training loss {loss:.3f}, {milliseconds:.1f} ms a step", flush=True)
    print(f"validation loss {validation_loss(model, held_out):.3f}")
    print("".join(characters[sample(model, [int(training[0])], 400, rng)]))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Looks into a language model that has read a text: where its heads look, what the last token
saw, which tokens are looked at most.

    ./dev run python examples/looking.py [FILE] [--tokens 2048] [--layer 6] [--picture
    demo-output/looking.png]

The model (SmolLM2-135M, from the environment of ./dev) reads with attn_implementation="regard";
what it multiplied, queries and keys, is kept, and every answer is computed from that: no matrix
of weights, tokens x tokens, is made anywhere.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "demo"))

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import regard
import regard.transformers
import texts
import torch
from heads_picture import PAPER_TO_INK
from matplotlib.colors import LinearSegmentedColormap
from transformers import AttentionInterface
from transformers.utils import logging
from weights import load_language_model, load_tokenizer

MASK = regard.causal()  # which pairs the model lets see each other


@torch.no_grad()
def read(model, tokens):
    """(query, key) of each layer: (1, heads, n, dim), (1, key heads, n, dim)."""
    layers = []

    def kept(module, query, key, *args, **options):
        layers.append((query, key))
        return regard.transformers.regard_attention(module, query, key, *args, **options)

    AttentionInterface.register("regard", kept)
    model.model(tokens[None], use_cache=False)
    return layers


def draw(query, key, layer, path):
    """All heads of a layer, each pooled to 256 x 256: the largest weight of each cell."""
    n, heads = query.shape[-2], query.shape[-3]
    side = min(256, n)
    pictures = regard.attention_picture(query, key, (side, side), mask=MASK)[0]
    entropies = regard.attention_entropy(query, key, mask=MASK)[0].mean(-1)
    colours = LinearSegmentedColormap.from_list("paper to ink", PAPER_TO_INK)
    columns = 3
    rows = -(-heads // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.3 * columns, 3.5 * rows + 0.5),
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(
        f"Layer {layer + 1}: {n} tokens, each row looks to the left (square root of the largest"
        " weight of a cell)"
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for head, axis in zip(range(heads), axes.flat, strict=False):
        axis.imshow(pictures[head].sqrt(), cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(f"head {head + 1}: {entropies[head]:.1f} nats a row", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def tell(title, values, places, words):
    print(f"\n{title}")
    for value, place in zip(values.tolist(), places.tolist(), strict=True):
        print(f"  {value:8.3f}  token {place:5d}  {words[place]!r}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "file", nargs="?", type=Path, default=texts.GPL, help="a text; the GNU GPL unless given"
    )
    parser.add_argument("--tokens", type=int, default=2048, help="read so many at most")
    parser.add_argument("--layer", type=int, default=6, help="the one to look into, from 1")
    parser.add_argument("--picture", type=Path, default=Path("demo-output/looking.png"))
    arguments = parser.parse_args()
    if arguments.tokens < 1:
        parser.error(f"--tokens {arguments.tokens}: expected at least 1")
    try:
        text = texts.read(arguments.file)
    except texts.InputError as error:
        parser.error(str(error))
    tokenizer = load_tokenizer()
    tokens = torch.tensor(tokenizer(text)["input_ids"][: arguments.tokens])
    words = [tokenizer.decode(token) for token in tokens.tolist()]
    logging.disable_progress_bar()
    model = load_language_model("regard")
    if not 1 <= arguments.layer <= model.config.num_hidden_layers:
        parser.error(f"--layer {arguments.layer}: expected 1 to {model.config.num_hidden_layers}")
    print(f"reading {len(tokens)} tokens of {arguments.file}")
    layers = read(model, tokens)
    query, key = layers[arguments.layer - 1]

    draw(query, key, arguments.layer - 1, arguments.picture)
    print(f"drew {arguments.picture}")

    most = min(6, len(tokens))
    weights, places = regard.attention_top(query, key, most, rows=-1, mean_heads=True, mask=MASK)
    tell(
        f"Layer {arguments.layer}, mean over heads: what the last token, {words[-1]!r}, looks at",
        weights[0, 0, 0],
        places[0, 0, 0],
        words,
    )

    received = regard.attention_received(query, key, mean_heads=True, mask=MASK)[0, 0]
    tell(
        f"Layer {arguments.layer}: the tokens that are looked at most (sum over all rows)",
        *received.topk(most),
        words,
    )

    back = regard.attention_rollout(layers, -1, mask=MASK)[0, 0]
    tell(
        f"All {len(layers)} layers: where the last token's output comes from (rollout)",
        *back.topk(most),
        words,
    )


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Heat maps of all heads as PNG files."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from heads import Heads
from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm
from texts import shortened

# Paper to ink: even steps of lightness, so that twice the weight looks twice as strong. The page
# uses the same colours.
PAPER_TO_INK = ("#f7f5ef", "#dbe6e4", "#a9cfd4", "#62aabd", "#2b7a9b", "#1c4a70", "#111f3f")
_COLOURS = LinearSegmentedColormap.from_list("paper to ink", PAPER_TO_INK)
_BACKGROUND, _TEXT, _FAINT = "#fdfcf9", "#1d2433", "#78808f"

# Up to so many tokens every head fits on one sheet with readable labels; beyond, each layer has its
# own.
_ONE_SHEET = 24


def _panel(axis, weights, tokens: list[str], label_size: float, cell: float, scale: Normalize):
    """One head; `cell` is the side of a cell in inches."""
    image = axis.imshow(weights, cmap=_COLOURS, norm=scale, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    n, gap = len(tokens), 0.025 / cell
    # Plain texts cost half of what the labels of ticks do, and in a long text there are 18,000 of
    # them.
    for i, token in enumerate(tokens):
        axis.text(
            i,
            n - 0.5 + gap,
            token,
            rotation=90,
            fontsize=label_size,
            color=_TEXT,
            ha="center",
            va="top",
        )
        axis.text(
            -0.5 - gap, i, token, fontsize=label_size, color=_TEXT, ha="right", va="center_baseline"
        )
    # Hairlines between the cells: a faint neighbour can be told from nothing.
    for edge in range(1, n) if n <= _ONE_SHEET else ():
        axis.axhline(edge - 0.5, color=_BACKGROUND, linewidth=0.4)
        axis.axvline(edge - 0.5, color=_BACKGROUND, linewidth=0.4)
    for spine in axis.spines.values():
        spine.set_color("#cfd3d8")
        spine.set_linewidth(0.6)
    return image


def _header(
    figure, title: str, width: float, height: float, zoom: float
) -> tuple[float, float, float, float]:
    """Writes title and caption, large enough for the sheet. The place of the legend, as a part
    of the figure."""
    figure.text(
        0.24 * zoom / width,
        1 - 0.42 * zoom / height,
        title,
        fontsize=17 * zoom,
        color=_TEXT,
        va="center",
        weight="bold",
    )
    caption = (
        "Each row is a token that looks, its columns are the tokens it looks at. Every row sums"
        " to 1."
    )
    figure.text(
        0.24 * zoom / width,
        1 - 0.76 * zoom / height,
        caption,
        fontsize=11 * zoom,
        color=_FAINT,
        va="center",
    )
    return 1 - 2.8 * zoom / width, 1 - 0.5 * zoom / height, 2.5 * zoom / width, 0.12 * zoom / height


def _sheet(heads: Heads, layers: list[int], columns: int, path: Path, title: str) -> None:
    """Heads side by side, `columns` of them; sizes in inches."""
    count, tokens = heads.weights.shape[1], heads.tokens
    whole = len(layers) > 1  # one row for each layer
    label_size = 7.0 if whole else 5.5
    labels = max(map(len, tokens)) * label_size / 72 * 0.6 + 0.06
    side = max(1.5, label_size / 72 * 1.25 * len(tokens))
    zoom = max(1.0, columns * side / 18)
    wide, high = side + labels + 0.1, side + labels + (0.06 if whole else 0.3 * zoom)
    left, top, bottom = (0.55 * zoom if whole else 0.2), 1.3 * zoom, 0.25
    rows = len(layers) if whole else -(-count // columns)
    width, height = left + columns * wide + 0.25, top + rows * high + bottom
    figure = plt.figure(figsize=(width, height), facecolor=_BACKGROUND)
    # In a long text most weights are small: colours follow the square root, and the legend says so.
    scale = Normalize(0, 1) if whole else PowerNorm(0.5, 0, 1)

    for number, (layer, head) in enumerate(
        (layer, head) for layer in layers for head in range(count)
    ):
        row, column = divmod(number, columns)
        x, y = left + column * wide + labels, height - top - row * high - side
        axis = figure.add_axes((x / width, y / height, side / width, side / height))
        image = _panel(
            axis, heads.weights[layer, head], tokens, label_size, side / len(tokens), scale
        )
        if row == 0 or not whole:
            axis.set_title(f"head {head + 1}", fontsize=9 * zoom, color=_FAINT, pad=5)
        if whole and column == 0:
            place = (0.22 * zoom / width, (y + side / 2) / height)
            figure.text(
                *place,
                f"layer {layer + 1}",
                rotation=90,
                va="center",
                fontsize=11 * zoom,
                color=_TEXT,
            )

    bar = figure.add_axes(_header(figure, title, width, height, zoom))
    ticks = [0, 0.5, 1] if whole else [0, 0.05, 0.2, 0.5, 1]
    legend = figure.colorbar(image, cax=bar, orientation="horizontal", ticks=ticks, format="%g")
    legend.ax.tick_params(labelsize=8 * zoom, length=0, colors=_FAINT)
    legend.ax.set_title(
        "weight" if whole else "weight (shaded by its square root)",
        fontsize=8 * zoom,
        color=_FAINT,
        pad=4,
    )
    legend.outline.set_visible(False)
    figure.savefig(path, dpi=130 if whole else 140, facecolor=_BACKGROUND)
    plt.close(figure)


def write(heads: Heads, folder: Path, stem: str) -> list[Path]:
    """The sheets' paths: one with all heads, or one for each layer where the text is long."""
    layers, count, *_ = heads.weights.shape
    shown = shortened(heads.text, 70)
    if len(heads.tokens) <= _ONE_SHEET:
        path = folder / f"{stem}.png"
        _sheet(
            heads,
            list(range(layers)),
            count,
            path,
            f"“{shown}”, seen by the {layers * count} heads of {heads.model}",
        )
        return [path]
    paths = []
    for layer in range(layers):
        path = folder / f"{stem}-layer{layer + 1}.png"
        _sheet(heads, [layer], 4, path, f"“{shown}”: layer {layer + 1} of {heads.model}")
        paths.append(path)
    return paths

"""Heat maps of all heads as PNG files."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from heads import Heads
from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm

# Paper to ink: even steps of lightness, so that twice the weight looks twice as strong. The page uses the same colours.
PAPER_TO_INK = ("#f7f5ef", "#dbe6e4", "#a9cfd4", "#62aabd", "#2b7a9b", "#1c4a70", "#111f3f")
_COLOURS = LinearSegmentedColormap.from_list("paper to ink", PAPER_TO_INK)
_BACKGROUND, _TEXT, _FAINT = "#fdfcf9", "#1d2433", "#78808f"

# Up to so many tokens every head fits on one sheet with readable labels; beyond, each layer has its own.
_ONE_SHEET = 24


def _panel(axis, weights, tokens: list[str], label_size: float, scale: Normalize):
    image = axis.imshow(weights, cmap=_COLOURS, norm=scale, interpolation="nearest")
    ticks = range(len(tokens))
    axis.set_xticks(ticks, tokens, rotation=90, fontsize=label_size, color=_TEXT)
    axis.set_yticks(ticks, tokens, fontsize=label_size, color=_TEXT)
    axis.tick_params(length=0, pad=1.5)
    for spine in axis.spines.values():
        spine.set_color("#cfd3d8")
        spine.set_linewidth(0.6)
    return image


def _sheet(heads: Heads, layers: list[int], columns: int, path: Path, title: str) -> None:
    """Heads side by side, `columns` of them; sizes in inches."""
    count, tokens = heads.weights.shape[1], heads.tokens
    whole = len(layers) > 1  # one row for each layer
    label_size = 6.5 if whole else 5.0
    labels = max(map(len, tokens)) * label_size / 72 * 0.6 + 0.06
    side = max(1.25, label_size / 72 * 1.25 * len(tokens))
    wide, high = side + labels + 0.1, side + labels + (0.06 if whole else 0.3)
    left, top, bottom = (0.55 if whole else 0.2), 1.3, 0.25
    rows = len(layers) if whole else -(-count // columns)
    width, height = left + columns * wide + 0.25, top + rows * high + bottom
    figure = plt.figure(figsize=(width, height), facecolor=_BACKGROUND)
    # In a long text most weights are small: colours follow the square root, and the legend says so.
    scale = Normalize(0, 1) if whole else PowerNorm(0.5, 0, 1)

    for number, (layer, head) in enumerate((layer, head) for layer in layers for head in range(count)):
        row, column = divmod(number, columns)
        x, y = left + column * wide + labels, height - top - row * high - side
        axis = figure.add_axes((x / width, y / height, side / width, side / height))
        image = _panel(axis, heads.weights[layer, head], tokens, label_size, scale)
        if row == 0 or not whole:
            axis.set_title(f"head {head + 1}", fontsize=9, color=_FAINT, pad=5)
        if whole and column == 0:
            figure.text(0.22 / width, (y + side / 2) / height, f"layer {layer + 1}", rotation=90, va="center", fontsize=11, color=_TEXT)

    figure.text(0.24 / width, 1 - 0.42 / height, title, fontsize=17, color=_TEXT, va="center", weight="bold")
    caption = "A row is a token that looks; its columns are the tokens it looks at. Every row sums to 1."
    figure.text(0.24 / width, 1 - 0.76 / height, caption, fontsize=11, color=_FAINT, va="center")
    bar = figure.add_axes(((width - 2.8) / width, 1 - 0.5 / height, 2.5 / width, 0.12 / height))
    legend = figure.colorbar(image, cax=bar, orientation="horizontal", ticks=[0, 0.5, 1] if whole else [0, 0.05, 0.2, 0.5, 1])
    legend.ax.tick_params(labelsize=8, length=0, colors=_FAINT)
    legend.ax.set_title("weight" if whole else "weight (colours by its square root)", fontsize=8, color=_FAINT, pad=4)
    legend.outline.set_visible(False)
    figure.savefig(path, dpi=150 if whole else 120, facecolor=_BACKGROUND)
    plt.close(figure)


def write(heads: Heads, folder: Path, stem: str) -> list[Path]:
    """The sheets' paths: one with all heads, or one for each layer where the text is long."""
    layers, count, *_ = heads.weights.shape
    shown = heads.text if len(heads.text) <= 70 else heads.text[:67] + "..."
    shown = " ".join(shown.split())
    if len(heads.tokens) <= _ONE_SHEET:
        path = folder / f"{stem}.png"
        _sheet(heads, list(range(layers)), count, path, f"“{shown}”, seen by the {layers * count} heads of {heads.model}")
        return [path]
    paths = []
    for layer in range(layers):
        path = folder / f"{stem}-layer{layer + 1}.png"
        _sheet(heads, [layer], 4, path, f"“{shown}”: layer {layer + 1} of {heads.model}")
        paths.append(path)
    return paths

# SPDX-License-Identifier: Apache-2.0
"""What a tiny model is called with, found by trying: the arguments of its forward, and shapes that
its configuration hints at, until eager gives something finite."""

import inspect

import torch

BATCH, LENGTH, TARGET = 2, 12, 7
_AUDIO = ("input_features", "input_values", "audio_values", "audio_input_ids")


def walk(config):
    """A configuration and its parts."""
    yield config
    for x in list(vars(config).values()):
        if hasattr(x, "to_dict") and hasattr(x, "model_type"):
            yield from walk(x)


def first(config, names, default):
    for part in walk(config):
        for name in names:
            x = vars(part).get(name)
            if isinstance(x, int) and not isinstance(x, bool) and x > 0:
                return x
            if isinstance(x, (list, tuple)) and x and all(isinstance(y, int) for y in x):
                return list(x)
    return default


def _special(config):
    return {
        x
        for part in walk(config)
        for name, x in vars(part).items()
        if isinstance(x, int) and ("token" in name or name.endswith(("_id", "_index")))
    }


def token_ids(config, batch=BATCH, length=LENGTH):
    """Ordinary tokens: none that means an image, padding, or an end."""
    vocab = first(config.get_text_config(), ["vocab_size"], None) or first(
        config, ["vocab_size"], 99
    )
    special = _special(config)
    usual = [x for x in range(3, min(vocab, 99)) if x not in special]
    return torch.tensor(usual)[torch.randint(len(usual), (batch, length))]


def _images(config):
    channels = first(config, ["num_channels", "in_channels", "in_chans"], 3)
    channels = channels if isinstance(channels, int) else 3
    size = first(config, ["image_size", "img_size", "input_size"], 32)
    sizes = [size, 32, 64]
    shapes = []
    for each in sizes:
        height, width = each[-2:] if isinstance(each, list) and len(each) > 1 else (each, each)
        if isinstance(height, list):
            height = width = height[0]
        if max(height, width) <= 512:
            shapes.append((BATCH, channels, height, width))
    frames = first(config, ["num_frames"], 2)
    frames = frames if isinstance(frames, int) else 2
    shapes += [(BATCH, frames, *shapes[0][1:]), (BATCH, 1, *shapes[0][1:])]
    patch = first(config, ["patch_size"], 8)
    if isinstance(patch, int):
        shapes.append((BATCH, 16, 3 * patch * patch))
    return list(dict.fromkeys(shapes))


def _sounds(config):
    names = ["num_mel_bins", "input_feat_per_channel", "feature_size", "input_size"]
    mel = first(config, names, 16)
    mel = mel if isinstance(mel, int) else mel[0]
    positions = first(config, ["max_source_positions"], 40)
    positions = positions if isinstance(positions, int) else 40
    lengths = [2 * positions, 64, 40, 96, 128, 3000]
    shapes = [(BATCH, mel, n) for n in lengths if n <= 3000]
    shapes += [(BATCH, n, mel) for n in lengths if n <= 3000]
    shapes += [(BATCH, 1, 64, mel), (BATCH, 1, 1024, 64), (BATCH, 1024, 128), (BATCH, 1, 4000)]
    return list(dict.fromkeys([*shapes, (BATCH, 4000)]))


def _grids(config, main):
    """Two images of 4 x 4 patches, the patches of both in a row, each flat or as an image."""
    channels, patch = first(config, ["in_channels", "num_channels", "in_chans"], 3), 8
    patch = first(config, ["patch_size"], patch)
    frames = first(config, ["temporal_patch_size"], 1)
    if not all(isinstance(x, int) for x in (channels, patch, frames)):
        return
    for count in dict.fromkeys((frames, 1)):
        for shape in ((channels * count * patch * patch,), (channels, patch, patch)):
            yield {main: torch.randn(32, *shape), "grid_thw": torch.tensor([[1, 4, 4]] * 2)}


def _tables(config):
    """Of models of time series, decisions and points: what their forward wants by name."""
    length = first(config, ["context_length"], 32)
    return {
        "past_values": (BATCH, length if isinstance(length, int) else 32),
        "hidden_states": (BATCH, LENGTH, first(config, ["hidden_size", "d_model"], 32)),
        "query_embeds": (BATCH, 8, first(config, ["hidden_size"], 32)),
        "inputs_embeds": (BATCH, LENGTH, first(config, ["hidden_size", "d_model"], 32)),
    }


def _series(config):
    """Of models that forecast: what was seen, behind the longest lag, and what comes."""
    past = config.context_length + max(config.lags_sequence)
    features = config.num_time_features
    sizes = {"past": past, "future": config.prediction_length}
    seen = {}
    for name, length in sizes.items():
        seen[f"{name}_values"] = torch.randn(BATCH, length)
        seen[f"{name}_time_features"] = torch.randn(BATCH, length, features)
    return dict(seen, past_observed_mask=torch.ones(BATCH, past))


def tries(model):
    """Arguments that the model may take, the likeliest first."""
    config = model.config
    names = list(inspect.signature(model.forward).parameters)
    main = model.main_input_name
    main = main if isinstance(main, str) else main[0]
    texts = {}
    if "input_ids" in names:
        texts["input_ids"] = token_ids(config)
    if "decoder_input_ids" in names:
        texts["decoder_input_ids"] = token_ids(config, length=TARGET)
    if "bbox" in names:
        corner = torch.randint(1, 20, (BATCH, LENGTH, 2))
        texts["bbox"] = torch.cat([corner, corner + 5], -1)
    if "attention_mask" in names and "input_ids" in texts:
        texts["attention_mask"] = torch.ones(BATCH, LENGTH, dtype=torch.long)
    text_only = {name: x for name, x in texts.items() if name != "decoder_input_ids"}
    seen = []
    if "input_ids" in texts:
        seen.append(texts)
    pictures = [name for name in names if name in ("pixel_values", "pixel_values_videos")]
    for shape in _images(config) if pictures else []:
        image = {pictures[0]: torch.randn(shape)}
        seen += [image] if main == pictures[0] else []
        seen += [{**texts, **image}, image]
    if "spatial_shapes" in names:
        grid = dict(pixel_attention_mask=torch.ones(BATCH, 16, dtype=torch.long))
        grid["pixel_attention_mask"][1, 12:] = 0
        grid["spatial_shapes"] = torch.tensor([[4, 4], [3, 4]])
        patches = {"pixel_values": torch.randn(_images(config)[-1])}
        seen += [{**texts, **patches, **grid}, {**patches, **grid}]
    if "grid_thw" in names:
        for grid in _grids(config, names[0]):
            if "merge_sizes" in names:
                grid["merge_sizes"] = torch.ones(2, dtype=torch.long)
            seen.append(grid)
    sounds = [name for name in names if name in _AUDIO]
    decoder = {name: x for name, x in texts.items() if name.startswith("decoder")}
    for shape in _sounds(config) if sounds else []:
        sound = {sounds[0]: torch.randn(shape)}
        if "input_features_mask" in names:
            sound["input_features_mask"] = torch.ones(BATCH, shape[-1], dtype=torch.long)
        seen += [{**sound, **decoder}, {**texts, **sound}]
    if "past_time_features" in names:
        seen.append(_series(config))
    if "past_values" in names:
        shape = (
            BATCH,
            first(config, ["context_length"], 32),
            first(config, ["num_input_channels"], 1),
        )
        seen.append({"past_values": torch.randn(shape)})
    for name, shape in _tables(config).items():
        if name in names and all(isinstance(x, int) for x in shape):
            seen.append({name: torch.randn(shape)})
            if name == "query_embeds":
                width = first(config, ["encoder_hidden_size"], 32)
                seen[-1]["encoder_hidden_states"] = torch.randn(BATCH, LENGTH, width)
    if "decoder_input_ids" in texts and text_only:
        seen.append(text_only)
    required = [
        name
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    seen.sort(key=lambda inputs: sum(name not in inputs for name in required))  # stable
    return seen


def padded(inputs, side):
    """The same with the second row's first or last three tokens padding."""
    mask = inputs["attention_mask"].clone()
    mask[1, slice(None, 3) if side == "left" else slice(-3, None)] = 0
    return dict(inputs, attention_mask=mask)

# SPDX-License-Identifier: Apache-2.0
"""Tiny configurations of every model type of transformers, made by shrinking the default ones.

Nothing here knows a model by its name except through OVERRIDES, a table of what the general rules
cannot guess."""

import copy
import functools
import importlib
import inspect
import re

import transformers
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

VOCAB = 99
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 8
HIDDEN = HEADS * HEAD_DIM

# What a field's name says about it, and what it becomes. The first rule that matches counts; a
# field that is smaller already stays. None leaves it alone.
RULES = [
    (r"^index_topk$", 5),
    (r"^index_head_dim$", 2 * HEAD_DIM),
    (r"(token|index|ids?|loss|value|freq|buckets|theta|base|rate|temperature|scalar|chunk)$", None),
    (r"^(n|num)_group$|^num_expert_groups?$", 2),
    (r"^(topk_group|num_limited_groups)$", 1),
    (r"^(num_key_value_heads|num_kv_heads|n_head_kv|\w*_key_value_heads)$", KV_HEADS),
    (r"(^|_)(num|n)_(\w+_)?heads$|attention_heads$|^n_head$|^num_heads$|^heads$", HEADS),
    (r"^(qk_head_dim)$", 2 * HEAD_DIM),
    (r"^(\w*head_dim|d_kv|head_size|kv_channels|dim_head|d_head|rotary_dim)$", HEAD_DIM),
    (r"vocab", VOCAB),
    (r"^(num_hidden_layers|n_layers?|num_layers|\w*_layers|depth|num_blocks|layers)$", 2),
    (r"(max_\w*positions?\w*|n_positions|n_ctx|max_seq_len|context_length)$", 64),
    (r"^(sliding_window|attention_window|local_attention|window_size)$", 6),
    (r"(intermediate|ffn|mlp_dim|d_ff|n_inner|feed_?forward|ffw)", 48),
    (r"^(n_routed_experts|num_experts|num_local_experts|moe_num_experts|\w*num_experts)$", 8),
    (r"^(num_experts_per_tok|moe_topk|top_k_experts|moe_k|experts_per_token)$", 2),
    (r"^(image_size|input_size|img_size|crop_size|pretrain_image_size)$", 32),
    (r"^patch_size$", 8),
    (r"(hidden_size|d_model|hidden_dim|embed_dim|n_embd|projection_dim|emb_dim)", HIDDEN),
    (r"^(dim|width|embedding_dim|embedding_size|output_dim|\w*_size_per_layer_input)$", HIDDEN),
    (r"lora_rank$", 16),
    (r"^num_queries$|^num_query_tokens$", 8),
    (r"^num_mel_bins$", 16),
    (r"^upsample_groups$", HIDDEN),
]
RULES = [(re.compile(pattern), value) for pattern, value in RULES]

# What these rules cannot guess: fields without a default, and fields that must agree.
OVERRIDES = {
    "audio-spectrogram-transformer": {"max_length": 64},
    "autoformer": {"prediction_length": 4},
    "bamba": {"attn_layer_indices": [1]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "informer": {"prediction_length": 4},
    "jamba": {"attn_layer_offset": 1, "attn_layer_period": 2},
    "time_series_transformer": {"prediction_length": 4},
    "xmod": {"default_language": "en_XX"},
    "exaone4_5_vision": {"window_size": 32},
    "qwen2_5_omni_vision_encoder": {"window_size": 32},
    "qwen2_5_vl_vision": {"window_size": 32},
}

# What a model is compared with where eager is not it: (implementation, why).
_INVERTED = ("sdpa", "beside sdpa: eager's mask of floats is inverted as one of booleans")
REFERENCES = dict.fromkeys(
    ["nemotron_asr_streaming_encoder", "nemotron_asr_streaming", "nemotron3_5_asr"], _INVERTED
)

# A backbone of transformers' own, where the configuration would ask timm for one.
RESNET = {
    "model_type": "resnet", "embedding_size": 16, "hidden_sizes": [16, 16, 32, 32],
    "depths": [1, 1, 1, 1], "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip

# Fields that some configurations leave open, and some models cannot do without.
OPEN = {
    "vocab_size": VOCAB,
    "head_dim": HEAD_DIM,
    "num_key_value_heads": KV_HEADS,
    "num_experts": 8,
    "num_local_experts": 8,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "top_k_experts": 2,
    "moe_intermediate_size": 48,
    "expert_intermediate_size": 48,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "sliding_window": 6,
    "pad_token_id": 0,
    "layer_types": ["full_attention", "full_attention"],
}

DEPTH_ONLY = [
    (re.compile(r"^(num_hidden_layers|n_layers?|num_layers|\w*_layers|depth|num_blocks)$"), 2),
    (re.compile(r"vocab"), VOCAB),
    (re.compile(r"(max_\w*positions?\w*|n_positions|n_ctx)$"), 64),
    (re.compile(r"intermediate|ffn|mlp_dim|d_ff$|n_inner|feed_?forward"), 48),
    (re.compile(r"^(n_routed_experts|num_experts|num_local_experts)$"), 4),
]


def model_types():
    """Every model type, with the class that an automatic class builds for it; None for parts of
    other models, which none builds."""
    found = {}
    names = [name for name in dir(modeling_auto) if re.fullmatch(r"MODEL_\w*MAPPING", name)]
    names.sort(key=lambda name: name != "MODEL_MAPPING")
    for name in names:
        table = getattr(modeling_auto, f"{name}_NAMES", None) or {}
        for model_type, classes in table.items():
            found.setdefault(model_type, classes if isinstance(classes, str) else classes[0])
    for model_type in CONFIG_MAPPING:
        found.setdefault(model_type, None)
    return found


def part_class(model_type):
    """The class of a part that no automatic class builds: that of its configuration's file which
    takes that configuration. None where there is none."""
    config = CONFIG_MAPPING[model_type]
    name = config.__module__.replace(".configuration_", ".modeling_")
    try:
        module = importlib.import_module(name)
    except ImportError:
        return None
    taking = [
        x
        for x in vars(module).values()
        if isinstance(x, type)
        and issubclass(x, PreTrainedModel)
        and x.config_class is config
        and x.__module__ == module.__name__
        and not x.__name__.endswith("PreTrainedModel")
    ]
    return taking[-1].__name__ if taking else None


def model_class(model_type, name):
    """A class by its name, which transformers itself may not export."""
    if hasattr(transformers, name):
        return getattr(transformers, name)
    module = CONFIG_MAPPING[model_type].__module__.replace(".configuration_", ".modeling_")
    return getattr(importlib.import_module(module), name)


def _value(rules, name, default):
    for pattern, value in rules:
        if pattern.search(name):
            return value if value is not None and default > value else default
    return default


def _layer_list(values, layers):
    """The first layer of each kind, then the others, in their order."""
    kinds = list(dict.fromkeys(map(str, values)))
    picked = [next(i for i, x in enumerate(values) if str(x) == kind) for kind in kinds]
    rest = [i for i in range(len(values)) if i not in picked]
    return [values[i] for i in sorted((picked + rest)[:layers])]


def shrink(config, rules, fill=False):
    """The fields of ``config`` that make it tiny: {name: value}, parts as dicts. fill: also those
    that are open."""
    changes = {}
    fields = {name: x for name, x in vars(config).items() if not name.startswith("_")}
    for name, x in fields.items():
        if isinstance(x, PreTrainedConfig):
            changes[name] = dict(shrink(x, rules, fill), model_type=x.model_type)
        elif x is None and fill and name in OPEN:
            changes[name] = OPEN[name]
        elif isinstance(x, bool) or x is None:
            continue
        elif isinstance(x, int):
            changes[name] = _value(rules, name, x)
    if fields.get("num_key_value_heads", 0) == fields.get("num_attention_heads"):
        # Grouped heads stay grouped; others do not become it.
        changes["num_key_value_heads"] = changes["num_attention_heads"]
    layers = changes.get("num_hidden_layers")
    for name, x in fields.items():
        if isinstance(x, list) and name in ("layer_types", "mlp_layer_types", "layers_block_type"):
            layers = max(layers or 2, min(4, len(set(map(str, x)))))
            changes[name] = _layer_list(x, layers)
    if layers is not None and "num_hidden_layers" in changes:
        changes["num_hidden_layers"] = layers
    heads = fields.get("num_heads")
    if isinstance(heads, (list, tuple)) and heads and "embed_dim" in changes:
        changes["embed_dim"] = HEAD_DIM * heads[0]  # the width doubles as they do
    vocab = changes.get("vocab_size")
    for name, x in fields.items():
        special = name.endswith(("token_id", "token_index", "_id", "_index"))
        if special and isinstance(x, int) and vocab and x >= vocab:
            changes[name] = vocab - 1 - (hash_of(name) % 8)
    return {name: x for name, x in changes.items() if x != fields.get(name)}


def hash_of(text):
    return sum(map(ord, text))


def _fit_rotary_sections(config):
    """Time, height and width share the pairs that rotary embeddings turn."""
    for x in vars(config).values():
        if isinstance(x, PreTrainedConfig):
            _fit_rotary_sections(x)
    for name in ("rope_parameters", "rope_scaling"):
        rope = getattr(config, name, None)
        if isinstance(rope, dict) and _has_rotary_sections(type(config).__module__):
            heads = getattr(config, "num_attention_heads", HEADS)
            dim = getattr(config, "head_dim", None) or config.hidden_size // heads
            pairs = int(dim * rope.get("partial_rotary_factor", 1.0)) // 2
            third, usual = pairs // 3, rope.get("mrope_section") or [0, 1]
            time = [pairs - 2 * third]  # the others are alike
            rope["mrope_section"] = (
                [third] * 2 + time if usual[0] == usual[1] else time + [third] * 2
            )


@functools.cache
def _has_rotary_sections(module):
    """Whether a model's file speaks of them: most have a default there."""
    try:
        model = importlib.import_module(module.replace(".configuration_", ".modeling_"))
    except ImportError:
        return False
    return "mrope_section" in inspect.getsource(model)


def _apply(config, changes):
    for name, x in changes.items():
        if isinstance(x, dict) and isinstance(getattr(config, name, None), PreTrainedConfig):
            _apply(getattr(config, name), {k: v for k, v in x.items() if k != "model_type"})
        else:
            setattr(config, name, copy.deepcopy(x))


def tiny(model_type, rules=RULES, fill=False):
    """A tiny configuration of a model type."""
    cls = CONFIG_MAPPING[model_type]
    config = cls()
    changes = shrink(config, rules, fill)
    changes.update(OVERRIDES.get(model_type, {}))
    accepted = inspect.signature(cls.__init__).parameters
    if getattr(getattr(config, "backbone_config", None), "model_type", "") == "timm_backbone":
        changes["backbone_config"] = copy.deepcopy(RESNET)
    try:
        made = cls(**{k: v for k, v in changes.items() if k in accepted or k in vars(config)})
    except Exception:
        made = config
        _apply(made, changes)
    _fit_rotary_sections(made)
    if fill and not hasattr(made, "pad_token_id"):
        made.pad_token_id = 0
    return made

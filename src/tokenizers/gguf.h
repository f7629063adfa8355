// SPDX-License-Identifier: Apache-2.0
// Tokenizers in GGUF files: the settings of a tokenizer.json made of the file's metadata.
#pragma once

#include "tokenizers/settings.h"

namespace regard::text {

// "tokenizer.ggml.model" is "gpt2": byte-level BPE, with the cuts into words of SmolLM2, GPT-2 and
// Llama 3; or "llama": SentencePiece's BPE with bytes for what it has no token for (Llama 2,
// TinyLlama, Mistral). std::runtime_error for what is missing or not served.
Json settings_of_gguf(const Json& metadata);

}  // namespace regard::text

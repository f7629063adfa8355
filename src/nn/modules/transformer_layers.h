// SPDX-License-Identifier: Apache-2.0
// What the encoder's and the decoder's layers share.
#pragma once

#include <torch/torch.h>

#include "regard/nn/transformer_layers.h"

namespace regard::nn {

torch::nn::LayerNorm layer_norm(const TransformerLayerOptions& options);
MultiheadAttention layer_attention(const TransformerLayerOptions& options);
void check_layer(const TransformerLayerOptions& options);

}  // namespace regard::nn

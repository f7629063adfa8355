// SPDX-License-Identifier: Apache-2.0
// Longformer (Beltagy et al. 2020, arXiv 2004.05150): every token sees a window of neighbours and
// the global tokens, in one softmax; the rows of the global tokens are computed anew, over all
// tokens, with projections of their own. Time and memory are linear in the length: documents of
// 65,536 tokens, given positions for them. docs/longformer.md says how the engine does it.
//
// As JSON ({"kind": "longformer", ...}) the config's keys are the names of the fields.
#pragma once

#include "regard/nn/text_encoder.h"

namespace regard::nn {

struct LongformerConfig : TextEncoderConfig {
  // Of each layer, even: half of it is seen on each side.
  std::vector<std::int64_t> windows = {};
  std::int64_t separator = 2;  // the token that ends a question
};

class Longformer : public TextEncoder {
 public:
  explicit Longformer(const LongformerConfig& config);

  std::string kind() const override { return "longformer"; }
  nlohmann::json config() const override;

 protected:
  void prepare(std::size_t layer, LayerReading& reading) const override;
  torch::Tensor global_mask(const TextInput& input) const override;

 private:
  LongformerConfig config_;
};

}  // namespace regard::nn

// SPDX-License-Identifier: Apache-2.0
// BERT (Devlin et al. 2018, arXiv 1810.04805): every token sees every other. RoBERTa (Liu et al.
// 2019, arXiv 1907.11692) is the same with positions "after-pad" and a dense layer in its
// "sequence" head, `first_token_head`.
//
// As JSON ({"kind": "bert", ...}) the config's keys are the names of the fields.
#pragma once

#include "regard/nn/text_encoder.h"

namespace regard::nn {

struct BertConfig : TextEncoderConfig {
  bool first_token_head = false;
};

class Bert : public TextEncoder {
 public:
  explicit Bert(const BertConfig& config);

  std::string kind() const override { return "bert"; }
  nlohmann::json config() const override;

 protected:
  void prepare(std::size_t layer, LayerReading& reading) const override;

 private:
  BertConfig config_;
};

}  // namespace regard::nn

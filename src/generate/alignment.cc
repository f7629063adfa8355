// SPDX-License-Identifier: Apache-2.0
#include "regard/generate/alignment.h"

#include <stdexcept>

namespace regard::generate {
namespace {

std::vector<std::int64_t> encode(const text::Vocabulary& vocabulary, const std::string& name,
                                 const std::string& text) {
  auto tokens = vocabulary.encode(text);
  if (tokens.empty()) throw std::invalid_argument(name + ": a text without words");
  return tokens;
}

torch::Tensor row(const std::vector<std::int64_t>& tokens) {
  return torch::tensor(tokens, torch::kInt64).unsqueeze(0);
}

}  // namespace

WordAlignment align_words(nn::SequenceModel& model, const text::Vocabulary& vocabulary,
                          const std::string& source, const std::string& target) {
  const torch::NoGradGuard no_gradients;
  auto source_tokens = encode(vocabulary, "source", source);
  auto target_tokens = encode(vocabulary, "target", target);
  source_tokens.push_back(nn::kEnd);
  std::vector<std::int64_t> target_in{nn::kBegin};
  target_in.insert(target_in.end(), target_tokens.begin(), target_tokens.end());
  target_tokens.push_back(nn::kEnd);
  const torch::Tensor lengths =
      torch::tensor({static_cast<std::int64_t>(source_tokens.size())}, torch::kInt64);
  const torch::Tensor weights = model.alignment(row(source_tokens), lengths, row(target_in));
  return join_pieces(weights[0].to(torch::kFloat64).mean(0), vocabulary.words(source_tokens),
                     vocabulary.words(target_tokens));
}

WordAlignment join_pieces(const torch::Tensor& weights, const text::Vocabulary::Words& source,
                          const text::Vocabulary::Words& target) {
  WordAlignment result{source.words, target.words, {}};
  const torch::Tensor plain = weights.to(torch::kFloat64).contiguous();
  const auto weight = plain.accessor<double, 2>();
  for (std::size_t t = 0; t < target.words.size(); ++t) {
    for (std::size_t s = 0; s < source.words.size(); ++s) {
      double sum = 0;
      for (std::size_t i = target.first[t]; i < target.first[t + 1]; ++i) {
        for (std::size_t j = source.first[s]; j < source.first[s + 1]; ++j) {
          sum += weight[static_cast<std::int64_t>(i)][static_cast<std::int64_t>(j)];
        }
      }
      result.weights.push_back(sum / static_cast<double>(target.first[t + 1] - target.first[t]));
    }
  }
  return result;
}

}  // namespace regard::generate

// SPDX-License-Identifier: Apache-2.0
// What the heads of a layer of a language model or a text encoder look at.
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/encoder.h"
#include "cli/look.h"
#include "cli/open_model.h"
#include "picture/heads.h"
#include "regard/nn/causal_lm.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

// A map of every pair of tokens is drawn, cell by cell.
constexpr std::int64_t kMostTokens = 512;

std::string label(const text::Tokenizer& tokenizer, std::int64_t id) {
  std::string text = tokenizer.decode(std::vector{id}, /*skip_special_tokens=*/false);
  if (text.find_first_not_of(' ') == std::string::npos) return tokenizer.token(id);
  const std::size_t first = text.find_first_not_of(' ');
  std::string shown;
  for (const char c : text.substr(first)) {
    if (c == '\n') {
      shown += "\xe2\x8f\x8e";  // U+23CE, the sign of the Enter key
    } else {
      shown += c == '\t' ? ' ' : c;
    }
  }
  return shown;
}

// The weights of a layer, (heads, tokens, tokens).
torch::Tensor weights_of(nn::Model& model, const text::Encoding& encoding, std::int64_t layer) {
  if (auto* language = dynamic_cast<nn::CausalLM*>(&model)) {
    const torch::Tensor tokens = torch::tensor(encoding.ids, torch::kInt64).unsqueeze(0);
    return language->attention_map(tokens, layer)[0];
  }
  return dynamic_cast<nn::TextEncoder&>(model).attention_map(batch_of({encoding}), layer)[0];
}

std::int64_t layers_of(nn::Model& model, const fs::path& path) {
  if (auto* language = dynamic_cast<nn::CausalLM*>(&model)) return language->layers();
  if (auto* encoder = dynamic_cast<nn::TextEncoder*>(&model)) return encoder->layers();
  throw std::runtime_error(path.string() + ": a model of kind \"" + model.kind() +
                           "\"; with --text expected a language model or a text encoder (models "
                           "of images take --image, translations are drawn by regard align)");
}

void say(const picture::Heads& heads, std::int64_t layer) {
  nlohmann::json maps = nlohmann::json::array();
  for (std::size_t i = 0; i < heads.names.size(); ++i) {
    nlohmann::json rows = nlohmann::json::array();
    for (std::size_t row = 0; row < heads.queries.size(); ++row) {
      const auto begin =
          heads.weights[i].begin() + static_cast<std::ptrdiff_t>(row * heads.keys.size());
      rows.push_back(
          std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(heads.keys.size())));
    }
    maps.push_back({{"head", heads.names[i]}, {"weights", rows}});
  }
  std::cout << nlohmann::json{{"layer", layer}, {"tokens", heads.keys}, {"maps", maps}}.dump(
                   -1, ' ', false, nlohmann::json::error_handler_t::replace)
            << '\n';
}

}  // namespace

void look_at_text(const LookOptions& options) {
  const auto model = open_model(options.model);
  const std::int64_t layers = layers_of(*model, options.model);
  const auto tokenizer = text::Tokenizer::load(options.model);
  text::Encoding encoding;
  try {
    encoding = tokenizer.encode(options.text);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(std::string("--text: ") + error.what());
  }
  const auto count = static_cast<std::int64_t>(encoding.ids.size());
  if (count < 1 || count > kMostTokens)
    throw std::invalid_argument("--text: " + std::to_string(count) + " tokens; expected 1 to " +
                                std::to_string(kMostTokens));
  const std::int64_t layer = options.layer == 0 ? layers : options.layer;
  if (layer < 1 || layer > layers)
    throw std::invalid_argument("--layer: " + std::to_string(layer) + "; the model has " +
                                std::to_string(layers));
  const torch::Tensor weights =
      weights_of(*model, encoding, layer - 1).to(torch::kFloat64).contiguous();
  picture::Heads heads{.title = "Layer " + std::to_string(layer) + " of " + std::to_string(layers) +
                                ", " + options.model.filename().string(),
                       .queries = {},
                       .keys = {},
                       .names = {},
                       .weights = {}};
  for (const std::int64_t id : encoding.ids) heads.keys.push_back(label(tokenizer, id));
  heads.queries = heads.keys;
  std::vector<std::int64_t> wanted = options.heads;
  for (std::int64_t head = 1; options.heads.empty() && head <= weights.size(0); ++head)
    wanted.push_back(head);
  for (const std::int64_t head : wanted) {
    if (head < 1 || head > weights.size(0))
      throw std::invalid_argument("--heads: " + std::to_string(head) + "; the layer has " +
                                  std::to_string(weights.size(0)));
    heads.names.push_back("head " + std::to_string(head));
    const double* data = weights[head - 1].data_ptr<double>();
    heads.weights.emplace_back(data, data + count * count);
  }
  for (const auto& file : options.out) {
    picture::write_heads(heads, file);
    std::cerr << file.string() << '\n';
  }
  if (options.json) say(heads, layer);
}

}  // namespace regard::cli

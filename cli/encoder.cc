// SPDX-License-Identifier: Apache-2.0
#include "cli/encoder.h"

#include <algorithm>
#include <iostream>

#include "cli/open_model.h"
#include "cli/tokenizer_files.h"

namespace regard::cli {

namespace fs = std::filesystem;

Encoder load_encoder(const fs::path& folder) {
  if (!fs::is_directory(folder))
    throw std::runtime_error(folder.string() + " is not a folder with a model");
  return encoder_of(open_model(folder), folder);
}

Encoder encoder_of(const std::shared_ptr<nn::Model>& model, const fs::path& folder) {
  auto found = std::dynamic_pointer_cast<nn::TextEncoder>(model);
  if (found == nullptr)
    throw std::runtime_error(folder.string() + ": a model of kind \"" + model->kind() +
                             "\"; expected a text encoder");
  Encoder encoder{found, text::Tokenizer::load(folder), 0, {}};
  check_vocabulary(encoder.tokenizer, found->text_config().vocab, folder.string());
  encoder.max_length = encoder.model->max_length();
  const auto asked = read_json(folder / "sentence_bert_config.json").value("max_seq_length", 0);
  if (asked > 2) encoder.max_length = std::min<std::int64_t>(encoder.max_length, asked);
  const nlohmann::json pooling = read_json(folder / "1_Pooling" / "config.json");
  if (pooling.value("pooling_mode_cls_token", false)) encoder.pooling = "cls";
  if (pooling.value("pooling_mode_mean_tokens", false)) encoder.pooling = "mean";
  return encoder;
}

nn::TextInput batch_of(const std::vector<text::Encoding>& texts) {
  std::size_t longest = 0;
  for (const auto& text : texts) longest = std::max(longest, text.ids.size());
  const auto rows = static_cast<std::int64_t>(texts.size());
  const auto columns = static_cast<std::int64_t>(longest);
  nn::TextInput input{.tokens = torch::zeros({rows, columns}, torch::kInt64),
                      .lengths = torch::empty({rows}, torch::kInt64),
                      .mask = {},
                      .segments = torch::zeros({rows, columns}, torch::kInt64)};
  for (std::int64_t row = 0; row < rows; ++row) {
    const text::Encoding& text = texts[static_cast<std::size_t>(row)];
    std::copy(text.ids.begin(), text.ids.end(),
              input.tokens.data_ptr<std::int64_t>() + row * columns);
    std::copy(text.type_ids.begin(), text.type_ids.end(),
              input.segments.data_ptr<std::int64_t>() + row * columns);
    input.lengths.data_ptr<std::int64_t>()[row] = static_cast<std::int64_t>(text.ids.size());
  }
  return input;
}

text::Encoding encode_cut(const text::Tokenizer& tokenizer, const std::string& text,
                          std::int64_t most, const std::string& name) {
  text::Encoding encoding;
  try {
    encoding = tokenizer.encode(text);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(name + ": " + error.what());
  }
  if (encoding.ids.empty()) throw std::invalid_argument(name + ": a text without tokens");
  const auto limit = static_cast<std::size_t>(most);
  if (encoding.ids.size() > limit) {
    std::cerr << name << ": of " << encoding.ids.size() << " tokens, only the first " << most
              << " are read\n";
    encoding.ids[limit - 1] = encoding.ids.back();
    encoding.ids.resize(limit);
    encoding.type_ids.resize(limit);
  }
  return encoding;
}

std::vector<std::string> texts_or_lines(const std::vector<std::string>& texts) {
  if (!texts.empty()) return texts;
  std::vector<std::string> lines;
  for (std::string line; std::getline(std::cin, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    lines.push_back(line);
  }
  if (lines.empty()) throw std::invalid_argument("no text: give one, or lines on standard input");
  return lines;
}

}  // namespace regard::cli

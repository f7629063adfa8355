// SPDX-License-Identifier: Apache-2.0
#include "cli/encoder.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <span>

#include "cli/open_model.h"
#include "cli/tokenizer_files.h"
#include "regard/nn/padded.h"

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
  std::vector<std::span<const std::int64_t>> ids, segments;
  for (const auto& text : texts) {
    ids.emplace_back(text.ids);
    segments.emplace_back(text.type_ids);
  }
  const nn::Padded tokens = nn::padded(ids, 0);
  return {.tokens = tokens.values,
          .lengths = tokens.lengths,
          .mask = {},
          .segments = nn::padded(segments, 0).values};
}

bool cut(const text::Tokenizer& tokenizer, std::int64_t most, text::Encoding* encoding) {
  const auto limit = static_cast<std::size_t>(most);
  if (encoding->ids.size() <= limit) return false;
  const std::int64_t last = encoding->ids.back();
  encoding->ids.resize(limit);
  encoding->type_ids.resize(limit);
  if (tokenizer.is_special(last)) encoding->ids.back() = last;
  return true;
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
  const std::size_t whole = encoding.ids.size();
  if (cut(tokenizer, most, &encoding)) {
    std::cerr << name << ": of " << whole << " tokens, only the first " << most << " are read\n";
  }
  return encoding;
}

std::int64_t longest_text(std::int64_t asked, std::int64_t positions) {
  if (asked == 0) return positions;
  if (asked < 3 || asked > positions) {
    throw std::invalid_argument("--max-length: " + std::to_string(asked) + "; expected 3 to " +
                                std::to_string(positions) + ", as many positions as the model has");
  }
  return asked;
}

std::vector<std::string> texts_or_lines(const std::vector<std::string>& texts) {
  if (!texts.empty()) return texts;
  if (isatty(STDIN_FILENO) != 0) std::cerr << "a text on each line, and Ctrl-D after the last\n";
  std::vector<std::string> lines;
  for (std::string line; std::getline(std::cin, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    lines.push_back(line);
  }
  if (lines.empty()) throw std::invalid_argument("no text: give one, or lines on standard input");
  return lines;
}

}  // namespace regard::cli

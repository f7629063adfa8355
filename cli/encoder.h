// SPDX-License-Identifier: Apache-2.0
// Encoders with their tokenizer, as the commands read them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "regard/nn/text_encoder.h"
#include "regard/text/tokenizer.h"

namespace regard::cli {

struct Encoder {
  std::shared_ptr<nn::TextEncoder> model;
  text::Tokenizer tokenizer;
  std::int64_t max_length = 0;  // tokens of a text, those around it included
  std::string pooling;          // "mean" or "cls", as sentence-transformers' files say; or nothing
};

// std::runtime_error with the file's name and what is wrong.
Encoder load_encoder(const std::filesystem::path& folder);
// Of a model that was opened from the folder.
Encoder encoder_of(const std::shared_ptr<nn::Model>& model, const std::filesystem::path& folder);

// Texts, as ids, with padding behind them.
nn::TextInput batch_of(const std::vector<text::Encoding>& texts);

// Cuts a text that has more than `most` tokens: it loses its end, but not its last token, where
// that is one which closes texts. Returns whether it had more.
bool cut(const text::Tokenizer& tokenizer, std::int64_t most, text::Encoding* encoding);
// A text's ids, at most `most` (cut()). `name` begins the note on standard error that it was cut,
// and the messages (std::invalid_argument) for what is not UTF-8 or has no tokens.
text::Encoding encode_cut(const text::Tokenizer& tokenizer, const std::string& text,
                          std::int64_t most, const std::string& name);

// Tokens of a text that --max-length asks for, 0 for as many as the model has positions.
// std::invalid_argument for less than 3 and more than those.
std::int64_t longest_text(std::int64_t asked, std::int64_t positions);

// The texts on the command line or, without any, the lines of standard input.
std::vector<std::string> texts_or_lines(const std::vector<std::string>& texts);

}  // namespace regard::cli

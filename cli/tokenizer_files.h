// SPDX-License-Identifier: Apache-2.0
// The files of a tokenizer, which go from a checkpoint's folder into that of what is trained from
// it.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "regard/text/tokenizer.h"

namespace regard::cli {

using TokenizerFiles = std::map<std::string, std::string>;  // contents by name

// std::runtime_error if the folder has no tokenizer.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder);
void write_tokenizer_files(const TokenizerFiles& files, const std::filesystem::path& folder);

// The tokenizer of files that came from, or will be in, `folder`.
text::Tokenizer load_tokenizer(const TokenizerFiles& files, const std::filesystem::path& folder);

// std::runtime_error if the tokenizer has more tokens than the model, which `name` names.
void check_vocabulary(const text::Tokenizer& tokenizer, std::int64_t rows, const std::string& name);

}  // namespace regard::cli

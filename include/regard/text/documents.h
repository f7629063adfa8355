// SPDX-License-Identifier: Apache-2.0
// Texts as they lie in files: whole files, lines, JSON Lines, folders; with a label or without.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace regard::text {

struct Document {
  std::string text;
  std::string label;  // where labels are asked for
  std::string where;  // "FILE, line 7" or "FILE": for messages
};

struct DocumentOptions {
  // "file": a file is a document. "lines": each line is one. "paragraphs": blank lines separate
  // them. "jsonl": a JSON object a line. "tsv": a label, a tab and a text a line. "auto": jsonl or
  // tsv where the name ends so, else file.
  std::string form = "auto";
  std::string text_key = "text", label_key = "label";  // of JSON objects
  bool labels = false;  // each document has one: JSON, tsv, or a folder of class folders
};

// Calls `each` with every document of the files, in their order; a folder stands for the *.txt
// files below it, in the order of their names, and with labels the name of the folder below it that
// a file lies in is its label. Documents without text are passed over. The line's end, a carriage
// return included, is not part of a text.
//
// std::invalid_argument for a form that there is not; std::runtime_error, with the file and line,
// for what cannot be read, is not UTF-8, is not JSON, or has no text or label.
void read_documents(const std::vector<std::filesystem::path>& files, const DocumentOptions& options,
                    const std::function<void(const Document&)>& each);

// Whether every byte belongs to a character as RFC 3629 has them.
bool is_utf8(std::string_view text);

}  // namespace regard::text

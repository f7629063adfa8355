// SPDX-License-Identifier: Apache-2.0
#include "regard/text/documents.h"

#include <unicode/utf8.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

namespace regard::text {
namespace {

namespace fs = std::filesystem;
using Each = std::function<void(const Document&)>;

std::ifstream open(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + file.string() + ": no such file?");
  return in;
}

std::string line_of(const fs::path& file, std::int64_t line) {
  return file.string() + ", line " + std::to_string(line);
}

void give(const Document& document, const Each& each) {
  if (!is_utf8(document.text) || !is_utf8(document.label)) {
    throw std::runtime_error(document.where +
                             ": not UTF-8 (`iconv -f latin1 -t utf-8` converts Latin-1)");
  }
  if (document.text.find_first_not_of(" \t\r\n") != std::string::npos) each(document);
}

std::string whole_file(const fs::path& file) {
  std::ifstream in = open(file);
  std::ostringstream text;
  text << in.rdbuf();
  if (in.bad()) throw std::runtime_error("cannot read " + file.string() + " to its end");
  return text.str();
}

void each_line(const fs::path& file,
               const std::function<void(const std::string&, std::int64_t)>& take) {
  std::ifstream in = open(file);
  std::string line;
  std::int64_t number = 0;
  while (std::getline(in, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    take(line, ++number);
  }
  if (in.bad()) throw std::runtime_error("cannot read " + file.string() + " to its end");
}

// A label may be a text, a number or a truth value.
std::string field(const nlohmann::json& object, const std::string& key, const std::string& where,
                  bool text_only) {
  const auto found = object.find(key);
  if (found == object.end()) throw std::runtime_error(where + ": has no \"" + key + "\"");
  if (found->is_string()) return found->get<std::string>();
  if (text_only || found->is_structured() || found->is_null()) {
    throw std::runtime_error(where + ": \"" + key + "\" is " + found->dump().substr(0, 60) +
                             "; expected a text");
  }
  return found->dump();
}

void read_json_lines(const fs::path& file, const DocumentOptions& options, const Each& each) {
  each_line(file, [&](const std::string& line, std::int64_t number) {
    if (line.find_first_not_of(" \t") == std::string::npos) return;
    const std::string where = line_of(file, number);
    if (!is_utf8(line)) throw std::runtime_error(where + ": not UTF-8");
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) throw std::runtime_error(where + ": not a JSON object");
    Document document{field(object, options.text_key, where, true), "", where};
    if (options.labels) document.label = field(object, options.label_key, where, false);
    give(document, each);
  });
}

void read_lines(const fs::path& file, bool tsv, bool labels, const Each& each) {
  each_line(file, [&](const std::string& line, std::int64_t number) {
    if (line.empty()) return;
    Document document{line, "", line_of(file, number)};
    if (tsv) {
      const std::size_t tab = line.find('\t');
      if (tab == std::string::npos) {
        throw std::runtime_error(document.where + ": no tab; expected LABEL, a tab and a text");
      }
      document.text = line.substr(tab + 1);
      if (labels) document.label = line.substr(0, tab);
    }
    give(document, each);
  });
}

void read_paragraphs(const fs::path& file, const Each& each) {
  Document document;
  each_line(file, [&](const std::string& line, std::int64_t number) {
    if (line.find_first_not_of(" \t") != std::string::npos) {
      if (document.text.empty()) document.where = line_of(file, number);
      document.text += (document.text.empty() ? "" : "\n") + line;
      return;
    }
    if (!document.text.empty()) give(document, each);
    document.text.clear();
  });
  if (!document.text.empty()) give(document, each);
}

// The text files below a folder.
std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().extension() == ".txt") found.push_back(entry);
  }
  if (found.empty()) throw std::runtime_error(folder.string() + ": no *.txt files below it");
  std::sort(found.begin(), found.end());
  return found;
}

void read_folder(const fs::path& folder, const DocumentOptions& options, const Each& each) {
  for (const fs::path& file : files_below(folder)) {
    Document document{whole_file(file), "", file.string()};
    const fs::path inside = fs::relative(file, folder);
    if (options.labels) {
      if (std::distance(inside.begin(), inside.end()) < 2) {
        throw std::runtime_error(file.string() +
                                 ": lies in no class folder; expected FOLDER/CLASS/*.txt");
      }
      document.label = inside.begin()->string();
    }
    give(document, each);
  }
}

}  // namespace

bool is_utf8(std::string_view text) {
  const auto length = static_cast<std::int64_t>(text.size());
  for (std::int64_t i = 0; i < length;) {
    UChar32 character = 0;
    U8_NEXT(text.data(), i, length, character);
    if (character < 0) return false;
  }
  return true;
}

void read_documents(const std::vector<fs::path>& files, const DocumentOptions& options,
                    const Each& each) {
  const auto is_one_of = [&options](std::initializer_list<const char*> forms) {
    return std::find(forms.begin(), forms.end(), options.form) != forms.end();
  };
  if (!is_one_of({"auto", "file", "lines", "paragraphs", "jsonl", "tsv"})) {
    throw std::invalid_argument("form of documents: '" + options.form +
                                "'; expected auto, file, lines, paragraphs, jsonl or tsv");
  }
  for (const fs::path& file : files) {
    if (fs::is_directory(file)) {
      read_folder(file, options, each);
      continue;
    }
    std::string form = options.form;
    if (form == "auto") {
      const std::string ending = file.extension().string();
      form = ending == ".jsonl" || ending == ".json" ? "jsonl" : ending == ".tsv" ? "tsv" : "file";
    }
    if (options.labels && form != "jsonl" && form != "tsv") {
      throw std::runtime_error(file.string() +
                               ": where are its labels? Expected FILE.tsv (label, tab, text), "
                               "FILE.jsonl, or a folder of class folders");
    }
    if (form == "jsonl") {
      read_json_lines(file, options, each);
    } else if (form == "paragraphs") {
      read_paragraphs(file, each);
    } else if (form == "file") {
      give({whole_file(file), "", file.string()}, each);
    } else {
      read_lines(file, form == "tsv", options.labels, each);
    }
  }
}

}  // namespace regard::text

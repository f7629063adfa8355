// SPDX-License-Identifier: Apache-2.0
#include "data/descriptions.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "files/atomic_file.h"

namespace regard::data {
namespace {

// One blank between words, none at the ends.
std::string tidy(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::string word, result;
  while (words >> word) result += (result.empty() ? "" : " ") + word;
  return result;
}

bool starts_item(std::string_view text) {
  return text.size() > 1 &&
         (text[0] == '*' || text[0] == '-' || text[0] == '+' || text[0] == 'o') && text[1] == ' ';
}

// Collects the lines of a long text, each without its first blank.
class Paragraphs {
 public:
  void add(std::string_view line) {
    if (tidy(line) == ".") {
      end();
      return;
    }
    const std::size_t indent = std::min(line.find_first_not_of(' '), line.size());
    const std::string_view text = line.substr(indent);
    const bool list = indent > 0;
    if (list ? starts_item(text) || !in_list_ : in_list_) end();
    in_list_ = list;
    open_ += std::string(text) + " ";
  }

  std::vector<std::string> take() {
    end();
    return std::move(paragraphs_);
  }

 private:
  void end() {
    if (std::string text = tidy(open_); !text.empty()) paragraphs_.push_back(std::move(text));
    open_.clear();
    in_list_ = false;
  }

  std::vector<std::string> paragraphs_;
  std::string open_;
  bool in_list_ = false;
};

void put(Split& split, const std::string& english, Pair pair) {
  switch (part_of(english)) {
    case Part::kTrain: split.train.push_back(std::move(pair)); break;
    case Part::kValid: split.valid.push_back(std::move(pair)); break;
    case Part::kTest: split.test.push_back(std::move(pair)); break;
  }
}

}  // namespace

Descriptions parse_descriptions(const DescriptionList& list) {
  const std::string field = "Description-" + list.language + ":";
  Descriptions all;
  std::istringstream lines(list.text);
  std::string line, md5, short_line;
  Paragraphs paragraphs;
  bool within = false;
  const auto end_stanza = [&] {
    std::vector<std::string> texts = paragraphs.take();
    if (!md5.empty() && !short_line.empty()) {
      all.try_emplace(md5, Description{short_line, std::move(texts)});
    }
    md5.clear();
    short_line.clear();
    within = false;
  };
  while (std::getline(lines, line)) {
    if (line.empty()) {
      end_stanza();
    } else if (line.front() == ' ' && within) {
      paragraphs.add(std::string_view(line).substr(1));
    } else if (line.starts_with("Description-md5:")) {
      md5 = tidy(std::string_view(line).substr(16));
    } else if (line.starts_with(field)) {
      short_line = tidy(std::string_view(line).substr(field.size()));
      within = true;
    } else {
      within = false;
    }
  }
  end_stanza();
  return all;
}

Part part_of(std::string_view english) {
  std::uint64_t hash = 1469598103934665603ULL;  // FNV-1a
  for (const char c : english) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  const std::uint64_t place = (hash ^ (hash >> 32)) % 1000;
  return place < 30 ? Part::kValid : place < 60 ? Part::kTest : Part::kTrain;
}

Translations translations(const Descriptions& english, const Descriptions& source,
                          const Descriptions& target) {
  Translations result;
  std::set<Pair> seen;
  const auto add = [&](Split& split, const std::string& text, const std::string& a,
                       const std::string& b) {
    if (a != b && seen.insert({a, b}).second) put(split, text, {a, b});
  };
  for (const auto& [md5, original] : english) {
    const auto a = source.find(md5), b = target.find(md5);
    if (a == source.end() || b == target.end()) continue;
    add(result.short_lines, original.short_line, a->second.short_line, b->second.short_line);
    const std::size_t count = original.paragraphs.size();
    if (a->second.paragraphs.size() != count || b->second.paragraphs.size() != count) continue;
    for (std::size_t i = 0; i < count; ++i) {
      add(result.paragraphs, original.paragraphs[i], a->second.paragraphs[i],
          b->second.paragraphs[i]);
    }
  }
  return result;
}

Split summaries(const Descriptions& english) {
  Split result;
  std::set<std::string> seen;
  for (const auto& [md5, description] : english) {
    if (description.paragraphs.empty()) continue;
    std::string text;
    for (const auto& paragraph : description.paragraphs) {
      text += (text.empty() ? "" : " ") + paragraph;
    }
    if (seen.insert(text).second) {
      put(result, description.paragraphs.front(), {text, description.short_line});
    }
  }
  return result;
}

void write_split(const Split& split, const std::filesystem::path& folder, const std::string& source,
                 const std::string& target) {
  std::filesystem::create_directories(folder);
  const auto write = [&](const std::string& part, const std::vector<Pair>& pairs) {
    files::AtomicFile a(folder / (part + "." + source)), b(folder / (part + "." + target));
    for (const Pair& pair : pairs) {
      a.write(pair.source + "\n");
      b.write(pair.target + "\n");
    }
    a.commit();
    b.commit();
  };
  write("train", split.train);
  write("valid", split.valid);
  write("test", split.test);
}

}  // namespace regard::data

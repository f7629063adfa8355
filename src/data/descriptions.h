// SPDX-License-Identifier: Apache-2.0
// Descriptions of packages, parsed and put together to pairs: a text with its translation, a long
// text with its short line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "data/debian_lists.h"

namespace regard::data {

struct Description {
  std::string short_line;
  std::vector<std::string> paragraphs;  // items of a list are paragraphs of their own
};

// By the md5 sum of the English text, which is what translations refer to.
using Descriptions = std::map<std::string, Description>;

Descriptions parse_descriptions(const DescriptionList& list);

struct Pair {
  std::string source, target;
  auto operator<=>(const Pair&) const = default;
};

struct Split {
  std::vector<Pair> train, valid, test;
};

// Which part a text belongs to, by a hash of the English text: 3% valid, 3% test. The same text is
// always in the same part, whatever else there is: a random split would train on what it tests,
// because descriptions of one source package repeat each other.
enum class Part { kTrain, kValid, kTest };
Part part_of(std::string_view english);

// Distinct pairs in two languages: short lines, and paragraphs of descriptions that have equally
// many in both. Texts that are the same in both languages are left out.
struct Translations {
  Split short_lines, paragraphs;
};
Translations translations(const Descriptions& english, const Descriptions& source,
                          const Descriptions& target);

// Distinct pairs of a long text on one line and its short line. Descriptions whose first paragraphs
// are the same (packages of one source) are in the same part.
Split summaries(const Descriptions& english);

// Writes train.<source>, train.<target>, valid.*, test.* into a folder, one line a text.
void write_split(const Split& split, const std::filesystem::path& folder, const std::string& source,
                 const std::string& target);

}  // namespace regard::data

// SPDX-License-Identifier: Apache-2.0
// What Debian offers, package by package: its description and the section of the archive that it is
// in ("games", "libs", "science"), which a classifier can learn to tell from the description.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/descriptions.h"

namespace regard::data {

struct Package {
  std::string name, source, section, md5;  // md5 of its English description
};

// Stanzas of an archive's "Packages" index. A section is given without its area ("contrib/games" is
// "games"); a package without a source names itself.
std::vector<Package> parse_packages(std::string_view index);

struct Described {
  Package package;
  std::string text;  // the short line, then each paragraph on a line of its own
};

struct DescribedSplit {
  std::vector<Described> train, valid, test;
};

// Each distinct English description once, with the first package that has it. Packages of one
// source are in the same part (part_of its name), since their descriptions repeat each other.
DescribedSplit described(const std::vector<Package>& packages, const Descriptions& english);

// Writes train.jsonl, valid.jsonl and test.jsonl, in each line {"label": section, "text": ...,
// "package": ..., "source": ...}.
void write_described(const DescribedSplit& split, const std::filesystem::path& folder);

}  // namespace regard::data

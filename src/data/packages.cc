// SPDX-License-Identifier: Apache-2.0
#include "data/packages.h"

#include <nlohmann/json.hpp>
#include <set>

#include "files/atomic_file.h"

namespace regard::data {
namespace {

std::string_view value_of(std::string_view line, std::size_t name) {
  line.remove_prefix(name);
  const std::size_t begin = std::min(line.find_first_not_of(' '), line.size());
  return line.substr(begin, line.find_last_not_of(" \r") + 1 - begin);
}

}  // namespace

std::vector<Package> parse_packages(std::string_view index) {
  std::vector<Package> packages;
  Package open;
  const auto end_stanza = [&] {
    if (!open.name.empty() && !open.section.empty() && !open.md5.empty()) {
      if (open.source.empty()) open.source = open.name;
      packages.push_back(open);
    }
    open = {};
  };
  while (!index.empty()) {
    const std::size_t end = std::min(index.find('\n'), index.size());
    const std::string_view line = index.substr(0, end);
    index.remove_prefix(std::min(end + 1, index.size()));
    if (line.empty()) {
      end_stanza();
    } else if (line.starts_with("Package:")) {
      open.name = value_of(line, 8);
    } else if (line.starts_with("Source:")) {
      const std::string_view source = value_of(line, 7);  // "bash (5.2.15-2)"
      open.source = source.substr(0, source.find(' '));
    } else if (line.starts_with("Section:")) {
      const std::string_view section = value_of(line, 8);
      open.section = section.substr(section.rfind('/') + 1);
    } else if (line.starts_with("Description-md5:")) {
      open.md5 = value_of(line, 16);
    }
  }
  end_stanza();
  return packages;
}

DescribedSplit described(const std::vector<Package>& packages, const Descriptions& english) {
  DescribedSplit split;
  std::set<std::string> seen;
  for (const Package& package : packages) {
    const auto found = english.find(package.md5);
    if (found == english.end()) continue;
    std::string text = found->second.short_line;
    for (const auto& paragraph : found->second.paragraphs) text += "\n" + paragraph;
    if (!seen.insert(text).second) continue;
    const Part part = part_of(package.source);
    auto& all = part == Part::kTrain   ? split.train
                : part == Part::kValid ? split.valid
                                       : split.test;
    all.push_back({package, std::move(text)});
  }
  return split;
}

void write_described(const DescribedSplit& split, const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const auto write = [&folder](const std::string& part, const std::vector<Described>& all) {
    files::AtomicFile file(folder / (part + ".jsonl"));
    for (const Described& one : all) {
      const nlohmann::ordered_json json{{"label", one.package.section},
                                        {"text", one.text},
                                        {"package", one.package.name},
                                        {"source", one.package.source}};
      file.write(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    }
    file.commit();
  };
  write("train", split.train);
  write("valid", split.valid);
  write("test", split.test);
}

}  // namespace regard::data

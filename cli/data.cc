// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/commands.h"
#include "data/debian_lists.h"
#include "data/descriptions.h"
#include "data/packages.h"
#include "files/atomic_file.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

struct DataOptions {
  std::vector<std::string> languages{"en", "de"};
  fs::path out, lists;
  bool json = false;
};

struct Words {
  double mean = 0;
  std::size_t median = 0, ninety = 0;
};

Words words_of(const std::vector<data::Pair>& pairs, std::string data::Pair::*side) {
  std::vector<std::size_t> counts;
  for (const auto& pair : pairs) {
    std::istringstream text(pair.*side);
    std::string word;
    std::size_t count = 0;
    while (text >> word) ++count;
    counts.push_back(count);
  }
  if (counts.empty()) return {};
  std::sort(counts.begin(), counts.end());
  double sum = 0;
  for (const std::size_t count : counts) sum += static_cast<double>(count);
  return {sum / static_cast<double>(counts.size()), counts[counts.size() / 2],
          counts[counts.size() * 9 / 10]};
}

nlohmann::json to_json(const Words& words) {
  return {{"mean", words.mean}, {"median", words.median}, {"ninety_percent_below", words.ninety}};
}

// Writes a set's files and says what is in them.
nlohmann::json write(const data::Split& split, const fs::path& folder, const std::string& source,
                     const std::string& target) {
  data::write_split(split, folder, source, target);
  std::vector<data::Pair> all = split.train;
  all.insert(all.end(), split.valid.begin(), split.valid.end());
  all.insert(all.end(), split.test.begin(), split.test.end());
  return {
      {"folder", folder.string()},
      {"source", source},
      {"target", target},
      {"pairs",
       {{"train", split.train.size()}, {"valid", split.valid.size()}, {"test", split.test.size()}}},
      {"source_words", to_json(words_of(all, &data::Pair::source))},
      {"target_words", to_json(words_of(all, &data::Pair::target))}};
}

data::Split together(data::Split a, const data::Split& b) {
  a.train.insert(a.train.end(), b.train.begin(), b.train.end());
  a.valid.insert(a.valid.end(), b.valid.begin(), b.valid.end());
  a.test.insert(a.test.end(), b.test.begin(), b.test.end());
  return a;
}

// The descriptions themselves, with the sections of their packages.
nlohmann::json write_packages(const data::Descriptions& english, const fs::path& lists,
                              const fs::path& folder) {
  const auto split =
      data::described(data::parse_packages(data::read_debian_packages(lists)), english);
  if (split.train.empty()) {
    std::cerr << lists.string()
              << " has no index of packages (*_Packages): sections are left out\n";
    return nullptr;
  }
  data::write_described(split, folder);
  std::map<std::string, std::size_t> sections;
  for (const auto* part : {&split.train, &split.valid, &split.test})
    for (const auto& one : *part) ++sections[one.package.section];
  return {
      {"folder", folder.string()},
      {"texts",
       {{"train", split.train.size()}, {"valid", split.valid.size()}, {"test", split.test.size()}}},
      {"sections", sections}};
}

void say_packages(const nlohmann::json& set) {
  const auto& texts = set["texts"];
  std::cout << set["folder"].get<std::string>() << ": " << texts["train"]
            << " descriptions to train on, " << texts["valid"] << " to validate, " << texts["test"]
            << " to test, in " << set["sections"].size() << " sections\n";
}

void say(const nlohmann::json& set) {
  const auto words = [](const nlohmann::json& w) {
    std::ostringstream text;
    text.precision(1);
    text << std::fixed << w["mean"].get<double>() << " words (half below " << w["median"]
         << ", 90% below " << w["ninety_percent_below"] << ")";
    return text.str();
  };
  const auto& pairs = set["pairs"];
  std::cout << set["folder"].get<std::string>() << ": " << pairs["train"] << " pairs to train on, "
            << pairs["valid"] << " to validate, " << pairs["test"] << " to test\n    "
            << set["source"].get<std::string>() << " " << words(set["source_words"]) << ", "
            << set["target"].get<std::string>() << " " << words(set["target_words"]) << '\n';
}

void run(const DataOptions& options) {
  if (options.languages.empty()) throw std::invalid_argument("--languages: expected at least one");
  std::vector<std::string> wanted = options.languages;
  std::sort(wanted.begin(), wanted.end());
  if (const auto twice = std::adjacent_find(wanted.begin(), wanted.end()); twice != wanted.end())
    throw std::invalid_argument("--languages: " + *twice + " is there twice");
  if (std::find(wanted.begin(), wanted.end(), "en") == wanted.end()) wanted.push_back("en");
  fs::create_directories(options.out);
  const auto lists =
      options.lists.empty()
          ? data::fetch_debian_lists(wanted, options.out / "apt",
                                     [](const std::string& text) { std::cerr << text << '\n'; })
          : data::read_debian_lists(wanted, options.lists);
  std::map<std::string, data::Descriptions> descriptions;
  for (const auto& list : lists) descriptions[list.language] = data::parse_descriptions(list);

  nlohmann::json sets = nlohmann::json::array();
  const std::string& first = options.languages.front();
  for (std::size_t i = 1; i < options.languages.size(); ++i) {
    const std::string& other = options.languages[i];
    const auto pairs =
        data::translations(descriptions["en"], descriptions[first], descriptions[other]);
    const fs::path folder = options.out / (first + "-" + other);
    sets.push_back(write(together(pairs.short_lines, pairs.paragraphs), folder, first, other));
    sets.push_back(write(pairs.short_lines, folder / "short", first, other));
    sets.push_back(write(pairs.paragraphs, folder / "paragraphs", first, other));
  }
  sets.push_back(
      write(data::summaries(descriptions["en"]), options.out / "summaries", "long", "short"));
  const auto packages = write_packages(
      descriptions["en"], options.lists.empty() ? options.out / "apt/lists" : options.lists,
      options.out / "descriptions");
  if (!packages.is_null()) sets.push_back(packages);
  files::write_file(options.out / "statistics.json", sets.dump(2) + "\n");
  if (options.json) {
    std::cout << sets.dump(2) << '\n';
    return;
  }
  for (const auto& set : sets) set.contains("pairs") ? say(set) : say_packages(set);
  std::cout << "Parts are chosen by a hash of the English text, those of descriptions by a hash of "
               "the source package's name: none stands in two of them.\n";
}

}  // namespace

void add_data(CLI::App& app) {
  CLI::App* data = app.add_subcommand("data", "Makes text to train on");
  data->require_subcommand(1);
  CLI::App* debian = data->add_subcommand("debian",
                                          "Parallel text, summaries and sections from the "
                                          "descriptions of Debian's packages, fetched with "
                                          "apt as "
                                          "an ordinary user (nothing of the system is changed)");
  const auto options = std::make_shared<DataOptions>();
  debian
      ->add_option("--languages", options->languages,
                   "The first is paired with each of the others, for example en,de,fr")
      ->delimiter(',')
      ->take_all()
      ->capture_default_str();
  debian->add_option("--out", options->out, "Folder to write to")->required();
  debian->add_option("--lists", options->lists,
                     "Read *Translation-LANGUAGE files of this folder instead of fetching them");
  debian->add_flag("--json", options->json, "Say what was made as JSON");
  debian->footer(
      "Examples:\n"
      "  regard data debian --languages en,de --out data\n"
      "      data/en-de/{train,valid,test}.{en,de}   short lines and paragraphs\n"
      "      data/en-de/short, data/en-de/paragraphs each of them alone\n"
      "      data/summaries/{train,valid,test}.{long,short}\n"
      "      data/descriptions/{train,valid,test}.jsonl, with sections as labels:\n"
      "      regard train lm --text data/descriptions/train.jsonl --out writer\n"
      "  regard data debian --languages fr,de --lists /var/lib/apt/lists --out data");
  debian->callback([options] { run(*options); });
}

}  // namespace regard::cli

// SPDX-License-Identifier: Apache-2.0
#include "data/packages.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/temporary_folder.h"

namespace regard::data {
namespace {

constexpr const char* kIndex =
    "Package: bash\n"
    "Source: bash (5.2.15-2)\n"
    "Description: a shell\n"
    "Description-md5: aa\n"
    "Section: shells\n"
    "\n"
    "Package: doom\n"
    "Section: contrib/games\n"
    "Description-md5: bb\n"
    "\n"
    "Package: doom-again\n"
    "Source: doom\n"
    "Section: games\n"
    "Description-md5: bb\n"
    "\n"
    "Package: without-section\n"
    "Description-md5: aa\n";

TEST(Packages, HaveTheirSourceAndSection) {
  const auto packages = parse_packages(kIndex);
  ASSERT_EQ(packages.size(), 3u);
  EXPECT_EQ(packages[0].source, "bash");
  EXPECT_EQ(packages[1].section, "games");
  EXPECT_EQ(packages[1].source, "doom");
  EXPECT_EQ(packages[2].source, "doom");
  EXPECT_TRUE(parse_packages("").empty());
}

TEST(Packages, EachDescriptionOnceAndSourcesInOnePart) {
  const Descriptions english{{"aa", {"a shell", {"It runs.", "It waits."}}},
                             {"bb", {"a game", {}}}};
  const auto split = described(parse_packages(kIndex), english);
  EXPECT_EQ(split.train.size() + split.valid.size() + split.test.size(), 2u);

  // Many packages of few sources: no source is in two parts.
  std::vector<Package> many;
  Descriptions texts;
  for (int i = 0; i < 3000; ++i) {
    const std::string number = std::to_string(i);
    many.push_back({"p" + number, "source" + std::to_string(i / 10), "libs", number});
    texts[number] = {"text " + number, {}};
  }
  const auto parts = described(many, texts);
  std::map<std::string, std::set<const void*>> of;
  for (const auto* part : {&parts.train, &parts.valid, &parts.test}) {
    EXPECT_FALSE(part->empty());
    for (const auto& one : *part) of[one.package.source].insert(part);
  }
  for (const auto& [source, in] : of) EXPECT_EQ(in.size(), 1u) << source;
}

TEST(Packages, AreWrittenAsJsonLines) {
  const test::TemporaryFolder folder;
  DescribedSplit split;
  split.train.push_back({{"bash", "bash", "shells", "aa"}, "a \"shell\"\nIt runs."});
  write_described(split, folder / "out");
  std::ifstream in(folder / "out/train.jsonl");
  std::string line;
  std::getline(in, line);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["label"], "shells");
  EXPECT_EQ(json["text"], "a \"shell\"\nIt runs.");
  EXPECT_TRUE(std::filesystem::exists(folder / "out/test.jsonl"));
}

}  // namespace
}  // namespace regard::data

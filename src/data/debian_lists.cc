// SPDX-License-Identifier: Apache-2.0
#include "data/debian_lists.h"

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>
#include <stdexcept>

#include "data/process.h"
#include "files/atomic_file.h"

namespace regard::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAptHelper = "/usr/lib/apt/apt-helper";

std::string read_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// The system's configuration, without what container images put there to switch translations off
// or to run programs after an update: proxies and sources stay.
void copy_configuration(const fs::path& to) {
  fs::create_directories(to);
  std::error_code error;
  static const std::regex unwanted("Acquire::Languages|Post-Invoke|IndexTargets",
                                   std::regex::icase);
  for (const auto& entry : fs::directory_iterator("/etc/apt/apt.conf.d", error)) {
    if (!entry.is_regular_file()) continue;
    const std::string text = read_file(entry.path());
    if (!std::regex_search(text, unwanted)) {
      files::write_file(to / entry.path().filename(), text);
    }
  }
}

std::string quoted_list(const std::vector<std::string>& languages) {
  std::string list;
  for (const auto& language : languages) list += "\"" + language + "\"; ";
  return list;
}

bool is_language(const std::string& language) {
  static const std::regex code("[a-z]{2,3}(_[A-Z]{2})?");
  return std::regex_match(language, code);
}

void check(const std::vector<std::string>& languages) {
  for (const auto& language : languages) {
    if (is_language(language)) continue;
    throw std::invalid_argument("language '" + language +
                                "': expected a code such as de, fr or pt_BR");
  }
}

// What the package client said went wrong, without its progress.
std::string reasons(const std::string& messages) {
  std::istringstream lines(messages);
  std::string line, found;
  while (std::getline(lines, line)) {
    if (line.starts_with("E:") || line.starts_with("W:") || line.starts_with("Err:")) {
      found += "\n  " + line;
    }
  }
  return found;
}

}  // namespace

std::vector<DescriptionList> fetch_debian_lists(
    const std::vector<std::string>& languages, const fs::path& folder,
    const std::function<void(const std::string&)>& say) {
  check(languages);
  if (!fs::exists(kAptHelper)) {
    throw std::runtime_error(
        "this system has no apt: package descriptions can be fetched on Debian and Ubuntu. Train "
        "on files of your own with `regard train translate --source FILE --target FILE`, or read "
        "lists from another machine with --lists FOLDER");
  }
  const fs::path absolute = fs::absolute(folder);
  const fs::path lists = absolute / "lists";
  fs::create_directories(lists / "partial");
  fs::create_directories(absolute / "cache/archives/partial");
  copy_configuration(absolute / "apt.conf.d");
  files::write_file(absolute / "apt.conf",
                    "Dir::Etc::parts \"" + (absolute / "apt.conf.d").string() +
                        "\";\nDir::State::Lists \"" + lists.string() + "\";\nDir::Cache \"" +
                        (absolute / "cache").string() + "\";\nAcquire::Languages { " +
                        quoted_list(languages) +
                        "};\n"
                        // Where root runs this, files in a private folder stay readable to it.
                        "APT::Sandbox::User \"root\";\n");
  say("fetching package descriptions (" + quoted_list(languages) +
      "and the index of packages, some 20 MB) with apt-get");
  const Finished update = run({"apt-get", "update", "-q", "--error-on=any"},
                              {"APT_CONFIG=" + (absolute / "apt.conf").string(), "LC_ALL=C"});
  try {
    // A source of the user's that fails is no reason to stop, as long as the lists have come.
    return read_debian_lists(languages, lists);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(
        std::string(error.what()) + ".\napt-get update ended with " +
        std::to_string(update.status) + reasons(update.output + update.messages) +
        "\nIs there a network, and do your apt sources offer translations? Without one, train on "
        "files of your own: `regard train translate --source FILE --target FILE`");
  }
}

namespace {

// The files of a folder with names like these, one after the other.
std::string read_lists(const fs::path& folder, const std::string& kind) {
  std::error_code error;
  std::vector<fs::path> paths;
  const std::regex name(".*" + kind + "(\\.[a-z0-9]+)?");
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.is_regular_file() && std::regex_match(entry.path().filename().string(), name)) {
      paths.push_back(entry.path());
    }
  }
  if (error) throw std::runtime_error("cannot read " + folder.string() + ": " + error.message());
  std::sort(paths.begin(), paths.end());
  std::string text;
  for (const auto& path : paths) {
    if (path.string().ends_with(kind)) {
      text += read_file(path) + "\n\n";
      continue;
    }
    const Finished unpacked = run({kAptHelper, "cat-file", path.string()});
    if (unpacked.status != 0) {
      throw std::runtime_error("cannot unpack " + path.string() + ": " + unpacked.messages);
    }
    text += unpacked.output + "\n\n";
  }
  return text;
}

}  // namespace

std::string read_debian_packages(const fs::path& folder) { return read_lists(folder, "_Packages"); }

std::vector<DescriptionList> read_debian_lists(const std::vector<std::string>& languages,
                                               const fs::path& folder) {
  check(languages);
  std::vector<DescriptionList> lists;
  for (const auto& language : languages) {
    DescriptionList list{language, read_lists(folder, "Translation-" + language)};
    if (list.text.empty()) {
      throw std::runtime_error(folder.string() + " has no package descriptions in language '" +
                               language + "' (a file *Translation-" + language + ")");
    }
    lists.push_back(std::move(list));
  }
  return lists;
}

}  // namespace regard::data

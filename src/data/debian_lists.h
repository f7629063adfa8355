// SPDX-License-Identifier: Apache-2.0
// Debian's package descriptions and their translations, fetched with the system's own package
// client as an ordinary user: its state, configuration and cache lie in a folder of the caller's,
// and nothing of the system is changed.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace regard::data {

// One language's descriptions as the archive has them: stanzas of "Package", "Description-md5" and
// "Description-<language>".
struct DescriptionList {
  std::string language;
  std::string text;
};

// Fetches the lists of `languages` ("en", "de", ...) and the index of packages into `folder`
// "/lists" with apt-get, and reads the lists.
// std::runtime_error says what to do where there is no apt, no network, or no such list.
std::vector<DescriptionList> fetch_debian_lists(const std::vector<std::string>& languages,
                                                const std::filesystem::path& folder,
                                                const std::function<void(const std::string&)>& say);

// Reads lists that are already there: files of `folder` whose names contain
// "Translation-<language>", plain or compressed in a way that apt knows. std::runtime_error if a
// language has none.
std::vector<DescriptionList> read_debian_lists(const std::vector<std::string>& languages,
                                               const std::filesystem::path& folder);

// The index of packages ("*_Packages" files) in the same folder, or nothing if there is none.
std::string read_debian_packages(const std::filesystem::path& folder);

}  // namespace regard::data

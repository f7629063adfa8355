// SPDX-License-Identifier: Apache-2.0
#include "regard/image/class_folders.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "regard/image/image.h"
#include "text/shuffle.h"

namespace regard::image {
namespace {

namespace fs = std::filesystem;

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

std::vector<fs::path> pictures_below(const fs::path& folder) {
  std::vector<fs::path> found;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (auto at = fs::recursive_directory_iterator(folder, options);
       at != fs::recursive_directory_iterator(); ++at) {
    if (is_hidden(at->path())) {
      if (at->is_directory()) at.disable_recursion_pending();
    } else if (at->is_regular_file() && has_image_ending(at->path())) {
      found.push_back(at->path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

// FNV-1a.
void mix(std::uint64_t& hash, const std::string& text) {
  for (const char c : text + '\n') {
    hash = (hash ^ static_cast<std::uint8_t>(c)) * 1099511628211ULL;
  }
}

}  // namespace

std::uint64_t LabelledImages::fingerprint() const {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const std::string& name : classes) mix(hash, name);
  for (std::size_t i = 0; i < files.size(); ++i) {
    std::error_code error;
    const auto size = fs::file_size(files[i], error);
    mix(hash, files[i].filename().string());
    mix(hash, std::to_string(error ? 0 : size) + " " + std::to_string(labels[i]));
  }
  return hash;
}

LabelledImages read_class_folders(const fs::path& folder, const std::vector<std::string>& classes) {
  if (!fs::is_directory(folder)) {
    throw std::runtime_error(folder.string() + ": not a folder; expected one of class folders");
  }
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory() && !is_hidden(entry.path())) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  if (names.empty()) {
    throw std::runtime_error(folder.string() +
                             ": has no subfolders; expected one for each class, with its pictures");
  }
  LabelledImages images;
  images.classes = classes.empty() ? names : classes;
  for (const std::string& name : names) {
    const auto at = std::find(images.classes.begin(), images.classes.end(), name);
    if (at == images.classes.end()) {
      throw std::runtime_error((folder / name).string() +
                               ": this class is not among those that are trained");
    }
    for (const fs::path& file : pictures_below(folder / name)) {
      images.files.push_back(file);
      images.labels.push_back(at - images.classes.begin());
    }
  }
  if (images.files.empty()) {
    throw std::runtime_error(folder.string() +
                             ": no pictures (.png, .jpg, .jpeg, .ppm, .pgm) in its subfolders");
  }
  return images;
}

std::pair<LabelledImages, LabelledImages> split(const LabelledImages& images, double share,
                                                std::uint64_t seed) {
  LabelledImages rest, part;
  rest.classes = part.classes = images.classes;
  for (std::size_t label = 0; label < images.classes.size(); ++label) {
    std::vector<std::size_t> mine;
    for (std::size_t i = 0; i < images.labels.size(); ++i) {
      if (images.labels[i] == static_cast<std::int64_t>(label)) mine.push_back(i);
    }
    auto random = text::seeded(seed, 0, static_cast<std::int64_t>(label));
    text::shuffle(mine, random);
    const auto taken =
        static_cast<std::size_t>(std::lround(share * static_cast<double>(mine.size())));
    for (std::size_t i = 0; i < mine.size(); ++i) {
      LabelledImages& into = i < taken ? part : rest;
      into.files.push_back(images.files[mine[i]]);
      into.labels.push_back(images.labels[mine[i]]);
    }
  }
  return {std::move(rest), std::move(part)};
}

}  // namespace regard::image

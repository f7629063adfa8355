// SPDX-License-Identifier: Apache-2.0
// Pictures sorted into a folder for each class.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace regard::image {

struct LabelledImages {
  std::vector<std::string> classes;  // sorted by name
  std::vector<std::filesystem::path> files;
  std::vector<std::int64_t> labels;  // of each file, its place among the classes

  // What says that it is the same data: of names, sizes and labels.
  std::uint64_t fingerprint() const;
};

// The pictures (has_image_ending()) anywhere below each subfolder of `folder`, in the order of
// their names; the subfolder's name is their class. Names that begin with a dot are passed over.
// With `classes` not empty, those are the classes, in their order, and others are an error.
// std::runtime_error names the folder: no folder, no subfolders, no pictures, an unknown class.
LabelledImages read_class_folders(const std::filesystem::path& folder,
                                  const std::vector<std::string>& classes = {});

// Splits off a share of each class, chosen by the seed: (the rest, the share).
std::pair<LabelledImages, LabelledImages> split(const LabelledImages& images, double share,
                                                std::uint64_t seed);

}  // namespace regard::image

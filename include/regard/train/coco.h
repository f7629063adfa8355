// SPDX-License-Identifier: Apache-2.0
// Objects in images, as COCO's JSON describes them (Lin et al. 2014, arXiv 1405.0312): "images",
// "annotations" with boxes, "categories".
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace regard::train {

struct CocoObject {
  std::int64_t category = 0;                   // a number of CocoSet::names
  double x = 0, y = 0, width = 0, height = 0;  // left, top and size, in pixels
};

struct CocoImage {
  std::int64_t id = 0;
  std::filesystem::path file;
  std::int64_t width = 0, height = 0;
  std::vector<CocoObject> objects;  // there may be none
};

struct CocoSet {
  std::vector<std::string> names;  // of the categories, in the order of their ids
  std::vector<CocoImage> images;   // in the order of the file
  std::uint64_t fingerprint = 0;   // of everything above
};

// `folder` holds the images by their "file_name". Boxes may reach over an image's edge by a pixel,
// and are cut there; groups ("iscrowd": 1) are left out. std::runtime_error names the annotations'
// file and the image or annotation: not JSON, a part that is missing or of another type, an image
// file that is not there, ids that are not known or come twice, boxes that are empty or outside
// their image.
CocoSet read_coco(const std::filesystem::path& annotations, const std::filesystem::path& folder);

}  // namespace regard::train

// SPDX-License-Identifier: Apache-2.0
// How good found boxes are.
#pragma once

#include <cstdint>
#include <vector>

#include "regard/train/coco.h"

namespace regard::train {

struct FoundObject {
  CocoObject object;
  double score = 0;
};

// The average precision at an intersection over union of 0.5, as COCO counts it (pycocotools'
// AP50): of each image's 100 best found objects; the precision at 101 recalls, each the best at
// that recall or a higher one; the mean over categories that have objects. found[i] belongs to
// set.images[i]. NaN where there are no objects.
double average_precision(const CocoSet& set, const std::vector<std::vector<FoundObject>>& found);

}  // namespace regard::train

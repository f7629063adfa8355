// SPDX-License-Identifier: Apache-2.0
// How the commands name and draw what DETR found.
#pragma once

#include <string>

#include "picture/photograph.h"
#include "regard/nn/detection.h"

namespace regard::cli {

// "cat 0.98".
std::string label_of(const nn::Detr& model, const nn::Detection& one);

picture::Box box_of(const nn::Detr& model, const nn::Detection& one);

// How a found object's query looks at the image: the mean of the last layer's heads. `states` are
// forward()'s for a batch of this image alone.
picture::HeatMap map_of(const nn::DetrStates& states, const nn::Detection& one);

}  // namespace regard::cli

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace regard::nn {

// The files of src/nn/pretrained as they were when this was built.
struct NameMap {
  std::string type, json;
};
const std::vector<NameMap>& name_maps();

}  // namespace regard::nn

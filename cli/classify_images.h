// SPDX-License-Identifier: Apache-2.0
// `regard classify` of pictures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace regard::cli {

// Writes a line for each picture: its file, then `top` classes with their probabilities (or a JSON
// object). std::runtime_error names the file or the model's folder.
void classify_images(const std::filesystem::path& model,
                     const std::vector<std::filesystem::path>& files, std::int64_t top, bool json);

}  // namespace regard::cli

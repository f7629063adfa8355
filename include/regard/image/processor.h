// SPDX-License-Identifier: Apache-2.0
// From a picture to what a vision model reads: resized, cropped, scaled and normalized, as the
// checkpoint's preprocessor_config.json says.
//
//   auto options = regard::image::read_processor("deit-base");
//   torch::Tensor pixels = regard::image::process(regard::image::read_image("cat.jpg"), options);
#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "regard/image/image.h"

namespace regard::image {

struct ImageSize {
  std::int64_t height = 0, width = 0;
};

struct ProcessorOptions {
  std::string type = "ViTImageProcessor";  // as transformers calls it

  bool resize = true;
  // To this size; or, where it is 0 x 0, so that the shorter edge becomes shortest_edge, unless the
  // longer one would then be more than longest_edge (0: any).
  ImageSize size{224, 224};
  std::int64_t shortest_edge = 0, longest_edge = 0;
  // A filter of regard/image/resize.h.
  std::string resample = "bilinear";

  bool center_crop = false;  // what a smaller picture lacks becomes black
  ImageSize crop{224, 224};

  bool rescale = true;  // multiplies bytes by rescale_factor
  double rescale_factor = 1.0 / 255;

  bool normalize = true;  // (x - mean) / std, for red, green and blue
  std::array<double, 3> mean{0.5, 0.5, 0.5}, std{0.5, 0.5, 0.5};
};

// Reads what transformers' ViTImageProcessor, DeiTImageProcessor and DetrImageProcessor write (the
// names ending in FeatureExtractor and Fast, too), as JSON. What is not there is as the type has
// it. std::invalid_argument names the setting, what it is and what was expected.
ProcessorOptions processor_options(const nlohmann::json& config);
nlohmann::json to_json(const ProcessorOptions& options);

// preprocessor_config.json of a model's folder. std::runtime_error names the file.
ProcessorOptions read_processor(const std::filesystem::path& folder);
void write_processor(const std::filesystem::path& folder, const ProcessorOptions& options);

// What becomes of a picture of that size, crops included.
ImageSize processed_size(const ImageSize& size, const ProcessorOptions& options);

// (3, height, width) float32: what transformers' processors give, whose backend is Pillow.
torch::Tensor process(const Image& image, const ProcessorOptions& options);

// Pictures as a batch. Where sizes differ, each is padded at the right and below with zeros, as
// DETR's processor does; mask is 1 where a picture is, 0 where padding is.
struct PixelBatch {
  torch::Tensor values;  // (batch, 3, height, width) float32
  torch::Tensor mask;    // (batch, height, width) int64
};
PixelBatch process(const std::vector<Image>& images, const ProcessorOptions& options);

}  // namespace regard::image

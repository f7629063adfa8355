// SPDX-License-Identifier: Apache-2.0
#include "regard/image/processor.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "regard/image/resize.h"

namespace regard::image {
namespace {

// A length scaled as Python's int() of a float64 rounds it.
std::int64_t scaled(double by, std::int64_t length, std::int64_t of) {
  return static_cast<std::int64_t>(by * static_cast<double>(length) / static_cast<double>(of));
}

ImageSize resized_size(const ImageSize& from, const ProcessorOptions& options) {
  if (!options.resize) return from;
  if (options.shortest_edge == 0) return options.size;
  const auto [shorter, longer] = std::minmax({from.height, from.width});
  auto edge = static_cast<double>(options.shortest_edge);
  if (options.longest_edge > 0) {
    const auto most = static_cast<double>(options.longest_edge);
    const double low = static_cast<double>(shorter), high = static_cast<double>(longer);
    if (high / low * edge > most) edge = most * low / high;
  }
  // The longer edge follows the edge before it is rounded (half to even).
  const std::int64_t rounded = std::max<std::int64_t>(std::llrint(edge), 1);
  const std::int64_t other = std::max<std::int64_t>(scaled(edge, longer, shorter), 1);
  if (shorter == rounded) return from;
  return from.width < from.height ? ImageSize{other, rounded} : ImageSize{rounded, other};
}

// Where a crop begins in a row of `length`, as transformers places it: before the picture, by a
// negative number, where the picture is smaller.
std::int64_t crop_begin(std::int64_t length, std::int64_t crop) {
  if (crop <= length) return (length - crop) / 2;
  return -((crop - length + 1) / 2);
}

torch::Tensor cropped(const torch::Tensor& bytes, const ImageSize& to) {
  const std::int64_t height = bytes.size(1), width = bytes.size(2);
  const std::int64_t top = crop_begin(height, to.height), left = crop_begin(width, to.width);
  return torch::constant_pad_nd(
      bytes, {-left, left + to.width - width, -top, top + to.height - height}, 0);
}

}  // namespace

ImageSize processed_size(const ImageSize& size, const ProcessorOptions& options) {
  return options.center_crop ? options.crop : resized_size(size, options);
}

torch::Tensor process(const Image& image, const ProcessorOptions& options) {
  if (image.width < 1 || image.height < 1) throw std::invalid_argument("image: has no pixels");
  const torch::NoGradGuard no_gradients;
  const ImageSize size = resized_size({image.height, image.width}, options);
  const bool as_it_is = size.height == image.height && size.width == image.width;
  Image made = as_it_is ? Image() : resized(image, size.width, size.height, options.resample);
  const Image& from = as_it_is ? image : made;
  torch::Tensor x = torch::from_blob(const_cast<std::uint8_t*>(from.pixels.data()),
                                     {from.height, from.width, 3}, torch::kUInt8)
                        .permute({2, 0, 1});
  if (options.center_crop) x = cropped(x, options.crop);
  x = x.to(torch::kFloat32).contiguous();
  if (options.rescale) x = x * options.rescale_factor;
  if (options.normalize) {
    const auto column = [](const std::array<double, 3>& values) {
      return torch::tensor({values[0], values[1], values[2]}, torch::kFloat32).view({3, 1, 1});
    };
    x = (x - column(options.mean)) / column(options.std);
  }
  return x;
}

PixelBatch process(const std::vector<Image>& images, const ProcessorOptions& options) {
  if (images.empty()) throw std::invalid_argument("images: none");
  std::vector<torch::Tensor> parts;
  std::int64_t height = 0, width = 0;
  for (const Image& image : images) {
    parts.push_back(process(image, options));
    height = std::max(height, parts.back().size(1));
    width = std::max(width, parts.back().size(2));
  }
  const auto count = static_cast<std::int64_t>(parts.size());
  PixelBatch batch{torch::zeros({count, 3, height, width}),
                   torch::zeros({count, height, width}, torch::kInt64)};
  for (std::int64_t i = 0; i < count; ++i) {
    const torch::Tensor& part = parts[static_cast<std::size_t>(i)];
    const auto there = [&](torch::Tensor whole) {
      return whole[i].narrow(-2, 0, part.size(1)).narrow(-1, 0, part.size(2));
    };
    there(batch.values).copy_(part);
    there(batch.mask).fill_(1);
  }
  return batch;
}

}  // namespace regard::image

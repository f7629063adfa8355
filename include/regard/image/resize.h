// SPDX-License-Identifier: Apache-2.0
// Pictures at another size, with the bits that Pillow gives (the backend of transformers' image
// processors): libtorch's antialiased bicubic filter is up to 8/255 away from it.
#pragma once

#include <string>

#include "regard/image/image.h"

namespace regard::image {

// "nearest", or a filter that is as wide as what one pixel of the result covers, along rows and
// along columns, in bytes: "bilinear" (a triangle), "bicubic" (Keys 1981, a = -0.5), "lanczos" (3
// lobes). std::invalid_argument for another filter, or a size below 1 or of more than kMostPixels.
Image resized(const Image& image, std::int64_t width, std::int64_t height,
              const std::string& filter);

}  // namespace regard::image

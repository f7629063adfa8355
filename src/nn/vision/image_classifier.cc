// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/image_classifier.h"

#include <sstream>
#include <stdexcept>

namespace regard::nn {

torch::Tensor ImageClassifier::rollout(const torch::Tensor&) {
  throw std::logic_error(kind() +
                         ": has no class token whose attention could be followed to the image");
}

void ImageClassifier::check_pixels(const torch::Tensor& pixels) const {
  if (pixels.defined() && pixels.dim() == 4 && pixels.size(1) == channels() && pixels.size(0) > 0 &&
      pixels.is_floating_point()) {
    return;
  }
  std::ostringstream text;
  text << "pixels: ";
  if (pixels.defined()) {
    text << pixels.sizes() << " of " << pixels.scalar_type();
  } else {
    text << "not given";
  }
  text << "; expected (batch, " << channels() << ", height, width), floating";
  throw std::invalid_argument(text.str());
}

}  // namespace regard::nn

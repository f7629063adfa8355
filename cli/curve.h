// SPDX-License-Identifier: Apache-2.0
// The picture of a training, drawn from its log.
#pragma once

#include <filesystem>
#include <string>

#include "regard/train/listener.h"

namespace regard::cli {

// Draws curve.png anew after each validation and at the end. Without a font there is no picture,
// and no error: training is worth more.
class CurvePicture : public train::Listener {
 public:
  // `unit`: what the losses are means over.
  CurvePicture(std::filesystem::path log, std::filesystem::path picture, const std::string& unit);
  void on_validation(const train::Validation& validation) override;
  void on_end() override;

 private:
  void draw() const;
  std::filesystem::path log_, picture_;
  std::string title_;
};

}  // namespace regard::cli

// SPDX-License-Identifier: Apache-2.0
#include "cli/curve.h"

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "files/atomic_file.h"
#include "picture/curve.h"

namespace regard::cli {

CurvePicture::CurvePicture(std::filesystem::path log, std::filesystem::path picture,
                           const std::string& unit)
    : log_(std::move(log)),
      picture_(std::move(picture)),
      title_(unit == "tokens" ? "Loss, in nats a token" : "Loss, mean over " + unit) {}

void CurvePicture::on_validation(const train::Validation&) { draw(); }

void CurvePicture::on_end() { draw(); }

void CurvePicture::draw() const {
  picture::Series training{"training", {31, 119, 180}, {}};
  picture::Series validation{"validation", {214, 39, 40}, {}};
  std::ifstream in(log_);
  std::string line;
  while (std::getline(in, line)) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("nll")) continue;
    auto& series = json.value("kind", "") == "validation" ? validation : training;
    if (json["nll"].is_number()) {
      series.points.emplace_back(json.value("step", 0.0), json["nll"].get<double>());
    }
  }
  try {
    files::write_file(picture_, picture::curve_png(title_, "step", {training, validation}));
  } catch (const std::exception& error) {
    std::cerr << "no picture of the training: " << error.what() << '\n';
  }
}

}  // namespace regard::cli

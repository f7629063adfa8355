// SPDX-License-Identifier: Apache-2.0
// Where a model of images looked.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/detected.h"
#include "cli/look.h"
#include "cli/open_model.h"
#include "files/atomic_file.h"
#include "picture/image_page.h"
#include "regard/image/processor.h"
#include "regard/nn/image_classifier.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

// The rollout, named after the likeliest class.
std::vector<picture::ImageMap> maps_of(nn::ImageClassifier& model, const torch::Tensor& pixels) {
  const torch::Tensor rollout = model.rollout(pixels)[0].to(torch::kFloat64).contiguous();
  const torch::Tensor probabilities =
      torch::softmax(model.forward(pixels)[0].to(torch::kFloat32), -1);
  const auto place = probabilities.argmax().item<std::int64_t>();
  char score[16];
  std::snprintf(score, sizeof score, " %.2f", probabilities[place].item<double>());
  const double* first = rollout.data_ptr<double>();
  picture::HeatMap map{rollout.size(0), rollout.size(1), {first, first + rollout.numel()}};
  return {{model.labels()[static_cast<std::size_t>(place)] + score, std::move(map), {}}};
}

// A map for each object that is found.
std::vector<picture::ImageMap> maps_of(nn::Detr& model, const torch::Tensor& pixels,
                                       const image::Image& photograph, double threshold) {
  nn::DetrStates states;
  const auto outputs = model.forward(pixels, {}, /*every_layer=*/false, &states);
  std::vector<picture::ImageMap> maps;
  for (const nn::Detection& one :
       nn::detections(outputs.back(), 0, photograph.width, photograph.height, threshold))
    maps.push_back({label_of(model, one), map_of(states, one), box_of(model, one)});
  return maps;
}

std::string png_of(const image::Image& photograph, const std::vector<picture::ImageMap>& maps) {
  if (!maps.front().box) return picture::heat_png(photograph, maps.front().map);
  std::vector<picture::HeatMap> heats;
  std::vector<picture::Box> boxes;
  for (const auto& one : maps) {
    heats.push_back(one.map);
    boxes.push_back(*one.box);
  }
  return picture::heat_maps_png(photograph, heats, boxes);
}

void say(const fs::path& file, const std::vector<picture::ImageMap>& maps) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& one : maps) {
    nlohmann::json rows = nlohmann::json::array();
    const auto& [count, columns, weights] = one.map;
    for (std::int64_t row = 0; row < count; ++row) {
      const auto begin = weights.begin() + row * columns;
      rows.push_back(std::vector<double>(begin, begin + columns));
    }
    nlohmann::json entry{{"name", one.name}, {"weights", rows}};
    if (one.box) entry["box"] = {one.box->x, one.box->y, one.box->width, one.box->height};
    list.push_back(std::move(entry));
  }
  std::cout << nlohmann::json{{"image", file.string()}, {"maps", list}}.dump(
                   -1, ' ', false, nlohmann::json::error_handler_t::replace)
            << '\n';
}

}  // namespace

void look_at_image(const LookOptions& options) {
  const auto model = open_model(options.model);
  auto* classifier = dynamic_cast<nn::ImageClassifier*>(model.get());
  auto* detector = dynamic_cast<nn::Detr*>(model.get());
  if (classifier == nullptr && detector == nullptr)
    throw std::runtime_error(options.model.string() + ": a model of kind \"" + model->kind() +
                             "\"; with --image expected a classifier of images or DETR");
  const image::Image photograph = image::read_image(options.image);
  const torch::Tensor pixels =
      image::process(photograph, image::read_processor(options.model)).unsqueeze(0);
  const auto maps = classifier != nullptr
                        ? maps_of(*classifier, pixels)
                        : maps_of(*detector, pixels, photograph, options.threshold);
  if (options.json) say(options.image, maps);
  if (options.out.empty()) return;
  if (maps.empty()) {
    char least[32];
    std::snprintf(least, sizeof least, "%g", options.threshold);
    throw std::runtime_error(options.image.string() + ": nothing was found above " + least +
                             " (--threshold): there is nothing to draw");
  }
  const std::string title =
      options.image.filename().string() + ", seen by " + options.model.filename().string();
  for (const auto& file : options.out) {
    files::write_file(file, file.extension() == ".html"
                                ? picture::image_page(title, photograph, maps)
                                : png_of(photograph, maps));
    std::cerr << file.string() << '\n';
  }
}

}  // namespace regard::cli

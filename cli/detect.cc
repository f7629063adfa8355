// SPDX-License-Identifier: Apache-2.0
// `regard detect`: DETR's boxes on images.
#include <cstdio>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/detected.h"
#include "cli/flags.h"
#include "files/atomic_file.h"
#include "picture/photograph.h"
#include "regard/image/processor.h"
#include "regard/nn/detection.h"
#include "regard/nn/keep_memory.h"
#include "regard/nn/pretrained.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct DetectOptions {
  std::vector<fs::path> images;
  fs::path model, out, attention;
  double threshold = 0.7;
  int threads = 0;
  bool json = false;
};

void write_pictures(const DetectOptions& options, const image::Image& image, const nn::Detr& model,
                    const nn::DetrStates& states, const std::vector<nn::Detection>& found) {
  std::vector<picture::Box> boxes;
  std::vector<picture::HeatMap> maps;
  for (const nn::Detection& one : found) boxes.push_back(box_of(model, one));
  if (!options.out.empty()) files::write_file(options.out, picture::boxes_png(image, boxes));
  if (options.attention.empty()) return;
  if (found.empty()) {
    std::cerr << "nothing was found: no " << options.attention.string() << '\n';
    return;
  }
  for (const nn::Detection& one : found) maps.push_back(map_of(states, one));
  files::write_file(options.attention, picture::heat_maps_png(image, maps, boxes));
}

json to_json(const nn::Detr& model, const fs::path& file, const std::vector<nn::Detection>& found) {
  json objects = json::array();
  for (const nn::Detection& one : found)
    objects.push_back({{"label", model.labels()[static_cast<std::size_t>(one.category)]},
                       {"category", one.category},
                       {"score", one.score},
                       {"box", {one.x, one.y, one.width, one.height}}});
  return {{"image", file.string()}, {"objects", objects}};
}

void say(const nn::Detr& model, const std::vector<nn::Detection>& found) {
  for (const nn::Detection& one : found) {
    char box[128];
    std::snprintf(box, sizeof box, " x %.0f to %.0f, y %.0f to %.0f\n", one.x, one.x + one.width,
                  one.y, one.y + one.height);
    std::cout << std::left << std::setw(20) << label_of(model, one) << box;
  }
  std::cout << std::flush;
}

void run(const DetectOptions& options) {
  for (const fs::path& file : {options.out, options.attention}) {
    if (file.empty()) continue;
    if (file.extension() != ".png")
      throw std::invalid_argument(file.string() + ": expected a name that ends with .png");
    if (options.images.size() > 1)
      throw std::invalid_argument("--out and --attention: expected one image, not " +
                                  std::to_string(options.images.size()));
  }
  if (!(options.threshold >= 0 && options.threshold <= 1))
    throw std::invalid_argument("--threshold: expected 0 to 1");
  if (options.threads > 0) at::set_num_threads(options.threads);
  const torch::NoGradGuard no_gradients;
  const auto model = nn::open_model<nn::Detr>(options.model);
  const auto processor = image::read_processor(options.model);
  for (const fs::path& file : options.images) {
    const image::Image image = image::read_image(file);
    nn::DetrStates states;
    const auto outputs = model->forward(image::process(image, processor).unsqueeze(0), {}, false,
                                        options.attention.empty() ? nullptr : &states);
    const auto found =
        nn::detections(outputs.back(), 0, image.width, image.height, options.threshold);
    write_pictures(options, image, *model, states, found);
    nn::give_spare_memory_back();
    if (options.json) {
      std::cout << to_json(*model, file, found)
                       .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                << '\n';
      continue;
    }
    if (options.images.size() > 1) std::cout << file.string() << ":\n" << std::flush;
    if (found.empty())
      std::cout << "nothing above " << options.threshold << " (--threshold)\n" << std::flush;
    say(*model, found);
  }
}

}  // namespace

void add_detect(CLI::App& app) {
  CLI::App* command = app.add_subcommand("detect", "Finds objects in images, by DETR");
  const auto options = std::make_shared<DetectOptions>();
  command->add_option("image", options->images, "PNG, JPEG or PPM files")->required()->take_all();
  command
      ->add_option("--model", options->model,
                   "The model's folder: regard train detect's, or transformers' "
                   "DetrForObjectDetection")
      ->required();
  command->add_option("--out", options->out, "A .png file: the image with its boxes");
  command->add_option("--attention", options->attention,
                      "A .png file: for each found object, where its query looked");
  command->add_option("--threshold", options->threshold, "The least probability that is shown")
      ->capture_default_str();
  add_threads(*command, options->threads);
  command->add_flag("--json", options->json,
                    "A line for each image: labels, scores, boxes as left, top, width, height");
  command->footer(
      "Examples:\n"
      "  regard detect street.jpg --model detr-resnet-50 --out boxes.png\n"
      "  regard detect street.jpg --model detr-resnet-50 --attention maps.png --threshold 0.9\n"
      "  regard detect images/*.png --model finder --json > found.jsonl");
  command->callback([options] { run(*options); });
}

}  // namespace regard::cli

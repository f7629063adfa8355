// SPDX-License-Identifier: Apache-2.0
#include "cli/classify_images.h"

#include <algorithm>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>

#include "regard/image/processor.h"
#include "regard/nn/image_classifier.h"
#include "regard/nn/pretrained.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kImagesTogether = 32;  // pictures that are computed together

void say(const fs::path& file, const torch::Tensor& probabilities,
         const std::vector<std::string>& labels, std::int64_t top, bool json) {
  const auto [values, places] = probabilities.topk(std::min(top, std::ssize(labels)));
  nlohmann::json found = nlohmann::json::array();
  for (std::int64_t i = 0; i < values.size(0); ++i) {
    found.push_back({{"label", labels[static_cast<std::size_t>(places[i].item<std::int64_t>())]},
                     {"probability", values[i].item<double>()}});
  }
  if (json) {
    std::cout << nlohmann::json{{"image", file.string()}, {"labels", found}}.dump(
                     -1, ' ', false, nlohmann::json::error_handler_t::replace)
              << '\n';
    return;
  }
  std::cout << file.string();
  for (const auto& one : found) {
    char probability[16];
    std::snprintf(probability, sizeof probability, "%.3f", one["probability"].get<double>());
    std::cout << '\t' << one["label"].get<std::string>() << '\t' << probability;
  }
  std::cout << '\n';
}

}  // namespace

void classify_images(const fs::path& folder, const std::vector<fs::path>& files, std::int64_t top,
                     bool json) {
  if (!fs::is_directory(folder)) {
    throw std::runtime_error(folder.string() +
                             " is not a folder with a model (`regard train "
                             "classify --images` makes one)");
  }
  const torch::NoGradGuard no_gradients;
  const auto model = nn::open_model<nn::ImageClassifier>(folder);
  const auto processor = image::read_processor(folder);
  for (std::size_t begin = 0; begin < files.size(); begin += kImagesTogether) {
    const std::size_t end = std::min(begin + kImagesTogether, files.size());
    std::vector<torch::Tensor> pixels;
    std::exception_ptr failed;  // a picture that cannot be read; those before it are not lost
    try {
      for (std::size_t i = begin; i < end; ++i) {
        pixels.push_back(image::process(image::read_image(files[i]), processor));
        if (pixels.back().sizes() != pixels.front().sizes()) {
          pixels.pop_back();
          throw std::runtime_error(files[i].string() + ": its size differs from " +
                                   files[begin].string() +
                                   "'s after processing; classify them one by one");
        }
      }
    } catch (const std::exception&) {
      failed = std::current_exception();
    }
    if (pixels.empty()) std::rethrow_exception(failed);
    const torch::Tensor probabilities =
        torch::softmax(model->forward(torch::stack(pixels)).to(torch::kFloat32), -1);
    for (std::size_t i = begin; i < begin + pixels.size(); ++i) {
      say(files[i], probabilities[static_cast<std::int64_t>(i - begin)], model->labels(), top,
          json);
    }
    std::cout << std::flush;
    if (failed) std::rethrow_exception(failed);
  }
}

}  // namespace regard::cli

// SPDX-License-Identifier: Apache-2.0
#include "regard/train/detection_task.h"

#include <algorithm>
#include <random>
#include <stdexcept>

#include "regard/image/image.h"
#include "regard/nn/checkpoint.h"
#include "regard/nn/detection.h"
#include "text/shuffle.h"
#include "train/average_precision.h"

namespace regard::train {
namespace {

// An image's mask, or none where nothing is padded.
torch::Tensor mask_of(const image::PixelBatch& batch) { return batch.mask.to(torch::kBool); }

nn::DetectionTarget target_of(const CocoImage& image, bool flipped) {
  nn::DetectionTarget target{
      torch::empty({static_cast<std::int64_t>(image.objects.size())}, torch::kInt64),
      torch::empty({static_cast<std::int64_t>(image.objects.size()), 4})};
  const auto wide = static_cast<double>(image.width), high = static_cast<double>(image.height);
  for (std::size_t i = 0; i < image.objects.size(); ++i) {
    const CocoObject& object = image.objects[i];
    const double centre = (object.x + object.width / 2) / wide;
    target.classes.data_ptr<std::int64_t>()[i] = object.category;
    float* box = target.boxes.data_ptr<float>() + 4 * i;
    box[0] = static_cast<float>(flipped ? 1 - centre : centre);
    box[1] = static_cast<float>((object.y + object.height / 2) / high);
    box[2] = static_cast<float>(object.width / wide);
    box[3] = static_cast<float>(object.height / high);
  }
  return target;
}

void flip(image::Image& image) {
  for (std::int64_t y = 0; y < image.height; ++y)
    for (std::int64_t left = 0, right = image.width - 1; left < right; ++left, --right)
      std::swap_ranges(image.at(left, y), image.at(left, y) + 3, image.at(right, y));
}

}  // namespace

DetectionTask::DetectionTask(std::shared_ptr<nn::Detr> model, const CocoSet& set,
                             const CocoSet* validation, const image::ProcessorOptions& processor,
                             const DetectionOptions& options)
    : model_(std::move(model)),
      set_(set),
      validation_(validation),
      processor_(processor),
      options_(options) {
  if (options.batch < 1)
    throw std::invalid_argument("batch: " + std::to_string(options.batch) +
                                "; expected at least 1");
  if (model_->labels() != set.names)
    throw std::invalid_argument("model: its classes are not the annotations' categories");
  if (validation != nullptr && validation->names != set.names)
    throw std::invalid_argument("validation: its categories are not those to train on");
}

nlohmann::json DetectionTask::identity() const {
  return {{"model", model_->config()},
          {"data", {{"images", set_.images.size()}, {"fingerprint", set_.fingerprint}}},
          {"processor", image::to_json(processor_)},
          {"batches",
           {{"batch", options_.batch}, {"flip", options_.flip}, {"data_seed", options_.seed}}}};
}

std::vector<OrderedTask::Rows> DetectionTask::batches_of(std::int64_t epoch) const {
  Rows rows = numbers(std::ssize(set_.images));
  std::mt19937_64 random(options_.seed * 1'000'003 + static_cast<std::uint64_t>(epoch));
  text::shuffle(rows, random);
  return in_batches(rows, options_.batch);
}

DetectionTask::Prepared DetectionTask::prepare(const CocoSet& set, const Rows& rows,
                                               const std::vector<bool>& flipped) const {
  Prepared prepared;
  std::vector<image::Image> images;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const CocoImage& described = set.images[static_cast<std::size_t>(rows[i])];
    images.push_back(image::read_image(described.file));
    if (images.back().width != described.width || images.back().height != described.height)
      throw std::runtime_error(
          described.file.string() + ": is " + std::to_string(images.back().width) + " x " +
          std::to_string(images.back().height) + "; the annotations say " +
          std::to_string(described.width) + " x " + std::to_string(described.height));
    if (flipped[i]) flip(images.back());
    prepared.targets.push_back(target_of(described, flipped[i]));
  }
  prepared.pixels = image::process(images, processor_);
  return prepared;
}

TaskBatch DetectionTask::batch(const Rows& rows, const Place& place) {
  std::mt19937_64 random(options_.seed * 7'919 + static_cast<std::uint64_t>(place.epoch) * 1'009 +
                         static_cast<std::uint64_t>(place.batch * options_.batch));
  std::vector<bool> flipped;
  for (std::size_t i = 0; i < rows.size(); ++i)
    flipped.push_back(options_.flip && random() % 2 == 1);
  TaskBatch batch;
  batch.count = std::ssize(rows);
  batch.where =
      set_.images[static_cast<std::size_t>(rows.front())].file.filename().string() + ", ...";
  batch.loss = [this, prepared = prepare(set_, rows, flipped)] {
    const auto loss =
        model_->loss(prepared.pixels.values, mask_of(prepared.pixels), prepared.targets);
    return Loss{loss.loss, loss.loss.item<double>()};
  };
  return batch;
}

Metrics DetectionTask::validate() {
  const CocoSet& set = *validation_;
  std::vector<std::vector<FoundObject>> found(set.images.size());
  double sum = 0;
  for (const Rows& rows : in_batches(numbers(std::ssize(set.images)), options_.batch)) {
    const Prepared prepared = prepare(set, rows, std::vector<bool>(rows.size()));
    const auto outputs = model_->forward(prepared.pixels.values, mask_of(prepared.pixels));
    const nn::SetLoss loss = nn::set_loss(outputs.back().logits, outputs.back().boxes,
                                          prepared.targets, model_->loss_options());
    sum += loss.loss.item<double>() * static_cast<double>(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = static_cast<std::size_t>(rows[i]);
      const CocoImage& image = set.images[row];
      for (const nn::Detection& one : nn::detections(outputs.back(), static_cast<std::int64_t>(i),
                                                     image.width, image.height, 0))
        found[row].push_back({{one.category, one.x, one.y, one.width, one.height}, one.score});
    }
  }
  const double precision = average_precision(set, found);
  const double mean = sum / static_cast<double>(set.images.size());
  if (!(precision >= 0)) return {mean, mean, {}};  // nothing is there to be found
  return {mean, 1 - precision, {{"ap50", precision}}};
}

void DetectionTask::save_beginning(const std::filesystem::path& folder) const {
  image::write_processor(folder, processor_);
}

void DetectionTask::save_model(const std::filesystem::path& folder) const {
  nn::save_model(folder, *model_);
}

}  // namespace regard::train

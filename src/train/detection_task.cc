// SPDX-License-Identifier: Apache-2.0
#include "regard/train/detection_task.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <stdexcept>

#include "regard/image/image.h"
#include "regard/nn/checkpoint.h"
#include "regard/nn/detection.h"
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
  order_epoch();
}

nlohmann::json DetectionTask::identity() const {
  return {{"model", model_->config()},
          {"data", {{"images", set_.images.size()}, {"fingerprint", set_.fingerprint}}},
          {"processor", image::to_json(processor_)},
          {"batches",
           {{"batch", options_.batch}, {"flip", options_.flip}, {"data_seed", options_.seed}}}};
}

void DetectionTask::order_epoch() {
  order_.resize(set_.images.size());
  std::iota(order_.begin(), order_.end(), 0);
  std::mt19937_64 random(options_.seed * 1'000'003 + static_cast<std::uint64_t>(place_.epoch));
  // Not std::shuffle, whose order is another in each standard library.
  for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random() % i]);
}

void DetectionTask::seek(const Place& place) {
  place_ = place;
  order_epoch();
}

double DetectionTask::epoch_fraction() const {
  return std::min(
      1.0, static_cast<double>(place_.batch * options_.batch) / static_cast<double>(order_.size()));
}

DetectionTask::Prepared DetectionTask::prepare(const CocoSet& set,
                                               const std::vector<std::size_t>& which,
                                               const std::vector<bool>& flipped) const {
  Prepared prepared;
  std::vector<image::Image> images;
  for (std::size_t i = 0; i < which.size(); ++i) {
    const CocoImage& described = set.images[which[i]];
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

std::optional<TaskBatch> DetectionTask::next() {
  const auto first = static_cast<std::size_t>(place_.batch * options_.batch);
  if (first >= order_.size()) {
    place_ = {place_.epoch + 1, 0, 0};
    order_epoch();
    return std::nullopt;
  }
  const std::size_t end = std::min(first + static_cast<std::size_t>(options_.batch), order_.size());
  const std::vector<std::size_t> which(order_.begin() + static_cast<std::ptrdiff_t>(first),
                                       order_.begin() + static_cast<std::ptrdiff_t>(end));
  std::mt19937_64 random(options_.seed * 7'919 + static_cast<std::uint64_t>(place_.epoch) * 1'009 +
                         first);
  std::vector<bool> flipped;
  for (std::size_t i = 0; i < which.size(); ++i)
    flipped.push_back(options_.flip && random() % 2 == 1);
  TaskBatch batch;
  batch.count = static_cast<std::int64_t>(which.size());
  batch.where = set_.images[which.front()].file.filename().string() + ", ...";
  batch.loss = [this, prepared = prepare(set_, which, flipped)] {
    const auto loss =
        model_->loss(prepared.pixels.values, mask_of(prepared.pixels), prepared.targets);
    return Loss{loss.loss, loss.loss.item<double>()};
  };
  ++place_.batch;
  return batch;
}

Metrics DetectionTask::validate() {
  const CocoSet& set = *validation_;
  std::vector<std::vector<FoundObject>> found(set.images.size());
  double sum = 0;
  const auto batch = static_cast<std::size_t>(options_.batch);
  for (std::size_t first = 0; first < set.images.size(); first += batch) {
    std::vector<std::size_t> which(std::min(batch, set.images.size() - first));
    std::iota(which.begin(), which.end(), first);
    const Prepared prepared = prepare(set, which, std::vector<bool>(which.size()));
    const auto outputs = model_->forward(prepared.pixels.values, mask_of(prepared.pixels));
    const nn::SetLoss loss = nn::set_loss(outputs.back().logits, outputs.back().boxes,
                                          prepared.targets, model_->loss_options());
    sum += loss.loss.item<double>() * static_cast<double>(which.size());
    for (std::size_t i = 0; i < which.size(); ++i) {
      const CocoImage& image = set.images[which[i]];
      for (const nn::Detection& one : nn::detections(outputs.back(), static_cast<std::int64_t>(i),
                                                     image.width, image.height, 0))
        found[which[i]].push_back({{one.category, one.x, one.y, one.width, one.height}, one.score});
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

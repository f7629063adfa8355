// SPDX-License-Identifier: Apache-2.0
#include "regard/train/image_classification_task.h"

#include <stdexcept>

#include "text/shuffle.h"

namespace regard::train {
namespace {

constexpr std::int64_t kMostKept = std::int64_t{1} << 30;  // bytes of images in memory
constexpr std::int64_t kOrder = 0, kAugment = 1;           // what random numbers are for

}  // namespace

ImageClassificationTask::Reader::Reader(const image::LabelledImages& images,
                                        const image::ProcessorOptions& processor)
    : images_(images), processor_(processor), kept_(images.files.size()) {}

torch::Tensor ImageClassificationTask::Reader::read(std::int64_t row) const {
  return image::process(image::read_image(images_.files[static_cast<std::size_t>(row)]),
                        processor_);
}

torch::Tensor ImageClassificationTask::Reader::pixels(const std::vector<std::int64_t>& rows) {
  std::vector<torch::Tensor> parts;
  for (const std::int64_t row : rows) {
    torch::Tensor& kept = kept_[static_cast<std::size_t>(row)];
    torch::Tensor part = kept.defined() ? kept : read(row);
    const auto bytes = static_cast<std::int64_t>(part.nbytes());
    if (!kept.defined() && bytes * size() <= kMostKept && kept_bytes_ + bytes <= kMostKept) {
      kept = part;
      kept_bytes_ += bytes;
    }
    if (!parts.empty() && part.sizes() != parts[0].sizes()) {
      throw std::runtime_error(images_.files[static_cast<std::size_t>(row)].string() +
                               ": of another size than those before it after processing; the "
                               "processor must give one size");
    }
    parts.push_back(std::move(part));
  }
  return torch::stack(parts);
}

torch::Tensor ImageClassificationTask::Reader::labels(const std::vector<std::int64_t>& rows) const {
  torch::Tensor labels = torch::empty({std::ssize(rows)}, torch::kInt64);
  for (std::int64_t i = 0; i < std::ssize(rows); ++i) {
    labels[i] = images_.labels[static_cast<std::size_t>(rows[static_cast<std::size_t>(i)])];
  }
  return labels;
}

ImageClassificationTask::ImageClassificationTask(
    std::shared_ptr<nn::ImageClassifier> model, const image::LabelledImages& images,
    const image::LabelledImages* validation, const image::ProcessorOptions& processor,
    const ImageTaskOptions& options, std::function<void(const std::filesystem::path&)> save_model)
    : model_(std::move(model)),
      training_(images, processor),
      processor_(processor),
      options_(options),
      save_model_(std::move(save_model)) {
  image::check(options.augment);
  if (options.batch_images < 1) {
    throw std::invalid_argument("batch images: " + std::to_string(options.batch_images) +
                                "; expected at least 1");
  }
  if (!(options.label_smoothing >= 0 && options.label_smoothing < 1)) {
    throw std::invalid_argument("label smoothing: " + std::to_string(options.label_smoothing) +
                                "; expected 0 to below 1");
  }
  if (images.files.empty() || (validation != nullptr && validation->files.empty())) {
    throw std::runtime_error("no images to learn from, or none to validate on");
  }
  if (validation != nullptr) validation_.emplace(*validation, processor);
}

nlohmann::json ImageClassificationTask::identity() const {
  const image::AugmentOptions& augment = options_.augment;
  return {
      {"model", model_->config()},
      {"data", {{"images", training_.size()}, {"fingerprint", training_.images().fingerprint()}}},
      {"processor", image::to_json(processor_)},
      {"batches",
       {{"batch_images", options_.batch_images},
        {"label_smoothing", options_.label_smoothing},
        {"shift", augment.shift},
        {"scale", augment.scale},
        {"rotate", augment.rotate},
        {"flip", augment.flip},
        {"data_seed", options_.seed}}}};
}

std::vector<OrderedTask::Rows> ImageClassificationTask::batches_of(std::int64_t epoch) const {
  Rows rows = numbers(training_.size());
  auto random = text::seeded(options_.seed, epoch, kOrder);
  text::shuffle(rows, random);
  return in_batches(rows, options_.batch_images);
}

TaskBatch ImageClassificationTask::batch(const Rows& rows, const Place& place) {
  auto random = text::seeded(options_.seed, place.epoch, kAugment + place.batch);
  TaskBatch batch;
  batch.count = std::ssize(rows);
  batch.where = "images " + training_.images().files[static_cast<std::size_t>(rows[0])].string() +
                " and " + std::to_string(rows.size() - 1) + " more";
  const torch::Tensor pixels = image::augmented(training_.pixels(rows), options_.augment, random);
  batch.loss = [this, pixels, labels = training_.labels(rows)] {
    const torch::Tensor logits = model_->forward(pixels).to(torch::kFloat32);
    const torch::Tensor plain = torch::cross_entropy_loss(logits, labels);
    if (options_.label_smoothing == 0) return Loss{plain, plain.item<double>()};
    return Loss{torch::cross_entropy_loss(logits, labels, {}, at::Reduction::Mean, -100,
                                          options_.label_smoothing),
                plain.item<double>()};
  };
  return batch;
}

Metrics ImageClassificationTask::validate() {
  double sum = 0, right = 0;
  const std::int64_t count = validation_->size();
  for (const Rows& rows : in_batches(numbers(count), options_.batch_images)) {
    const torch::Tensor labels = validation_->labels(rows);
    const torch::Tensor logits = model_->forward(validation_->pixels(rows)).to(torch::kFloat32);
    sum += torch::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum).item<double>();
    right += logits.argmax(-1).eq(labels).sum().item<double>();
  }
  const auto all = static_cast<double>(count);
  return {sum / all, 1 - right / all, {{"accuracy", right / all}}};
}

void ImageClassificationTask::save_beginning(const std::filesystem::path& folder) const {
  image::write_processor(folder, processor_);
}

}  // namespace regard::train

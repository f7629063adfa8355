// SPDX-License-Identifier: Apache-2.0
// Training of a classifier of images. Cross entropy is minimised, and the best model is that of the
// highest accuracy. Beside the weights the folder gets preprocessor_config.json.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "regard/image/augment.h"
#include "regard/image/class_folders.h"
#include "regard/image/processor.h"
#include "regard/nn/image_classifier.h"
#include "regard/train/ordered_task.h"

namespace regard::train {

struct ImageTaskOptions {
  std::int64_t batch_images = 64;
  double label_smoothing = 0;  // 0 to below 1
  image::AugmentOptions augment;
  std::uint64_t seed = 1;  // of the order of images and of what augmentation draws
};

class ImageClassificationTask : public OrderedTask {
 public:
  // The processor must give images of one size; of data up to 1 GiB they are kept in memory, else
  // read for each batch. `validation` may be null. std::invalid_argument for options that make no
  // sense; std::runtime_error, here or from next(), with the name of a picture that cannot be read.
  ImageClassificationTask(std::shared_ptr<nn::ImageClassifier> model,
                          const image::LabelledImages& images,
                          const image::LabelledImages* validation,
                          const image::ProcessorOptions& processor, const ImageTaskOptions& options,
                          std::function<void(const std::filesystem::path&)> save_model);

  torch::nn::Module& model() override { return *model_; }
  const char* unit() const override { return "images"; }
  nlohmann::json identity() const override;
  bool validates() const override { return validation_.has_value(); }
  Metrics validate() override;
  void save_beginning(const std::filesystem::path& folder) const override;
  void save_model(const std::filesystem::path& folder) const override { save_model_(folder); }

 protected:
  std::vector<Rows> batches_of(std::int64_t epoch) const override;
  TaskBatch batch(const Rows& rows, const Place& place) override;

 private:
  // Images of a set by number, read when first asked for, and kept where there is room.
  class Reader {
   public:
    Reader(const image::LabelledImages& images, const image::ProcessorOptions& processor);
    std::int64_t size() const { return static_cast<std::int64_t>(images_.files.size()); }
    torch::Tensor pixels(const std::vector<std::int64_t>& rows);
    torch::Tensor labels(const std::vector<std::int64_t>& rows) const;
    const image::LabelledImages& images() const { return images_; }

   private:
    torch::Tensor read(std::int64_t row) const;

    image::LabelledImages images_;
    image::ProcessorOptions processor_;
    std::vector<torch::Tensor> kept_;
    std::int64_t kept_bytes_ = 0;
  };

  std::shared_ptr<nn::ImageClassifier> model_;
  Reader training_;
  std::optional<Reader> validation_;
  image::ProcessorOptions processor_;
  ImageTaskOptions options_;
  std::function<void(const std::filesystem::path&)> save_model_;
};

}  // namespace regard::train

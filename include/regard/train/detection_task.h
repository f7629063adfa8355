// SPDX-License-Identifier: Apache-2.0
// Training of DETR on images with boxes. Beside the weights the folder gets the way images are
// prepared, as preprocessor_config.json.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "regard/image/processor.h"
#include "regard/nn/detr.h"
#include "regard/train/coco.h"
#include "regard/train/ordered_task.h"

namespace regard::train {

struct DetectionOptions {
  std::int64_t batch = 8;  // images
  bool flip = false;       // half of the images, drawn anew in each epoch, left to right
  std::uint64_t seed = 1;  // of the images' order and of flips
};

class DetectionTask : public OrderedTask {
 public:
  // What is given must outlive the task; `validation` may be null, and has the categories of the
  // set. std::invalid_argument where the model's classes are not the set's categories.
  DetectionTask(std::shared_ptr<nn::Detr> model, const CocoSet& set, const CocoSet* validation,
                const image::ProcessorOptions& processor, const DetectionOptions& options);

  torch::nn::Module& model() override { return *model_; }
  const char* unit() const override { return "images"; }
  nlohmann::json identity() const override;
  bool validates() const override { return validation_ != nullptr; }
  // The loss, and AP50 ("ap50"), which the best model has most of.
  Metrics validate() override;
  void save_beginning(const std::filesystem::path& folder) const override;
  void save_model(const std::filesystem::path& folder) const override;

 protected:
  std::vector<Rows> batches_of(std::int64_t epoch) const override;
  TaskBatch batch(const Rows& rows, const Place& place) override;

 private:
  struct Prepared {
    image::PixelBatch pixels;
    std::vector<nn::DetectionTarget> targets;
  };
  Prepared prepare(const CocoSet& set, const Rows& rows, const std::vector<bool>& flipped) const;

  std::shared_ptr<nn::Detr> model_;
  const CocoSet& set_;
  const CocoSet* validation_;
  image::ProcessorOptions processor_;
  DetectionOptions options_;
};

}  // namespace regard::train

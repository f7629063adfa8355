// SPDX-License-Identifier: Apache-2.0
#include "cli/train_images.h"

#include <algorithm>
#include <iostream>
#include <optional>

#include "cli/flags.h"
#include "regard/nn/checkpoint.h"
#include "regard/nn/pretrained.h"
#include "regard/train/image_classification_task.h"
#include "regard/train/trainer.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::int64_t or_else(std::int64_t given, std::int64_t otherwise) {
  return given > 0 ? given : otherwise;
}

bool is_new(const std::string& model) {
  return model == "vit" || model == "crossvit" || model == "cat";
}

// Small enough to be trained in minutes; who has more images says more.
json new_config(const ImageFlags& flags, const std::string& model) {
  const std::int64_t size = or_else(flags.size, 64);
  const std::int64_t patch = or_else(flags.patch, std::max<std::int64_t>(size / 8, 1));
  json config = {{"kind", model}, {"dropout", flags.dropout}};
  if (model == "vit") {
    const std::int64_t dim = or_else(flags.dim, 96);
    config.update({{"image_size", size},
                   {"patch", patch},
                   {"dim", dim},
                   {"heads", flags.heads},
                   {"feed_forward", 2 * dim},
                   {"layers", or_else(flags.layers, 6)},
                   {"norm_eps", 1e-6}});
  } else if (model == "crossvit") {
    // Patches of one size and of twice that; where those do not fill the image, it is resized.
    const std::int64_t dim = or_else(flags.dim, 64), large = 2 * patch;
    const std::int64_t resized = std::max(size / large, std::int64_t{1}) * large;
    config.update({{"image_sizes", {size, resized}},
                   {"patches", {patch, large}},
                   {"dims", {dim, 2 * dim}},
                   {"heads", {flags.heads, flags.heads}},
                   {"feed_forwards", {2 * dim, 4 * dim}},
                   {"layers", {1, 2}},
                   {"blocks", or_else(flags.layers, 2)}});
  } else {
    // `patch` is of the image here, too: two pixels become one of the first map.
    const std::int64_t dim = or_else(flags.dim, 48);
    config.update({{"image_size", size},
                   {"embedding", 2},
                   {"patch", or_else(flags.patch, 7)},
                   {"dim", dim},
                   {"depths", {or_else(flags.layers, 1), or_else(flags.layers, 1)}},
                   {"heads", {flags.heads, flags.heads}},
                   {"mlp_ratio", 2}});
  }
  return config;
}

image::ProcessorOptions new_processor(const ImageFlags& flags) {
  image::ProcessorOptions processor;
  processor.size = {or_else(flags.size, 64), or_else(flags.size, 64)};
  return processor;
}

// The same images in training and validation would make the latter worthless; so does a class that
// validation lacks go unnoticed, which is said.
std::optional<image::LabelledImages> validation_of(const ImageFlags& flags, std::uint64_t seed,
                                                   image::LabelledImages& training) {
  if (!(flags.valid_share >= 0 && flags.valid_share < 1)) {
    throw std::invalid_argument("--valid-share: " + std::to_string(flags.valid_share) +
                                "; expected 0 to below 1");
  }
  if (!flags.valid.empty()) return image::read_class_folders(flags.valid, training.classes);
  if (flags.valid_share == 0) return std::nullopt;
  auto [rest, part] = image::split(training, flags.valid_share, seed);
  if (part.files.empty() || rest.files.empty()) {
    throw std::invalid_argument("--valid-share: " + std::to_string(flags.valid_share) + " of " +
                                std::to_string(training.files.size()) +
                                " images leaves none; expected another share");
  }
  training = std::move(rest);
  return std::move(part);
}

std::shared_ptr<nn::ImageClassifier> new_model(json config) {
  return std::dynamic_pointer_cast<nn::ImageClassifier>(nn::build_model(config));
}

std::shared_ptr<nn::ImageClassifier> checkpoint(const fs::path& folder,
                                                const std::vector<std::string>& labels) {
  auto found = nn::open_model<nn::ImageClassifier>(folder);
  if (found->origin.is_null()) {
    if (found->labels() == labels) return found;
    throw std::runtime_error(folder.string() +
                             ": has other classes than the images; a model of "
                             "this program can be trained further on its own");
  }
  return nn::open_model<nn::ImageClassifier>(
      folder, {{"head", "classes"}, {"labels", labels}, {"pooler", false}});
}

}  // namespace

void add_image_flags(CLI::App& command, ImageFlags& flags) {
  const std::string images = "Images", model = "A new model of images", change = "Augmentation";
  const auto add = [&command](const std::string& name, auto& value, const std::string& help,
                              const std::string& group) {
    return add_flag_of(command, name, value, help, group);
  };
  command
      .add_option("--images,--data", flags.images,
                  "A folder of class folders of pictures (PNG, JPEG, PPM)")
      ->group(images);
  command.add_option("--valid-images", flags.valid, "The same to validate on")->group(images);
  add("--valid-share", flags.valid_share, "Or this share of each class, 0 to below 1", images);
  add("--batch-images", flags.batch_images, "Images of a batch", images);
  add("--label-smoothing", flags.label_smoothing, "0 to below 1", images);
  add("--image-size", flags.size, "Height and width that pictures are resized to; 0: 64", model)
      ->check(kFromZero);
  add("--patch", flags.patch, "0: an eighth of the image; cat: 7 pixels of a map", model)
      ->check(kFromZero);
  add("--dim", flags.dim, "0: 96 (vit), 64 (crossvit), 48 (cat)", model)->check(kFromZero);
  add("--layers", flags.layers, "0: 6 (vit); blocks: 2 (crossvit), 1 in each stage (cat)", model)
      ->check(kFromZero);
  add("--heads", flags.heads, "", model);
  add("--dropout", flags.dropout, "", model);
  add("--shift", flags.shift, "To each side, at most this share of the image", change);
  add("--scale", flags.scale, "Larger or smaller by at most this share", change);
  add("--rotate", flags.rotate, "To either side, at most so many degrees", change);
  command.add_flag("--flip", flags.flip, "Half of the images are mirrored, left to right")
      ->group(change);
}

void train_images(const ImageFlags& flags, const std::string& name, TrainFlags train,
                  const CLI::App& command) {
  if (is_new(name)) {
    if (command.count("--learning-rate") == 0) train.options.learning_rate = 1e-3;
  } else if (fs::is_directory(name)) {
    refuse_flags(command, {"--image-size", "--patch", "--dim", "--layers", "--heads", "--dropout"},
                 "is of a new model; a checkpoint has its own");
  } else {
    throw std::invalid_argument("--model: '" + name +
                                "'; expected vit, crossvit, cat or the folder of a checkpoint");
  }
  begin_training(train);
  auto images = image::read_class_folders(flags.images);
  if (images.classes.size() < 2) {
    throw std::runtime_error(flags.images.string() + ": one class, \"" + images.classes[0] +
                             "\"; expected at least two subfolders");
  }
  const auto validation = validation_of(flags, train.options.seed, images);
  std::cerr << images.files.size() << " images of " << images.classes.size() << " classes";
  if (validation) std::cerr << ", " << validation->files.size() << " to validate on";
  std::cerr << '\n';
  image::ProcessorOptions processor;
  std::shared_ptr<nn::ImageClassifier> model;
  if (is_new(name)) {
    processor = new_processor(flags);
    json config = new_config(flags, name);
    config["labels"] = images.classes;
    model = new_model(config);
  } else {
    processor = image::read_processor(name);
    model = checkpoint(name, images.classes);
  }
  const bool theirs = !model->origin.is_null();
  train::ImageTaskOptions options;
  options.batch_images = flags.batch_images;
  options.label_smoothing = flags.label_smoothing;
  options.augment = {flags.shift, flags.scale, flags.rotate, flags.flip};
  options.seed = train.options.seed;
  train::ImageClassificationTask task(model, images, validation ? &*validation : nullptr, processor,
                                      options, [model, theirs](const fs::path& folder) {
                                        if (theirs) {
                                          nn::save_pretrained(folder, *model);
                                        } else {
                                          nn::save_model(folder, *model);
                                        }
                                      });
  run_training(task, train, "error", "regard classify " + train.out.string() + " picture.png");
}

}  // namespace regard::cli

// SPDX-License-Identifier: Apache-2.0
// `regard train detect`: DETR on images with boxes.
#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/train_flags.h"
#include "regard/nn/pretrained.h"
#include "regard/train/detection_task.h"
#include "regard/train/trainer.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct TrainDetectOptions {
  fs::path data, annotations, valid_data, valid_annotations, pretrained;
  std::string backbone = "small", norm = "pre";
  std::int64_t queries = 20, dim = 128, heads = 8, encoder_layers = 2, decoder_layers = 3;
  std::int64_t feed_forward = 0, frozen_stages = 0, image_size = 0, longest = 1333;
  double dropout = 0.0, no_object = 0.1;
  train::DetectionOptions batches;
  TrainFlags train;
};

// DETR's own, after which each layer has its loss; from nothing with batch norms that learn.
std::shared_ptr<nn::Detr> new_model(const TrainDetectOptions& options,
                                    const std::vector<std::string>& labels) {
  const std::int64_t inner = options.feed_forward > 0 ? options.feed_forward : 4 * options.dim;
  json config{{"kind", "detr"},
              {"labels", labels},
              {"queries", options.queries},
              {"dim", options.dim},
              {"encoder_heads", options.heads},
              {"decoder_heads", options.heads},
              {"encoder_feed_forward", inner},
              {"decoder_feed_forward", inner},
              {"encoder_layers", options.encoder_layers},
              {"decoder_layers", options.decoder_layers},
              {"norm", options.norm},
              {"dropout", options.dropout},
              {"backbone", options.backbone},
              {"backbone_norm", "batch"},
              {"no_object_weight", options.no_object},
              {"auxiliary_loss", true}};
  if (options.backbone == "small") {
    config.update({{"backbone", "custom"},
                   {"backbone_stem", 32},
                   {"backbone_block", "basic"},
                   {"backbone_widths", {32, 64, 128}},
                   {"backbone_depths", {1, 1, 1}}});
  }
  return std::dynamic_pointer_cast<nn::Detr>(nn::build_model(config));
}

std::shared_ptr<nn::Detr> model_of(const TrainDetectOptions& options,
                                   const std::vector<std::string>& labels) {
  if (options.pretrained.empty()) return new_model(options, labels);
  return nn::open_model<nn::Detr>(
      options.pretrained,
      {{"labels", labels}, {"dropout", options.dropout}, {"auxiliary_loss", true}});
}

// The checkpoint's own, or bytes as ImageNet's means and deviations have them.
image::ProcessorOptions processor_of(const TrainDetectOptions& options) {
  if (!options.pretrained.empty() && fs::exists(options.pretrained / "preprocessor_config.json"))
    return image::read_processor(options.pretrained);
  json config{{"image_processor_type", "DetrImageProcessor"},
              {"do_resize", options.image_size > 0}};
  if (options.image_size > 0)
    config["size"] = {{"shortest_edge", options.image_size}, {"longest_edge", options.longest}};
  return image::processor_options(config);
}

std::size_t objects_of(const train::CocoSet& set) {
  std::size_t objects = 0;
  for (const auto& image : set.images) objects += image.objects.size();
  return objects;
}

void run(const TrainDetectOptions& options) {
  begin_training(options.train);
  const auto set = train::read_coco(options.annotations, options.data);
  std::unique_ptr<train::CocoSet> validation;
  if (!options.valid_annotations.empty()) {
    validation = std::make_unique<train::CocoSet>(train::read_coco(
        options.valid_annotations, options.valid_data.empty() ? options.data : options.valid_data));
  } else if (!options.valid_data.empty()) {
    throw std::invalid_argument("--valid-data: expected --valid-annotations with it");
  }
  const auto model = model_of(options, set.names);
  std::cerr << set.images.size() << " images, " << objects_of(set) << " objects, "
            << set.names.size() << " categories\n";
  train::DetectionTask task(model, set, validation.get(), processor_of(options), options.batches);
  run_training(task, options.train, "cost",
               "regard detect IMAGE --model " + options.train.out.string() + " --out boxes.png");
}

}  // namespace

void add_train_detect(CLI::App& train) {
  CLI::App* command = train.add_subcommand("detect", "Trains DETR to find objects in images");
  const auto options = std::make_shared<TrainDetectOptions>();
  train::TrainOptions& t = options->train.options;
  t.optimizer = "adamw";
  t.learning_rate = 3e-4;
  t.beta2 = 0.999;
  t.weight_decay = 1e-4;
  t.schedule = "constant";
  t.clip_norm = 0.1;
  t.max_epochs = 50;
  const std::string files = "Images", model = "Model", training = "Training";
  const auto add = [command](const std::string& name, auto& value, const std::string& help,
                             const std::string& group) {
    return add_flag_of(*command, name, value, help, group);
  };
  add("--data", options->data, "The folder of the images", files)->required();
  add("--annotations", options->annotations, "Their boxes and categories as COCO's JSON", files)
      ->required();
  add("--valid-data", options->valid_data, "Images to validate on; --data where not given", files);
  add("--valid-annotations", options->valid_annotations, "Their boxes and categories", files);
  add("--image-size", options->image_size,
      "Pixels that the shorter edge gets; 0 leaves images as they are", files)
      ->check(kFromZero);
  command->add_flag("--flip", options->batches.flip, "Half of the images are turned left to right")
      ->group(files);

  add("--pretrained", options->pretrained,
      "A folder with DETR's weights to fine-tune (transformers' DetrForObjectDetection); the flags "
      "below are then its own, but for --dropout",
      model);
  add("--backbone", options->backbone, "small, resnet18, resnet34 or resnet50", model)
      ->check(CLI::IsMember({"small", "resnet18", "resnet34", "resnet50"}));
  add("--queries", options->queries, "The most objects that are found in an image", model);
  add("--dim", options->dim, "Width", model);
  add("--heads", options->heads, "Heads", model);
  add("--encoder-layers", options->encoder_layers, "Layers", model);
  add("--decoder-layers", options->decoder_layers, "Layers", model);
  add("--feed-forward", options->feed_forward, "Inner width; 0 is four times --dim", model)
      ->check(kFromZero);
  add("--norm", options->norm, "pre or post (the paper's)", model)
      ->check(CLI::IsMember({"pre", "post"}));
  add("--dropout", options->dropout, "0 to below 1", model);
  add("--no-object-weight", options->no_object, "Of the class \"no object\" in the loss", model);
  add_train_flags(*command, options->train);
  add("--batch", options->batches.batch, "Images of a batch", training);
  command->footer(train_footer(
      "preprocessor_config.json",
      "  regard train detect --data images --annotations train.json --valid-annotations valid.json "
      "\\\n      --batch 16 --minutes 60 --out finder\n"
      "  regard train detect --data images --annotations train.json --pretrained detr-resnet-50 "
      "\\\n      --learning-rate 1e-5 --batch 2 --epochs 10 --out finder"));
  command->callback([options] {
    options->batches.seed = options->train.options.seed;
    run(*options);
  });
}

}  // namespace regard::cli

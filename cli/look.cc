// SPDX-License-Identifier: Apache-2.0
#include "cli/look.h"
#include "cli/flags.h"

#include <torch/torch.h>

#include <memory>

#include "cli/commands.h"

namespace regard::cli {
namespace {

void run(const LookOptions& options) {
  for (const auto& file : options.out) {
    const auto ending = file.extension();
    if (ending != ".png" && ending != ".html")
      throw std::invalid_argument("--out " + file.string() +
                                  ": expected a name that ends with .png or .html");
  }
  if (options.out.empty() && !options.json)
    throw std::invalid_argument("--out: expected a file (or --json)");
  if (options.threads > 0) at::set_num_threads(options.threads);
  const torch::NoGradGuard no_gradients;
  if (options.image.empty()) {
    look_at_text(options);
  } else {
    look_at_image(options);
  }
}

}  // namespace

void add_look(CLI::App& app) {
  CLI::App* command = app.add_subcommand("look", "Draws where a model looked, in a text or image");
  const auto options = std::make_shared<LookOptions>();
  command
      ->add_option("model", options->model,
                   "A folder with a language model, an encoder, a classifier of images or DETR, or "
                   "a .gguf file")
      ->required();
  CLI::Option_group* read = command->add_option_group("Input", "What the model reads");
  CLI::Option* text = read->add_option("--text", options->text, "A text");
  CLI::Option* image = read->add_option("--image", options->image, "A PNG, JPEG or PPM file");
  read->require_option(1);
  command->add_option("--layer", options->layer, "Of a text: from 1; 0 is the last one")
      ->excludes(image)
      ->capture_default_str();
  one_each_time(command->add_option("--heads", options->heads,
                                    "Of a text: from 1, for example 1,4; all by default"))
      ->excludes(image)
      ->delimiter(',');
  command
      ->add_option("--threshold", options->threshold,
                   "Of an image's objects: the least probability that is shown")
      ->excludes(text)
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  one_each_time(
      command->add_option("--out", options->out, "A .png or .html file; may be given again"));
  add_threads(*command, options->threads);
  command->add_flag("--json", options->json, "The weights as JSON");
  command->footer(
      "A text's heads: queries down, keys across; every row adds up to 1. An image: attention "
      "rollout of ViT, DeiT and CrossViT; of DETR, where the query of each object looked. The page "
      "(.html) has the weights under the pointer.\n\nExamples:\n"
      "  regard look all-MiniLM-L6-v2 --text 'The cat sat on the mat.' --out map.png\n"
      "  regard look model.gguf --text 'The cat sat on the mat.' --layer 3 --heads 1,2 --out "
      "map.html\n"
      "  regard look vit-base-patch16-224 --image cat.jpg --out rollout.png --out rollout.html\n"
      "  regard look detr-resnet-50 --image street.jpg --threshold 0.9 --out objects.html");
  command->callback([options] { run(*options); });
}

}  // namespace regard::cli

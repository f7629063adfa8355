// SPDX-License-Identifier: Apache-2.0
// `regard train classify`: a pretrained encoder learns to tell classes of texts apart.
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/encoder.h"
#include "cli/flags.h"
#include "cli/tokenizer_files.h"
#include "cli/train_flags.h"
#include "cli/train_images.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/text_encoder.h"
#include "regard/text/documents.h"
#include "regard/train/text_classification_task.h"
#include "regard/train/trainer.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct TrainClassifyOptions {
  std::vector<fs::path> files, valid;
  fs::path model;
  ImageFlags images;
  text::DocumentOptions documents;
  std::int64_t max_length = 0;
  train::ClassificationOptions batches;
  TrainFlags train;
};

struct Texts {
  std::vector<std::string> labels;
  std::vector<text::Document> documents;
};

Texts read(const std::vector<fs::path>& files, const text::DocumentOptions& options) {
  Texts texts;
  text::read_documents(files, options,
                       [&](const text::Document& one) { texts.documents.push_back(one); });
  if (texts.documents.empty()) throw std::runtime_error(files.front().string() + ": has no texts");
  for (const auto& one : texts.documents) texts.labels.push_back(one.label);
  std::sort(texts.labels.begin(), texts.labels.end());
  texts.labels.erase(std::unique(texts.labels.begin(), texts.labels.end()), texts.labels.end());
  return texts;
}

train::LabelledTexts labelled(const Texts& texts, const std::vector<std::string>& labels,
                              const text::Tokenizer& tokenizer, std::int64_t longest) {
  std::map<std::string, std::int64_t> numbers;
  for (const auto& label : labels) numbers.emplace(label, std::ssize(numbers));
  train::LabelledTexts result;
  std::int64_t shortened = 0;
  for (const text::Document& document : texts.documents) {
    const auto number = numbers.find(document.label);
    if (number == numbers.end()) {
      throw std::runtime_error(document.where + ": label '" + document.label +
                               "' is not one of those that are trained");
    }
    text::Encoding encoding = tokenizer.encode(document.text);
    if (encoding.ids.empty())
      throw std::runtime_error(document.where + ": the tokenizer finds no tokens");
    if (cut(tokenizer, longest, &encoding)) ++shortened;
    result.texts.add(encoding.ids);
    result.labels.push_back(number->second);
  }
  std::cerr << result.labels.size() << " texts, " << result.texts.tokens.size() << " tokens";
  if (shortened > 0) std::cerr << "; " << shortened << " were cut after " << longest << " tokens";
  std::cerr << '\n';
  return result;
}

void run(const TrainClassifyOptions& options) {
  if (!fs::is_directory(options.model)) {
    throw std::runtime_error(options.model.string() + " is not a folder with a model");
  }
  begin_training(options.train);
  const Texts texts = read(options.files, options.documents);
  if (texts.labels.size() < 2) {
    throw std::runtime_error(options.files.front().string() + ": every text has the label '" +
                             texts.labels.front() + "'; expected at least two classes");
  }
  const TokenizerFiles files = read_tokenizer_files(options.model);
  const text::Tokenizer tokenizer = load_tokenizer(files, options.model);
  const auto model = nn::open_model<nn::TextEncoder>(
      options.model, {{"head", "sequence"}, {"labels", texts.labels}, {"pooler", true}});
  check_vocabulary(tokenizer, model->text_config().vocab, options.model.string());
  const std::int64_t longest = longest_text(options.max_length, model->max_length());
  std::cerr << texts.labels.size() << " classes\n";
  const auto training = labelled(texts, texts.labels, tokenizer, longest);
  std::optional<train::LabelledTexts> validation;
  if (!options.valid.empty()) {
    validation = labelled(read(options.valid, options.documents), texts.labels, tokenizer, longest);
  }
  train::ClassificationOptions batches = options.batches;
  batches.pad_token = model->text_config().pad_token;
  batches.seed = options.train.options.seed;
  train::TextClassificationTask task(
      {.model = model,
       .logits =
           [model](const torch::Tensor& tokens, const torch::Tensor& lengths) {
             nn::TextInput input;
             input.tokens = tokens;
             input.lengths = lengths;
             return model->forward(input);
           },
       .save_beginning = [&files](const fs::path& folder) { write_tokenizer_files(files, folder); },
       .save_model = [model](const fs::path& folder) { nn::save_pretrained(folder, *model); }},
      training, validation ? &*validation : nullptr, batches);
  run_training(task, options.train, "error",
               "regard classify " + options.train.out.string() + " --text 'A text'");
}

}  // namespace

void add_train_classify(CLI::App& train) {
  CLI::App* command =
      train.add_subcommand("classify",
                           "Trains a classifier of texts from a pretrained encoder (BERT, RoBERTa, "
                           "Longformer), or one of "
                           "pictures (ViT, CrossViT, CAT), new or from a checkpoint");
  const auto options = std::make_shared<TrainClassifyOptions>();
  options->documents.labels = true;
  train::TrainOptions& t = options->train.options;
  t.optimizer = "adamw";
  t.learning_rate = 5e-5;
  t.beta2 = 0.999;
  t.weight_decay = 0.01;
  t.warmup_steps = 100;
  t.max_epochs = 3;
  const std::string text = "Text", training = "Training";
  const auto add = [command](const std::string& name, auto& value, const std::string& help,
                             const std::string& group) {
    return add_flag_of(*command, name, value, help, group);
  };
  command
      ->add_option("--text", options->files,
                   "FILE.tsv (label, tab, text), FILE.jsonl, or a folder of class folders of *.txt")
      ->take_all()
      ->group(text);
  command->add_option("--valid", options->valid, "The same to validate on")
      ->take_all()
      ->group(text);
  add("--text-key", options->documents.text_key, "Where JSON objects have their text", text);
  add("--label-key", options->documents.label_key, "And their label", text);
  add("--max-length", options->max_length,
      "Tokens after which texts are cut; 0: as many as the model can read", text);
  add("--model", options->model,
      "The folder of a checkpoint, as transformers has them; of pictures also vit, crossvit, cat: "
      "a new "
      "one",
      "Model")
      ->required();
  add_train_flags(*command, options->train);
  add("--batch-tokens", options->batches.batch_tokens, "Tokens of a batch, padding included",
      training);
  command->footer(
      train_footer(
          "tokenizer.json",
          "  regard train classify --text reviews.tsv --model all-MiniLM-L6-v2 --out reviews\n"
          "  regard train classify --text data/descriptions/train.jsonl --model all-MiniLM-L6-v2 "
          "\\\n"
          "      --valid data/descriptions/valid.jsonl --max-length 128 --out sections\n"
          "  regard classify sections --text 'library for reading files'\n"
          "  regard train classify --images photos --valid-share 0.1 --model vit --image-size 96 "
          "--flip \\\n"
          "      --shift 0.1 --epochs 50 --out birds\n"
          "  regard classify birds bird.jpg") +
      "\n\nThe folder is one of transformers' as well: AutoModelForSequenceClassification.");
  add_image_flags(*command, options->images);
  command->callback([command, options] {
    if (options->images.images.empty() == options->files.empty()) {
      throw std::invalid_argument(
          "--text or --images: expected one of them, of what is classified");
    }
    if (options->files.empty()) {
      refuse_flags(*command,
                   {"--valid", "--text-key", "--label-key", "--max-length", "--batch-tokens"},
                   "is for --text");
      return train_images(options->images, options->model, options->train, *command);
    }
    refuse_flags(*command,
                 {"--valid-images", "--valid-share", "--batch-images", "--label-smoothing",
                  "--image-size", "--patch", "--dim", "--layers", "--heads", "--dropout", "--shift",
                  "--scale", "--rotate", "--flip"},
                 "is for --images");
    run(*options);
  });
}

}  // namespace regard::cli

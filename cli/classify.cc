// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/classify_images.h"
#include "cli/commands.h"
#include "cli/encoder.h"
#include "cli/tokenizer_files.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/text_encoder.h"
#include "regard/text/documents.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLinesTogether = 32;  // lines read ahead, to be computed together

struct ClassifyOptions {
  fs::path model;                   // of --model, or the first of the arguments
  std::vector<fs::path> arguments;  // the others are pictures
  std::vector<std::string> texts;
  std::vector<fs::path> files;
  std::int64_t top = 1;
  int threads = 0;
  bool json = false;
};

struct Named {
  std::string text, name;  // the name is for messages
};

class Classifier {
 public:
  explicit Classifier(const ClassifyOptions& options)
      : options_(options),
        model_(nn::open_model<nn::TextEncoder>(options.model)),
        tokenizer_(text::Tokenizer::load(options.model)) {
    if (model_->text_config().head != "sequence") {
      throw std::runtime_error(options.model.string() +
                               ": a model without classes of texts (`regard train classify` gives "
                               "it some)");
    }
    check_vocabulary(tokenizer_, model_->text_config().vocab, options.model.string());
  }

  // Writes a line for each text.
  void classify(const std::vector<Named>& texts) const {
    const torch::NoGradGuard no_gradients;
    std::vector<text::Encoding> encodings;
    for (const Named& one : texts)
      encodings.push_back(encode_cut(tokenizer_, one.text, model_->max_length(), one.name));
    const torch::Tensor probabilities =
        torch::softmax(model_->forward(batch_of(encodings)).to(torch::kFloat32), -1);
    for (std::size_t row = 0; row < texts.size(); ++row) {
      say(texts[row].text, probabilities[static_cast<std::int64_t>(row)]);
    }
    std::cout << std::flush;
  }

 private:
  void say(const std::string& text, const torch::Tensor& probabilities) const {
    const auto& labels = model_->text_config().labels;
    const std::int64_t top = std::min(options_.top, std::ssize(labels));
    const auto [values, places] = probabilities.topk(top);
    nlohmann::json found = nlohmann::json::array();
    for (std::int64_t i = 0; i < top; ++i) {
      found.push_back({{"label", labels[static_cast<std::size_t>(places[i].item<std::int64_t>())]},
                       {"probability", values[i].item<double>()}});
    }
    if (options_.json) {
      std::cout << nlohmann::json{{"text", text}, {"labels", found}}.dump() << '\n';
      return;
    }
    for (std::size_t i = 0; i < found.size(); ++i) {
      char probability[16];
      std::snprintf(probability, sizeof probability, "%.3f", found[i]["probability"].get<double>());
      std::cout << (i > 0 ? "\t" : "") << found[i]["label"].get<std::string>() << '\t'
                << probability;
    }
    std::cout << '\n';
  }

  const ClassifyOptions& options_;
  std::shared_ptr<nn::TextEncoder> model_;
  text::Tokenizer tokenizer_;
};

void run(ClassifyOptions options) {
  if (options.model.empty()) {
    if (options.arguments.empty()) {
      throw std::invalid_argument("model: not given; expected the folder of one");
    }
    options.model = options.arguments.front();
    options.arguments.erase(options.arguments.begin());
  }
  if (options.top < 1) {
    throw std::invalid_argument("--top: " + std::to_string(options.top) + "; expected at least 1");
  }
  if (options.threads > 0) at::set_num_threads(options.threads);
  if (!options.arguments.empty()) {
    return classify_images(options.model, options.arguments, options.top, options.json);
  }
  const Classifier classifier(options);
  std::vector<Named> open;
  const auto take = [&](const std::string& text, const std::string& name) {
    open.push_back({text, name});
    if (open.size() < kLinesTogether) return;
    classifier.classify(open);
    open.clear();
  };
  for (std::size_t i = 0; i < options.texts.size(); ++i) {
    take(options.texts[i], "text " + std::to_string(i + 1));
  }
  text::DocumentOptions whole;
  whole.form = "file";
  text::read_documents(options.files, whole,
                       [&](const text::Document& one) { take(one.text, one.where); });
  if (options.texts.empty() && options.files.empty()) {
    std::int64_t number = 0;
    for (std::string line; std::getline(std::cin, line);) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      take(line, "line " + std::to_string(++number));
    }
  }
  if (!open.empty()) classifier.classify(open);
}

}  // namespace

void add_classify(CLI::App& app) {
  CLI::App* command = app.add_subcommand("classify", "Says which class pictures or texts are of");
  const auto options = std::make_shared<ClassifyOptions>();
  command->add_option("arguments", options->arguments,
                      "The model (a folder of `regard train classify`, or of transformers) and "
                      "pictures (PNG, JPEG, PPM)");
  command->add_option("--model", options->model, "The model, if the arguments are pictures alone");
  command->add_option("--text", options->texts, "A text; may be given again")->take_all();
  command->add_option("--file", options->files, "A file as one text; may be given again")
      ->take_all();
  command->add_option("--top", options->top, "Classes to name, the likeliest first")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "0: as PyTorch chooses");
  command->add_flag("--json", options->json, "A JSON object for each text");
  command->footer(
      "Without pictures, --text and --file, each line of standard input is a text. A line is "
      "written for "
      "each "
      "text (class, tab, probability) or picture (its file before them).\n\nExamples:\n"
      "  regard classify sections --text 'library for reading files' --top 3\n"
      "  regard classify sections --json < lines.txt\n"
      "  regard classify manuals --file page.txt\n"
      "  regard classify vit-base-patch16-224 cat.jpg dog.png --top 5");
  command->callback([options] { run(*options); });
}

}  // namespace regard::cli

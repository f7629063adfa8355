// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/classify_images.h"
#include "cli/commands.h"
#include "cli/encoder.h"
#include "cli/flags.h"
#include "cli/tokenizer_files.h"
#include "regard/nn/image_classifier.h"
#include "regard/nn/keep_memory.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/text_encoder.h"
#include "regard/text/documents.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

// Texts that are computed together: at most so many, and tokens with their padding.
constexpr std::size_t kTextsTogether = 32, kTokensTogether = 16384;

struct ClassifyOptions {
  fs::path model;                   // of --model, or the first of the arguments
  std::vector<fs::path> arguments;  // the others are pictures
  std::vector<std::string> texts;
  std::vector<fs::path> files;
  std::int64_t top = 1, max_length = 0;
  int threads = 0;
  bool json = false;
};

// The model's folder as one that tells classes of texts, or what it is instead.
std::shared_ptr<nn::TextEncoder> open_text_classifier(const fs::path& folder) {
  if (!fs::is_directory(folder)) {
    throw std::runtime_error(folder.string() +
                             " is not a folder with a model (`regard train classify` makes one)");
  }
  const auto model = nn::open_model(folder);
  if (std::dynamic_pointer_cast<nn::ImageClassifier>(model) != nullptr) {
    throw std::invalid_argument("pictures: none given, and " + folder.string() +
                                " is a model that classifies pictures");
  }
  auto found = std::dynamic_pointer_cast<nn::TextEncoder>(model);
  if (found == nullptr) nn::refuse_model(folder, *model, "one that tells classes of texts");
  if (found->text_config().head != "sequence") {
    throw std::runtime_error(folder.string() +
                             ": a model without classes of texts (`regard train classify` gives "
                             "it some)");
  }
  return found;
}

class Classifier {
 public:
  explicit Classifier(const ClassifyOptions& options)
      : options_(options),
        model_(open_text_classifier(options.model)),
        tokenizer_(text::Tokenizer::load(options.model)) {
    check_vocabulary(tokenizer_, model_->text_config().vocab, options.model.string());
    longest_ = longest_text(options.max_length, model_->max_length());
  }

  // Writes a line for a text, when finish() is called at the latest. `name` is for messages;
  // `file` is written before the classes, where the text is one.
  void classify(const std::string& text, const std::string& name, const std::string& file = "") {
    text::Encoding encoding;
    try {
      encoding = encode_cut(tokenizer_, text, longest_, name);
    } catch (...) {
      finish();  // what was given before is not lost with this one
      throw;
    }
    const std::size_t widest = std::max(widest_, encoding.ids.size());
    if (waiting_.size() == kTextsTogether || (waiting_.size() + 1) * widest > kTokensTogether) {
      finish();
    }
    widest_ = std::max(widest_, encoding.ids.size());
    waiting_.push_back({text, file});
    encodings_.push_back(std::move(encoding));
  }

  void finish() {
    if (waiting_.empty()) return;
    const torch::NoGradGuard no_gradients;
    const torch::Tensor probabilities =
        torch::softmax(model_->forward(batch_of(encodings_)).to(torch::kFloat32), -1);
    for (std::size_t row = 0; row < waiting_.size(); ++row) {
      say(waiting_[row], probabilities[static_cast<std::int64_t>(row)]);
    }
    std::cout << std::flush;
    waiting_.clear();
    encodings_.clear();
    widest_ = 0;
    nn::give_spare_memory_back();
  }

 private:
  struct Waiting {
    std::string text, file;
  };

  void say(const Waiting& one, const torch::Tensor& probabilities) const {
    const auto& labels = model_->text_config().labels;
    const std::int64_t top = std::min(options_.top, std::ssize(labels));
    const auto [values, places] = probabilities.topk(top);
    nlohmann::json found = nlohmann::json::array();
    for (std::int64_t i = 0; i < top; ++i) {
      found.push_back({{"label", labels[static_cast<std::size_t>(places[i].item<std::int64_t>())]},
                       {"probability", values[i].item<double>()}});
    }
    if (options_.json) {
      nlohmann::json line{{"labels", found}};
      line[one.file.empty() ? "text" : "file"] = one.file.empty() ? one.text : one.file;
      std::cout << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
      return;
    }
    if (!one.file.empty()) std::cout << one.file << '\t';
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
  std::int64_t longest_ = 0;      // tokens of a text
  std::vector<Waiting> waiting_;  // for finish()
  std::vector<text::Encoding> encodings_;
  std::size_t widest_ = 0;  // tokens of the longest of them
};

void classify_file(Classifier& classifier, const fs::path& file) {
  if (fs::is_directory(file)) {
    throw std::invalid_argument("--file: " + file.string() + " is a folder; expected a text file");
  }
  text::DocumentOptions whole;
  whole.form = "file";
  bool found = false;
  text::read_documents({file}, whole, [&](const text::Document& one) {
    found = true;
    classifier.classify(one.text, one.where, file.string());
  });
  if (!found) throw std::runtime_error(file.string() + ": holds no text");
}

void classify_lines(Classifier& classifier) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  std::int64_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    classifier.classify(line, "line " + std::to_string(++number));
    if (terminal) classifier.finish();
  }
  if (number == 0) {
    throw std::invalid_argument("no text: give --text, --file, or lines on standard input");
  }
}

void classify_texts(const ClassifyOptions& options) {
  Classifier classifier(options);
  for (std::size_t i = 0; i < options.texts.size(); ++i) {
    classifier.classify(options.texts[i], "text " + std::to_string(i + 1));
  }
  try {
    for (const fs::path& file : options.files) classify_file(classifier, file);
  } catch (...) {
    classifier.finish();
    throw;
  }
  if (options.texts.empty() && options.files.empty()) classify_lines(classifier);
  classifier.finish();
}

void run(ClassifyOptions options, const CLI::App& command) {
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
  if (options.arguments.empty()) return classify_texts(options);
  refuse_flags(command, {"--text", "--file", "--max-length"}, "is for texts; these are pictures");
  classify_images(options.model, options.arguments, options.top, options.json);
}

}  // namespace

void add_classify(CLI::App& app) {
  CLI::App* command = app.add_subcommand("classify", "Says which class pictures or texts are of");
  const auto options = std::make_shared<ClassifyOptions>();
  command->add_option("arguments", options->arguments,
                      "The model (a folder of `regard train classify`, or of transformers) and "
                      "pictures (PNG, JPEG, PPM)");
  command->add_option("--model", options->model, "The model, if the arguments are pictures alone");
  one_each_time(command->add_option("--text", options->texts, "A text; may be given again"));
  command->add_option("--file", options->files, "A file as one text; may be given again")
      ->take_all();
  command->add_option("--top", options->top, "Classes to name, the likeliest first")
      ->capture_default_str();
  command->add_option("--max-length", options->max_length,
                      "Tokens of a text that are read; 0: as many as the model has positions");
  add_threads(*command, options->threads);
  command->add_flag("--json", options->json, "A JSON object for each text");
  command->footer(
      "Without pictures, --text and --file, each line of standard input is a text. A line is "
      "written for each text (class, tab, probability); before it stands the name of a picture or "
      "of a --file.\n\nExamples:\n"
      "  regard classify sections --text 'library for reading files' --top 3\n"
      "  regard classify sections --json < lines.txt\n"
      "  regard classify manuals --file page.txt\n"
      "  regard classify vit-base-patch16-224 cat.jpg dog.png --top 5");
  command->callback([command, options] { run(*options, *command); });
}

}  // namespace regard::cli

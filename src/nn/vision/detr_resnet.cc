// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/resnet.h"

#include <stdexcept>

namespace regard::nn {
namespace {

constexpr double kBatchNormEps = 1e-5, kMomentum = 0.1;

}  // namespace

// A convolution without bias and its batch norm. Where the norm's statistics are given, the two are
// one convolution with scaled weights.
class ResNetConvolution : public torch::nn::Module {
 public:
  struct Shape {
    std::int64_t in, out, kernel, stride = 1, dilation = 1;
  };

  ResNetConvolution(const Shape& shape, bool learned) : shape_(shape), learned_(learned) {
    weight_ = register_parameter("weight",
                                 torch::empty({shape.out, shape.in, shape.kernel, shape.kernel}));
    torch::nn::init::kaiming_normal_(weight_, 0, torch::kFanOut, torch::kReLU);
    const auto add = [&](const char* name, double value, bool parameter) {
      const torch::Tensor tensor = torch::full({shape.out}, value);
      return parameter ? register_parameter(name, tensor) : register_buffer(name, tensor);
    };
    scale_ = add("norm_weight", 1, learned);
    shift_ = add("norm_bias", 0, learned);
    mean_ = add("running_mean", 0, false);
    variance_ = add("running_var", 1, false);
  }

  torch::Tensor forward(const torch::Tensor& x) const {
    const std::int64_t padding = shape_.dilation * (shape_.kernel - 1) / 2;
    if (learned_ && is_training()) {
      return torch::batch_norm(
          torch::conv2d(x, weight_, {}, shape_.stride, padding, shape_.dilation), scale_, shift_,
          mean_, variance_, /*training=*/true, kMomentum, kBatchNormEps, /*cudnn_enabled=*/false);
    }
    const torch::Tensor scale = scale_ * (variance_ + kBatchNormEps).rsqrt();
    return torch::conv2d(x, weight_ * scale.view({-1, 1, 1, 1}), shift_ - mean_ * scale,
                         shape_.stride, padding, shape_.dilation);
  }

 private:
  Shape shape_;
  bool learned_;
  torch::Tensor weight_, scale_, shift_, mean_, variance_;
};

// x + f(x), with f two or three convolutions; x is projected where its shape changes.
class ResNetBlock : public torch::nn::Module {
 public:
  ResNetBlock(const ResNetOptions& options, std::int64_t in, std::int64_t out, std::int64_t stride,
              std::int64_t first_dilation, std::int64_t dilation) {
    const bool learned = options.norm == "batch";
    torch::nn::ModuleList list;
    const auto add = [&](const ResNetConvolution::Shape& shape) {
      path_.push_back(std::make_shared<ResNetConvolution>(shape, learned));
      list->push_back(path_.back());
    };
    if (options.block == "bottleneck") {
      const std::int64_t inner = out / 4;
      const bool first = options.stride_in_first;
      add({in, inner, 1, first ? stride : 1});
      add({inner, inner, 3, first ? 1 : stride, first_dilation});
      add({inner, out, 1});
    } else {
      add({in, out, 3, stride, first_dilation});
      add({out, out, 3, 1, dilation});
    }
    register_module("path", list);
    if (stride != 1 || in != out)
      shortcut_ =
          register_module("shortcut", std::make_shared<ResNetConvolution>(
                                          ResNetConvolution::Shape{in, out, 1, stride}, learned));
  }

  torch::Tensor forward(const torch::Tensor& x) const {
    torch::Tensor y = x;
    for (std::size_t i = 0; i + 1 < path_.size(); ++i) y = path_[i]->forward(y).relu_();
    return path_.back()->forward(y).add_(shortcut_ ? shortcut_->forward(x) : x).relu_();
  }

 private:
  std::vector<std::shared_ptr<ResNetConvolution>> path_;
  std::shared_ptr<ResNetConvolution> shortcut_;
};

ResNetOptions resnet_options(const std::string& name) {
  ResNetOptions options;
  if (name == "resnet50") return options;
  if (name == "resnet101") {
    options.depths = {3, 4, 23, 3};
    return options;
  }
  if (name != "resnet18" && name != "resnet34")
    throw std::invalid_argument("backbone: \"" + name +
                                "\"; expected resnet18, resnet34, resnet50 or resnet101");
  options.block = "basic";
  options.widths = {64, 128, 256, 512};
  if (name == "resnet18") options.depths = {2, 2, 2, 2};
  return options;
}

ResNetImpl::ResNetImpl(const ResNetOptions& options) {
  if (options.widths.empty() || options.widths.size() != options.depths.size())
    throw std::invalid_argument("widths: " + std::to_string(options.widths.size()) +
                                " stages, depths: " + std::to_string(options.depths.size()) +
                                "; expected as many of both, at least one");
  stem_ = register_module(
      "stem",
      std::make_shared<ResNetConvolution>(
          ResNetConvolution::Shape{options.channels, options.stem, 7, 2}, options.norm == "batch"));
  torch::nn::ModuleList all;
  std::int64_t in = options.stem;
  for (std::size_t stage = 0; stage < options.widths.size(); ++stage) {
    const bool halves = stage > 0 || options.first_stage_halves;
    const bool dilates = options.dilated && halves && stage + 1 == options.widths.size();
    const std::int64_t out = options.widths[stage];
    torch::nn::ModuleList list;
    stages_.emplace_back();
    for (std::int64_t i = 0; i < options.depths[stage]; ++i) {
      // As in torchvision and timm: the first block of a dilated stage still has the one before's.
      stages_.back().push_back(std::make_shared<ResNetBlock>(
          options, i == 0 ? in : out, out, i == 0 && halves && !dilates ? 2 : 1,
          dilates && i > 0 ? 2 : 1, dilates ? 2 : 1));
      list->push_back(stages_.back().back());
    }
    all->push_back(list);
    in = out;
  }
  register_module("stages", all);
}

ResNetImpl::~ResNetImpl() = default;

torch::Tensor ResNetImpl::forward(const torch::Tensor& pixels) {
  // Channels side by side: oneDNN's convolutions are faster so, and the map is read so.
  const torch::Tensor given = pixels.contiguous(torch::MemoryFormat::ChannelsLast);
  torch::Tensor x = torch::max_pool2d(stem_->forward(given).relu_(), 3, 2, 1);
  for (const auto& stage : stages_)
    for (const auto& block : stage) x = block->forward(x);
  return x;
}

void ResNetImpl::freeze(std::int64_t stages) {
  const auto freeze = [](torch::nn::Module& module) {
    for (torch::Tensor& parameter : module.parameters()) parameter.requires_grad_(false);
  };
  if (stages > 0) freeze(*stem_);
  for (std::int64_t i = 0; i < stages && i < static_cast<std::int64_t>(stages_.size()); ++i)
    for (const auto& block : stages_[static_cast<std::size_t>(i)]) freeze(*block);
}

}  // namespace regard::nn

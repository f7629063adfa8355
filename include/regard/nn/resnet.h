// SPDX-License-Identifier: Apache-2.0
// Residual networks (He et al. 2015, arXiv 1512.03385; the stride in a bottleneck's 3 x 3
// convolution, as in torchvision and timm), as backbones: an image becomes a map of features.
// In each of its parts a convolution's weights and its batch norm's are together: stem.weight,
// stem.norm_weight, stages.0.1.path.2.running_mean, stages.0.0.shortcut.weight.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

namespace regard::nn {

struct ResNetOptions {
  std::int64_t channels = 3;                                  // of the image
  std::int64_t stem = 64;                                     // channels of the first convolution
  std::vector<std::int64_t> widths = {256, 512, 1024, 2048};  // channels that each stage gives
  std::vector<std::int64_t> depths = {3, 4, 6, 3};            // its blocks
  std::string block = "bottleneck";                           // or "basic": two 3 x 3 convolutions
  bool first_stage_halves = false;  // the stem has a stride of 4, each later stage one of 2
  bool stride_in_first = false;     // a bottleneck's stride is in its first convolution
  bool dilated = false;             // the last stage dilates by 2 instead of its stride ("DC5")
  // "frozen": statistics and affine parameters of the batch norms are constants (buffers), as in
  // DETR. "batch": they are learned, to train without weights to begin with.
  std::string norm = "frozen";
};

// The options of "resnet18", "resnet34", "resnet50" or "resnet101". std::invalid_argument for
// another name.
ResNetOptions resnet_options(const std::string& name);

class ResNetConvolution;
class ResNetBlock;

class ResNetImpl : public torch::nn::Module {
 public:
  explicit ResNetImpl(const ResNetOptions& options);
  ~ResNetImpl() override;

  // pixels (batch, channels, height, width) -> (batch, widths.back(), height / s, width / s),
  // rounded up at each halving.
  torch::Tensor forward(const torch::Tensor& pixels);
  // No gradients for the stem and the first `stages` stages; 0 is for none of them.
  void freeze(std::int64_t stages);

 private:
  std::shared_ptr<ResNetConvolution> stem_;
  std::vector<std::vector<std::shared_ptr<ResNetBlock>>> stages_;
};
TORCH_MODULE(ResNet);

}  // namespace regard::nn

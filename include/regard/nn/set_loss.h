// SPDX-License-Identifier: Apache-2.0
// DETR's loss (Carion et al. 2020, arXiv 2005.12872, section 3.1): predictions of an image are
// matched to its objects, each object to one prediction, at the least cost of all; then matched
// predictions learn their object's class and box, all others that they are "no object".
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace regard::nn {

struct SetLossOptions {
  // Of a match: -probability of the class, L1 distance of boxes, -generalized IoU.
  double class_cost = 1, box_cost = 5, giou_cost = 2;
  // Of the loss: L1 distance and 1 - generalized IoU, beside a cross entropy of weight 1, in which
  // "no object" has a weight of its own.
  double box_weight = 5, giou_weight = 2, no_object_weight = 0.1;
  bool auxiliary = false;  // every decoder layer has a loss, not the last one alone
};

// The objects of an image: classes (objects), int64; boxes (objects, 4), centre x, y, width,
// height, of the image's size. There may be none.
struct DetectionTarget {
  torch::Tensor classes, boxes;
};

struct SetLoss {
  torch::Tensor loss;                       // differentiable
  double classes = 0, boxes = 0, giou = 0;  // its parts in the last layer, unweighted
};

// Each target's prediction: logits (queries, classes + 1), boxes (queries, 4) of one image ->
// (objects), int64; -1 where there are more objects than queries. Costs that are not finite are
// taken as the greatest.
std::vector<std::int64_t> match_objects(const torch::Tensor& logits, const torch::Tensor& boxes,
                                        const DetectionTarget& target,
                                        const SetLossOptions& options);

// logits (batch, queries, classes + 1), boxes (batch, queries, 4), a target for each image. Sums of
// boxes are divided by the number of objects in the batch.
SetLoss set_loss(const torch::Tensor& logits, const torch::Tensor& boxes,
                 const std::vector<DetectionTarget>& targets, const SetLossOptions& options);

// (boxes, 4) each, centre x, y, width, height -> (boxes): the generalized intersection over union
// (Rezatofighi et al. 2019, arXiv 1902.09630) of pairs; shapes broadcast.
torch::Tensor generalized_iou(const torch::Tensor& a, const torch::Tensor& b);

}  // namespace regard::nn

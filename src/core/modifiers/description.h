// SPDX-License-Identifier: Apache-2.0
// What the core must know of a modifier beside the tile functions of kernels/stages: its name in
// messages, where it acts and in which order, its tensor and how the gradient of that is summed.
//
// Each alternative of Modifier has a specialisation of Description in a header of its own, listed
// in modifiers.h. All of the core finds it by std::visit: where one is missing, nothing compiles.
#pragma once

#include <cstdint>
#include <string>

#include "regard/modifier.h"
#include "regard/status.h"

namespace regard::modifiers {

enum class ActsOn : std::uint8_t {
  kScores,   // of a tile, before the softmax: Apply() and Derive() of kernels/stages
  kWeights,  // of a tile, after it, as a factor: ApplyFactor() and DeriveFactor() of kernels/stages
  kRows,     // the sum of a finished row
};

// Those that act on scores do so in this order; of one rank, in that of Options::modifiers.
enum class Rank : std::uint8_t { kDivide, kBeforeSoftcap, kSoftcap, kBias, kFunction, kAny };
inline constexpr int kRanks = 6;

// What the derivative of one that acts on scores is given beside the gradient.
enum class Keeps : std::uint8_t { kNothing, kInput, kOutput };

// How the gradient of its tensor is summed, which many tiles add to.
enum class Owner : std::uint8_t {
  kNone,      // there is no tensor with a gradient
  kTensor,    // in the tensor's shape, by items that walk every axis along which it is broadcast
  kPartials,  // one number per (key block, sequence, query head), added up in order at the end
  kTable,     // in a copy with an entry per difference of codes, added up by bucket at the end
  kSinks,     // one row of numbers per (batch, query head), after all items
};

template <class M>
struct Description;  // static members:
// const char* kName              in messages
// ActsOn kActsOn
// Rank rank(const M&)
// Keeps kKeeps
// Owner kOwner
// bool kAtMostOnce               whether Options::modifiers may hold no more than one
// bool kLooksAtPositions         whether rows and keys of a tile must be neighbours in the tensors
// bool kCallsUserCode            which may leave anything in hidden pairs, and use a matrix unit
// bool kFades                    whether weights fade away with distance, through the denormal
//                                numbers, which some processors take a hundred times as long for
// const TensorView* tensor(const M&)      that may have a gradient, as Options lists it; or null
// bool does_nothing(const M&)
// Status check(const std::string& name, const M&, const Shape& scores, DType own)
//   scores: (batch, heads, len_q, len_k); own: the dtype that kernels compute in

// What most of them share.
struct Defaults {
  static constexpr Keeps kKeeps = Keeps::kNothing;
  static constexpr bool kAtMostOnce = false, kLooksAtPositions = true, kCallsUserCode = false;
  static constexpr bool kFades = false;
  template <class M>
  static bool does_nothing(const M&) {
    return false;
  }
};

}  // namespace regard::modifiers

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "regard/nn/mask.h"
#include "request.h"

// A mask from its description: ["and", ["causal", null], ["key_lengths", "name of a tensor"]].
regard::nn::Mask mask_of(const Request& request, const nlohmann::json& list);

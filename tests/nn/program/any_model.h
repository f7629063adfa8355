// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "regard/nn/model.h"
#include "request.h"

// The model of a request: of a "folder" that save_model() wrote, a "pretrained" one (with
// "changes", in "dtype"), or a "config", with the request's parameters or ("fresh") as drawn.
std::shared_ptr<regard::nn::Model> any_model(Request& request);

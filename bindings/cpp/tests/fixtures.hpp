// Tiny models as C++ has them.
#pragma once

#include "check.hpp"
#include "fixtures.h"

// Static: files of both styles are in one program, where these are different functions.
static inline std::string in_scratch(const char *name) { return std::string(scratch) + "/" + name; }
static inline mcm::Model tiny() { return mcm::Model(new_tiny_model(0)); }
static inline mcm::Modulator tiny_modulator() { return mcm::Modulator(new_tiny_modulator()); }
static inline mcm::Model latent(int kind = SD) { return mcm::Model(new_latent_model(kind)); }

// Tiny models as C++ has them.
#pragma once

#include "check.hpp"
#include "fixtures.h"

inline std::string in_scratch(const char *name) { return std::string(scratch) + "/" + name; }
inline mcm::Model tiny() { return mcm::Model(new_tiny_model(0)); }
inline mcm::Modulator tiny_modulator() { return mcm::Modulator(new_tiny_modulator()); }
inline mcm::Model latent(int kind = SD) { return mcm::Model(new_latent_model(kind)); }

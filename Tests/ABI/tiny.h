/* Networks of a few thousand random parameters, written as files in memory. */
#ifndef TINY_H
#define TINY_H

#include "weights.h"

enum { TINY_SIZE = 8, TINY_CLASSES = 3 }; /* samples are 8x8; the modality "labels" has three classes */

typedef struct tiny_model {
    uint32_t channels; /* 0 means 1 */
    uint32_t classes;  /* of a class table; 0 for none */
    int learned_variance;
    uint32_t seed;     /* of the weights */
    damage damage;
} tiny_model;

enum { TINY_FILES = 4 };
/* The four files of a model folder. free_files() releases their data. */
void tiny_model_files(const tiny_model *description, mcm_memory_file files[TINY_FILES]);
void free_files(mcm_memory_file files[TINY_FILES]);
mcm_model *tiny_model_open(const tiny_model *description, uint32_t threads);

typedef struct tiny_module {
    uint32_t channels; /* of the prediction; 0 means 1 */
    int untrained;     /* the last convolution is zero */
    uint32_t seed;
    const char *fingerprint; /* of its base; NULL: not said */
    damage damage;
} tiny_module;

/* A module with the modalities "sketch" (grey, area), "labels" (one-hot, nearest) and "photo" (RGB, bilinear). */
bytes tiny_module_file(const tiny_module *description);
mcm_modulator *tiny_module_open(const tiny_module *description);

#endif

/* Models, modules and data sets of a few thousand parameters: what the tests of the C ABI have, for C++. */
#ifndef FIXTURES_H
#define FIXTURES_H

#include <mcm.h>

#ifdef __cplusplus
extern "C" {
#endif

extern const char *fashion, *scratch; /* the fashion example, and a folder to write into */

/* 8 x 8 grey, with modules that follow "labels", "photo" and "sketch". classes: 0, or those that it is told. */
mcm_model *new_tiny_model(uint32_t classes);
mcm_modulator *new_tiny_modulator(void);
/* The files of both; the caller frees their data. */
enum { TINY_MODEL_FILES = 4 };
void new_tiny_files(mcm_memory_file files[TINY_MODEL_FILES]);
mcm_memory_file new_tiny_modulator_file(void);

/* Latent diffusion models: samples of 4 x 4, images of 8 x 8 in colours. */
enum { SD, SDXL, LDM };
mcm_model *new_latent_model(int kind);
const char *new_controlnet_folder(void);
/* 8 examples of 8 x 8 in colours with a "sketch", into scratch/name. */
void write_colours(const char *name);

/* Of Tests/ABI. */
mcm_image picture(uint32_t seed);
mcm_image half_mask(void);
void write_file(const char *path, const void *data, size_t size);
extern const char *const tiny_config;
mcm_dataset *new_dataset(const char *name);
const char *new_bank_file(const mcm_model *model, const mcm_dataset *dataset, const char *name, uint64_t count);
/* Examples of that data set. */
enum { DATASET_EXAMPLES = 12 };

#ifdef __cplusplus
}
#endif

#endif

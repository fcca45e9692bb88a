/* Latent diffusion models of a few thousand random parameters, with and without texts, in memory or on disk. */
#ifndef LATENT_H
#define LATENT_H

#include "weights.h"

/* Samples of all of them are 4 x 4, images 8 x 8 in colours. */
enum { LATENT_SIDE = 4, LATENT_SCALE = 2, IMAGE_SIDE = 8, IMAGE_BYTES = 3 * IMAGE_SIDE * IMAGE_SIDE };
/* Of the text encoders: tokens of a chunk, a word's letters being one each; channels of one encoder. */
enum { CHUNK = 12, TEXT_CHANNELS = 8, POOLED_CHANNELS = 6 };

typedef enum latent_kind {
    STABLE_DIFFUSION,    /* 4 channels, one text encoder */
    INPAINTING,          /* the same, reading mask and image */
    STABLE_DIFFUSION_XL, /* two text encoders, sizes */
    LATENT_DIFFUSION,    /* 3 channels, no text */
    LATENT_KINDS
} latent_kind;

typedef struct latent_model {
    latent_kind kind;
    int without_text_encoder;
    uint32_t seed;       /* of the weights */
    const char *damaged; /* the component that `damage` is of, e.g. "unet", "vae", "model_index" */
    damage damage;
} latent_model;

enum { MOST_LATENT_FILES = 16 };
typedef struct latent_files {
    mcm_memory_file files[MOST_LATENT_FILES];
    size_t count;
} latent_files;

latent_files latent_model_files(const latent_model *description);
void free_latent_files(latent_files *files);
mcm_model *latent_model_open(const latent_model *description, uint32_t threads);
/* Into scratch/name, which it returns; valid until the next four calls of path_in. */
const char *latent_model_write(const latent_model *description, const char *name);
void write_files(const char *folder, const mcm_memory_file *files, size_t count);

/* A ControlNet for STABLE_DIFFUSION: config.json and the weights. */
enum { CONTROLNET_FILES = 2 };
typedef struct tiny_controlnet {
    uint32_t channels; /* of samples; 0 means 4 */
    uint32_t text;     /* channels of the text; 0 means TEXT_CHANNELS */
    uint32_t seed;
    int pooled; /* global_pool_conditions */
    damage damage;
} tiny_controlnet;
const char *controlnet_write(const tiny_controlnet *description, const char *name);
mcm_controlnet *controlnet_open(const tiny_controlnet *description);

/* Numbers in -1 .. 1, the same in every run. */
void some_numbers(uint32_t seed, float *values, size_t count);
/* 8 x 8 pixels in colours that differ with `seed`; stays valid. seed: 0..7. */
mcm_image picture(uint32_t seed);
/* The right half is to be painted. Stays valid. */
mcm_image half_mask(void);
mcm_prompt *encoded(const mcm_model *model, const char *text);
mcm_model_info model_info(const mcm_model *model);

#endif

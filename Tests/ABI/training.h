/* Examples, data sets and trainers for the tests of training. */
#ifndef TRAINING_H
#define TRAINING_H

#include <mcm.h>

#include "tiny_session.h"

enum { EXAMPLES = 12, CONDITIONS = 3, SIDE = TINY_SIZE, RECORDS = 40 };

/* Valid, as the model is, between open_sources and free_sources: all EXAMPLES, and RECORDS predictions for them. */
extern mcm_dataset *dataset;
extern mcm_bank *bank;
void open_sources(uint32_t threads);
void free_sources(void);

/* A module's config, as tiny_module_file() has it. */
extern const char *const tiny_config;

/* Without warmup, and fast enough to learn something in a few steps. */
mcm_trainer_options quick_options(void);
/* `options` NULL: the above. */
mcm_trainer *new_trainer(const mcm_model *model, const mcm_bank *bank, const mcm_trainer_options *options);

/* Some of the EXAMPLES examples, each an image with a sketch, labels and a photo that go with it. */
typedef struct tiny_batch {
    mcm_batch batch;
    mcm_condition conditions[CONDITIONS];
} tiny_batch;
const mcm_batch *images_of(tiny_batch *into, uint32_t first, uint32_t count);
const mcm_batch *samples_of(tiny_batch *into, uint32_t first, uint32_t count);

/* A tensor of a safetensors file. */
typedef struct file_tensor {
    const char *name, *dtype;
    int rank;
    uint64_t shape[5];
    const void *data;
    size_t size; /* bytes */
} file_tensor;
/* The caller frees the data. */
bytes safetensors_file(const file_tensor *tensors, int count);

/* The tensors of a data set of all examples: images (or samples), labels, photo and sketch. */
enum { DATASET_TENSORS = 4 };
void dataset_tensors(int samples, file_tensor tensors[DATASET_TENSORS]);
/* In scratch/name. */
mcm_dataset *new_dataset(const char *name);
const char *new_bank_file(const mcm_model *model, const mcm_dataset *dataset, const char *name, uint64_t count);
mcm_bank *new_bank(const mcm_model *model, const mcm_dataset *dataset, const char *name, uint64_t count);

bytes read_file(const char *path);
int same_bytes(const bytes *a, const bytes *b);
int file_exists(const char *path);
/* Where a safetensors file's data begin. */
size_t header_end(const bytes *file);

/* The same numbers in every run, for each test from the beginning. */
unsigned random_below(unsigned n);

mcm_trainer_state state_of_trainer(const mcm_trainer *trainer);
/* What the trainer saves. */
bytes saved(const mcm_trainer *trainer);
/* Ends the test unless both save the same; frees both. */
void check_same_and_free(mcm_trainer *a, mcm_trainer *b);

/* All that can be seen of a trainer. */
typedef struct trainer_view {
    bytes file;
    float *parameters, *gradients; /* copies */
    size_t count;
    mcm_trainer_state state;
    mcm_losses losses[10 + 2 * CONDITIONS];
} trainer_view;
trainer_view view_of_trainer(mcm_trainer *trainer);
void free_view(trainer_view *view);
/* Frees the view. */
void check_unchanged(const char *file, int line, mcm_trainer *trainer, trainer_view *before);
/* The call fails as expected, and the trainer is as it was. */
#define REFUSED(expected, trainer, call)                              \
    do {                                                              \
        trainer_view before_ = view_of_trainer(trainer);              \
        STATUS(expected, call);                                       \
        check_unchanged(__FILE__, __LINE__, trainer, &before_);       \
    } while (0)

#endif

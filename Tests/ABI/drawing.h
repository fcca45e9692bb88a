/* One drawing, done at each of the library's three levels. */
#ifndef DRAWING_H
#define DRAWING_H

#include <mcm.h>

typedef struct drawing {
    const mcm_model *model;
    mcm_session_options options; /* batch, scheduler, steps, eta; width and height 0 */
    const uint64_t *seeds;
    uint32_t seed_count;
    const mcm_modulator *modulator; /* may be NULL */
    const mcm_condition *conditions;
    uint32_t condition_count;
    float weight;
    const float *class_input;
    size_t class_input_count;
} drawing;

enum { MAX_FLOATS = 8 * 28 * 28 }; /* of the samples in these tests */

/* With defaults: batch 1, seed 0, weight 1, no module. */
drawing drawing_of(const mcm_model *model, int32_t scheduler, uint32_t steps);

size_t sample_count(const drawing *d);
/* The session of the drawing: created, attached, conditioned and seeded. *id, unless NULL, names the attachment. */
mcm_session *open_session(const drawing *d, uint32_t *id);

/* Each gives the images one after the other in pixels; the last two also x_0 in sample, unless it is NULL. */
void draw_generate(const drawing *d, uint8_t *pixels);
void draw_session(const drawing *d, uint8_t *pixels, float *sample);
void draw_own_loop(const drawing *d, uint8_t *pixels, float *sample);

/* Conditions for a tiny module: a sketch, labels and a photo for each of `batch` images, at most 4. Image k is the
 * same whatever the batch. They stay valid. */
enum { TINY_CONDITIONS = 3 };
void tiny_conditions(uint32_t batch, mcm_condition conditions[TINY_CONDITIONS]);

/* The fashion example: model, module, and the sketches and segmentations first .. first + batch - 1 (of 8). */
mcm_model *open_fashion_model(uint32_t threads);
mcm_modulator *open_fashion_module(void);
void fashion_conditions(uint32_t first, uint32_t batch, mcm_condition conditions[2]);

/* folder/name; up to four results are in use at a time. */
const char *path_in(const char *folder, const char *name);
void write_file(const char *path, const void *data, size_t size);

#endif

/* Level 3: the sampling loop is the program's own; libmcm supplies its parts.
 *
 *   own_loop [folder of the fashion example] [out.png] [seed]
 */
#include <mcm.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 25 };

/* Every function returns a status; mcm_last_error() says in one line what went wrong. */
#define CHECK(call) ((call) == MCM_OK ? (void)0 : fail())

static void fail(void) {
    fprintf(stderr, "%s\n", mcm_last_error());
    exit(1);
}

/* The path of a file of the example; valid until the next call. */
static const char *in(const char *folder, const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void *allocate(size_t size) {
    void *memory = malloc(size ? size : 1); /* most schedulers keep no history */
    if (!memory) exit(1);
    return memory;
}

static mcm_image read_image(const char *path) {
    mcm_image image = MCM_IMAGE_INIT;
    CHECK(mcm_png_size(path, &image.width, &image.height, &image.channels));
    size_t size = (size_t)image.width * image.height * image.channels;
    image.data = allocate(size);
    CHECK(mcm_png_read(path, (uint8_t *)image.data, size));
    return image;
}

int main(int argc, char **argv) {
    const char *folder = argc > 1 ? argv[1] : "../fashion";
    const char *out = argc > 2 ? argv[2] : "own_loop.png";
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;

    mcm_model *model;
    mcm_modulator *module;
    mcm_scheduler *scheduler;
    mcm_rng *rng;
    CHECK(mcm_model_open(in(folder, "base"), NULL, &model));
    CHECK(mcm_modulator_open(in(folder, "module.mcm.safetensors"), &module));
    CHECK(mcm_modulator_check(module, model));
    CHECK(mcm_scheduler_create(model, MCM_SCHEDULER_DDIM, STEPS, 0.0f, &scheduler));
    CHECK(mcm_rng_create(seed, &rng));

    mcm_image images[2] = {read_image(in(folder, "conditions/00_sketch.png")),
                           read_image(in(folder, "conditions/00_segmentation.png"))};
    mcm_condition conditions[2] = {MCM_CONDITION_INIT, MCM_CONDITION_INIT};
    conditions[0].modality = "sketch";
    conditions[0].images = &images[0];
    conditions[1].modality = "segmentation";
    conditions[1].images = &images[1];

    mcm_model_info info = MCM_MODEL_INFO_INIT;
    CHECK(mcm_model_get_info(model, &info));
    uint32_t w = info.width, h = info.height, count = w * h * info.channels;
    float *x = allocate(count * sizeof(float)), *e = allocate(count * sizeof(float));
    float *noise = allocate(count * sizeof(float));

    /* What follows serves every scheduler. */
    mcm_scheduler_info run = MCM_SCHEDULER_INFO_INIT;
    CHECK(mcm_scheduler_get_info(scheduler, &run));
    size_t history_count = (size_t)run.history_count * count;
    float *history = allocate(history_count * sizeof(float)), *input = allocate(count * sizeof(float));
    CHECK(mcm_rng_normal(rng, x, count)); /* x_T */
    for (uint32_t k = 0; k < count; k++) x[k] *= run.init_noise_sigma;
    for (uint32_t i = 0; i < run.steps; i++) {
        mcm_step_info step = MCM_STEP_INFO_INIT;
        CHECK(mcm_scheduler_get_step(scheduler, i, &step));
        for (uint32_t k = 0; k < count; k++) input[k] = x[k] * step.input_scale;
        CHECK(mcm_model_predict(model, 1, w, h, input, count, &step.timestep, NULL, 0, e, count));
        CHECK(mcm_modulator_modulate(module, model, 1, w, h, input, e, count, &step.timestep, conditions, 2, 1.0f, e));
        if (step.needs_noise) CHECK(mcm_rng_normal(rng, noise, count));
        CHECK(mcm_scheduler_step_with_history(scheduler, i, 1, x, count, e, count, noise, history, history_count, x,
                                              NULL));
        printf("own loop: step %u of %u, timestep %g\n", i + 1, run.steps, step.timestep);
    }

    uint8_t *pixels = allocate(count);
    CHECK(mcm_model_decode(model, w, h, x, count, pixels, count));
    mcm_image image = MCM_IMAGE_INIT;
    image.data = pixels, image.width = w, image.height = h, image.channels = info.channels;
    CHECK(mcm_png_write(out, &image));
    printf("wrote %s: %ux%u, seed %llu\n", out, w, h, (unsigned long long)seed);

    free(pixels), free(input), free(history), free(noise), free(e), free(x);
    free((void *)images[0].data), free((void *)images[1].data);
    mcm_rng_free(rng);
    mcm_scheduler_free(scheduler);
    mcm_modulator_free(module);
    mcm_model_free(model);
    return 0;
}

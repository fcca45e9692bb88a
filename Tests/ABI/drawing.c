#include "drawing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tiny.h"

drawing drawing_of(const mcm_model *model, int32_t scheduler, uint32_t steps) {
    static const uint64_t zero = 0;
    drawing d = {model, MCM_SESSION_OPTIONS_INIT, &zero, 1, NULL, NULL, 0, 1.0f, NULL, 0};
    d.options.scheduler = scheduler;
    d.options.steps = steps;
    return d;
}

static mcm_model_info info_of(const mcm_model *model) {
    mcm_model_info info = MCM_MODEL_INFO_INIT;
    OK(mcm_model_get_info(model, &info));
    return info;
}

size_t sample_count(const drawing *d) {
    mcm_model_info info = info_of(d->model);
    size_t count = (size_t)d->options.batch * info.channels * info.width * info.height;
    CHECK(count <= MAX_FLOATS);
    return count;
}

mcm_session *open_session(const drawing *d, uint32_t *id) {
    mcm_session *session;
    uint32_t own_id;
    if (!id) id = &own_id;
    OK(mcm_session_create(d->model, &d->options, &session));
    if (d->modulator) {
        mcm_attach_options attach = MCM_ATTACH_OPTIONS_INIT;
        attach.weight = d->weight;
        OK(mcm_session_attach(session, d->modulator, &attach, id));
        for (uint32_t i = 0; i < d->condition_count; i++)
            OK(mcm_session_set_condition(session, *id, &d->conditions[i]));
    }
    if (d->class_input) OK(mcm_session_set_class_input(session, d->class_input, d->class_input_count));
    OK(mcm_session_seed(session, d->seeds, d->seed_count));
    return session;
}

void draw_generate(const drawing *d, uint8_t *pixels) {
    mcm_attach_options attach = MCM_ATTACH_OPTIONS_INIT;
    attach.weight = d->weight;
    mcm_attachment attachment = MCM_ATTACHMENT_INIT;
    attachment.modulator = d->modulator;
    attachment.conditions = d->conditions;
    attachment.condition_count = d->condition_count;
    attachment.options = &attach;
    mcm_generate_options options = MCM_GENERATE_OPTIONS_INIT;
    options.session = &d->options;
    options.seeds = d->seeds;
    options.seed_count = d->seed_count;
    options.attachments = d->modulator ? &attachment : NULL;
    options.attachment_count = d->modulator != NULL;
    options.class_input = d->class_input;
    options.class_input_count = d->class_input_count;
    OK(mcm_generate(d->model, &options, pixels, sample_count(d)));
}

void draw_session(const drawing *d, uint8_t *pixels, float *sample) {
    size_t count = sample_count(d), one = count / d->options.batch;
    mcm_session *session = open_session(d, NULL);
    mcm_session_state state = MCM_SESSION_STATE_INIT;
    OK(mcm_session_get_state(session, &state));
    for (uint32_t i = 0; i < state.steps; i++) OK(mcm_session_step(session));
    for (uint32_t k = 0; k < d->options.batch; k++)
        OK(mcm_session_decode(session, MCM_DECODE_SAMPLE, k, pixels + k * one, one));
    if (sample) OK(mcm_session_get_sample(session, sample, count));
    mcm_session_free(session);
}

/* One draw for the whole batch, or one per image. */
static void draw_noise(mcm_rng *const *rngs, uint32_t rng_count, float *noise, size_t count) {
    size_t one = count / rng_count;
    for (uint32_t k = 0; k < rng_count; k++) OK(mcm_rng_normal(rngs[k], noise + k * one, one));
}

void draw_own_loop(const drawing *d, uint8_t *pixels, float *sample) {
    enum { HISTORY = 8 };
    static float x[MAX_FLOATS], input[MAX_FLOATS], e[2 * MAX_FLOATS], noise[MAX_FLOATS], history[HISTORY * MAX_FLOATS];
    mcm_model_info info = info_of(d->model);
    uint32_t batch = d->options.batch, w = info.width, h = info.height;
    size_t count = sample_count(d), one = count / batch;
    size_t prediction_count = count / info.channels * info.prediction_channels;
    mcm_scheduler *scheduler;
    mcm_scheduler_info run = MCM_SCHEDULER_INFO_INIT;
    OK(mcm_scheduler_create_with_options(d->model, d->options.scheduler, d->options.steps, d->options.eta,
                                         d->options.scheduler_options, &scheduler));
    OK(mcm_scheduler_get_info(scheduler, &run));
    CHECK(run.history_count <= HISTORY);
    memset(history, 0xff, sizeof history); /* NaN */
    mcm_rng *rngs[8];
    for (uint32_t k = 0; k < d->seed_count; k++) OK(mcm_rng_create(d->seeds[k], &rngs[k]));

    draw_noise(rngs, d->seed_count, x, count);
    for (size_t k = 0; k < count; k++) x[k] *= run.init_noise_sigma;
    for (uint32_t i = 0; i < run.steps; i++) {
        float t[8];
        mcm_step_info step = MCM_STEP_INFO_INIT;
        OK(mcm_scheduler_get_step(scheduler, i, &step));
        for (uint32_t k = 0; k < batch; k++) t[k] = step.timestep;
        for (size_t k = 0; k < count; k++) input[k] = x[k] * step.input_scale;
        OK(mcm_model_predict(d->model, batch, w, h, input, count, t, d->class_input, d->class_input_count, e,
                             prediction_count));
        if (d->modulator)
            OK(mcm_modulator_modulate(d->modulator, d->model, batch, w, h, input, e, count, t, d->conditions,
                                      d->condition_count, d->weight, e));
        if (step.needs_noise) draw_noise(rngs, d->seed_count, noise, count);
        OK(mcm_scheduler_step_with_history(scheduler, i, batch, x, count, e, prediction_count,
                                           step.needs_noise ? noise : NULL, history, run.history_count * count, x,
                                           NULL));
    }
    for (uint32_t k = 0; k < batch; k++)
        OK(mcm_model_decode(d->model, w, h, x + k * one, one, pixels + k * one, one));
    if (sample) memcpy(sample, x, count * sizeof(float));
    for (uint32_t k = 0; k < d->seed_count; k++) mcm_rng_free(rngs[k]);
    mcm_scheduler_free(scheduler);
}

void tiny_conditions(uint32_t batch, mcm_condition conditions[TINY_CONDITIONS]) {
    enum { PIXELS = TINY_SIZE * TINY_SIZE };
    static const char *const names[] = {"sketch", "labels", "photo"};
    static uint8_t pixels[TINY_CONDITIONS][4][PIXELS * 3];
    static mcm_image images[TINY_CONDITIONS][4];
    for (int m = 0; m < TINY_CONDITIONS; m++) {
        for (int k = 0; k < 4; k++) {
            for (int i = 0; i < PIXELS * 3; i++) {
                unsigned value = (unsigned)(i * 37 + k * 101 + i * i * (k + 3)) % 256;
                pixels[m][k][i] = (uint8_t)(m == 1 ? value % TINY_CLASSES : value);
            }
            mcm_image_init(&images[m][k], sizeof(mcm_image));
            images[m][k].data = pixels[m][k];
            images[m][k].width = images[m][k].height = TINY_SIZE;
            images[m][k].channels = m == 2 ? 3 : 1;
        }
        mcm_condition_init(&conditions[m], sizeof(mcm_condition));
        conditions[m].modality = names[m];
        conditions[m].images = images[m];
        conditions[m].image_count = batch;
    }
}

mcm_model *open_fashion_model(uint32_t threads) {
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    options.threads = threads;
    mcm_model *model;
    OK(mcm_model_open(path_in(fashion, "base"), &options, &model));
    return model;
}

mcm_modulator *open_fashion_module(void) {
    mcm_modulator *module;
    OK(mcm_modulator_open(path_in(fashion, "module.mcm.safetensors"), &module));
    return module;
}

void fashion_conditions(uint32_t first, uint32_t batch, mcm_condition conditions[2]) {
    static const char *const names[] = {"sketch", "segmentation"};
    static uint8_t pixels[2][8][28 * 28];
    static mcm_image images[2][8];
    for (int m = 0; m < 2; m++) {
        for (uint32_t k = first; k < first + batch; k++) {
            char name[64];
            snprintf(name, sizeof name, "conditions/%02u_%s.png", (unsigned)k, names[m]);
            OK(mcm_png_read(path_in(fashion, name), pixels[m][k], sizeof pixels[m][k]));
            mcm_image_init(&images[m][k], sizeof(mcm_image));
            images[m][k].data = pixels[m][k];
            images[m][k].width = images[m][k].height = 28;
        }
        mcm_condition_init(&conditions[m], sizeof(mcm_condition));
        conditions[m].modality = names[m];
        conditions[m].images = &images[m][first];
        conditions[m].image_count = batch;
    }
}

const char *path_in(const char *folder, const char *name) {
    static char paths[4][4096];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

void write_file(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

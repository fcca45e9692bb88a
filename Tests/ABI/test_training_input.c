/* Training with wrong input: an error of the right kind, and the trainer as it was. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "training.h"

static struct {
    mcm_model *model;
    mcm_dataset *dataset;
    mcm_bank *bank;
    mcm_trainer *trainer; /* one step taken */
    tiny_batch batch;     /* of three images */
} ok;

static void open_all(void) {
    ok.model = tiny_model_open(&(tiny_model){0}, 1);
    ok.dataset = new_dataset("dataset");
    ok.bank = new_bank(ok.model, ok.dataset, "bank", 10);
    ok.trainer = new_trainer(ok.model, NULL, NULL);
    OK(mcm_trainer_step(ok.trainer, images_of(&ok.batch, 0, 3), NULL));
}

/* Checks, too, that the trainer goes on as one that met no errors. */
static void free_all(void) {
    tiny_batch b;
    mcm_trainer *undisturbed = new_trainer(ok.model, NULL, NULL);
    for (int i = 0; i < 2; i++) OK(mcm_trainer_step(undisturbed, images_of(&b, 0, 3), NULL));
    OK(mcm_trainer_step(ok.trainer, images_of(&b, 0, 3), NULL));
    check_same_and_free(ok.trainer, undisturbed);
    mcm_bank_free(ok.bank);
    mcm_dataset_free(ok.dataset);
    mcm_model_free(ok.model);
}

/* A batch that is refused, by each function that takes one, with and without gradients that wait. */
#define BAD_BATCH(expected, value)                                                             \
    do {                                                                                       \
        REFUSED(expected, ok.trainer, mcm_trainer_step(ok.trainer, value, NULL));              \
        REFUSED(expected, ok.trainer, mcm_trainer_accumulate(ok.trainer, value, NULL));        \
        mcm_trainer *waiting_ = waiting_trainer();                                             \
        REFUSED(expected, waiting_, mcm_trainer_accumulate(waiting_, value, NULL));            \
        mcm_trainer_free(waiting_);                                                            \
    } while (0)

static mcm_trainer *waiting_trainer(void) {
    tiny_batch b;
    mcm_trainer *trainer = new_trainer(ok.model, NULL, NULL);
    OK(mcm_trainer_accumulate(trainer, images_of(&b, 2, 2), NULL));
    return trainer;
}

/* --- Batches --- */

static void training_on_wrong_batches(void) {
    open_all();
    mcm_batch *b = &ok.batch.batch;
    const mcm_batch sound = *b;
    mcm_image images[3];
    tiny_batch other;
    static const uint32_t counts[] = {0, 65537, UINT32_MAX};
    for (int i = 0; i < 3; i++) {
        b->count = counts[i];
        BAD_BATCH(MCM_ERROR_SIZE, b);
    }
    b->count = 2; /* the conditions have three */
    BAD_BATCH(MCM_ERROR_SIZE, b);
    *b = sound;
    b->images = NULL;
    BAD_BATCH(ANY_MISUSE, b); /* neither images nor samples */
    b->samples = samples_of(&other, 0, 3)->samples;
    BAD_BATCH(MCM_ERROR_SIZE, b); /* of no size */
    b->images = sound.images;
    b->width = b->height = SIDE;
    BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b); /* both */
    *b = sound;
    b->reserved = 1;
    BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
    *b = sound;
    mcm_batch s = *samples_of(&other, 0, 3);
    static const size_t sample_counts[] = {0, 1, 3 * SIDE * SIDE - 1, 3 * SIDE * SIDE + 1, SIZE_MAX};
    for (int i = 0; i < 5; i++) {
        s.sample_count = sample_counts[i];
        BAD_BATCH(MCM_ERROR_SIZE, &s);
    }

    memcpy(images, sound.images, sizeof images);
    b->images = images;
    images[1].height = 4;
    BAD_BATCH(MCM_ERROR_SIZE, b);
    for (int i = 0; i < 3; i++) images[i].height = 7; /* no multiple of two */
    BAD_BATCH(MCM_ERROR_SIZE, b);
    memcpy(images, sound.images, sizeof images);
    images[2].data = NULL;
    BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
    memcpy(images, sound.images, sizeof images);
    images[1].dtype = 7;
    BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
    b->images = sound.conditions[2].images; /* in colour */
    BAD_BATCH(ANY_MISUSE, b);

    s = *samples_of(&other, 0, 3);
    static const uint32_t sides[][2] = {{0, 8}, {8, 0}, {7, 8}, {8, 7}, {65537, 8},
                                       {UINT32_MAX, UINT32_MAX}, {65536, 65536}};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        s.width = sides[i][0];
        s.height = sides[i][1];
        BAD_BATCH(MCM_ERROR_SIZE, &s);
    }
    free_all();
}

static void training_on_wrong_conditions(void) {
    open_all();
    mcm_batch *b = &ok.batch.batch;
    mcm_condition *c = ok.batch.conditions, sound = *c;
    const mcm_image *classes = c[1].images;
    static const uint32_t counts[] = {1, 2, 4, UINT32_MAX};
    for (int i = 0; i < 4; i++) {
        c->image_count = counts[i];
        BAD_BATCH(MCM_ERROR_SIZE, b);
    }
    c->image_count = 0;
    BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
    *c = sound;
    c->modality = "depth";
    BAD_BATCH(MCM_ERROR_INCOMPATIBLE, b);
    MESSAGE("depth");
    *c = ok.batch.conditions[1]; /* twice */
    BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
    *c = sound;
    c->modality = "\xff\xfe";
    BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
    c->modality = "line\nfeed";
    BAD_BATCH(MCM_ERROR_INCOMPATIBLE, b);
    c->modality = NULL;
    BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
    *c = sound;
    c->images = NULL;
    BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
    *c = sound;
    ok.batch.conditions[1].images = ok.batch.conditions[2].images; /* colours for classes */
    BAD_BATCH(MCM_ERROR_INCOMPATIBLE, b);
    ok.batch.conditions[1].images = classes;
    static const uint32_t too_many[] = {4, 1000, UINT32_MAX};
    for (int i = 0; i < 3; i++) {
        b->condition_count = too_many[i];
        BAD_BATCH(MCM_ERROR_SIZE, b);
    }
    b->condition_count = CONDITIONS;
    b->conditions = NULL;
    BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
    /* Fewer are fine, and none. */
    mcm_trainer *trainer = new_trainer(ok.model, NULL, NULL);
    b->condition_count = 0;
    OK(mcm_trainer_step(trainer, b, NULL));
    b->conditions = c + 1;
    b->condition_count = 1;
    OK(mcm_trainer_step(trainer, b, NULL));
    mcm_trainer_free(trainer);
    free_all();
}

static void training_on_numbers_that_are_none(void) {
    open_all();
    mcm_batch *b = &ok.batch.batch, s;
    mcm_image image[3], label[3];
    tiny_batch other;
    float values[3][64] = {{0}};
    uint8_t labels[64] = {0};
    static const float none[] = {NAN, INFINITY, -INFINITY};
    s = *samples_of(&other, 0, 3);
    s.samples = values[0];
    mcm_condition *c = &ok.batch.conditions[0];
    const mcm_image *const sketch = c->images, *const images = b->images;
    for (int k = 0; k < 3; k++) {
        image[k] = sketch[k];
        image[k].dtype = MCM_F32;
        image[k].data = values[k];
    }
    for (int i = 0; i < 3; i++) {
        values[2][40] = none[i];
        BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, &s);
        c->images = image;
        BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
        c->images = sketch;
        b->images = image;
        BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
        b->images = images;
    }
    static const float beyond[] = {-0.01f, 1.01f, 255}; /* are pixels of 0..255, forgotten to be divided */
    b->images = image;
    for (int i = 0; i < 3; i++) {
        values[2][40] = beyond[i];
        BAD_BATCH(MCM_ERROR_INVALID_ARGUMENT, b);
        MESSAGE("image 2 holds");
    }
    b->images = images;
    values[2][40] = 0;

    /* Labels beyond the classes, and between them. */
    mcm_condition *l = &ok.batch.conditions[1];
    memcpy(label, l->images, sizeof label);
    l->images = label;
    label[1].data = labels;
    labels[63] = TINY_CLASSES;
    BAD_BATCH(ANY_MISUSE, b);
    labels[63] = 255;
    BAD_BATCH(ANY_MISUSE, b);
    label[1].dtype = MCM_F32;
    label[1].data = values[1];
    static const float no_class[] = {TINY_CLASSES, -1, 0.5f, 1e30f, NAN, INFINITY};
    for (int i = 0; i < 6; i++) {
        values[1][5] = no_class[i];
        BAD_BATCH(ANY_MISUSE, b);
    }
    free_all();
}

/* A loss or a gradient that is not finite: the step is named, and nothing has happened. */
static void training_that_overflows(void) {
    open_all();
    tiny_batch other;
    static float huge[3 * 64];
    float *parameters, *gradients;
    size_t count;
    mcm_batch s = *samples_of(&other, 0, 3);
    s.samples = huge;
    static const float sizes[] = {1e20f, 1e30f, 3e38f};
    for (int i = 0; i < 3; i++) {
        mcm_trainer *trainer = new_trainer(ok.model, NULL, NULL);
        for (int k = 0; k < 3 * 64; k++) huge[k] = k % 3 ? sizes[i] : -sizes[i];
        for (int k = 0; k < 4; k++) {
            trainer_view before = view_of_trainer(trainer);
            mcm_status status = mcm_trainer_step(trainer, &s, NULL);
            float *now;
            OK(mcm_trainer_get_buffers(trainer, &now, NULL, NULL, &count));
            for (size_t p = 0; p < count; p++) CHECK(isfinite(now[p]));
            if (status == MCM_OK) { /* norms may make small numbers of it */
                free_view(&before);
                continue;
            }
            STATUS(MCM_ERROR_STATE, status);
            MESSAGE("step 1");
            check_unchanged(__FILE__, __LINE__, trainer, &before);
        }
        mcm_trainer_free(trainer);
    }

    OK(mcm_trainer_get_buffers(ok.trainer, &parameters, &gradients, NULL, &count));
    mcm_batch *b = &ok.batch.batch;
    static const float bad[] = {NAN, INFINITY, 1e30f, -3e38f};
    for (int i = 0; i < 4; i++) {
        mcm_trainer *trainer = new_trainer(ok.model, NULL, NULL);
        OK(mcm_trainer_step(trainer, b, NULL));
        float *p, *g;
        OK(mcm_trainer_get_buffers(trainer, &p, &g, NULL, NULL));
        for (size_t k = 0; k < count; k++) p[k] = bad[i];
        REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_step(trainer, b, NULL));
        MESSAGE("step 2");
        REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_accumulate(trainer, b, NULL));
        MESSAGE("step 2");
        memcpy(p, parameters, count * sizeof(float));
        OK(mcm_trainer_accumulate(trainer, b, NULL));
        trainer_view good = view_of_trainer(trainer);
        p[count - 1] = bad[i];
        if (i < 2) {
            REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_accumulate(trainer, b, NULL));
            MESSAGE("step 2");
            mcm_modulator *module;
            REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_evaluate(trainer, b, 0, NULL));
            REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_get_modulator(trainer, 0, &module));
            /* Neither file could be read again. */
            REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_save(trainer, path_in(scratch, "none")));
            MESSAGE("after step 1");
            REFUSED(MCM_ERROR_STATE, trainer,
                    mcm_trainer_write_modulator(trainer, path_in(scratch, "none"), 0, MCM_F32));
            MESSAGE("after step 1");
            CHECK(!file_exists(path_in(scratch, "none")));
        }
        p[count - 1] = good.parameters[count - 1];
        g[count / 2] = bad[i];
        if (i < 2) {
            REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_apply(trainer, NULL));
            MESSAGE("step 2");
        }
        g[count / 2] = good.gradients[count / 2];
        check_unchanged(__FILE__, __LINE__, trainer, &good);
        OK(mcm_trainer_apply(trainer, NULL));
        mcm_trainer_free(trainer);
    }
    /* Its square, of which the second moments are made, is not finite. */
    mcm_trainer_options unclipped = quick_options();
    unclipped.clip_norm = 0;
    mcm_trainer *trainer = new_trainer(ok.model, NULL, &unclipped);
    OK(mcm_trainer_accumulate(trainer, b, NULL));
    OK(mcm_trainer_get_buffers(trainer, NULL, &gradients, NULL, NULL));
    gradients[0] = 1e30f;
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_apply(trainer, NULL));
    MESSAGE("step 1");
    mcm_trainer_free(trainer);
    free_all();
}

static void training_out_of_turn(void) {
    open_all();
    mcm_trainer *alone = new_trainer(NULL, ok.bank, NULL), *trainer = waiting_trainer();
    mcm_trainer_options weighted = quick_options();
    mcm_train_options loop = MCM_TRAIN_OPTIONS_INIT;
    const mcm_batch *b = &ok.batch.batch;
    loop.until_step = 5;
    REFUSED(MCM_ERROR_STATE, ok.trainer, mcm_trainer_apply(ok.trainer, NULL));
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_step(trainer, b, NULL));
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_step_dataset(trainer, ok.dataset, NULL, 2, NULL));
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_train(trainer, ok.dataset, NULL, &loop, NULL, NULL));
    /* Nobody could predict. */
    REFUSED(MCM_ERROR_STATE, alone, mcm_trainer_step(alone, b, NULL));
    REFUSED(MCM_ERROR_STATE, alone, mcm_trainer_accumulate(alone, b, NULL));
    REFUSED(MCM_ERROR_STATE, alone, mcm_trainer_step_dataset(alone, ok.dataset, NULL, 2, NULL));
    REFUSED(MCM_ERROR_STATE, alone, mcm_trainer_train(alone, ok.dataset, NULL, &loop, NULL, NULL));
    mcm_trainer_free(trainer);
    mcm_trainer_free(alone);
    /* A bank's timesteps are what they are. */
    weighted.timesteps = MCM_TIMESTEPS_WEIGHTED;
    trainer = new_trainer(ok.model, NULL, &weighted);
    REFUSED(ANY_MISUSE, trainer, mcm_trainer_step_dataset(trainer, ok.dataset, ok.bank, 2, NULL));
    OK(mcm_trainer_step_dataset(trainer, ok.dataset, NULL, 2, NULL));
    mcm_trainer_free(trainer);

    static const uint32_t counts[] = {0, 65537, UINT32_MAX};
    for (int i = 0; i < 3; i++) {
        REFUSED(ANY_MISUSE, ok.trainer, mcm_trainer_step_dataset(ok.trainer, ok.dataset, NULL, counts[i], NULL));
        REFUSED(ANY_MISUSE, ok.trainer,
                mcm_trainer_accumulate_dataset(ok.trainer, ok.dataset, ok.bank, counts[i], NULL));
        loop.batch = counts[i];
        REFUSED(ANY_MISUSE, ok.trainer, mcm_trainer_train(ok.trainer, ok.dataset, NULL, &loop, NULL, NULL));
        loop.batch = 2;
        loop.accumulate = counts[i];
        REFUSED(ANY_MISUSE, ok.trainer, mcm_trainer_train(ok.trainer, ok.dataset, NULL, &loop, NULL, NULL));
        loop.accumulate = 1;
    }
    loop.until_step = UINT64_MAX;
    REFUSED(MCM_ERROR_INVALID_ARGUMENT, ok.trainer, mcm_trainer_train(ok.trainer, ok.dataset, NULL, &loop, NULL, NULL));
    loop.until_step = 5;
    loop.save_path = "\xff\xfe";
    REFUSED(MCM_ERROR_INVALID_ARGUMENT, ok.trainer, mcm_trainer_train(ok.trainer, ok.dataset, NULL, &loop, NULL, NULL));

    mcm_losses losses = MCM_LOSSES_INIT;
    static const int32_t kinds[] = {0, 4, -1, INT32_MAX, MCM_LOSSES_TIMESTEP, MCM_LOSSES_GIVEN, MCM_LOSSES_WITHHELD};
    static const uint32_t indices[] = {0, 0, 0, 0, 10, CONDITIONS, UINT32_MAX};
    for (int i = 0; i < 7; i++)
        REFUSED(MCM_ERROR_INVALID_ARGUMENT, ok.trainer,
                mcm_trainer_get_losses(ok.trainer, kinds[i], indices[i], &losses));
    CHECK(losses.count == 0 && losses.loss == 0);
    const char *path = path_in(scratch, "no_type");
    static const int32_t types[] = {0, MCM_U8, 4, -1, INT32_MIN};
    for (int i = 0; i < 5; i++)
        REFUSED(MCM_ERROR_INVALID_ARGUMENT, ok.trainer, mcm_trainer_write_modulator(ok.trainer, path, 0, types[i]));
    CHECK(!file_exists(path));
    free_all();
}

const test training_input_tests[] = {
    {"training_on_wrong_batches", training_on_wrong_batches},
    {"training_on_wrong_conditions", training_on_wrong_conditions},
    {"training_on_numbers_that_are_none", training_on_numbers_that_are_none},
    {"training_that_overflows", training_that_overflows},
    {"training_out_of_turn", training_out_of_turn},
    {NULL, NULL},
};

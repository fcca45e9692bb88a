/* Training is the same, bit by bit, with any number of threads and stops, and beside others; with ranks to rounding. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "training.h"

enum { MOMENTS = 12 };

/* The k-th thing that is done; gradients wait after some. */
static void do_one(mcm_trainer *trainer, int k, int alone) {
    tiny_batch b;
    switch (k % 6) {
    case 0:
        if (alone)
            OK(mcm_trainer_step(trainer, images_of(&b, 0, 5), NULL));
        else
            OK(mcm_trainer_accumulate(trainer, images_of(&b, 0, 5), NULL));
        break;
    case 1: OK(mcm_trainer_accumulate(trainer, samples_of(&b, 3, 3), NULL)); break;
    case 2: OK(mcm_trainer_accumulate_dataset(trainer, dataset, bank, 4, NULL)); break;
    case 3: OK(mcm_trainer_apply(trainer, NULL)); break;
    case 4: OK(mcm_trainer_accumulate_dataset(trainer, dataset, NULL, 7, NULL)); break;
    case 5:
        OK(mcm_trainer_apply(trainer, NULL));
        if (alone) OK(mcm_trainer_step_dataset(trainer, dataset, bank, 9, NULL));
        break;
    }
}

static void training_goes_on_as_if_never_stopped(void) {
    open_sources(2);
    const char *path = path_in(scratch, "stopped");
    mcm_trainer_options options = quick_options();
    options.total_steps = 20;
    options.warmup_steps = 3;
    for (int stop = 0; stop <= MOMENTS; stop++) {
        options.ema_decay = stop % 2 ? 0.99f : 0;
        options.world = 1 + (uint32_t)stop % 3;
        options.rank = options.world - 1;
        mcm_trainer *through = new_trainer(model, NULL, &options), *stopped = new_trainer(model, NULL, &options);
        for (int k = 0; k < MOMENTS; k++) do_one(through, k, options.world == 1);
        for (int k = 0; k < MOMENTS; k++) {
            if (k != stop && stop != MOMENTS) { /* or at every moment */
                do_one(stopped, k, options.world == 1);
                continue;
            }
            mcm_trainer_state before = state_of_trainer(stopped);
            OK(mcm_trainer_save(stopped, path));
            mcm_trainer_free(stopped);
            OK(mcm_trainer_resume(model, NULL, path, NULL, &stopped));
            mcm_trainer_state after = state_of_trainer(stopped);
            SAME(&before, &after, sizeof before);
            do_one(stopped, k, options.world == 1);
        }
        check_same_and_free(through, stopped);
    }
    free_sources();
}

/* A base and a module large enough for their work to be shared out. */
static void training_does_not_depend_on_threads(void) {
    static const uint32_t threads[] = {1, 2, 3, 8};
    static const char *const config =
        "{\"net\":{\"sample_size\":28,\"block_out_channels\":[8,16,16],\"layers_per_block\":1,\"norm_num_groups\":4,"
        "\"attention_head_dim\":8,\"down_block_types\":[\"DownBlock2D\",\"AttnDownBlock2D\",\"DownBlock2D\"],"
        "\"up_block_types\":[\"UpBlock2D\",\"AttnUpBlock2D\",\"UpBlock2D\"]},\"prediction_channels\":1,"
        "\"modalities\":[{\"name\":\"sketch\",\"channels\":1},{\"name\":\"labels\",\"channels\":5},"
        "{\"name\":\"photo\",\"channels\":3}]}";
    static float samples[5 * 784];
    bytes first = {NULL, 0};
    mcm_trainer_options options = quick_options();
    for (int i = 0; i < 5 * 784; i++) samples[i] = sinf((float)i * 0.07f);
    for (int k = 0; k < 4; k++) {
        tiny_batch b;
        mcm_trainer *trainer;
        mcm_model *fashion_model = open_fashion_model(threads[k]);
        mcm_batch batch = *samples_of(&b, 0, 5);
        batch.samples = samples;
        batch.sample_count = sizeof samples / sizeof *samples;
        batch.width = batch.height = 28;
        OK(mcm_trainer_create(fashion_model, NULL, config, &options, &trainer));
        mcm_model_free(fashion_model); /* the trainer keeps what it needs */
        OK(mcm_trainer_step(trainer, &batch, NULL));
        batch.count = 1;
        batch.sample_count = 784;
        for (int m = 0; m < CONDITIONS; m++) b.conditions[m].image_count = 1;
        OK(mcm_trainer_step(trainer, &batch, NULL));
        bytes file = saved(trainer);
        if (k > 0) CHECK(same_bytes(&file, &first));
        free(k > 0 ? file.data : NULL);
        if (k == 0) first = file;
        mcm_trainer_free(trainer);
    }
    free(first.data);
    /* Without a model the trainer has threads of its own. */
    open_sources(1);
    for (int k = 0; k < 4; k++) {
        options.threads = threads[k];
        mcm_trainer *trainer = new_trainer(NULL, bank, &options);
        for (int i = 0; i < 4; i++) OK(mcm_trainer_step_dataset(trainer, dataset, bank, 8, NULL));
        bytes file = saved(trainer);
        if (k > 0) CHECK(same_bytes(&file, &first));
        free(k > 0 ? file.data : NULL);
        if (k == 0) first = file;
        mcm_trainer_free(trainer);
    }
    free(first.data);
    free_sources();
}

/* --- Several processes, several threads --- */

enum { ON_IMAGES, ON_SAMPLES, ON_DATASET, ON_BANK, KINDS };

/* Examples number `first` .. of the caller's, or the next ones of the data set. */
static void accumulate_on(int kind, mcm_trainer *trainer, uint32_t first, uint32_t count) {
    tiny_batch b;
    const mcm_batch *batch = (kind == ON_SAMPLES ? samples_of : images_of)(&b, first, count);
    if (kind < ON_DATASET) OK(mcm_trainer_accumulate(trainer, batch, NULL));
    const mcm_bank *of = kind == ON_BANK ? bank : NULL;
    if (kind >= ON_DATASET) OK(mcm_trainer_accumulate_dataset(trainer, dataset, of, count, NULL));
}

/* Ranks that average their gradients learn what one does with all their examples, and stay equal bit by bit. */
static void training_on_two_ranks(void) {
    open_sources(1);
    for (int kind = ON_IMAGES; kind < KINDS; kind++) {
        mcm_trainer *ranks[2], *one = new_trainer(model, NULL, NULL);
        float *parameters[3], *gradients[2];
        size_t count;
        for (uint32_t r = 0; r < 2; r++) {
            mcm_trainer_options options = quick_options();
            options.world = 2;
            options.rank = r;
            ranks[r] = new_trainer(model, NULL, &options);
            OK(mcm_trainer_get_buffers(ranks[r], &parameters[r], &gradients[r], NULL, &count));
        }
        OK(mcm_trainer_get_buffers(one, &parameters[2], NULL, NULL, NULL));
        double largest = 0, difference = 0;
        for (uint32_t i = 0; i < 6; i++) {
            for (uint32_t r = 0; r < 2; r++) accumulate_on(kind, ranks[r], 6 * (i % 2) + 3 * r, 3);
            for (size_t k = 0; k < count; k++)
                gradients[0][k] = gradients[1][k] = (gradients[0][k] + gradients[1][k]) / 2;
            for (int r = 0; r < 2; r++) OK(mcm_trainer_apply(ranks[r], NULL));
            SAME(parameters[0], parameters[1], count * sizeof(float));
            accumulate_on(kind, one, 6 * (i % 2), 6);
            OK(mcm_trainer_apply(one, NULL));
            CHECK(state_of_trainer(ranks[1]).examples == state_of_trainer(one).examples);
        }
        for (size_t k = 0; k < count; k++) {
            largest = fmax(largest, fabs(parameters[2][k]));
            difference = fmax(difference, fabs(parameters[2][k] - parameters[0][k]));
        }
        if (difference > 1e-4 * largest) printf("    kind %d: %g of %g\n", kind, difference, largest);
        CHECK(difference <= 1e-4 * largest);
        for (int r = 0; r < 2; r++) mcm_trainer_free(ranks[r]);
        mcm_trainer_free(one);
    }
    free_sources();
}

static void *train_a_while(void *trainer) {
    for (int k = 0; k < 4 * MOMENTS; k++) do_one(trainer, k, 1);
    return NULL;
}

static void training_in_two_threads(void) {
    open_sources(2);
    images_of(&(tiny_batch){.batch = {0}}, 0, 1); /* the examples are made once */
    mcm_trainer *together[2], *alone[2];
    pthread_t threads[2];
    for (uint32_t i = 0; i < 2; i++) {
        mcm_trainer_options options = quick_options();
        options.seed = i;
        together[i] = new_trainer(model, NULL, &options);
        alone[i] = new_trainer(model, NULL, &options);
        train_a_while(alone[i]);
    }
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, train_a_while, together[i]) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < 2; i++) check_same_and_free(together[i], alone[i]);
    free_sources();
}

const test training_bit_tests[] = {
    {"training_goes_on_as_if_never_stopped", training_goes_on_as_if_never_stopped},
    {"training_does_not_depend_on_threads", training_does_not_depend_on_threads},
    {"training_on_two_ranks", training_on_two_ranks},
    {"training_in_two_threads", training_in_two_threads},
    {NULL, NULL},
};

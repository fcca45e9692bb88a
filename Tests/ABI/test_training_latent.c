/* Training modules for latent models, with and without texts: data sets with prompts, encoded data sets, banks. */
#define _GNU_SOURCE /* mkdir */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "allocations.h"
#include "check.h"
#include "drawing.h"
#include "latent.h"
#include "training.h"

enum { TEXTS = 3, TOKENS = 5 };

static uint8_t colours[EXAMPLES][IMAGE_BYTES], outlines[EXAMPLES][IMAGE_SIDE * IMAGE_SIDE];
static float states[EXAMPLES * TOKENS * 16], pooled[EXAMPLES * POOLED_CHANNELS];
static int32_t texts_of_examples[EXAMPLES];

static void make_numbers(void) {
    for (int k = 0; k < EXAMPLES; k++) {
        for (int i = 0; i < IMAGE_BYTES; i++) colours[k][i] = (uint8_t)(i * (k + 3) + 17 * k);
        for (int i = 0; i < IMAGE_SIDE * IMAGE_SIDE; i++) outlines[k][i] = (i + k) % 5 == 0 ? 255 : 0;
        texts_of_examples[k] = (k * 2 + 1) % TEXTS;
    }
    some_numbers(1, states, sizeof states / sizeof *states);
    some_numbers(2, pooled, sizeof pooled / sizeof *pooled);
}

/* Images, outlines, and with prompts those of a kind of model. */
enum { MOST_TENSORS = 5 };
static int tensors_of(latent_kind kind, file_tensor tensors[MOST_TENSORS]) {
    make_numbers();
    int count = 0;
    uint64_t channels = kind == STABLE_DIFFUSION_XL ? 16 : 8;
    if (kind != LATENT_DIFFUSION) {
        tensors[count++] = (file_tensor){"prompt_embeds", "F32", 3, {TEXTS, TOKENS, channels}, states,
                                         TEXTS * TOKENS * channels * sizeof(float)};
        if (kind == STABLE_DIFFUSION_XL)
            tensors[count++] = (file_tensor){"pooled_prompt_embeds", "F32", 2, {TEXTS, POOLED_CHANNELS}, pooled,
                                             TEXTS * POOLED_CHANNELS * sizeof(float)};
        tensors[count++] = (file_tensor){"prompt_index", "I32", 1, {EXAMPLES}, texts_of_examples,
                                         sizeof texts_of_examples};
    }
    tensors[count++] = (file_tensor){"images", "U8", 4, {EXAMPLES, IMAGE_SIDE, IMAGE_SIDE, 3}, colours, sizeof colours};
    tensors[count++] = (file_tensor){"sketch", "U8", 4, {EXAMPLES, IMAGE_SIDE, IMAGE_SIDE, 1}, outlines,
                                     sizeof outlines};
    return count;
}

static mcm_status open_tensors(const file_tensor *tensors, int count, const char *name, mcm_dataset **out) {
    bytes file = safetensors_file(tensors, count);
    const char *path = path_in(scratch, name);
    write_file(path, file.data, file.size);
    free(file.data);
    return mcm_dataset_open(path, out);
}

static mcm_dataset *latent_dataset(latent_kind kind) {
    file_tensor tensors[MOST_TENSORS];
    mcm_dataset *data;
    static const char *const names[LATENT_KINDS] = {"images of sd", "images to paint", "images of xl", "images of ldm"};
    OK(open_tensors(tensors, tensors_of(kind, tensors), names[kind], &data));
    return data;
}

static mcm_dataset *encoded_dataset(const mcm_model *model, const mcm_dataset *images, const char *name) {
    mcm_dataset *data;
    const char *path = path_in(scratch, name);
    OK(mcm_dataset_encode(images, model, path, NULL, NULL));
    OK(mcm_dataset_open(path, &data));
    return data;
}

static mcm_dataset_info info_of(const mcm_dataset *data) {
    mcm_dataset_info info = MCM_DATASET_INFO_INIT;
    OK(mcm_dataset_get_info(data, &info));
    return info;
}

static mcm_status create(const mcm_model *model, const mcm_bank *bank, uint32_t channels, mcm_trainer **out) {
    char config[1024];
    mcm_trainer_options options = quick_options();
    options.threads = model ? 0 : 1;
    sprintf(config,
            "{\"net\":{\"sample_size\":4,\"block_out_channels\":[4],\"layers_per_block\":1,\"norm_num_groups\":1,"
            "\"attention_head_dim\":4,\"down_block_types\":[\"DownBlock2D\"],\"up_block_types\":[\"UpBlock2D\"]},"
            "\"prediction_channels\":%u,\"scale_offset\":1.0,\"presence_flags\":true,\"modalities\":["
            "{\"name\":\"sketch\",\"channels\":1,\"encoding\":\"grey\",\"resize\":\"area\"}]}",
            channels);
    return mcm_trainer_create(model, bank, config, &options, out);
}

static mcm_trainer *trainer_for(const mcm_model *model) {
    mcm_trainer *trainer;
    OK(create(model, NULL, model_info(model).channels, &trainer));
    return trainer;
}

/* --- Encoding --- */

static uint64_t seen;
static int32_t count_examples(void *user, uint64_t done, uint64_t count) {
    CHECK(count == EXAMPLES && done == seen + 1);
    seen = done;
    return user && done == *(const uint64_t *)user;
}

static void datasets_are_encoded(void) {
    for (int kind = 0; kind < LATENT_KINDS; kind++) {
        mcm_model *model = latent_model_open(&(latent_model){.kind = (latent_kind)kind}, 2);
        mcm_dataset *images = latent_dataset((latent_kind)kind), *samples;
        const char *path = path_in(scratch, "samples");
        seen = 0;
        OK(mcm_dataset_encode(images, model, path, count_examples, NULL));
        CHECK(seen == EXAMPLES);
        OK(mcm_dataset_open(path, &samples));
        mcm_dataset_info info = info_of(samples);
        uint32_t channels = model_info(model).channels;
        CHECK(info.width == LATENT_SIDE && info.height == LATENT_SIDE && info.channels == channels);
        CHECK(info.count == EXAMPLES && info.modality_count == 1);
        CHECK(strcmp(info.fingerprint, info_of(images).fingerprint) != 0);
        /* Samples come first: they are the widest with the prompts. Look for those of the last image. */
        bytes file = read_file(path), again;
        size_t count = (size_t)channels * 16, found = 0;
        float expected[64];
        mcm_image image = picture(0);
        image.data = colours[EXAMPLES - 1];
        OK(mcm_model_encode(model, &image, 1, expected, count));
        for (size_t at = header_end(&file); at + 4 * count <= file.size; at += 4)
            found += memcmp(file.data + at, expected, 4 * count) == 0;
        CHECK(found == 1);
        /* The same bytes again, over itself, and from a model whose parts come on demand. */
        OK(mcm_dataset_encode(images, model, path, NULL, NULL));
        again = read_file(path);
        CHECK(same_bytes(&file, &again));
        free(file.data);
        free(again.data);
        STATUS(MCM_ERROR_INCOMPATIBLE, mcm_dataset_encode(samples, model, path_in(scratch, "none"), NULL, NULL));
        CHECK(!file_exists(path_in(scratch, "none")));
        mcm_dataset_free(samples);
        mcm_dataset_free(images);
        mcm_model_free(model);
    }
}

static void datasets_that_are_not_encoded(void) {
    mcm_model *model = latent_model_open(&(latent_model){0}, 1), *grey = tiny_model_open(&(tiny_model){0}, 1);
    mcm_dataset *images = latent_dataset(STABLE_DIFFUSION), *bad;
    const char *path = path_in(scratch, "not encoded");
    uint64_t end = 5;
    seen = 0;
    STATUS(MCM_CANCELLED, mcm_dataset_encode(images, model, path, count_examples, &end));
    CHECK(seen == 5 && !file_exists(path));
    seen = 0;
    end = EXAMPLES;
    STATUS(MCM_CANCELLED, mcm_dataset_encode(images, model, path, count_examples, &end));
    CHECK(!file_exists(path));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_dataset_encode(images, grey, path, NULL, NULL));
    STATUS(MCM_ERROR_IO, mcm_dataset_encode(images, model, path_in(path, "in no folder"), NULL, NULL));
    CHECK(mkdir(path, 0777) == 0);
    STATUS(MCM_ERROR_IO, mcm_dataset_encode(images, model, path, NULL, NULL));
    INVALID(mcm_dataset_encode(images, model, "\xff", NULL, NULL));
    INVALID(mcm_dataset_encode(NULL, model, path, NULL, NULL));
    INVALID(mcm_dataset_encode(images, NULL, path, NULL, NULL));
    INVALID(mcm_dataset_encode(images, model, NULL, NULL, NULL));
    mcm_dataset_free(images);

    path = path_in(scratch, "not encoded either");
    file_tensor tensor = {"images", "U8", 4, {2, 7, 8, 3}, colours, 2 * 7 * 8 * 3};
    OK(open_tensors(&tensor, 1, "odd", &bad));
    STATUS(MCM_ERROR_SIZE, mcm_dataset_encode(bad, model, path, NULL, NULL));
    mcm_dataset_free(bad);
    float values[2 * IMAGE_BYTES] = {0};
    for (int i = 0; i < 2; i++) {
        values[IMAGE_BYTES + 3] = i ? 1.5f : NAN;
        tensor = (file_tensor){"images", "F32", 4, {2, 8, 8, 3}, values, sizeof values};
        OK(open_tensors(&tensor, 1, "floats", &bad));
        STATUS(MCM_ERROR_FORMAT, mcm_dataset_encode(bad, model, path, NULL, NULL));
        MESSAGE("example 1");
        mcm_dataset_free(bad);
    }
    CHECK(!file_exists(path));
    mcm_model_free(model);
    mcm_model_free(grey);
}

/* --- Data sets with prompts --- */

static void prompts_of_data_sets(void) {
    static const struct {
        const char *name, *dtype;
        int rank;
        uint64_t shape[4];
        size_t size;
        mcm_status status;
    } all[] = {
        {"prompt_embeds", "F32", 3, {1, TOKENS, 8}, 160, MCM_OK},
        {"prompt_embeds", "F32", 3, {EXAMPLES, TOKENS, 8}, 160 * EXAMPLES, MCM_OK},
        {"prompt_embeds", "F16", 3, {1, TOKENS, 8}, 80, MCM_OK},
        {"prompt_embeds", "F32", 3, {2, TOKENS, 8}, 320, MCM_ERROR_FORMAT}, /* whose are they? */
        {"prompt_embeds", "F32", 2, {TOKENS, 8}, 160, MCM_ERROR_FORMAT},
        {"prompt_embeds", "F32", 3, {0, TOKENS, 8}, 0, MCM_ERROR_FORMAT},
        {"prompt_embeds", "F32", 3, {1, 0, 8}, 0, MCM_ERROR_FORMAT},
        {"prompt_embeds", "U8", 3, {1, TOKENS, 8}, 40, MCM_ERROR_FORMAT},
        {"prompt_embeds", "I32", 3, {1, TOKENS, 8}, 160, MCM_ERROR_FORMAT},
        {"prompt_index", "I32", 1, {EXAMPLES}, 4 * EXAMPLES, MCM_ERROR_FORMAT}, /* of no prompts */
        {"pooled_prompt_embeds", "F32", 2, {1, 6}, 24, MCM_ERROR_FORMAT},
    };
    file_tensor tensors[MOST_TENSORS], some[MOST_TENSORS];
    mcm_dataset *data = NULL;
    int count = tensors_of(LATENT_DIFFUSION, tensors);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        some[0] = (file_tensor){all[i].name, all[i].dtype, all[i].rank, {0}, states, all[i].size};
        memcpy(some[0].shape, all[i].shape, sizeof all[i].shape);
        memcpy(some + 1, tensors, (size_t)count * sizeof *tensors);
        STATUS(all[i].status, open_tensors(some, count + 1, "prompts", &data));
        if (data) CHECK(info_of(data).modality_count == 1);
        mcm_dataset_free(data);
        data = NULL;
    }
    count = tensors_of(STABLE_DIFFUSION_XL, tensors);
    for (int i = 0; i < 5; i++) {
        memcpy(some, tensors, sizeof some);
        switch (i) {
        case 0: some[1].shape[0] = 2, some[1].size = 48; break;                     /* pooled of fewer texts */
        case 1: some[1].rank = 1, some[1].shape[0] = 18; break;
        case 2: some[2].shape[0] = EXAMPLES - 1, some[2].size -= 4; break;          /* an example without */
        case 3: some[2].dtype = "F32"; break;
        case 4: some[2].dtype = "I64", some[2].shape[0] = EXAMPLES / 2; break;
        }
        STATUS(MCM_ERROR_FORMAT, open_tensors(some, count, "prompts", &data));
    }
}

/* Texts that only show to be wrong when they are read. */
static void prompts_of_data_sets_that_are_wrong_inside(void) {
    mcm_model *model = latent_model_open(&(latent_model){0}, 1);
    file_tensor tensors[MOST_TENSORS];
    mcm_dataset *data;
    int count = tensors_of(STABLE_DIFFUSION, tensors);
    for (int i = 0; i < 6; i++) {
        make_numbers();
        static const int32_t rows[] = {-1, TEXTS, INT32_MAX, INT32_MIN};
        if (i < 4) texts_of_examples[4] = rows[i];
        if (i == 4) states[1 * TOKENS * 8 + 3] = NAN;
        if (i == 5) states[1 * TOKENS * 8 + 3] = INFINITY;
        OK(open_tensors(tensors, count, "wrong inside", &data));
        mcm_trainer *trainer = trainer_for(model);
        mcm_bank_options record = MCM_BANK_OPTIONS_INIT;
        record.count = EXAMPLES;
        REFUSED(MCM_ERROR_FORMAT, trainer, mcm_trainer_step_dataset(trainer, data, NULL, EXAMPLES, NULL));
        REFUSED(MCM_ERROR_FORMAT, trainer, mcm_trainer_evaluate_dataset(trainer, data, NULL, EXAMPLES, 0, NULL));
        mcm_trainer_free(trainer);
        mcm_dataset *samples = encoded_dataset(model, data, "wrong samples");
        STATUS(MCM_ERROR_FORMAT, mcm_bank_record(model, samples, path_in(scratch, "wrong bank"), &record, NULL, NULL));
        remove(path_in(scratch, "wrong bank.part"));
        mcm_dataset_free(samples);
        mcm_dataset_free(data);
    }
    mcm_model_free(model);
}

/* --- Training --- */

/* A few steps, from images, from samples, and from a bank: with any number of threads the same. */
static void latent_training_gives_the_same_bits(void) {
    static const latent_kind kinds[] = {STABLE_DIFFUSION, STABLE_DIFFUSION_XL, LATENT_DIFFUSION};
    for (int i = 0; i < 3; i++)
        for (int source = 0; source < 3; source++) {
            bytes files[2];
            for (int k = 0; k < 2; k++) {
                mcm_model *model = latent_model_open(&(latent_model){.kind = kinds[i]}, k == 0 ? 1 : 3);
                mcm_dataset *images = latent_dataset(kinds[i]);
                mcm_dataset *samples = encoded_dataset(model, images, k == 0 ? "samples 1" : "samples 3");
                mcm_bank *recorded = source == 2 ? new_bank(model, samples, k == 0 ? "bank 1" : "bank 3", 20) : NULL;
                mcm_trainer *trainer = trainer_for(model);
                mcm_train_report report = MCM_TRAIN_REPORT_INIT;
                for (int step = 0; step < 3; step++)
                    OK(mcm_trainer_step_dataset(trainer, source == 0 ? images : samples, recorded, 4, &report));
                CHECK(report.step == 3 && report.examples == 12 && isfinite(report.loss) && report.base_loss > 0);
                files[k] = saved(trainer);
                if (recorded) { /* and without the model */
                    mcm_trainer *alone;
                    OK(create(NULL, recorded, model_info(model).channels, &alone));
                    for (int step = 0; step < 3; step++)
                        OK(mcm_trainer_step_dataset(alone, samples, recorded, 4, NULL));
                    check_same_and_free(trainer, alone);
                } else {
                    mcm_trainer_free(trainer);
                }
                mcm_bank_free(recorded);
                mcm_dataset_free(images);
                mcm_dataset_free(samples);
                mcm_model_free(model);
            }
            CHECK(same_bytes(&files[0], &files[1]));
            free(files[0].data);
            free(files[1].data);
        }
}

/* Images are encoded as mcm_dataset_encode does it: both learn the same. Texts matter. */
static void images_train_as_their_samples_do(void) {
    mcm_model *model = latent_model_open(&(latent_model){0}, 2);
    mcm_dataset *images = latent_dataset(STABLE_DIFFUSION), *samples = encoded_dataset(model, images, "as samples");
    mcm_trainer *a = trainer_for(model), *b = trainer_for(model);
    mcm_train_report first = MCM_TRAIN_REPORT_INIT, second = MCM_TRAIN_REPORT_INIT;
    OK(mcm_trainer_step_dataset(a, images, NULL, EXAMPLES, &first));
    OK(mcm_trainer_step_dataset(b, samples, NULL, EXAMPLES, &second));
    CHECK(first.loss == second.loss && first.base_loss == second.base_loss);
    bytes x = saved(a), y = saved(b);
    CHECK(same_bytes(&x, &y));
    free(x.data);
    free(y.data);
    mcm_trainer_free(a);
    mcm_trainer_free(b);
    mcm_dataset_free(samples);
    /* The same with a batch of the caller's own, and its prompt. */
    mcm_image views[EXAMPLES], sketches[EXAMPLES];
    float prompts[EXAMPLES * TOKENS * 8];
    for (int k = 0; k < EXAMPLES; k++) {
        views[k] = picture(0);
        views[k].data = colours[k];
        sketches[k] = half_mask();
        sketches[k].data = outlines[k];
        memcpy(prompts + k * TOKENS * 8, states + texts_of_examples[k] * TOKENS * 8, TOKENS * 8 * sizeof(float));
    }
    mcm_prompt *prompt, *other;
    OK(mcm_prompt_create(EXAMPLES, TOKENS, 8, prompts, EXAMPLES * TOKENS * 8, 0, NULL, 0, &prompt));
    OK(mcm_prompt_create(1, TOKENS, 8, prompts, TOKENS * 8, 0, NULL, 0, &other));
    mcm_condition condition = MCM_CONDITION_INIT;
    condition.modality = "sketch";
    condition.images = sketches;
    condition.image_count = EXAMPLES;
    mcm_batch batch = MCM_BATCH_INIT;
    batch.count = EXAMPLES;
    batch.images = views;
    batch.conditions = &condition;
    batch.condition_count = 1;
    batch.prompt = prompt;
    a = trainer_for(model), b = trainer_for(model);
    OK(mcm_trainer_evaluate(a, &batch, 0, &first));
    OK(mcm_trainer_evaluate_dataset(b, images, NULL, EXAMPLES, 0, &second));
    CHECK(first.loss == second.loss && first.base_loss == second.base_loss);
    batch.prompt = other;
    OK(mcm_trainer_evaluate(a, &batch, 0, &second));
    CHECK(first.base_loss != second.base_loss);
    OK(mcm_trainer_step(a, &batch, NULL));
    OK(mcm_trainer_accumulate(a, &batch, NULL));

    /* Wrong texts. */
    mcm_prompt *wide, *two;
    OK(mcm_prompt_create(1, TOKENS, 16, prompts, TOKENS * 16, 0, NULL, 0, &wide));
    OK(mcm_prompt_create(2, TOKENS, 8, prompts, 2 * TOKENS * 8, 0, NULL, 0, &two));
    batch.prompt = NULL;
    REFUSED(MCM_ERROR_STATE, b, mcm_trainer_step(b, &batch, NULL));
    batch.struct_size = 56; /* of the first header */
    REFUSED(MCM_ERROR_STATE, b, mcm_trainer_step(b, &batch, NULL));
    batch.struct_size = sizeof batch;
    batch.prompt = wide;
    REFUSED(MCM_ERROR_INCOMPATIBLE, b, mcm_trainer_step(b, &batch, NULL));
    batch.prompt = two;
    REFUSED(MCM_ERROR_SIZE, b, mcm_trainer_accumulate(b, &batch, NULL));
    REFUSED(MCM_ERROR_SIZE, b, mcm_trainer_evaluate(b, &batch, 0, NULL));
    batch.prompt = other;
    views[3].width = views[3].height = 4;
    REFUSED(MCM_ERROR_SIZE, b, mcm_trainer_step(b, &batch, NULL));
    for (int k = 0; k < EXAMPLES; k++) views[k].width = 7, views[k].height = 8;
    REFUSED(MCM_ERROR_SIZE, b, mcm_trainer_step(b, &batch, NULL));
    mcm_prompt_free(prompt);
    mcm_prompt_free(other);
    mcm_prompt_free(wide);
    mcm_prompt_free(two);
    mcm_trainer_free(a);
    mcm_trainer_free(b);
    mcm_dataset_free(images);
    mcm_model_free(model);
}

static void latent_training_that_cannot_be(void) {
    mcm_model *sd = latent_model_open(&(latent_model){0}, 1);
    mcm_model *plain = latent_model_open(&(latent_model){.kind = LATENT_DIFFUSION}, 1);
    mcm_model *painter = latent_model_open(&(latent_model){.kind = INPAINTING}, 1);
    mcm_dataset *images = latent_dataset(STABLE_DIFFUSION), *without = latent_dataset(LATENT_DIFFUSION);
    mcm_dataset *of_xl = latent_dataset(STABLE_DIFFUSION_XL);
    mcm_bank_options record = MCM_BANK_OPTIONS_INIT;
    mcm_trainer *trainer = NULL;
    record.count = 4;
    STATUS(MCM_ERROR_UNSUPPORTED, create(painter, NULL, 4, &trainer));
    STATUS(MCM_ERROR_INCOMPATIBLE, create(sd, NULL, 3, &trainer));
    CHECK(trainer == NULL);
    /* A bank is of samples, even where images have as many channels. */
    const char *path = path_in(scratch, "impossible bank");
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_bank_record(plain, without, path, &record, NULL, NULL));
    FAILS(mcm_bank_record(sd, images, path, &record, NULL, NULL));
    CHECK(!file_exists(path));
    trainer = trainer_for(sd);
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_step_dataset(trainer, without, NULL, 2, NULL)); /* no texts */
    REFUSED(ANY_ERROR, trainer, mcm_trainer_step_dataset(trainer, of_xl, NULL, 2, NULL));
    mcm_dataset *samples = encoded_dataset(sd, images, "samples of sd");
    mcm_dataset *bare = encoded_dataset(sd, without, "samples without texts");
    STATUS(MCM_ERROR_STATE, mcm_bank_record(sd, bare, path, &record, NULL, NULL));
    remove(path_in(scratch, "impossible bank.part"));
    mcm_trainer *of_plain = trainer_for(plain);
    REFUSED(MCM_ERROR_INCOMPATIBLE, of_plain, mcm_trainer_step_dataset(of_plain, samples, NULL, 2, NULL));
    /* A bank of other texts. */
    mcm_bank *recorded = new_bank(sd, samples, "bank of sd", 8);
    REFUSED(MCM_ERROR_INCOMPATIBLE, trainer, mcm_trainer_step_dataset(trainer, bare, recorded, 2, NULL));
    REFUSED(MCM_ERROR_INCOMPATIBLE, trainer, mcm_trainer_step_dataset(trainer, images, recorded, 2, NULL));
    OK(mcm_trainer_step_dataset(trainer, samples, recorded, 2, NULL));
    mcm_bank_free(recorded);
    mcm_trainer_free(trainer);
    mcm_trainer_free(of_plain);
    mcm_dataset_free(images);
    mcm_dataset_free(without);
    mcm_dataset_free(of_xl);
    mcm_dataset_free(samples);
    mcm_dataset_free(bare);
    mcm_model_free(sd);
    mcm_model_free(plain);
    mcm_model_free(painter);
}

/* What was learned works in a session of the model, on the guided prediction and before guidance. */
static void what_was_learned_is_attached(void) {
    mcm_model *model = latent_model_open(&(latent_model){0}, 2);
    mcm_dataset *images = latent_dataset(STABLE_DIFFUSION);
    mcm_trainer *trainer = trainer_for(model);
    mcm_modulator *module;
    for (int i = 0; i < 2; i++) OK(mcm_trainer_step_dataset(trainer, images, NULL, 6, NULL));
    OK(mcm_trainer_get_modulator(trainer, 0, &module));
    OK(mcm_modulator_check(module, model));
    mcm_prompt *prompt = encoded(model, "a cat");
    mcm_image sketch = half_mask();
    mcm_condition condition = MCM_CONDITION_INIT;
    condition.modality = "sketch";
    condition.images = &sketch;
    float ends[3][64];
    for (int i = 0; i < 3; i++) {
        mcm_session_options options = MCM_SESSION_OPTIONS_INIT;
        options.scheduler = MCM_SCHEDULER_DDIM;
        options.steps = 3;
        options.modulate = i == 1 ? MCM_MODULATE_CONDITIONAL : MCM_MODULATE_GUIDED;
        mcm_session *session;
        uint64_t seed = 1;
        uint32_t id;
        OK(mcm_session_create(model, &options, &session));
        OK(mcm_session_set_prompt(session, prompt, NULL));
        OK(mcm_session_seed(session, &seed, 1));
        if (i < 2) {
            OK(mcm_session_attach(session, module, NULL, &id));
            OK(mcm_session_set_condition(session, id, &condition));
        }
        OK(mcm_session_run(session, NULL, NULL));
        OK(mcm_session_get_sample(session, ends[i], 64));
        mcm_session_free(session);
    }
    CHECK(memcmp(ends[0], ends[1], sizeof ends[0]) != 0 && memcmp(ends[0], ends[2], sizeof ends[0]) != 0);
    mcm_prompt_free(prompt);
    mcm_modulator_free(module);
    mcm_trainer_free(trainer);
    mcm_dataset_free(images);
    mcm_model_free(model);
}

/* Refused memory: the trainer is as it was, a data set is not written. */
static void latent_training_without_memory(void) {
    if (!allocations_are_seen()) return;
    mcm_model *model = latent_model_open(&(latent_model){.kind = STABLE_DIFFUSION_XL}, 2);
    mcm_dataset *images = latent_dataset(STABLE_DIFFUSION_XL);
    const char *path = path_in(scratch, "refused samples");
    for (unsigned k = 1, refused = 1; refused; k += 3) {
        refuse_tensors(k, ~0u);
        mcm_status status = mcm_dataset_encode(images, model, path, NULL, NULL);
        refused = counted().refused > 0;
        refuse_nothing();
        STATUS(refused ? MCM_ERROR_OUT_OF_MEMORY : MCM_OK, status);
        CHECK(file_exists(path) == !refused);
    }
    mcm_trainer *undisturbed = trainer_for(model);
    OK(mcm_trainer_step_dataset(undisturbed, images, NULL, 3, NULL));
    for (unsigned k = 1, refused = 1; refused; k += 5) {
        mcm_trainer *trainer = trainer_for(model);
        trainer_view before = view_of_trainer(trainer);
        refuse_tensors(k, ~0u);
        mcm_status status = mcm_trainer_step_dataset(trainer, images, NULL, 3, NULL);
        refused = counted().refused > 0;
        refuse_nothing();
        STATUS(refused ? MCM_ERROR_OUT_OF_MEMORY : MCM_OK, status);
        if (refused) {
            check_unchanged(__FILE__, __LINE__, trainer, &before);
            mcm_trainer_free(trainer);
        } else {
            free_view(&before);
            check_same_and_free(trainer, undisturbed);
        }
    }
    mcm_dataset_free(images);
    mcm_model_free(model);
}

const test training_latent_tests[] = {
    {"datasets_are_encoded", datasets_are_encoded},
    {"datasets_that_are_not_encoded", datasets_that_are_not_encoded},
    {"prompts_of_data_sets", prompts_of_data_sets},
    {"prompts_of_data_sets_that_are_wrong_inside", prompts_of_data_sets_that_are_wrong_inside},
    {"latent_training_gives_the_same_bits", latent_training_gives_the_same_bits},
    {"images_train_as_their_samples_do", images_train_as_their_samples_do},
    {"latent_training_that_cannot_be", latent_training_that_cannot_be},
    {"what_was_learned_is_attached", what_was_learned_is_attached},
    {"latent_training_without_memory", latent_training_without_memory},
    {NULL, NULL},
};

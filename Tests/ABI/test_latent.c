/* Latent models: what is said of them, images and samples, and the three levels of drawing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "latent_session.h"

static void latent_model_infos(void) {
    for (int kind = 0; kind < LATENT_KINDS; kind++) {
        latent_model description = {.kind = (latent_kind)kind};
        mcm_model *model = latent_model_open(&description, 1), *from_disk;
        mcm_model_info info = model_info(model);
        int reads_text = kind != LATENT_DIFFUSION, is_xl = kind == STABLE_DIFFUSION_XL;
        CHECK(info.width == LATENT_SIDE && info.height == LATENT_SIDE && info.scale == LATENT_SCALE);
        CHECK(info.channels == (reads_text ? 4u : 3u) && info.image_channels == 3);
        CHECK(info.prediction_channels == info.channels);
        CHECK(info.input_channels == (kind == INPAINTING ? 9u : info.channels));
        CHECK(info.text_channels == (!reads_text ? 0u : is_xl ? 2u * TEXT_CHANNELS : TEXT_CHANNELS));
        CHECK(info.pooled_channels == (is_xl ? POOLED_CHANNELS : 0) && info.time_id_count == (is_xl ? 6u : 0u));
        CHECK(info.encodes_text == reads_text && info.rounding_error == 0);
        CHECK(info.parameter_count > 1000 && info.memory_bytes >= 4 * info.parameter_count);
        OK(mcm_model_open(latent_model_write(&description, "model"), NULL, &from_disk));
        mcm_model_info other = model_info(from_disk);
        CHECK(strcmp(info.fingerprint, other.fingerprint) == 0 && other.parameter_count == info.parameter_count);
        mcm_model_free(from_disk);
        mcm_model_free(model);
    }
}

/* The struct of earlier headers: less is written. */
static void latent_model_options_are_checked(void) {
    latent_model description = {0};
    const char *folder = latent_model_write(&description, "options");
    mcm_model *model = NULL;
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    static const int32_t types[] = {-1, 4, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 4; i++) {
        options.prediction_type = types[i];
        INVALID(mcm_model_open(folder, &options, &model));
    }
    for (int32_t type = MCM_PREDICTION_EPSILON; type <= MCM_PREDICTION_V; type++) {
        options.prediction_type = type;
        OK(mcm_model_open(folder, &options, &model));
        CHECK(model_info(model).prediction_type == type);
        mcm_model_free(model);
    }
    model = NULL;
    options.prediction_type = 0;
    options.reserved = 1;
    INVALID(mcm_model_open(folder, &options, &model));
    options.reserved = 0;
    static const char *const variants[] = {"fp16", ".", "../unet", "%s", "a b", "\xc3\xa9"};
    for (int i = 0; i < 6; i++) {
        options.variant = variants[i];
        STATUS(ANY_DATA, mcm_model_open(folder, &options, &model));
    }
    options.variant = "\xff";
    INVALID(mcm_model_open(folder, &options, &model));
    options.variant = NULL;
    options.tokenizer = "\xff";
    INVALID(mcm_model_open(folder, &options, &model));
    options.tokenizer = "of no use to a folder";
    OK(mcm_model_open(folder, &options, &model));
    mcm_model_free(model);
    options.tokenizer = NULL;
    latent_files files = latent_model_files(&description);
    options.on_demand = 1;
    model = NULL;
    INVALID(mcm_model_open_memory(files.files, files.count, &options, &model));
    free_latent_files(&files);
    CHECK(model == NULL);
}

static void weights_of_8_bits(void) {
    const char *folder = latent_model_write(&(latent_model){0}, "int8");
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    mcm_model *exact, *rounded;
    OK(mcm_model_open(folder, &options, &exact));
    options.int8_weights = 1;
    OK(mcm_model_open(folder, &options, &rounded));
    mcm_model_info a = model_info(exact), b = model_info(rounded);
    CHECK(b.rounding_error >= 0 && b.rounding_error < 0.02f && b.memory_bytes <= a.memory_bytes);
    CHECK(strcmp(a.fingerprint, b.fingerprint) == 0);
    latent_end(latent_session(rounded, NULL, 1));
    mcm_model_free(exact);
    mcm_model_free(rounded);
}

static const uint8_t four[4 * IMAGE_SIDE * IMAGE_SIDE]; /* an image of four channels */

static void images_and_samples(void) {
    for (int kind = 0; kind < LATENT_KINDS; kind++) {
        mcm_model *model = latent_model_open(&(latent_model){.kind = (latent_kind)kind}, 2);
        size_t one = (size_t)model_info(model).channels * LATENT_SIDE * LATENT_SIDE;
        float both[2 * 64], alone[64];
        uint8_t pixels[IMAGE_BYTES];
        mcm_image images[] = {picture(0), picture(1)};
        OK(mcm_model_encode(model, images, 2, both, 2 * one));
        for (int i = 0; i < 2; i++) {
            OK(mcm_model_encode(model, &images[i], 1, alone, one));
            SAME(alone, both + (size_t)i * one, one * sizeof(float));
            OK(mcm_model_decode(model, LATENT_SIDE, LATENT_SIDE, alone, one, pixels, IMAGE_BYTES));
        }
        static const size_t wrong[] = {0, 1, LATENT_SIDE * LATENT_SIDE, IMAGE_BYTES - 1, SIZE_MAX};
        for (int i = 0; i < 5; i++) {
            STATUS(MCM_ERROR_SIZE, mcm_model_encode(model, images, 1, both, wrong[i]));
            STATUS(MCM_ERROR_SIZE, mcm_model_decode(model, 4, 4, both, wrong[i], pixels, IMAGE_BYTES));
            STATUS(MCM_ERROR_SIZE, mcm_model_decode(model, 4, 4, both, one, pixels, wrong[i]));
        }
        STATUS(MCM_ERROR_SIZE, mcm_model_decode(model, 8, 8, both, one, pixels, IMAGE_BYTES));
        STATUS(MCM_ERROR_SIZE, mcm_model_decode(model, UINT32_MAX, UINT32_MAX, both, one, pixels, IMAGE_BYTES));
        STATUS(MCM_ERROR_SIZE, mcm_model_decode(model, 0, 0, both, 0, pixels, 0));
        mcm_image odd = images[0];
        odd.width = 7;
        STATUS(MCM_ERROR_SIZE, mcm_model_encode(model, &odd, 1, both, one));
        odd.width = 1;
        odd.height = 1;
        STATUS(MCM_ERROR_SIZE, mcm_model_encode(model, &odd, 1, both, one));
        odd = images[0];
        odd.channels = 4;
        odd.data = four;
        STATUS(MCM_ERROR_SIZE, mcm_model_encode(model, &odd, 1, both, one));
        float bad[IMAGE_BYTES] = {NAN};
        odd = images[0];
        odd.dtype = MCM_F32;
        odd.data = bad;
        INVALID(mcm_model_encode(model, &odd, 1, both, one));
        mcm_model_free(model);
    }
}

/* Without guidance, for each kind that reads no mask: session, own loop and one call make the same image. */
static void latent_levels_agree(void) {
    static const latent_kind kinds[] = {STABLE_DIFFUSION, STABLE_DIFFUSION_XL, LATENT_DIFFUSION};
    for (int i = 0; i < 3; i++) {
        mcm_model *model = latent_model_open(&(latent_model){.kind = kinds[i]}, 2);
        mcm_model_info info = model_info(model);
        size_t count = (size_t)info.channels * LATENT_SIDE * LATENT_SIDE;
        mcm_session_options options = latent_options();
        options.guidance_scale = 1;
        mcm_session *session = latent_session(model, &options, 1);
        uint8_t expected_pixels[IMAGE_BYTES], pixels[IMAGE_BYTES];
        float expected_sample[64], x[64], e[64];
        OK(mcm_session_run(session, NULL, NULL));
        OK(mcm_session_get_sample(session, expected_sample, count));
        OK(mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, expected_pixels, IMAGE_BYTES));
        mcm_session_free(session);

        mcm_rng *rng;
        mcm_scheduler *scheduler;
        mcm_predict_options predict = MCM_PREDICT_OPTIONS_INIT;
        mcm_prompt *prompt = info.text_channels > 0 ? encoded(model, "a cat") : NULL;
        predict.prompt = prompt;
        OK(mcm_rng_create(7, &rng));
        OK(mcm_rng_normal(rng, x, count));
        OK(mcm_scheduler_create(model, MCM_SCHEDULER_DDIM, LATENT_STEPS, 0, &scheduler));
        for (uint32_t step = 0; step < LATENT_STEPS; step++) {
            mcm_step_info info_of_step = MCM_STEP_INFO_INIT;
            OK(mcm_scheduler_get_step(scheduler, step, &info_of_step));
            OK(mcm_model_predict_with(model, 1, LATENT_SIDE, LATENT_SIDE, x, count, &info_of_step.timestep, &predict, e,
                                      count));
            OK(mcm_scheduler_step(scheduler, step, 1, x, count, e, count, NULL, x, NULL));
        }
        SAME(x, expected_sample, count * sizeof(float));
        OK(mcm_model_decode(model, LATENT_SIDE, LATENT_SIDE, x, count, pixels, IMAGE_BYTES));
        SAME(pixels, expected_pixels, IMAGE_BYTES);

        uint64_t seed = 7;
        mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
        generate.session = &options;
        generate.seeds = &seed;
        generate.seed_count = 1;
        generate.prompt = "a cat";
        OK(mcm_generate(model, &generate, pixels, IMAGE_BYTES));
        SAME(pixels, expected_pixels, IMAGE_BYTES);
        for (size_t wrong = 0; wrong < 2; wrong++)
            STATUS(MCM_ERROR_SIZE, mcm_generate(model, &generate, pixels, wrong == 0 ? count : IMAGE_BYTES + 1));
        mcm_rng_free(rng);
        mcm_scheduler_free(scheduler);
        mcm_prompt_free(prompt);
        mcm_model_free(model);
    }
}

static void predictions_with_a_prompt(void) {
    mcm_model *model = latent_model_open(&(latent_model){.kind = STABLE_DIFFUSION_XL}, 2);
    float x[2 * 64], both[2 * 64], e[2 * 64], ids[2 * 6], times[2] = {10, 700};
    some_numbers(1, x, 128);
    mcm_prompt *prompt = encoded(model, "a cat");
    mcm_predict_options options = MCM_PREDICT_OPTIONS_INIT;
    options.prompt = prompt;
    OK(mcm_model_predict_with(model, 2, 4, 4, x, 128, times, &options, both, 128));
    for (int i = 0; i < 2; i++) {
        OK(mcm_model_predict_with(model, 1, 4, 4, x + 64 * i, 64, times + i, &options, e, 64));
        SAME(e, both + 64 * i, 64 * sizeof(float));
    }
    for (int i = 0; i < 12; i++) ids[i] = i % 6 == 2 || i % 6 == 3 ? 0 : IMAGE_SIDE;
    options.time_ids = ids; /* those of a whole image */
    OK(mcm_model_predict_with(model, 2, 4, 4, x, 128, times, &options, e, 128));
    SAME(e, both, sizeof both);
    ids[0] = 100;
    OK(mcm_model_predict_with(model, 2, 4, 4, x, 128, times, &options, e, 128));
    CHECK(memcmp(e, both, 64 * sizeof(float)) != 0);
    SAME(e + 64, both + 64, 64 * sizeof(float));
    ids[11] = NAN;
    INVALID(mcm_model_predict_with(model, 2, 4, 4, x, 128, times, &options, e, 128));
    options.time_ids = NULL;
    options.timestep_cond = x;
    options.timestep_cond_count = 3; /* this model takes none */
    STATUS(MCM_ERROR_SIZE, mcm_model_predict_with(model, 2, 4, 4, x, 128, times, &options, e, 128));
    options.timestep_cond = NULL;
    options.class_input = x;
    options.class_input_count = 3;
    MISUSE(mcm_model_predict_with(model, 2, 4, 4, x, 128, times, &options, e, 128));
    options.class_input = NULL;
    options.class_input_count = 0;
    options.prompt = NULL;
    STATUS(MCM_ERROR_STATE, mcm_model_predict_with(model, 2, 4, 4, x, 128, times, &options, e, 128));
    STATUS(MCM_ERROR_STATE, mcm_model_predict_with(model, 2, 4, 4, x, 128, times, NULL, e, 128));
    STATUS(MCM_ERROR_STATE, mcm_model_predict(model, 2, 4, 4, x, 128, times, NULL, 0, e, 128));
    STATUS(MCM_ERROR_SIZE, mcm_model_predict_with(model, 2, 4, 4, x, 127, times, &options, e, 128));
    STATUS(MCM_ERROR_SIZE, mcm_model_predict_with(model, 2, 4, 4, x, 128, times, &options, e, 64));
    mcm_prompt_free(prompt);

    float numbers[3 * 5 * 16], pooled[3 * 6];
    some_numbers(2, numbers, 240);
    some_numbers(3, pooled, 18);
    static const struct {
        uint32_t count, channels, pooled;
        mcm_status status;
    } prompts[] = {{1, 16, 6, MCM_OK},
                   {2, 16, 6, MCM_OK},
                   {3, 16, 6, MCM_ERROR_SIZE},
                   {1, 8, 6, MCM_ERROR_INCOMPATIBLE},
                   {1, 16, 0, MCM_ERROR_INCOMPATIBLE},
                   {1, 16, 5, MCM_ERROR_INCOMPATIBLE}};
    for (int i = 0; i < 6; i++) {
        uint32_t n = prompts[i].count, c = prompts[i].channels, p = prompts[i].pooled;
        OK(mcm_prompt_create(n, 5, c, numbers, n * 5 * c, p, p ? pooled : NULL, n * p, &prompt));
        options.prompt = prompt;
        STATUS(prompts[i].status, mcm_model_predict_with(model, 2, 4, 4, x, 128, times, &options, e, 128));
        mcm_prompt_free(prompt);
    }
    mcm_model *plain = latent_model_open(&(latent_model){.kind = LATENT_DIFFUSION}, 1);
    options.prompt = prompt = encoded(model, "a cat");
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_model_predict_with(plain, 1, 4, 4, x, 48, times, &options, e, 48));
    MESSAGE("reads no text");
    mcm_prompt_free(prompt);
    mcm_model_free(plain);
    mcm_model_free(model);
}

/* An inpainting network reads nine channels. */
static void predictions_of_an_inpainting_model(void) {
    mcm_model *model = latent_model_open(&(latent_model){.kind = INPAINTING}, 1);
    float x[9 * 16], e[4 * 16], t = 500;
    some_numbers(1, x, 144);
    mcm_predict_options options = MCM_PREDICT_OPTIONS_INIT;
    mcm_prompt *prompt = encoded(model, "");
    options.prompt = prompt;
    OK(mcm_model_predict_with(model, 1, 4, 4, x, 144, &t, &options, e, 64));
    STATUS(MCM_ERROR_SIZE, mcm_model_predict_with(model, 1, 4, 4, x, 64, &t, &options, e, 64));
    STATUS(MCM_ERROR_SIZE, mcm_model_predict_with(model, 1, 4, 4, x, 144, &t, &options, e, 144));
    mcm_prompt_free(prompt);
    mcm_model_free(model);
}

const test latent_tests[] = {
    {"latent_model_infos", latent_model_infos},
    {"latent_model_options_are_checked", latent_model_options_are_checked},
    {"weights_of_8_bits", weights_of_8_bits},
    {"images_and_samples", images_and_samples},
    {"latent_levels_agree", latent_levels_agree},
    {"predictions_with_a_prompt", predictions_with_a_prompt},
    {"predictions_of_an_inpainting_model", predictions_of_an_inpainting_model},
    {NULL, NULL},
};

/* Sessions of models that read texts: prompts, guidance, sizes. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "latent_session.h"

static mcm_model *sd, *xl;

static void open_models(void) {
    sd = latent_model_open(&(latent_model){0}, 2);
    xl = latent_model_open(&(latent_model){.kind = STABLE_DIFFUSION_XL}, 2);
}

static void free_models(void) {
    mcm_model_free(sd);
    mcm_model_free(xl);
}

/* The result of a run with these options. */
static latent_view end_with(const mcm_model *model, mcm_session_options options) {
    return latent_end(latent_session(model, &options, 1));
}

static void guidance_options(void) {
    open_models();
    mcm_session_options options = latent_options();
    options.guidance_scale = 7.5f;
    latent_view plain = end_with(sd, latent_options()), same = end_with(sd, options);
    CHECK(same_view(&plain, &same)); /* the default */
    for (int32_t passes = 1; passes <= 2; passes++) {
        options.guidance_passes = passes;
        same = end_with(sd, options);
        CHECK(same_view(&plain, &same));
    }
    options = latent_options();
    options.tile_above = UINT32_MAX;
    same = end_with(sd, options);
    CHECK(same_view(&plain, &same));
    options = latent_options();
    options.guidance_scale = 5;
    latent_view of_xl = end_with(xl, latent_options()), five = end_with(xl, options);
    latent_view five_of_sd = end_with(sd, options);
    CHECK(same_view(&of_xl, &five) && !same_view(&plain, &five_of_sd));
    options.guidance_rescale = 0.7f;
    latent_view rescaled = end_with(xl, options);
    CHECK(!same_view(&rescaled, &five));
    options = latent_options();
    options.guidance_scale = 1;
    latent_view unguided = end_with(sd, options);
    CHECK(!same_view(&unguided, &plain));
    options.guidance_scale = 0.5f; /* no guidance either, as in diffusers */
    same = end_with(sd, options);
    CHECK(same_view(&unguided, &same));
    free_models();
}

static void guidance_options_out_of_range(void) {
    open_models();
    mcm_session *session = NULL;
    static const float bad[] = {NAN, INFINITY, -INFINITY, -1, -0.1f};
    for (int i = 0; i < 5; i++) {
        mcm_session_options options = latent_options();
        options.guidance_scale = bad[i];
        INVALID(mcm_session_create(sd, &options, &session));
        options = latent_options();
        options.guidance_rescale = bad[i];
        INVALID(mcm_session_create(sd, &options, &session));
        options.guidance_rescale = 1.01f;
        INVALID(mcm_session_create(sd, &options, &session));
        options = latent_options();
        options.strength = bad[i];
        INVALID(mcm_session_create(sd, &options, &session));
        options.strength = 1.01;
        INVALID(mcm_session_create(sd, &options, &session));
    }
    static const int32_t other[] = {-1, 3, 7, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 5; i++) {
        mcm_session_options options = latent_options();
        options.guidance_passes = other[i];
        INVALID(mcm_session_create(sd, &options, &session));
        options = latent_options();
        options.modulate = other[i];
        INVALID(mcm_session_create(sd, &options, &session));
    }
    mcm_session_options options = latent_options();
    options.reserved = 1;
    INVALID(mcm_session_create(sd, &options, &session));
    static const uint32_t sizes[][2] = {{7, 8}, {8, 9}, {1, 1}, {UINT32_MAX, 8}, {0xfffffffe, 0xfffffffe}, {0, 3}};
    for (int i = 0; i < 6; i++) {
        options = latent_options();
        options.width = sizes[i][0];
        options.height = sizes[i][1];
        FAILS(mcm_session_create(sd, &options, &session));
    }
    options = latent_options();
    options.batch = UINT32_MAX;
    STATUS(MCM_ERROR_SIZE, mcm_session_create(sd, &options, &session));
    CHECK(session == NULL);
    /* What is not finite is no result: the session stays where it was. */
    options = latent_options();
    options.guidance_scale = 3e38f;
    session = latent_session(sd, &options, 1);
    float large[64];
    for (int i = 0; i < 64; i++) large[i] = 3e38f;
    OK(mcm_session_set_sample(session, large, 64));
    UNCHANGED(MCM_ERROR_INVALID_ARGUMENT, session, mcm_session_step(session));
    mcm_session_free(session);
    free_models();
}

/* Options of the first headers, which end before these. */
static void earlier_session_options(void) {
    open_models();
    latent_view plain = end_with(sd, latent_options());
    static const uint32_t sizes[] = {28, 40};
    for (int i = 0; i < 2; i++) {
        mcm_session_options options = latent_options();
        memset((char *)&options + sizes[i], 0xff, sizeof options - sizes[i]); /* not read */
        options.struct_size = sizes[i];
        latent_view same = end_with(sd, options);
        CHECK(same_view(&plain, &same));
    }
    mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
    memset((char *)&generate + 72, 0xff, sizeof generate - 72);
    generate.struct_size = 72;
    mcm_session_options options = latent_options();
    generate.session = &options;
    uint8_t pixels[IMAGE_BYTES];
    OK(mcm_generate(sd, &generate, pixels, IMAGE_BYTES));
    free_models();
}

static void steps_need_a_prompt(void) {
    open_models();
    mcm_model *const models[] = {sd, xl};
    for (int i = 0; i < 2; i++) {
        mcm_session *session;
        mcm_session_options options = latent_options();
        uint64_t seed = 1;
        OK(mcm_session_create(models[i], &options, &session));
        OK(mcm_session_seed(session, &seed, 1));
        UNCHANGED(MCM_ERROR_STATE, session, mcm_session_step(session));
        UNCHANGED(MCM_ERROR_STATE, session, mcm_session_run(session, NULL, NULL));
        mcm_prompt *prompt = encoded(models[i], "a dog");
        OK(mcm_session_set_prompt(session, prompt, NULL));
        mcm_prompt_free(prompt);
        latent_end(session);
    }
    free_models();
}

/* NULL is an empty text, but zeros for Stable Diffusion XL. */
static void negative_prompts(void) {
    open_models();
    static const float zeros[CHUNK * 16 + 6];
    mcm_prompt *prompt = encoded(sd, "a cat"), *negative = encoded(sd, "");
    mcm_session *session = latent_session(sd, NULL, 1);
    OK(mcm_session_set_prompt(session, prompt, negative));
    latent_view with = latent_end(session), without = latent_end(latent_session(sd, NULL, 1));
    CHECK(same_view(&with, &without));
    mcm_prompt_free(prompt);
    mcm_prompt_free(negative);

    prompt = encoded(xl, "a cat");
    OK(mcm_prompt_create(1, CHUNK, 16, zeros, CHUNK * 16, 6, zeros, 6, &negative));
    session = latent_session(xl, NULL, 1);
    OK(mcm_session_set_prompt(session, prompt, negative));
    with = latent_end(session), without = latent_end(latent_session(xl, NULL, 1));
    CHECK(same_view(&with, &without));
    mcm_prompt_free(negative);
    negative = encoded(xl, "");
    session = latent_session(xl, NULL, 1);
    OK(mcm_session_set_prompt(session, prompt, negative));
    with = latent_end(session);
    CHECK(!same_view(&with, &without));
    mcm_prompt_free(prompt);
    mcm_prompt_free(negative);
    free_models();
}

/* Of different lengths they are read one after the other. */
static void prompts_of_different_lengths(void) {
    open_models();
    float numbers[20 * TEXT_CHANNELS];
    some_numbers(4, numbers, 20 * TEXT_CHANNELS);
    mcm_prompt *prompt = encoded(sd, "a cat"), *negative;
    OK(mcm_prompt_create(1, 20, TEXT_CHANNELS, numbers, 20 * TEXT_CHANNELS, 0, NULL, 0, &negative));
    latent_view views[3];
    for (int32_t passes = 0; passes < 3; passes++) {
        mcm_session_options options = latent_options();
        options.guidance_passes = passes;
        mcm_session *session = latent_session(sd, &options, 1);
        OK(mcm_session_set_prompt(session, prompt, negative));
        views[passes] = latent_end(session);
    }
    CHECK(same_view(&views[0], &views[1]) && same_view(&views[0], &views[2]));
    mcm_prompt_free(prompt);
    mcm_prompt_free(negative);
    free_models();
}

/* Image k of a batch with prompts of its own is what it is alone. */
static void a_prompt_for_each_image(void) {
    open_models();
    mcm_model *const models[] = {sd, xl};
    for (int m = 0; m < 2; m++) {
        static const char *const texts[] = {"a cat", "some dogs"};
        static const uint64_t seeds[] = {3, 4};
        mcm_session_options options = latent_options();
        options.batch = 2;
        mcm_session *session;
        mcm_prompt *prompt;
        OK(mcm_session_create(models[m], &options, &session));
        OK(mcm_prompt_encode(models[m], texts, 2, NULL, &prompt));
        OK(mcm_session_set_prompt(session, prompt, NULL));
        mcm_prompt_free(prompt);
        OK(mcm_session_seed(session, seeds, 2));
        latent_view both = latent_end(session);
        for (int i = 0; i < 2; i++) {
            session = latent_session(models[m], NULL, 0);
            prompt = encoded(models[m], texts[i]);
            OK(mcm_session_set_prompt(session, prompt, NULL));
            mcm_prompt_free(prompt);
            OK(mcm_session_seed(session, &seeds[i], 1));
            latent_view alone = latent_end(session);
            SAME(alone.x, both.x + 64 * i, 64 * sizeof(float));
        }
    }
    free_models();
}

static void prompts_change_between_steps(void) {
    open_models();
    latent_view first = latent_end(latent_session(sd, NULL, 1));
    mcm_session *session = latent_session(sd, NULL, 1);
    mcm_prompt *cat = encoded(sd, "a cat"), *dog = encoded(sd, "a dog");
    OK(mcm_session_step(session));
    OK(mcm_session_set_prompt(session, dog, NULL));
    OK(mcm_session_set_prompt(session, cat, NULL));
    OK(mcm_session_step(session));
    latent_view same = latent_end(session);
    CHECK(same_view(&first, &same));
    session = latent_session(sd, NULL, 1);
    OK(mcm_session_step(session));
    OK(mcm_session_set_prompt(session, dog, cat));
    latent_view other = latent_end(session);
    CHECK(!same_view(&first, &other));
    mcm_prompt_free(cat);
    mcm_prompt_free(dog);
    free_models();
}

static void prompts_that_do_not_fit(void) {
    open_models();
    mcm_model *plain = latent_model_open(&(latent_model){.kind = LATENT_DIFFUSION}, 1);
    mcm_session *session = latent_session(sd, NULL, 1);
    mcm_prompt *cat = encoded(sd, "a cat"), *of_xl = encoded(xl, "a cat"), *two;
    static const char *const texts[] = {"a", "b"};
    OK(mcm_prompt_encode(sd, texts, 2, NULL, &two));
    OK(mcm_session_step(session));
    UNCHANGED(MCM_ERROR_INCOMPATIBLE, session, mcm_session_set_prompt(session, of_xl, NULL));
    UNCHANGED(MCM_ERROR_INCOMPATIBLE, session, mcm_session_set_prompt(session, cat, of_xl));
    UNCHANGED(MCM_ERROR_SIZE, session, mcm_session_set_prompt(session, two, NULL));
    UNCHANGED(MCM_ERROR_SIZE, session, mcm_session_set_prompt(session, cat, two));
    /* After all that it has the prompt that it had. */
    latent_view end = latent_end(session), expected = latent_end(latent_session(sd, NULL, 1));
    CHECK(same_view(&end, &expected));
    session = latent_session(plain, NULL, 1);
    UNCHANGED(MCM_ERROR_INCOMPATIBLE, session, mcm_session_set_prompt(session, cat, NULL));
    latent_end(session);
    mcm_prompt_free(cat);
    mcm_prompt_free(of_xl);
    mcm_prompt_free(two);
    mcm_model_free(plain);

    /* Without text encoders a negative prompt must be given, if there is guidance. */
    mcm_model *bare = latent_model_open(&(latent_model){.without_text_encoder = 1}, 1);
    mcm_session_options options = latent_options();
    uint64_t seed = 7;
    cat = encoded(sd, "a cat"), two = encoded(sd, "");
    OK(mcm_session_create(bare, &options, &session));
    OK(mcm_session_seed(session, &seed, 1));
    UNCHANGED(MCM_ERROR_STATE, session, mcm_session_set_prompt(session, cat, NULL));
    OK(mcm_session_set_prompt(session, cat, two));
    end = latent_end(session);
    CHECK(same_view(&end, &expected));
    options.guidance_scale = 1;
    OK(mcm_session_create(bare, &options, &session));
    OK(mcm_session_seed(session, &seed, 1));
    OK(mcm_session_set_prompt(session, cat, NULL));
    latent_end(session);
    uint8_t pixels[IMAGE_BYTES];
    mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
    generate.prompt = "a cat";
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_generate(bare, &generate, pixels, IMAGE_BYTES));
    mcm_prompt_free(cat);
    mcm_prompt_free(two);
    mcm_model_free(bare);
    free_models();
}

static void time_ids(void) {
    open_models();
    float ids[6] = {IMAGE_SIDE, IMAGE_SIDE, 0, 0, IMAGE_SIDE, IMAGE_SIDE}, bad[6] = {1, 2, 3, 4, 5, NAN};
    latent_view plain = latent_end(latent_session(xl, NULL, 1));
    mcm_session *session = latent_session(xl, NULL, 1);
    OK(mcm_session_set_time_ids(session, ids, ids, 6));
    OK(mcm_session_step(session));
    UNCHANGED(MCM_ERROR_INVALID_ARGUMENT, session, mcm_session_set_time_ids(session, bad, ids, 6));
    UNCHANGED(MCM_ERROR_INVALID_ARGUMENT, session, mcm_session_set_time_ids(session, ids, bad, 6));
    static const size_t counts[] = {0, 5, 7, 12, SIZE_MAX};
    for (int i = 0; i < 5; i++)
        UNCHANGED(MCM_ERROR_SIZE, session, mcm_session_set_time_ids(session, ids, ids, counts[i]));
    latent_view same = latent_end(session);
    CHECK(same_view(&plain, &same));
    session = latent_session(xl, NULL, 1);
    ids[2] = 300;
    OK(mcm_session_set_time_ids(session, ids, ids, 6));
    latent_view other = latent_end(session);
    CHECK(!same_view(&plain, &other));
    session = latent_session(sd, NULL, 1);
    STATUS(MCM_ERROR_SIZE, mcm_session_set_time_ids(session, ids, ids, 6));
    latent_end(session);
    free_models();
}

/* What the callback of a run may do to prompts, and what it may not. */
static mcm_prompt *for_callback;

static int32_t change_prompt(void *user, mcm_session *session, uint32_t step, uint32_t steps) {
    (void)user, (void)steps;
    uint64_t seed = 1;
    uint8_t pixels[IMAGE_BYTES];
    OK(mcm_session_set_prompt(session, for_callback, NULL));
    STATUS(MCM_ERROR_STATE, mcm_session_seed(session, &seed, 1));
    STATUS(MCM_ERROR_STATE, mcm_session_step(session));
    OK(mcm_session_decode(session, MCM_DECODE_PREVIEW, 0, pixels, 3 * LATENT_SIDE * LATENT_SIDE));
    OK(mcm_session_decode(session, MCM_DECODE_X0, 0, pixels, IMAGE_BYTES));
    return step == 3;
}

static void prompts_change_in_a_callback(void) {
    open_models();
    for_callback = encoded(sd, "a cat");
    latent_view expected = latent_end(latent_session(sd, NULL, 1));
    mcm_session *session = latent_session(sd, NULL, 1);
    STATUS(MCM_CANCELLED, mcm_session_run(session, change_prompt, NULL));
    latent_view same = latent_end(session);
    CHECK(same_view(&expected, &same));
    mcm_prompt_free(for_callback);
    free_models();
}

static void decoding_latents(void) {
    open_models();
    mcm_session_options options = latent_options();
    options.batch = 2;
    options.guidance_scale = 1;
    uint8_t pixels[IMAGE_BYTES], again[IMAGE_BYTES];
    enum { PREVIEW_BYTES = 3 * LATENT_SIDE * LATENT_SIDE };
    mcm_session *session = latent_session(sd, &options, 0);
    for (int32_t what = MCM_DECODE_SAMPLE; what <= MCM_DECODE_PREVIEW; what++)
        STATUS(MCM_ERROR_STATE,
               mcm_session_decode(session, what, 0, pixels, what == MCM_DECODE_PREVIEW ? PREVIEW_BYTES : IMAGE_BYTES));
    uint64_t seed = 1;
    OK(mcm_session_seed(session, &seed, 1));
    STATUS(MCM_ERROR_STATE, mcm_session_decode(session, MCM_DECODE_PREVIEW, 0, pixels, PREVIEW_BYTES));
    OK(mcm_session_step(session));
    static const size_t sizes[] = {0, PREVIEW_BYTES - 1, PREVIEW_BYTES + 1, 2 * IMAGE_BYTES, SIZE_MAX};
    for (int i = 0; i < 5; i++)
        for (int32_t what = MCM_DECODE_SAMPLE; what <= MCM_DECODE_PREVIEW; what++)
            STATUS(MCM_ERROR_SIZE, mcm_session_decode(session, what, 0, pixels, sizes[i]));
    STATUS(MCM_ERROR_SIZE, mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, pixels, PREVIEW_BYTES));
    STATUS(MCM_ERROR_SIZE, mcm_session_decode(session, MCM_DECODE_PREVIEW, 0, pixels, IMAGE_BYTES));
    INVALID(mcm_session_decode(session, MCM_DECODE_PREVIEW, 2, pixels, PREVIEW_BYTES));
    INVALID(mcm_session_decode(session, MCM_DECODE_X0, UINT32_MAX, pixels, IMAGE_BYTES));
    INVALID(mcm_session_decode(session, 3, 0, pixels, PREVIEW_BYTES));
    INVALID(mcm_session_decode(session, -1, 0, pixels, PREVIEW_BYTES));
    OK(mcm_session_decode(session, MCM_DECODE_PREVIEW, 1, pixels, PREVIEW_BYTES));
    OK(mcm_session_decode(session, MCM_DECODE_PREVIEW, 1, again, PREVIEW_BYTES));
    SAME(pixels, again, PREVIEW_BYTES);
    mcm_session_state state = latent_view_of(session).state;
    CHECK(state.image_width == IMAGE_SIDE && state.image_height == IMAGE_SIDE && state.image_channels == 3);
    CHECK(state.width == LATENT_SIDE && state.height == LATENT_SIDE && state.channels == 4);
    mcm_session_free(session);
    free_models();
}

/* One call with texts is a session with prompts. */
static void generate_with_texts(void) {
    open_models();
    mcm_session_options options = latent_options();
    mcm_prompt_options reading = MCM_PROMPT_OPTIONS_INIT;
    uint8_t pixels[IMAGE_BYTES], expected[IMAGE_BYTES];
    mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
    generate.session = &options;
    generate.prompt = "a (cat:1.3)";
    generate.negative_prompt = "a dog";
    generate.prompt_options = &reading;
    reading.weights = 1;
    OK(mcm_generate(sd, &generate, pixels, IMAGE_BYTES));
    mcm_session *session = latent_session(sd, &options, 0);
    mcm_prompt *prompts[2];
    const char *const texts[] = {"a (cat:1.3)", "a dog"};
    for (int i = 0; i < 2; i++) OK(mcm_prompt_encode(sd, &texts[i], 1, &reading, &prompts[i]));
    OK(mcm_session_set_prompt(session, prompts[0], prompts[1]));
    uint64_t seed = 0;
    OK(mcm_session_seed(session, &seed, 1));
    OK(mcm_session_run(session, NULL, NULL));
    OK(mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, expected, IMAGE_BYTES));
    SAME(pixels, expected, IMAGE_BYTES);
    mcm_session_free(session);
    for (int i = 0; i < 2; i++) mcm_prompt_free(prompts[i]);

    generate.prompt = "\xff";
    INVALID(mcm_generate(sd, &generate, pixels, IMAGE_BYTES));
    generate.prompt = NULL; /* the empty text */
    OK(mcm_generate(sd, &generate, pixels, IMAGE_BYTES));
    generate.negative_prompt = "\xff";
    INVALID(mcm_generate(sd, &generate, pixels, IMAGE_BYTES));
    generate.negative_prompt = NULL;
    reading.clip_skip = 9;
    INVALID(mcm_generate(sd, &generate, pixels, IMAGE_BYTES));
    reading.struct_size--;
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_generate(sd, &generate, pixels, IMAGE_BYTES));
    free_models();
}

const test guidance_tests[] = {
    {"guidance_options", guidance_options},
    {"guidance_options_out_of_range", guidance_options_out_of_range},
    {"earlier_session_options", earlier_session_options},
    {"steps_need_a_prompt", steps_need_a_prompt},
    {"negative_prompts", negative_prompts},
    {"prompts_of_different_lengths", prompts_of_different_lengths},
    {"a_prompt_for_each_image", a_prompt_for_each_image},
    {"prompts_change_between_steps", prompts_change_between_steps},
    {"prompts_that_do_not_fit", prompts_that_do_not_fit},
    {"time_ids", time_ids},
    {"prompts_change_in_a_callback", prompts_change_in_a_callback},
    {"decoding_latents", decoding_latents},
    {"generate_with_texts", generate_with_texts},
    {NULL, NULL},
};

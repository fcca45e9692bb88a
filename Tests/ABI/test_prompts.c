/* Prompts: encoded from texts and made of the caller's numbers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "latent.h"

enum { MOST_STATES = 2 * 4 * CHUNK * 2 * TEXT_CHANNELS };

static mcm_prompt_info info_of(const mcm_prompt *prompt) {
    mcm_prompt_info info = MCM_PROMPT_INFO_INIT;
    OK(mcm_prompt_get_info(prompt, &info));
    return info;
}

/* Returns how many states there are. */
static size_t states_of(const mcm_prompt *prompt, float states[MOST_STATES]) {
    mcm_prompt_info info = info_of(prompt);
    size_t count = (size_t)info.count * info.tokens * info.channels;
    CHECK(count <= MOST_STATES);
    OK(mcm_prompt_get_states(prompt, states, count));
    for (size_t i = 0; i < count; i++) CHECK(isfinite(states[i]));
    return count;
}

static mcm_prompt *encoded_with(const mcm_model *model, const char *text, mcm_prompt_options options) {
    mcm_prompt *prompt;
    OK(mcm_prompt_encode(model, &text, 1, &options, &prompt));
    return prompt;
}

/* Frees both. */
static int same_states(mcm_prompt *a, mcm_prompt *b) {
    static float first[MOST_STATES], second[MOST_STATES];
    size_t count = states_of(a, first);
    int same = count == states_of(b, second) && memcmp(first, second, count * sizeof(float)) == 0;
    mcm_prompt_free(a);
    mcm_prompt_free(b);
    return same;
}

static void prompts_are_encoded(void) {
    static float both[MOST_STATES], alone[MOST_STATES];
    static const char *const texts[] = {"a cat", "two dogs"};
    for (int kind = STABLE_DIFFUSION; kind < LATENT_DIFFUSION; kind++) {
        mcm_model *model = latent_model_open(&(latent_model){.kind = kind}, 2);
        int is_xl = kind == STABLE_DIFFUSION_XL;
        mcm_prompt *prompt;
        OK(mcm_prompt_encode(model, texts, 2, NULL, &prompt));
        mcm_prompt_info info = info_of(prompt);
        CHECK(info.count == 2 && info.tokens == CHUNK && info.channels == model_info(model).text_channels);
        CHECK(info.channels == (is_xl ? 2 * TEXT_CHANNELS : TEXT_CHANNELS) && !info.truncated);
        CHECK(info.pooled_channels == (is_xl ? POOLED_CHANNELS : 0));
        CHECK(info.pooled_channels == model_info(model).pooled_channels);
        size_t count = states_of(prompt, both);
        float pooled[2 * POOLED_CHANNELS], pooled_alone[POOLED_CHANNELS];
        if (is_xl) OK(mcm_prompt_get_pooled(prompt, pooled, 2 * POOLED_CHANNELS));
        mcm_prompt_free(prompt);
        /* Each is what it is alone. */
        for (int i = 0; i < 2; i++) {
            prompt = encoded(model, texts[i]);
            CHECK(states_of(prompt, alone) == count / 2);
            SAME(alone, both + i * (count / 2), count / 2 * sizeof(float));
            if (is_xl) {
                OK(mcm_prompt_get_pooled(prompt, pooled_alone, POOLED_CHANNELS));
                SAME(pooled_alone, pooled + i * POOLED_CHANNELS, sizeof pooled_alone);
            }
            mcm_prompt_free(prompt);
        }
        CHECK(memcmp(both, both + count / 2, count / 2 * sizeof(float)) != 0);
        CHECK(same_states(encoded(model, "A  CAT\n"), encoded(model, "a cat")));
        CHECK(!same_states(encoded(model, "a cat"), encoded(model, "")));
        mcm_model_free(model);
    }
}

static void prompts_outlive_their_model(void) {
    static float before[MOST_STATES], after[MOST_STATES];
    mcm_model *model = latent_model_open(&(latent_model){0}, 1);
    mcm_prompt *prompt = encoded(model, "a cat");
    size_t count = states_of(prompt, before);
    mcm_model_free(model);
    states_of(prompt, after);
    SAME(after, before, count * sizeof(float));
    mcm_prompt_free(prompt);
}

/* Ten letters and no more are read, but for chunks. */
static void prompts_that_are_too_long(void) {
    static const char ten[] = "abcde fghij", more[] = "abcde fghij klm nopqrstuvwxyz";
    mcm_model *model = latent_model_open(&(latent_model){0}, 1);
    mcm_prompt_options chunks = MCM_PROMPT_OPTIONS_INIT;
    chunks.chunks = 1;
    mcm_prompt *prompt = encoded(model, ten);
    CHECK(!info_of(prompt).truncated);
    mcm_prompt_free(prompt);
    prompt = encoded(model, more);
    CHECK(info_of(prompt).truncated && info_of(prompt).tokens == CHUNK);
    mcm_prompt_free(prompt);
    CHECK(same_states(encoded(model, more), encoded(model, ten)));
    prompt = encoded_with(model, more, chunks);
    CHECK(!info_of(prompt).truncated && info_of(prompt).tokens == 3 * CHUNK);
    mcm_prompt_free(prompt);
    /* What fits is the same either way. */
    CHECK(same_states(encoded_with(model, ten, chunks), encoded(model, ten)));
    /* A longer one in a batch makes the shorter one longer. */
    const char *const texts[] = {"a", more};
    OK(mcm_prompt_encode(model, texts, 2, &chunks, &prompt));
    CHECK(info_of(prompt).tokens == 3 * CHUNK && info_of(prompt).count == 2);
    mcm_prompt_free(prompt);

    enum { LETTERS = 10 * 64 };
    char *text = malloc(2 * LETTERS + 3);
    CHECK(text);
    for (int i = 0; i <= LETTERS; i++) memcpy(text + 2 * i, "a ", 3);
    text[2 * LETTERS] = '\0';
    prompt = encoded_with(model, text, chunks);
    CHECK(info_of(prompt).tokens == 64 * CHUNK);
    mcm_prompt_free(prompt);
    text[2 * LETTERS] = 'a';
    const char *const too_long = text;
    STATUS(MCM_ERROR_SIZE, mcm_prompt_encode(model, &too_long, 1, &chunks, &prompt));
    free(text);
    mcm_model_free(model);
}

static void prompts_with_weights(void) {
    mcm_model *model = latent_model_open(&(latent_model){0}, 1);
    mcm_prompt_options weights = MCM_PROMPT_OPTIONS_INIT;
    weights.weights = 1;
    CHECK(same_states(encoded_with(model, "a cat", weights), encoded(model, "a cat")));
    CHECK(!same_states(encoded_with(model, "a (cat:1.5)", weights), encoded(model, "a cat")));
    CHECK(same_states(encoded_with(model, "a (cat)", weights), encoded_with(model, "a (cat:1.1)", weights)));
    CHECK(same_states(encoded_with(model, "a (cat:1)", weights), encoded(model, "a cat")));
    CHECK(same_states(encoded_with(model, "a \\(cat\\)", weights), encoded(model, "a (cat)")));
    static const char *const odd[] = {"((((", "))))", "[]()[", "(a:b)", "(a:1e999)", "(a:-1e999)", "(a:nan)", "(:)",
                                      "\\", "(a:0)", "(a:-2)", "((a:1e30):1e30)", "[[[[[[a]]]]]", "(a:1.5", "(:1.5)"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        mcm_prompt *prompt = NULL;
        mcm_status status = mcm_prompt_encode(model, &odd[i], 1, &weights, &prompt);
        CHECK((status == MCM_OK) == (prompt != NULL));
        if (status != MCM_OK) STATUS(ANY_ERROR, status);
        mcm_prompt_free(prompt);
    }
    mcm_model_free(model);
}

static void prompts_without_last_layers(void) {
    mcm_model *model = latent_model_open(&(latent_model){0}, 1);
    mcm_prompt_options skip = MCM_PROMPT_OPTIONS_INIT;
    CHECK(same_states(encoded_with(model, "a cat", skip), encoded(model, "a cat")));
    skip.clip_skip = 1;
    CHECK(!same_states(encoded_with(model, "a cat", skip), encoded(model, "a cat")));
    skip.clip_skip = 2; /* all layers that there are */
    mcm_prompt_free(encoded_with(model, "a cat", skip));
    static const uint32_t bad[] = {3, 77, 0x7fffffff, 0x80000000, UINT32_MAX};
    const char *text = "a cat";
    mcm_prompt *prompt = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        skip.clip_skip = bad[i];
        INVALID(mcm_prompt_encode(model, &text, 1, &skip, &prompt));
        CHECK(prompt == NULL);
    }
    mcm_model_free(model);
}

static void prompts_that_cannot_be_encoded(void) {
    mcm_model *model = latent_model_open(&(latent_model){0}, 1);
    mcm_prompt *prompt = NULL;
    const char *texts[] = {"a cat", "\xff\xfe", "a \xc3", NULL};
    STATUS(MCM_ERROR_SIZE, mcm_prompt_encode(model, texts, 0, NULL, &prompt));
    INVALID(mcm_prompt_encode(model, texts, 2, NULL, &prompt));
    INVALID(mcm_prompt_encode(model, texts + 2, 1, NULL, &prompt));
    INVALID(mcm_prompt_encode(model, texts + 3, 1, NULL, &prompt));
    STATUS(MCM_ERROR_SIZE, mcm_prompt_encode(model, texts, 65537, NULL, &prompt));
    STATUS(MCM_ERROR_SIZE, mcm_prompt_encode(model, texts, UINT32_MAX, NULL, &prompt));
    /* Any other text is one. */
    static const char *const odd[] = {"", " \t\n", "\x01\x7f", "\xe2\x80\x8d", "\xf0\x9f\x98\x80", "<|endoftext|>",
                                      "<|startoftext|> a", "\xcc\x81\xcc\x81", "caf\xc3\xa9", "<|endoftext|"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) mcm_prompt_free(encoded(model, odd[i]));
    mcm_model_free(model);

    static const latent_model without[] = {{.kind = STABLE_DIFFUSION, .without_text_encoder = 1},
                                           {.kind = STABLE_DIFFUSION_XL, .without_text_encoder = 1},
                                           {.kind = LATENT_DIFFUSION}};
    for (int i = 0; i < 3; i++) {
        model = latent_model_open(&without[i], 1);
        CHECK(!model_info(model).encodes_text);
        STATUS(MCM_ERROR_UNSUPPORTED, mcm_prompt_encode(model, texts, 1, NULL, &prompt));
        mcm_model_free(model);
    }
    CHECK(prompt == NULL);
}

static void prompts_of_the_callers_numbers(void) {
    float states[2 * 5 * 8], pooled[2 * 6], copy[2 * 5 * 8];
    mcm_prompt *prompt;
    some_numbers(1, states, 80);
    some_numbers(2, pooled, 12);
    OK(mcm_prompt_create(2, 5, 8, states, 80, 6, pooled, 12, &prompt));
    mcm_prompt_info info = info_of(prompt);
    CHECK(info.count == 2 && info.tokens == 5 && info.channels == 8 && info.pooled_channels == 6 && !info.truncated);
    memset(copy, 0, sizeof copy);
    OK(mcm_prompt_get_states(prompt, copy, 80));
    SAME(copy, states, sizeof copy);
    OK(mcm_prompt_get_pooled(prompt, copy, 12));
    SAME(copy, pooled, sizeof pooled);
    static const size_t counts[] = {0, 1, 79, 81, 13, SIZE_MAX, SIZE_MAX / 4 + 81};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        STATUS(MCM_ERROR_SIZE, mcm_prompt_get_states(prompt, copy, counts[i]));
        STATUS(MCM_ERROR_SIZE, mcm_prompt_get_pooled(prompt, copy, counts[i]));
    }
    mcm_prompt_free(prompt);
    OK(mcm_prompt_create(2, 5, 8, states, 80, 0, NULL, 0, &prompt));
    CHECK(info_of(prompt).pooled_channels == 0);
    OK(mcm_prompt_get_pooled(prompt, copy, 0));
    mcm_prompt_free(prompt);
}

static void prompts_of_wrong_numbers(void) {
    float states[80], pooled[12];
    mcm_prompt *prompt = NULL;
    some_numbers(1, states, 80);
    some_numbers(2, pooled, 12);
    static const struct {
        uint32_t count, tokens, channels;
        size_t states;
        uint32_t pooled_channels;
        size_t pooled;
    } bad[] = {{2, 5, 8, 79, 6, 12},
               {2, 5, 8, 81, 6, 12},
               {2, 5, 8, SIZE_MAX, 6, 12},
               {2, 5, 8, 80, 6, 11},
               {2, 5, 8, 80, 5, 12},
               {0, 5, 8, 0, 6, 0},
               {2, 0, 8, 0, 6, 12},
               {2, 5, 0, 0, 6, 12},
               {UINT32_MAX, 0, 8, 0, UINT32_MAX, 12}, /* products beyond 64 bits */
               {UINT32_MAX, UINT32_MAX, UINT32_MAX, 80, 6, 12},
               {0x80000000, 0x80000000, 8, 0, 6, 12},
               {UINT32_MAX, 0, 0, 0, UINT32_MAX, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        STATUS(MCM_ERROR_SIZE, mcm_prompt_create(bad[i].count, bad[i].tokens, bad[i].channels, states, bad[i].states,
                                                 bad[i].pooled_channels, pooled, bad[i].pooled, &prompt));
    INVALID(mcm_prompt_create(2, 5, 8, NULL, 80, 6, pooled, 12, &prompt));
    INVALID(mcm_prompt_create(2, 5, 8, states, 80, 6, NULL, 12, &prompt));
    INVALID(mcm_prompt_create(2, 5, 8, states, 80, 6, NULL, 0, &prompt));
    INVALID(mcm_prompt_create(2, 5, 8, states, 80, 0, NULL, 12, &prompt));
    INVALID(mcm_prompt_create(2, 5, 8, states, 80, 6, pooled, 12, NULL));
    states[79] = NAN;
    INVALID(mcm_prompt_create(2, 5, 8, states, 80, 6, pooled, 12, &prompt));
    states[79] = 0;
    pooled[11] = INFINITY;
    INVALID(mcm_prompt_create(2, 5, 8, states, 80, 6, pooled, 12, &prompt));
    CHECK(prompt == NULL);
}

const test prompt_tests[] = {
    {"prompts_are_encoded", prompts_are_encoded},
    {"prompts_outlive_their_model", prompts_outlive_their_model},
    {"prompts_that_are_too_long", prompts_that_are_too_long},
    {"prompts_with_weights", prompts_with_weights},
    {"prompts_without_last_layers", prompts_without_last_layers},
    {"prompts_that_cannot_be_encoded", prompts_that_cannot_be_encoded},
    {"prompts_of_the_callers_numbers", prompts_of_the_callers_numbers},
    {"prompts_of_wrong_numbers", prompts_of_wrong_numbers},
    {NULL, NULL},
};

/* The small parts: names and versions, initialisers, random numbers, schedulers. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "tiny.h"

static void names_of_statuses(void) {
    static const struct {
        mcm_status status;
        const char *name;
    } known[] = {
        {MCM_OK, "MCM_OK"},
        {MCM_ERROR_INVALID_ARGUMENT, "MCM_ERROR_INVALID_ARGUMENT"},
        {MCM_ERROR_STRUCT_SIZE, "MCM_ERROR_STRUCT_SIZE"},
        {MCM_ERROR_SIZE, "MCM_ERROR_SIZE"},
        {MCM_ERROR_STATE, "MCM_ERROR_STATE"},
        {MCM_ERROR_INCOMPATIBLE, "MCM_ERROR_INCOMPATIBLE"},
        {MCM_ERROR_IO, "MCM_ERROR_IO"},
        {MCM_ERROR_FORMAT, "MCM_ERROR_FORMAT"},
        {MCM_ERROR_UNSUPPORTED, "MCM_ERROR_UNSUPPORTED"},
        {MCM_ERROR_OUT_OF_MEMORY, "MCM_ERROR_OUT_OF_MEMORY"},
        {MCM_ERROR_CPU, "MCM_ERROR_CPU"},
        {MCM_CANCELLED, "MCM_CANCELLED"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        CHECK(strcmp(mcm_status_name(known[i].status), known[i].name) == 0);
    static const mcm_status unknown[] = {-1, 6, 99, 105, 199, 201, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK(strcmp(mcm_status_name(unknown[i]), "MCM_ERROR_UNKNOWN") == 0);
}

static void version_of_library_and_header_agree(void) {
    CHECK(mcm_version() == MCM_VERSION);
    char *end;
    CHECK(strtoul(mcm_version_string(), &end, 10) == MCM_VERSION_MAJOR && *end == '.');
    CHECK(strtoul(end + 1, &end, 10) == MCM_VERSION_MINOR && *end == '.');
    CHECK(strtoul(end + 1, &end, 10) == MCM_VERSION_PATCH && *end == '\0');
}

static void message_is_kept_until_the_next_failure(void) {
    mcm_model *model;
    mcm_rng *rng;
    CHECK(strcmp(mcm_last_error(), "") == 0);
    STATUS(MCM_ERROR_IO, mcm_model_open("/no/such/folder", NULL, &model));
    MESSAGE("/no/such/folder");
    OK(mcm_rng_create(1, &rng));
    MESSAGE("/no/such/folder");
    INVALID(mcm_rng_normal(NULL, NULL, 1));
    CHECK(strstr(mcm_last_error(), "/no/such/folder") == NULL);
    mcm_rng_free(rng);
}

/* A struct is filled with rubbish first, so that every byte is seen to be written. */
#define SAME_AS_MACRO(type, MACRO, init) \
    do {                                 \
        static const type macro = MACRO; \
        type written;                    \
        memset(&written, 0xa5, sizeof written); \
        init(&written, sizeof written);  \
        CHECK(written.struct_size == sizeof written); \
        SAME(&written, &macro, sizeof written); \
    } while (0)

/* A host may know an older, smaller struct, or a newer, larger one. */
static void initialisers_keep_to_the_callers_size(void) {
    unsigned char room[256];
    for (uint32_t size = 0; size <= 200; size += 4) {
        mcm_generate_options expected = MCM_GENERATE_OPTIONS_INIT;
        expected.struct_size = size;
        memset(room, 0xa5, sizeof room);
        mcm_generate_options_init((mcm_generate_options *)room, size);
        for (uint32_t i = 0; i < sizeof room; i++)
            CHECK(room[i] == (i >= size ? 0xa5 : i < sizeof expected ? ((unsigned char *)&expected)[i] : 0));
    }
}

static void initialisers_equal_macros(void) {
    SAME_AS_MACRO(mcm_image, MCM_IMAGE_INIT, mcm_image_init);
    SAME_AS_MACRO(mcm_model_options, MCM_MODEL_OPTIONS_INIT, mcm_model_options_init);
    SAME_AS_MACRO(mcm_model_info, MCM_MODEL_INFO_INIT, mcm_model_info_init);
    SAME_AS_MACRO(mcm_memory, MCM_MEMORY_INIT, mcm_memory_init);
    SAME_AS_MACRO(mcm_modulator_info, MCM_MODULATOR_INFO_INIT, mcm_modulator_info_init);
    SAME_AS_MACRO(mcm_modality_info, MCM_MODALITY_INFO_INIT, mcm_modality_info_init);
    SAME_AS_MACRO(mcm_condition, MCM_CONDITION_INIT, mcm_condition_init);
    SAME_AS_MACRO(mcm_scheduler_info, MCM_SCHEDULER_INFO_INIT, mcm_scheduler_info_init);
    SAME_AS_MACRO(mcm_step_info, MCM_STEP_INFO_INIT, mcm_step_info_init);
    SAME_AS_MACRO(mcm_session_options, MCM_SESSION_OPTIONS_INIT, mcm_session_options_init);
    SAME_AS_MACRO(mcm_attach_options, MCM_ATTACH_OPTIONS_INIT, mcm_attach_options_init);
    SAME_AS_MACRO(mcm_session_state, MCM_SESSION_STATE_INIT, mcm_session_state_init);
    SAME_AS_MACRO(mcm_attachment, MCM_ATTACHMENT_INIT, mcm_attachment_init);
    SAME_AS_MACRO(mcm_predict_options, MCM_PREDICT_OPTIONS_INIT, mcm_predict_options_init);
    SAME_AS_MACRO(mcm_prompt_options, MCM_PROMPT_OPTIONS_INIT, mcm_prompt_options_init);
    SAME_AS_MACRO(mcm_prompt_info, MCM_PROMPT_INFO_INIT, mcm_prompt_info_init);
    SAME_AS_MACRO(mcm_generate_options, MCM_GENERATE_OPTIONS_INIT, mcm_generate_options_init);
}

/* What a compiled caller relies on, on 64-bit machines: a struct may grow at its end and change nowhere else. */
static void layout_of_structs(void) {
#define LAYOUT(type, bytes, last, offset) CHECK(sizeof(type) == (bytes) && offsetof(type, last) == (offset))
    LAYOUT(mcm_image, 40, row_stride, 32);
    LAYOUT(mcm_model_options, 48, reserved, 44);
    LAYOUT(mcm_memory_file, 24, size, 16);
    LAYOUT(mcm_model_info, 112, rounding_error, 108);
    LAYOUT(mcm_predict_options, 48, timestep_cond_count, 40);
    LAYOUT(mcm_prompt_options, 16, chunks, 12);
    LAYOUT(mcm_prompt_info, 24, truncated, 20);
    LAYOUT(mcm_memory, 32, arena, 24);
    LAYOUT(mcm_modulator_info, 48, base_fingerprint, 24);
    LAYOUT(mcm_modality_info, 80, name, 16);
    LAYOUT(mcm_condition, 24, images, 16);
    LAYOUT(mcm_scheduler_info, 16, init_noise_sigma, 12);
    LAYOUT(mcm_step_info, 16, needs_noise, 12);
    LAYOUT(mcm_session_options, 72, reserved, 68);
    LAYOUT(mcm_attach_options, 20, other_base, 16);
    LAYOUT(mcm_session_state, 48, image_channels, 44);
    LAYOUT(mcm_attachment, 32, options, 24);
    LAYOUT(mcm_generate_options, 120, mask_count, 116);
}

/* The first values of two torch.randn from manual_seed(42). The golden tests compare more of them, and bits. */
static void rng_draws_as_torch(void) {
    static const float long_draw[4] = {1.92691529f, 1.48728406f, 0.90071720f, -2.10552096f};
    static const float short_draw[4] = {0.46165723f, 0.26735088f, 0.53490466f, 0.80935723f};
    float values[16];
    mcm_rng *rng;
    OK(mcm_rng_create(42, &rng));
    OK(mcm_rng_normal(rng, values, 16));
    for (int i = 0; i < 4; i++) CHECK(fabsf(values[i] - long_draw[i]) < 1e-6f);
    OK(mcm_rng_normal(rng, values, 4));
    for (int i = 0; i < 4; i++) CHECK(fabsf(values[i] - short_draw[i]) < 1e-6f);
    mcm_rng_free(rng);
}

static void rng_is_its_seed_and_its_draws(void) {
    float a[33], b[33];
    mcm_rng *one, *two;
    OK(mcm_rng_create(7, &one));
    OK(mcm_rng_create(7 + (UINT64_C(5) << 32), &two)); /* only the low 32 bits matter */
    OK(mcm_rng_normal(one, a, 33));
    OK(mcm_rng_normal(two, b, 33));
    SAME(a, b, sizeof a);
    /* A draw of nothing changes nothing. */
    OK(mcm_rng_normal(one, a, 0));
    OK(mcm_rng_normal(one, a, 7));
    OK(mcm_rng_normal(two, b, 7));
    SAME(a, b, 7 * sizeof *a);
    /* A draw of fewer than 16 leaves half a pair for the next. */
    OK(mcm_rng_normal(one, a, 1));
    OK(mcm_rng_normal(one, a + 1, 2));
    OK(mcm_rng_normal(two, b, 3));
    SAME(a, b, 3 * sizeof *a);
    /* One draw of 16 is not two of 8. */
    OK(mcm_rng_normal(one, a, 16));
    OK(mcm_rng_normal(two, b, 8));
    OK(mcm_rng_normal(two, b + 8, 8));
    CHECK(memcmp(a, b, 16 * sizeof *a) != 0);
    for (int i = 0; i < 33; i++) CHECK(isfinite(a[i]));
    mcm_rng_free(one);
    mcm_rng_free(two);
}

static void scheduler_gives_timesteps(void) {
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    mcm_scheduler *scheduler;
    int32_t t[1000];
    uint32_t count = 0;
    static const struct {
        int32_t kind;
        uint32_t asked, steps;
    } cases[] = {{MCM_SCHEDULER_DDIM, 10, 10},   {MCM_SCHEDULER_DDIM, 0, 50},      {MCM_SCHEDULER_DDIM, 1, 1},
                 {MCM_SCHEDULER_DDPM, 25, 25},   {MCM_SCHEDULER_DDPM, 0, 1000},    {MCM_SCHEDULER_DEFAULT, 0, 1000},
                 {MCM_SCHEDULER_DDIM, 999, 999}, {MCM_SCHEDULER_DDIM, 1000, 1000}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        OK(mcm_scheduler_create(model, cases[i].kind, cases[i].asked, 0, &scheduler));
        OK(mcm_scheduler_get_timesteps(scheduler, NULL, 0, &count));
        CHECK(count == cases[i].steps);
        MISUSE(mcm_scheduler_get_timesteps(scheduler, t, count - 1, &count));
        OK(mcm_scheduler_get_timesteps(scheduler, t, 1000, &count));
        CHECK(count == cases[i].steps);
        for (uint32_t s = 0; s < count; s++) CHECK(t[s] >= 0 && t[s] < 1000 && (s == 0 || t[s] < t[s - 1]));
        mcm_scheduler_free(scheduler);
    }
    mcm_model_free(model);
}

static void scheduler_says_when_it_needs_noise(void) {
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    static const struct {
        int32_t kind;
        float eta;
        int first, last;
    } cases[] = {{MCM_SCHEDULER_DDIM, 0, 0, 0}, {MCM_SCHEDULER_DDIM, 0.5f, 1, 1}, {MCM_SCHEDULER_DDPM, 0, 1, 0}};
    float x[4] = {1, -1, 0.5f, 0}, e[4] = {0.1f, 0.2f, -0.3f, 0}, out[4];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mcm_scheduler *scheduler;
        int32_t needs = -1;
        OK(mcm_scheduler_create(model, cases[i].kind, 10, cases[i].eta, &scheduler));
        OK(mcm_scheduler_needs_noise(scheduler, 0, &needs));
        CHECK(needs == cases[i].first);
        if (needs) INVALID(mcm_scheduler_step(scheduler, 0, 1, x, 4, e, 4, NULL, out, NULL));
        OK(mcm_scheduler_needs_noise(scheduler, 9, &needs));
        CHECK(needs == cases[i].last);
        MISUSE(mcm_scheduler_needs_noise(scheduler, 10, &needs));
        mcm_scheduler_free(scheduler);
    }
    mcm_model_free(model);
}

/* With the true noise as the prediction, DDIM goes back along the line that add_noise drew. */
static void scheduler_inverts_add_noise(void) {
    enum { N = 20 };
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    mcm_scheduler *scheduler;
    int32_t t[10];
    uint32_t steps;
    float x0[N], noise[N], x[N], previous[N], expected[N], predicted[N];
    for (int i = 0; i < N; i++) x0[i] = (float)(i - N / 2) / N, noise[i] = (float)(i * 7 % 5) / 4 - 0.5f;
    OK(mcm_scheduler_create(model, MCM_SCHEDULER_DDIM, 10, 0, &scheduler));
    OK(mcm_scheduler_get_timesteps(scheduler, t, 10, &steps));
    OK(mcm_scheduler_add_noise(scheduler, t[4], x0, noise, N, x));
    OK(mcm_scheduler_add_noise(scheduler, t[5], x0, noise, N, expected));
    OK(mcm_scheduler_step(scheduler, 4, 2, x, N, noise, N, NULL, previous, predicted));
    for (int i = 0; i < N; i++) {
        CHECK(fabsf(predicted[i] - x0[i]) < 1e-5f);
        CHECK(fabsf(previous[i] - expected[i]) < 1e-5f);
    }
    /* In place, and with or without x0, it is the same. */
    OK(mcm_scheduler_step(scheduler, 4, 2, x, N, noise, N, NULL, x, NULL));
    SAME(x, previous, sizeof x);
    MISUSE(mcm_scheduler_add_noise(scheduler, 1000, x0, noise, N, x));
    MISUSE(mcm_scheduler_add_noise(scheduler, -1, x0, noise, N, x));
    mcm_scheduler_free(scheduler);
    mcm_model_free(model);
}

/* What a run's numbers are where they are not 1 and 0, and that a history is asked for. */
static void schedulers_say_what_a_loop_needs(void) {
    enum { N = 4 };
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    mcm_scheduler *scheduler;
    mcm_scheduler_info run = MCM_SCHEDULER_INFO_INIT;
    mcm_step_info step = MCM_STEP_INFO_INIT;
    float x[N] = {1, -1, 0.5f, 0}, e[N] = {0.1f, 0.2f, -0.3f, 0}, out[N], history[8 * N];

    OK(mcm_scheduler_create(model, MCM_SCHEDULER_EULER, 10, 0, &scheduler));
    OK(mcm_scheduler_get_info(scheduler, &run));
    CHECK(run.steps == 10 && run.history_count == 0 && run.init_noise_sigma > 10);
    OK(mcm_scheduler_get_step(scheduler, 0, &step));
    CHECK(step.input_scale > 0 && step.input_scale * run.init_noise_sigma < 1.001f && !step.needs_noise);
    INVALID(mcm_scheduler_get_step(scheduler, 10, &step));
    OK(mcm_scheduler_step(scheduler, 0, 1, x, N, e, N, NULL, out, NULL));
    /* Samples are kept as x_0 + sigma noise. */
    OK(mcm_scheduler_add_noise(scheduler, 999, x, e, N, out));
    for (int i = 0; i < N; i++) CHECK(fabsf(out[i] - x[i]) > 20 * fabsf(e[i]) || e[i] == 0);
    mcm_scheduler_free(scheduler);

    OK(mcm_scheduler_create_with_options(model, MCM_SCHEDULER_EULER, 10, 0, "{\"use_karras_sigmas\": true}",
                                         &scheduler));
    OK(mcm_scheduler_get_step(scheduler, 5, &step));
    CHECK(step.timestep != (float)(int)step.timestep);
    mcm_scheduler_free(scheduler);

    OK(mcm_scheduler_create(model, MCM_SCHEDULER_HEUN, 10, 0, &scheduler));
    OK(mcm_scheduler_get_info(scheduler, &run));
    CHECK(run.steps == 19 && run.history_count == 2);
    STATUS(MCM_ERROR_INVALID_ARGUMENT, mcm_scheduler_step(scheduler, 0, 1, x, N, e, N, NULL, out, NULL));
    STATUS(MCM_ERROR_SIZE,
           mcm_scheduler_step_with_history(scheduler, 0, 1, x, N, e, N, NULL, history, 2 * N - 1, out, NULL));
    INVALID(mcm_scheduler_step_with_history(scheduler, 0, 1, x, N, e, N, NULL, x, 2 * N, out, NULL));
    INVALID(mcm_scheduler_step_with_history(scheduler, 0, 1, x, N, e, N, NULL, history, 2 * N, history + N, NULL));
    OK(mcm_scheduler_step_with_history(scheduler, 0, 1, x, N, e, N, NULL, history, 2 * N, out, NULL));
    mcm_scheduler_free(scheduler);
    mcm_model_free(model);
}

static void scheduler_options_are_checked(void) {
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    mcm_scheduler *scheduler = NULL;
    mcm_session *session = NULL;
    static const struct {
        const char *options;
        mcm_status status;
    } bad[] = {{"", MCM_ERROR_FORMAT},
               {"[]", MCM_ERROR_FORMAT},
               {"{\"solver_order\": 3", MCM_ERROR_FORMAT},
               {"{\"solver_order\": 0}", MCM_ERROR_FORMAT},
               {"{\"solver_order\": \"3\"}", MCM_ERROR_FORMAT},
               {"{\"solver_disorder\": 3}", MCM_ERROR_UNSUPPORTED},
               {"{\"solver_type\": \"bh3\"}", MCM_ERROR_UNSUPPORTED},
               {"{\"use_flow_sigmas\": true}", MCM_ERROR_UNSUPPORTED},
               {"{\"variance_type\": \"learned\"}", MCM_ERROR_UNSUPPORTED},
               {"{\"use_karras_sigmas\": true, \"use_beta_sigmas\": true}", MCM_ERROR_UNSUPPORTED},
               {"{\"algorithm_type\": \"dpmsolver\"}", MCM_ERROR_UNSUPPORTED}, /* ends at zero */
               {"\xff", MCM_ERROR_INVALID_ARGUMENT}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        STATUS(bad[i].status, mcm_scheduler_create_with_options(model, MCM_SCHEDULER_DPM_SOLVER_MULTISTEP, 10, 0,
                                                                bad[i].options, &scheduler));
        mcm_session_options options = MCM_SESSION_OPTIONS_INIT;
        options.scheduler = MCM_SCHEDULER_DPM_SOLVER_MULTISTEP;
        options.scheduler_options = bad[i].options;
        STATUS(bad[i].status, mcm_session_create(model, &options, &session));
        CHECK(scheduler == NULL && session == NULL);
    }
    /* Options of another class mean nothing, and infinity is a number here. */
    OK(mcm_scheduler_create_with_options(model, MCM_SCHEDULER_DPM_SOLVER_MULTISTEP, 10, 0,
                                         "{\"lambda_min_clipped\": -Infinity, \"skip_prk_steps\": 5}", &scheduler));
    mcm_scheduler_free(scheduler);
    /* A session's options of an earlier header end before scheduler_options. */
    mcm_session_options options = MCM_SESSION_OPTIONS_INIT;
    options.struct_size = 28;
    options.scheduler_options = "{";
    OK(mcm_session_create(model, &options, &session));
    mcm_session_free(session);
    mcm_model_free(model);
}

const test part_tests[] = {
    {"schedulers_say_what_a_loop_needs", schedulers_say_what_a_loop_needs},
    {"scheduler_options_are_checked", scheduler_options_are_checked},
    {"names_of_statuses", names_of_statuses},
    {"version_of_library_and_header_agree", version_of_library_and_header_agree},
    {"message_is_kept_until_the_next_failure", message_is_kept_until_the_next_failure},
    {"initialisers_equal_macros", initialisers_equal_macros},
    {"initialisers_keep_to_the_callers_size", initialisers_keep_to_the_callers_size},
    {"layout_of_structs", layout_of_structs},
    {"rng_draws_as_torch", rng_draws_as_torch},
    {"rng_is_its_seed_and_its_draws", rng_is_its_seed_and_its_draws},
    {"scheduler_gives_timesteps", scheduler_gives_timesteps},
    {"scheduler_says_when_it_needs_noise", scheduler_says_when_it_needs_noise},
    {"scheduler_inverts_add_noise", scheduler_inverts_add_noise},
    {NULL, NULL},
};

/* Sessions: what state they are in, what may be changed between steps, what a callback may do. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "check.h"
#include "tiny_session.h"

static void states(void) {
    open_parts();
    mcm_session_options options = MCM_SESSION_OPTIONS_INIT;
    options.batch = 2;
    options.width = 12;
    options.scheduler = MCM_SCHEDULER_DDIM;
    options.steps = STEPS;
    mcm_session *session;
    mcm_scheduler *scheduler;
    int32_t t[STEPS];
    uint32_t steps;
    OK(mcm_session_create(model, &options, &session));
    OK(mcm_scheduler_create(model, MCM_SCHEDULER_DDIM, STEPS, 0, &scheduler));
    OK(mcm_scheduler_get_timesteps(scheduler, t, STEPS, &steps));
    mcm_session_state state = state_of(session);
    CHECK(!state.seeded && state.step == 0 && state.steps == STEPS && state.timestep == t[0]);
    CHECK(state.batch == 2 && state.channels == 1 && state.width == 12 && state.height == 8);
    uint64_t seed = 1;
    OK(mcm_session_seed(session, &seed, 1));
    CHECK(state_of(session).seeded);
    for (uint32_t i = 0; i < STEPS; i++) {
        state = state_of(session);
        CHECK(state.step == i && state.timestep == t[i]);
        OK(mcm_session_step(session));
    }
    state = state_of(session);
    CHECK(state.step == STEPS && state.timestep == -1 && state.seeded);
    mcm_scheduler_free(scheduler);
    mcm_session_free(session);
    free_parts();
}

static void not_before_seeding_and_not_past_the_end(void) {
    open_parts();
    mcm_session *session;
    float x[64], y[64];
    uint8_t pixels[64];
    OK(mcm_session_create(model, NULL, &session));
    STATUS(MCM_ERROR_STATE, mcm_session_step(session));
    STATUS(MCM_ERROR_STATE, mcm_session_run(session, NULL, NULL));
    STATUS(MCM_ERROR_STATE, mcm_session_get_sample(session, x, 64));
    STATUS(MCM_ERROR_STATE, mcm_session_get_x0(session, x, 64));
    STATUS(MCM_ERROR_STATE, mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, pixels, 64));
    STATUS(MCM_ERROR_STATE, mcm_session_decode(session, MCM_DECODE_X0, 0, pixels, 64));
    mcm_session_free(session);

    session = new_session(0, NULL);
    STATUS(MCM_ERROR_STATE, mcm_session_get_x0(session, x, 64)); /* before the first step */
    STATUS(MCM_ERROR_STATE, mcm_session_decode(session, MCM_DECODE_X0, 0, pixels, 64));
    OK(mcm_session_run(session, NULL, NULL));
    OK(mcm_session_get_sample(session, x, 64));
    for (int i = 0; i < 3; i++) STATUS(MCM_ERROR_STATE, mcm_session_step(session));
    OK(mcm_session_run(session, NULL, NULL)); /* nothing left to do */
    CHECK(state_of(session).step == STEPS);
    OK(mcm_session_get_sample(session, y, 64));
    SAME(x, y, sizeof x);
    mcm_session_free(session);
    free_parts();
}

static void second_run_equals_the_first(void) {
    open_parts();
    float first[64], second[64];
    mcm_session *session = new_session(1, NULL);
    uint64_t seed = 0, other = 1;
    OK(mcm_session_run(session, NULL, NULL));
    OK(mcm_session_get_sample(session, first, 64));
    OK(mcm_session_seed(session, &other, 1));
    OK(mcm_session_step(session)); /* given up half-way */
    OK(mcm_session_seed(session, &seed, 1));
    CHECK(state_of(session).step == 0);
    STATUS(MCM_ERROR_STATE, mcm_session_get_x0(session, second, 64)); /* that was the other run's */
    finish(session, second);
    SAME(first, second, sizeof first);
    free_parts();
}

static int32_t cancel_at_two(void *user, mcm_session *session, uint32_t step, uint32_t steps) {
    (void)session, (void)steps;
    ++*(int *)user;
    return step == 2 ? -7 : 0; /* any nonzero value */
}

static void cancelled_run_goes_on(void) {
    open_parts();
    float uninterrupted[64], x[64];
    int calls = 0;
    expected(1, uninterrupted);
    mcm_session *session = new_session(1, NULL);
    STATUS(MCM_CANCELLED, mcm_session_run(session, cancel_at_two, &calls));
    CHECK(calls == 2 && state_of(session).step == 2);
    OK(mcm_session_run(session, cancel_at_two, &calls));
    CHECK(calls == STEPS);
    OK(mcm_session_get_sample(session, x, 64));
    SAME(x, uninterrupted, sizeof x);
    mcm_session_free(session);

    /* Steps and runs mix, too. */
    session = new_session(1, NULL);
    OK(mcm_session_step(session));
    STATUS(MCM_CANCELLED, mcm_session_run(session, cancel_at_two, &calls));
    OK(mcm_session_step(session));
    finish(session, x);
    SAME(x, uninterrupted, sizeof x);
    free_parts();
}

static int32_t read_in_callback(void *user, mcm_session *session, uint32_t step, uint32_t steps) {
    float x[64];
    uint8_t pixels[64];
    (void)user;
    CHECK(state_of(session).step == step && state_of(session).steps == steps);
    OK(mcm_session_get_sample(session, x, 64));
    OK(mcm_session_get_x0(session, x, 64));
    OK(mcm_session_decode(session, MCM_DECODE_X0, 0, pixels, 64));
    OK(mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, pixels, 64));
    return 0;
}

static void callback_may_read(void) {
    open_parts();
    float plain[64], x[64];
    expected(1, plain);
    mcm_session *session = new_session(1, NULL);
    OK(mcm_session_run(session, read_in_callback, NULL));
    finish(session, x);
    SAME(x, plain, sizeof x);
    free_parts();
}

static int32_t step_in_callback(void *user, mcm_session *session, uint32_t step, uint32_t steps) {
    uint64_t seed = 1;
    (void)user, (void)step, (void)steps;
    STATUS(MCM_ERROR_STATE, mcm_session_step(session));
    STATUS(MCM_ERROR_STATE, mcm_session_run(session, NULL, NULL));
    STATUS(MCM_ERROR_STATE, mcm_session_seed(session, &seed, 1));
    return 0;
}

static void callback_may_not_step(void) {
    open_parts();
    float plain[64], x[64];
    expected(1, plain);
    mcm_session *session = new_session(1, NULL);
    OK(mcm_session_run(session, step_in_callback, NULL));
    finish(session, x);
    SAME(x, plain, sizeof x);
    free_parts();
}

/* The same edits, from a callback or between steps by hand. */
static void edit(mcm_session *session, uint32_t id, uint32_t step) {
    if (step == 1) OK(mcm_session_set_weight(session, id, 0.25f));
    if (step == 2) OK(mcm_session_clear_condition(session, id, "sketch"));
    if (step == 3) OK(mcm_session_attach(session, module, NULL, NULL));
    if (step == 4) OK(mcm_session_detach(session, id));
}

static int32_t edit_in_callback(void *user, mcm_session *session, uint32_t step, uint32_t steps) {
    (void)steps;
    edit(session, *(uint32_t *)user, step);
    return 0;
}

static void callback_may_edit(void) {
    open_parts();
    float by_callback[64], by_hand[64], plain[64];
    uint32_t id;
    mcm_session *session = new_session(1, &id);
    OK(mcm_session_run(session, edit_in_callback, &id));
    finish(session, by_callback);
    session = new_session(1, &id);
    for (uint32_t i = 1; i <= STEPS; i++) {
        OK(mcm_session_step(session));
        edit(session, id, i);
    }
    finish(session, by_hand);
    SAME(by_callback, by_hand, sizeof by_hand);
    expected(1, plain);
    CHECK(memcmp(by_hand, plain, sizeof plain) != 0);
    free_parts();
}

static void sample_is_read_and_replaced(void) {
    open_parts();
    float plain[64], x[64], y[64];
    expected(1, plain);
    mcm_session *session = new_session(1, NULL), *other = new_session(1, NULL);
    for (int i = 0; i < 3; i++) OK(mcm_session_step(session));
    OK(mcm_session_get_sample(session, x, 64));
    /* As if the other session had drawn it; both have drawn as much noise after as many steps. */
    for (int i = 0; i < 3; i++) OK(mcm_session_step(other));
    for (int i = 0; i < 64; i++) y[i] = -x[i];
    OK(mcm_session_set_sample(other, y, 64));
    OK(mcm_session_get_sample(other, y, 64));
    CHECK(y[0] == -x[0]);
    OK(mcm_session_set_sample(other, x, 64));
    finish(other, y);
    SAME(y, plain, sizeof y);
    finish(session, x);
    SAME(x, plain, sizeof x);
    free_parts();
}

/* With a batch and one seed per image, each image has the noise of its own seed. */
static void seed_draws_as_the_rng(void) {
    open_parts();
    static const uint64_t seeds[] = {8, 9};
    float x[128], y[128];
    mcm_rng *rng;
    drawing d = drawing_of(model, MCM_SCHEDULER_DDIM, STEPS);
    d.options.batch = 2;
    d.seeds = seeds;
    d.seed_count = 2;
    mcm_session *session = open_session(&d, NULL);
    OK(mcm_session_get_sample(session, x, 128));
    for (int k = 0; k < 2; k++) {
        OK(mcm_rng_create(seeds[k], &rng));
        OK(mcm_rng_normal(rng, y + 64 * k, 64));
        mcm_rng_free(rng);
    }
    SAME(x, y, sizeof x);
    OK(mcm_session_seed(session, seeds, 1));
    OK(mcm_session_get_sample(session, x, 128));
    OK(mcm_rng_create(seeds[0], &rng));
    OK(mcm_rng_normal(rng, y, 128));
    mcm_rng_free(rng);
    SAME(x, y, sizeof x);
    mcm_session_free(session);
    free_parts();
}

static void failing_calls_change_nothing(void) {
    open_parts();
    float plain[64], x[64], y[64], bad[64] = {NAN};
    uint64_t seeds[2] = {1, 2};
    expected(1, plain);
    uint32_t id;
    mcm_session *session = new_session(1, &id);
    OK(mcm_session_step(session));
    OK(mcm_session_get_sample(session, x, 64));
    mcm_condition wrong = conditions[0];
    wrong.image_count = 5;
    mcm_attach_options attach = MCM_ATTACH_OPTIONS_INIT;
    attach.weight = NAN;
    FAILS(mcm_session_seed(session, seeds, 2));
    FAILS(mcm_session_set_sample(session, bad, 64));
    FAILS(mcm_session_set_sample(session, y, 63));
    FAILS(mcm_session_set_weight(session, id, NAN));
    FAILS(mcm_session_set_window(session, id, 0.5f, NAN));
    FAILS(mcm_session_set_condition(session, id, &wrong));
    FAILS(mcm_session_set_condition_png(session, id, "sketch", "/no/such/file.png"));
    FAILS(mcm_session_clear_condition(session, id, "depth"));
    FAILS(mcm_session_attach(session, module, &attach, NULL));
    FAILS(mcm_session_detach(session, id + 1));
    OK(mcm_session_get_sample(session, y, 64));
    SAME(x, y, sizeof x);
    CHECK(state_of(session).step == 1);
    finish(session, x);
    SAME(x, plain, sizeof x);
    free_parts();
}

static void parts_are_freed_before_the_session(void) {
    open_parts();
    float plain[64], x[64];
    uint32_t id;
    expected(1, plain);
    mcm_session *session = new_session(1, &id);
    OK(mcm_session_step(session));
    free_parts();
    finish(session, x);
    SAME(x, plain, sizeof x);

    /* A scheduler outlives its model, too, and a session its attachment's module. */
    open_parts();
    mcm_scheduler *scheduler;
    OK(mcm_scheduler_create(model, MCM_SCHEDULER_DDIM, STEPS, 0, &scheduler));
    session = new_session(1, &id);
    mcm_modulator_free(module);
    OK(mcm_session_step(session));
    OK(mcm_session_detach(session, id));
    OK(mcm_session_step(session));
    mcm_model_free(model);
    OK(mcm_scheduler_step(scheduler, 0, 1, plain, 64, x, 64, NULL, plain, NULL));
    mcm_scheduler_free(scheduler);
    mcm_session_free(session);
}

/* Samples of another size than the model's own. */
static void sessions_of_other_sizes(void) {
    open_parts();
    mcm_session_options options = MCM_SESSION_OPTIONS_INIT;
    options.width = 16;
    options.height = 4;
    options.scheduler = MCM_SCHEDULER_DDIM;
    options.steps = 2;
    mcm_session *session;
    uint32_t id;
    uint64_t seed = 1;
    uint8_t pixels[64];
    float x[64];
    OK(mcm_session_create(model, &options, &session));
    OK(mcm_session_attach(session, module, NULL, &id));
    for (int i = 0; i < TINY_CONDITIONS; i++) OK(mcm_session_set_condition(session, id, &conditions[i])); /* resized */
    OK(mcm_session_seed(session, &seed, 1));
    OK(mcm_session_run(session, NULL, NULL));
    OK(mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, pixels, 64));
    OK(mcm_session_get_sample(session, x, 64));
    for (int i = 0; i < 64; i++) CHECK(isfinite(x[i]));
    mcm_session_free(session);
    free_parts();
}

const test session_tests[] = {
    {"states", states},
    {"not_before_seeding_and_not_past_the_end", not_before_seeding_and_not_past_the_end},
    {"second_run_equals_the_first", second_run_equals_the_first},
    {"cancelled_run_goes_on", cancelled_run_goes_on},
    {"callback_may_read", callback_may_read},
    {"callback_may_not_step", callback_may_not_step},
    {"callback_may_edit", callback_may_edit},
    {"sample_is_read_and_replaced", sample_is_read_and_replaced},
    {"seed_draws_as_the_rng", seed_draws_as_the_rng},
    {"failing_calls_change_nothing", failing_calls_change_nothing},
    {"parts_are_freed_before_the_session", parts_are_freed_before_the_session},
    {"sessions_of_other_sizes", sessions_of_other_sizes},
    {NULL, NULL},
};

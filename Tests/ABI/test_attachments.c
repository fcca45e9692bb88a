/* Modules on a session: weights, windows and conditions, and that they may change between steps. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "tiny_session.h"

static void weight_zero_equals_detached(void) {
    open_parts();
    float without[64], x[64];
    uint32_t id;
    expected(0, without);
    mcm_session *session = new_session(1, &id);
    OK(mcm_session_set_weight(session, id, 0));
    finish(session, x);
    SAME(x, without, sizeof x);
    session = new_session(1, &id);
    OK(mcm_session_set_weight(session, id, -0.0f));
    finish(session, x);
    SAME(x, without, sizeof x);
    session = new_session(1, &id);
    OK(mcm_session_detach(session, id));
    INVALID(mcm_session_detach(session, id));
    INVALID(mcm_session_set_weight(session, id, 1));
    finish(session, x);
    SAME(x, without, sizeof x);
    free_parts();
}

static void untrained_module_equals_none(void) {
    open_parts();
    float without[64], x[64];
    expected(0, without);
    mcm_modulator_free(module);
    module = tiny_module_open(&(tiny_module){.untrained = 1});
    expected(1, x);
    SAME(x, without, sizeof x);
    free_parts();
}

/* Active while begin <= step / steps < end. */
static void window_equals_weights_by_hand(void) {
    open_parts();
    static const struct {
        float begin, end;
        uint32_t first, last; /* active from step `first` and before step `last` */
    } windows[] = {{0, 1, 0, 6},       {0, 0.5f, 0, 3},    {0.5f, 1, 3, 6}, {0.2f, 0.4f, 2, 3},
                   {0.51f, 0.6f, 0, 0}, {0.5f, 0.5f, 0, 0}, {1, 1, 0, 0},    {0, 0, 0, 0}};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        float by_window[64], by_hand[64];
        uint32_t id;
        mcm_session *session = new_session(1, &id);
        OK(mcm_session_set_window(session, id, windows[i].begin, windows[i].end));
        finish(session, by_window);
        session = new_session(1, &id);
        for (uint32_t s = 0; s < STEPS; s++) {
            OK(mcm_session_set_weight(session, id, s >= windows[i].first && s < windows[i].last ? 1.0f : 0.0f));
            OK(mcm_session_step(session));
        }
        finish(session, by_hand);
        SAME(by_window, by_hand, sizeof by_hand);
    }
    uint32_t id;
    mcm_session *session = new_session(1, &id);
    INVALID(mcm_session_set_window(session, id, -0.5f, 1));
    INVALID(mcm_session_set_window(session, id, 0, 1.5f));
    INVALID(mcm_session_set_window(session, id, 0.75f, 0.25f));
    mcm_session_free(session);
    free_parts();
}

static void detached_and_attached_again(void) {
    open_parts();
    float plain[64], x[64];
    uint32_t id, again;
    expected(1, plain);
    mcm_session *session = new_session(1, &id);
    OK(mcm_session_step(session));
    OK(mcm_session_detach(session, id));
    OK(mcm_session_attach(session, module, NULL, &again));
    CHECK(again != id && again > 0); /* a name is not used twice */
    for (int i = 0; i < TINY_CONDITIONS; i++) OK(mcm_session_set_condition(session, again, &conditions[i]));
    finish(session, x);
    SAME(x, plain, sizeof x);
    free_parts();
}

/* Two halves are one whole, up to rounding. */
static void the_same_module_twice(void) {
    open_parts();
    float plain[64], x[64];
    expected(1, plain);
    uint32_t id, second;
    mcm_session *session = new_session(1, &id);
    mcm_attach_options options = MCM_ATTACH_OPTIONS_INIT;
    options.weight = 0.5f;
    OK(mcm_session_set_weight(session, id, 0.5f));
    OK(mcm_session_attach(session, module, &options, &second));
    CHECK(second != id);
    for (int i = 0; i < TINY_CONDITIONS; i++) OK(mcm_session_set_condition(session, second, &conditions[i]));
    finish(session, x);
    for (int i = 0; i < 64; i++) CHECK(fabsf(x[i] - plain[i]) < 1e-4f);
    free_parts();
}

static void conditions_are_replaced_and_cleared(void) {
    open_parts();
    float plain[64], x[64], none[64];
    uint32_t id;
    drawing d = drawing_of(model, MCM_SCHEDULER_DDPM, STEPS);
    d.modulator = module;
    finish(open_session(&d, NULL), none);
    expected(1, plain);
    CHECK(memcmp(plain, none, sizeof none) != 0);

    mcm_session *session = new_session(1, &id);
    OK(mcm_session_clear_condition(session, id, NULL));
    finish(session, x);
    SAME(x, none, sizeof x);
    session = new_session(1, &id);
    for (int i = 0; i < TINY_CONDITIONS; i++) OK(mcm_session_clear_condition(session, id, conditions[i].modality));
    finish(session, x);
    SAME(x, none, sizeof x);

    /* Another sketch, then the first again. */
    mcm_condition other = conditions[0];
    other.images = conditions[0].images + 1;
    session = new_session(1, &id);
    OK(mcm_session_set_condition(session, id, &other));
    OK(mcm_session_set_condition(session, id, &conditions[0]));
    finish(session, x);
    SAME(x, plain, sizeof x);
    session = new_session(1, &id);
    OK(mcm_session_set_condition(session, id, &other));
    finish(session, x);
    CHECK(memcmp(x, plain, sizeof x) != 0);
    free_parts();
}

/* The caller's images and structs may change as soon as the call is over. */
static void conditions_are_copied(void) {
    open_parts();
    float plain[64], x[64];
    uint8_t pixels[64];
    char name[] = "sketch";
    expected(1, plain);
    uint32_t id;
    mcm_session *session = new_session(1, &id);
    mcm_image image = conditions[0].images[0];
    mcm_condition c = conditions[0];
    memcpy(pixels, image.data, 64);
    image.data = pixels;
    c.images = &image;
    c.modality = name;
    OK(mcm_session_clear_condition(session, id, "sketch"));
    OK(mcm_session_set_condition(session, id, &c));
    memset(pixels, 77, sizeof pixels);
    memset(name, 'x', 6);
    memset(&image, 0xff, sizeof image);
    finish(session, x);
    SAME(x, plain, sizeof x);
    free_parts();
}

static void one_image_for_the_whole_batch(void) {
    open_parts();
    float by_one[128], by_two[128];
    mcm_image twice[2] = {conditions[0].images[0], conditions[0].images[0]};
    drawing d = drawing_of(model, MCM_SCHEDULER_DDIM, STEPS);
    d.options.batch = 2;
    d.modulator = module;
    d.conditions = conditions;
    d.condition_count = 1;
    uint8_t pixels[128];
    draw_session(&d, pixels, by_one);
    mcm_condition both = conditions[0];
    both.images = twice;
    both.image_count = 2;
    d.conditions = &both;
    draw_session(&d, pixels, by_two);
    SAME(by_one, by_two, sizeof by_one);
    free_parts();
}

static void condition_from_png(void) {
    open_parts();
    float plain[64], x[64];
    uint32_t id;
    expected(1, plain);
    mcm_session *session = new_session(1, &id);
    OK(mcm_session_clear_condition(session, id, NULL));
    for (int i = 0; i < TINY_CONDITIONS; i++) {
        const char *path = path_in(scratch, conditions[i].modality);
        OK(mcm_png_write(path, &conditions[i].images[0]));
        OK(mcm_session_set_condition_png(session, id, conditions[i].modality, path));
    }
    STATUS(MCM_ERROR_IO, mcm_session_set_condition_png(session, id, "sketch", "/no/such/file.png"));
    MESSAGE("/no/such/file.png");
    FAILS(mcm_session_set_condition_png(session, id, "sketch", scratch));
    MISUSE(mcm_session_set_condition_png(session, id, "depth", path_in(scratch, "sketch")));
    FAILS(mcm_session_set_condition_png(session, id, "labels", path_in(scratch, "photo"))); /* colours for labels */
    uint8_t colours[64 * 3];
    mcm_image coloured = conditions[0].images[0]; /* the sketch as an RGB file of three equal channels */
    for (int i = 0; i < 64 * 3; i++) colours[i] = ((const uint8_t *)coloured.data)[i / 3];
    coloured.data = colours;
    coloured.channels = 3;
    OK(mcm_png_write(path_in(scratch, "coloured"), &coloured));
    OK(mcm_session_set_condition_png(session, id, "sketch", path_in(scratch, "coloured")));
    finish(session, x);
    SAME(x, plain, sizeof x);
    free_parts();
}

const test attachment_tests[] = {
    {"weight_zero_equals_detached", weight_zero_equals_detached},
    {"untrained_module_equals_none", untrained_module_equals_none},
    {"window_equals_weights_by_hand", window_equals_weights_by_hand},
    {"detached_and_attached_again", detached_and_attached_again},
    {"the_same_module_twice", the_same_module_twice},
    {"conditions_are_replaced_and_cleared", conditions_are_replaced_and_cleared},
    {"conditions_are_copied", conditions_are_copied},
    {"one_image_for_the_whole_batch", one_image_for_the_whole_batch},
    {"condition_from_png", condition_from_png},
    {NULL, NULL},
};

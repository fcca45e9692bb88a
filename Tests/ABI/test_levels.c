/* The same drawing at three levels, on any number of threads, alone and in a batch: the same bits. */
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "tiny.h"

static uint8_t by_call[MAX_FLOATS], by_session[MAX_FLOATS], by_loop[MAX_FLOATS];
static float session_sample[MAX_FLOATS], loop_sample[MAX_FLOATS];

static void check_levels(const drawing *d) {
    size_t count = sample_count(d);
    draw_generate(d, by_call);
    draw_session(d, by_session, session_sample);
    draw_own_loop(d, by_loop, loop_sample);
    SAME(session_sample, loop_sample, count * sizeof(float));
    SAME(by_session, by_loop, count);
    SAME(by_session, by_call, count);
}

/* Every scheduler, one seed for all images and one per image, without and with a module at full and other weight. */
static void levels_agree(void) {
    static const uint64_t seeds[] = {3, 1, 4};
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 2);
    mcm_modulator *module = tiny_module_open(&(tiny_module){0});
    mcm_condition conditions[TINY_CONDITIONS];
    tiny_conditions(3, conditions);
    static const struct {
        int32_t kind;
        uint32_t steps;
        float eta;
        const char *options;
    } schedulers[] = {{MCM_SCHEDULER_DDIM, 7, 0, NULL},
                      {MCM_SCHEDULER_DDIM, 7, 0.6f, NULL},
                      {MCM_SCHEDULER_DDPM, 7, 0, NULL},
                      {MCM_SCHEDULER_DEFAULT, 12, 0, NULL},
                      {MCM_SCHEDULER_PNDM, 5, 0, NULL},
                      {MCM_SCHEDULER_PNDM, 5, 0, "{\"skip_prk_steps\": true}"},
                      {MCM_SCHEDULER_LMS, 7, 0, NULL},
                      {MCM_SCHEDULER_EULER, 7, 0, "{\"use_karras_sigmas\": true}"},
                      {MCM_SCHEDULER_EULER_ANCESTRAL, 7, 0, NULL},
                      {MCM_SCHEDULER_HEUN, 4, 0, "{\"timestep_spacing\": \"linspace\"}"},
                      {MCM_SCHEDULER_DPM_SOLVER_MULTISTEP, 7, 0, NULL},
                      {MCM_SCHEDULER_DPM_SOLVER_MULTISTEP, 7, 0,
                       "{\"algorithm_type\": \"sde-dpmsolver++\", \"solver_order\": 3}"},
                      {MCM_SCHEDULER_UNIPC, 7, 0, "{\"solver_order\": 3}"},
                      {MCM_SCHEDULER_LCM, 4, 0, NULL}};
    for (size_t s = 0; s < sizeof schedulers / sizeof *schedulers; s++)
        for (int own_seeds = 0; own_seeds < 2; own_seeds++)
            for (int weight = 0; weight < 3; weight++) {
                drawing d = drawing_of(model, schedulers[s].kind, schedulers[s].steps);
                d.options.eta = schedulers[s].eta;
                d.options.scheduler_options = schedulers[s].options;
                d.options.batch = 3;
                d.seeds = seeds;
                d.seed_count = own_seeds ? 3 : 1;
                if (weight > 0) d.modulator = module;
                d.weight = weight == 1 ? 1.0f : -0.7f;
                d.conditions = conditions;
                d.condition_count = TINY_CONDITIONS;
                check_levels(&d);
            }
    mcm_modulator_free(module);
    mcm_model_free(model);
}

static void levels_agree_with_learned_variance_and_classes(void) {
    mcm_model *model = tiny_model_open(&(tiny_model){.channels = 3, .classes = 5, .learned_variance = 1}, 2);
    static const float classes[] = {4, 0};
    drawing d = drawing_of(model, MCM_SCHEDULER_DDPM, 6);
    d.options.batch = 2;
    d.class_input = classes;
    d.class_input_count = 2;
    check_levels(&d);
    /* A module is for predictions without a variance. */
    mcm_modulator *module = tiny_module_open(&(tiny_module){.channels = 3});
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_modulator_check(module, model));
    mcm_modulator_free(module);
    mcm_model_free(model);
}

static void levels_agree_with_colours_and_classes(void) {
    mcm_model *model = tiny_model_open(&(tiny_model){.channels = 3, .classes = 5}, 2);
    mcm_modulator *module = tiny_module_open(&(tiny_module){.channels = 3});
    static const float classes[] = {4, 0};
    mcm_condition conditions[TINY_CONDITIONS];
    tiny_conditions(2, conditions);
    drawing d = drawing_of(model, MCM_SCHEDULER_DDIM, 6);
    d.options.batch = 2;
    d.class_input = classes;
    d.class_input_count = 2;
    d.modulator = module;
    d.conditions = conditions;
    d.condition_count = TINY_CONDITIONS;
    check_levels(&d);
    mcm_modulator_free(module);
    mcm_model_free(model);
}

static void levels_agree_on_the_fashion_model(void) {
    mcm_model *model = open_fashion_model(0);
    mcm_modulator *module = open_fashion_module();
    mcm_condition conditions[2];
    fashion_conditions(0, 1, conditions);
    static const int32_t kinds[] = {MCM_SCHEDULER_DDIM, MCM_SCHEDULER_DDPM};
    for (int i = 0; i < 2; i++) {
        drawing d = drawing_of(model, kinds[i], 10);
        d.modulator = module;
        d.conditions = conditions;
        d.condition_count = 2;
        check_levels(&d);
    }
    mcm_modulator_free(module);
    mcm_model_free(model);
}

/* Nothing given is seed 0, one image, the model's own scheduler. */
static void generate_without_options(void) {
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    drawing d = drawing_of(model, MCM_SCHEDULER_DEFAULT, 0);
    draw_session(&d, by_session, NULL);
    OK(mcm_generate(model, NULL, by_call, 64));
    SAME(by_session, by_call, 64);
    mcm_generate_options options = MCM_GENERATE_OPTIONS_INIT;
    OK(mcm_generate(model, &options, by_call, 64));
    SAME(by_session, by_call, 64);
    mcm_model_free(model);
}

static void threads_do_not_matter(void) {
    static const uint32_t threads[] = {1, 2, 3, 8};
    static const uint64_t seeds[] = {5, 6, 7};
    static float first[MAX_FLOATS];
    mcm_modulator *module = open_fashion_module();
    mcm_condition conditions[2];
    fashion_conditions(1, 3, conditions);
    for (int i = 0; i < 4; i++) {
        mcm_model *model = open_fashion_model(threads[i]);
        drawing d = drawing_of(model, MCM_SCHEDULER_DDPM, 4);
        d.options.batch = 3;
        d.seeds = seeds;
        d.seed_count = 3;
        d.modulator = module;
        d.conditions = conditions;
        d.condition_count = 2;
        draw_session(&d, by_session, i == 0 ? first : session_sample);
        if (i > 0) SAME(session_sample, first, sample_count(&d) * sizeof(float));
        mcm_model_free(model);
    }
    mcm_modulator_free(module);
}

static void image_is_the_same_alone_and_in_a_batch(void) {
    enum { BATCH = 4 };
    static const uint64_t seeds[BATCH] = {11, 12, 13, 14};
    mcm_model *model = open_fashion_model(2);
    mcm_modulator *module = open_fashion_module();
    mcm_condition conditions[2];
    for (int with_module = 0; with_module < 2; with_module++) {
        fashion_conditions(0, BATCH, conditions);
        drawing d = drawing_of(model, MCM_SCHEDULER_DDPM, 4);
        d.options.batch = BATCH;
        d.seeds = seeds;
        d.seed_count = BATCH;
        d.conditions = conditions;
        d.condition_count = 2;
        if (with_module) d.modulator = module;
        draw_session(&d, by_session, session_sample);
        for (uint32_t k = 0; k < BATCH; k++) {
            drawing alone = d;
            fashion_conditions(k, 1, conditions);
            alone.options.batch = 1;
            alone.seeds = seeds + k;
            alone.seed_count = 1;
            draw_session(&alone, by_loop, loop_sample);
            SAME(loop_sample, session_sample + k * 784, 784 * sizeof(float));
        }
    }
    mcm_modulator_free(module);
    mcm_model_free(model);
}

/* Where the map says garment, the drawing is brighter than elsewhere. */
static void drawing_follows_its_conditions(void) {
    mcm_model *model = open_fashion_model(0);
    mcm_modulator *module = open_fashion_module();
    mcm_condition conditions[2];
    fashion_conditions(0, 8, conditions);
    drawing d = drawing_of(model, MCM_SCHEDULER_DDIM, 25);
    d.options.batch = 8;
    d.modulator = module;
    d.conditions = conditions;
    d.condition_count = 2;
    draw_generate(&d, by_call);
    for (int k = 0; k < 8; k++) {
        const uint8_t *labels = conditions[1].images[k].data;
        long sum[2] = {0, 0}, count[2] = {1, 1};
        for (int i = 0; i < 784; i++) sum[labels[i] > 0] += by_call[784 * k + i], count[labels[i] > 0]++;
        CHECK(sum[1] / count[1] > sum[0] / count[0] + 60);
    }
    mcm_modulator_free(module);
    mcm_model_free(model);
}

static void generate_attaches_several(void) {
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    mcm_modulator *one = tiny_module_open(&(tiny_module){0}), *two = tiny_module_open(&(tiny_module){.seed = 9});
    mcm_condition conditions[TINY_CONDITIONS];
    tiny_conditions(1, conditions);
    mcm_session_options session_options = MCM_SESSION_OPTIONS_INIT;
    session_options.scheduler = MCM_SCHEDULER_DDIM;
    session_options.steps = 6;
    mcm_attach_options attach[2] = {MCM_ATTACH_OPTIONS_INIT, MCM_ATTACH_OPTIONS_INIT};
    attach[0].weight = 0.5f;
    attach[0].end = 0.5f;
    attach[1].weight = 1.25f;
    attach[1].begin = 0.3f;
    mcm_attachment attachments[2] = {MCM_ATTACHMENT_INIT, MCM_ATTACHMENT_INIT};
    mcm_modulator *modules[2] = {one, two};
    for (int i = 0; i < 2; i++) {
        attachments[i].modulator = modules[i];
        attachments[i].options = &attach[i];
        attachments[i].conditions = conditions + i;
        attachments[i].condition_count = 2;
    }
    mcm_generate_options options = MCM_GENERATE_OPTIONS_INIT;
    options.session = &session_options;
    options.attachments = attachments;
    options.attachment_count = 2;
    OK(mcm_generate(model, &options, by_call, 64));

    mcm_session *session;
    uint64_t seed = 0;
    OK(mcm_session_create(model, &session_options, &session));
    OK(mcm_session_seed(session, &seed, 1));
    for (int i = 0; i < 2; i++) {
        uint32_t id;
        OK(mcm_session_attach(session, modules[i], &attach[i], &id));
        OK(mcm_session_set_condition(session, id, &conditions[i]));
        OK(mcm_session_set_condition(session, id, &conditions[i + 1]));
    }
    OK(mcm_session_run(session, NULL, NULL));
    OK(mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, by_session, 64));
    SAME(by_session, by_call, 64);
    mcm_session_free(session);
    mcm_modulator_free(two);
    mcm_modulator_free(one);
    mcm_model_free(model);
}

static int32_t count_and_cancel(void *user, mcm_session *session, uint32_t step, uint32_t steps) {
    mcm_session_state state = MCM_SESSION_STATE_INIT;
    int *calls = user;
    OK(mcm_session_get_state(session, &state));
    CHECK(state.step == step && state.steps == steps && step == (uint32_t)++*calls);
    return step == 3;
}

static void generate_cancels(void) {
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    mcm_session_options session = MCM_SESSION_OPTIONS_INIT;
    mcm_generate_options options = MCM_GENERATE_OPTIONS_INIT;
    int calls = 0;
    session.scheduler = MCM_SCHEDULER_DDIM;
    session.steps = 9;
    options.session = &session;
    options.callback = count_and_cancel;
    options.user = &calls;
    STATUS(MCM_CANCELLED, mcm_generate(model, &options, by_call, 64));
    CHECK(calls == 3);
    mcm_model_free(model);
}

const test level_tests[] = {
    {"levels_agree", levels_agree},
    {"levels_agree_with_learned_variance_and_classes", levels_agree_with_learned_variance_and_classes},
    {"levels_agree_with_colours_and_classes", levels_agree_with_colours_and_classes},
    {"levels_agree_on_the_fashion_model", levels_agree_on_the_fashion_model},
    {"generate_without_options", generate_without_options},
    {"threads_do_not_matter", threads_do_not_matter},
    {"image_is_the_same_alone_and_in_a_batch", image_is_the_same_alone_and_in_a_batch},
    {"drawing_follows_its_conditions", drawing_follows_its_conditions},
    {"generate_attaches_several", generate_attaches_several},
    {"generate_cancels", generate_cancels},
    {NULL, NULL},
};

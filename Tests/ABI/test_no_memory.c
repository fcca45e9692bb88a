/* What happens when there is no memory: an error, and all is as it was before the call. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "allocations.h"
#include "check.h"
#include "drawing.h"
#include "tiny.h"
#include "tiny_session.h"

enum { ONCE, TWICE, FROM_THEN_ON, HOWS };

/* Refused one block only, the library may do with a smaller one. */
static void refuse(unsigned number, int how) {
    refuse_tensors(number, how == ONCE ? number : how == TWICE ? number + 1 : ~0u);
}

/* All that can be seen of a session. */
typedef struct view {
    mcm_session_state state;
    mcm_status x0_status;
    float x[3 * 64], x0[3 * 64];
} view;

static view view_of(const mcm_session *session) {
    view v = {.state = state_of(session)};
    size_t count = (size_t)v.state.batch * 64;
    OK(mcm_session_get_sample(session, v.x, count));
    v.x0_status = mcm_session_get_x0(session, v.x0, count);
    return v;
}

/* A step, refused its k-th block. Returns whether there was a k-th. */
static int step_refused(mcm_session *session, unsigned k, int how) {
    view before = view_of(session);
    refuse(k, how);
    mcm_status status = mcm_session_step(session);
    int refused = counted().refused > 0;
    refuse_nothing();
    if (status == MCM_OK) {
        CHECK(state_of(session).step == before.state.step + 1 && !(refused && how == FROM_THEN_ON));
    } else {
        STATUS(MCM_ERROR_OUT_OF_MEMORY, status);
        CHECK(refused);
        view after = view_of(session);
        SAME(&after, &before, sizeof before);
    }
    return refused;
}

static drawing refused_drawing(const mcm_model *of, int32_t kind, uint32_t batch, int with_module) {
    static const uint64_t seeds[] = {4, 5, 6};
    drawing d = drawing_of(of, kind, 3);
    tiny_conditions(batch, conditions);
    d.options.batch = batch;
    d.options.eta = kind == MCM_SCHEDULER_DDIM ? 0.5f : 0;
    d.seeds = seeds;
    d.seed_count = batch;
    d.conditions = conditions;
    d.condition_count = TINY_CONDITIONS;
    if (with_module) d.modulator = module;
    return d;
}

static void check_end(mcm_session *session, const float *expected_sample, size_t count) {
    float sample[3 * 64];
    OK(mcm_session_run(session, NULL, NULL));
    OK(mcm_session_get_sample(session, sample, count));
    SAME(sample, expected_sample, count * sizeof(float));
    mcm_session_free(session);
}

static void check_refused_steps(const drawing *d) {
    static uint8_t pixels[3 * 64];
    float expected_sample[3 * 64];
    size_t count = sample_count(d);
    draw_session(d, pixels, expected_sample);
    for (int how = ONCE; how < HOWS; how++) {
        /* One session for each k. */
        int refused = 1, failures = 0;
        for (unsigned k = 1; refused; k++) {
            mcm_session *session = open_session(d, NULL);
            refused = step_refused(session, k, how);
            failures += state_of(session).step == 0;
            check_end(session, expected_sample, count);
        }
        CHECK(failures > 0 || how != FROM_THEN_ON);
        /* One that is refused at every k; then one in each of its steps. */
        mcm_session *session = open_session(d, NULL);
        for (unsigned k = 1; state_of(session).step == 0; k++) step_refused(session, k, how);
        check_end(session, expected_sample, count);
        session = open_session(d, NULL);
        for (unsigned k = 1; k <= 3; k++) {
            step_refused(session, k, how);
            if (state_of(session).step < k) OK(mcm_session_step(session));
        }
        check_end(session, expected_sample, count);
    }
}

static void no_memory_in_the_first_step(void) {
    if (!allocations_are_seen()) return;
    static const int32_t kinds[] = {MCM_SCHEDULER_DDIM, MCM_SCHEDULER_DDPM};
    open_parts();
    mcm_model *of = tiny_model_open(&(tiny_model){0}, 3);
    for (int k = 0; k < 2; k++)
        for (uint32_t batch = 1; batch <= 3; batch += 2)
            for (int with_module = 0; with_module < 2; with_module++) {
                drawing d = refused_drawing(of, kinds[k], batch, with_module);
                check_refused_steps(&d);
            }
    mcm_model_free(of);
    free_parts();
}

/* A step that needs more than those before it, for a module came: x0 stays what the step before predicted. */
static void no_memory_in_a_later_step(void) {
    if (!allocations_are_seen()) return;
    open_parts();
    float plain[64];
    for (int how = ONCE; how < HOWS; how++)
        for (unsigned k = 0, refused = 1; refused; k++) { /* 0: nothing is refused */
            mcm_session *session = new_session(0, NULL);
            uint32_t id;
            OK(mcm_session_step(session));
            OK(mcm_session_step(session));
            OK(mcm_session_attach(session, module, NULL, &id));
            OK(mcm_session_set_condition(session, id, &conditions[0]));
            if (k > 0) refused = (unsigned)step_refused(session, k, how);
            if (k == 0)
                finish(session, plain);
            else
                check_end(session, plain, 64);
        }
    free_parts();
}

/* Calls between steps. */
static void no_memory_between_steps(void) {
    if (!allocations_are_seen()) return;
    open_parts();
    float plain[64];
    expected(1, plain);
    for (unsigned k = 1, all = 0; !all; k++) {
        all = 1;
        uint32_t id;
        uint64_t seed = 0;
        mcm_session *session = new_session(1, &id);
        OK(mcm_session_step(session));
#define REFUSED(call)                                                        \
    do {                                                                     \
        view before_ = view_of(session);                                     \
        refuse_tensors(k, ~0u);                                              \
        mcm_status status_ = call;                                           \
        all &= counted().refused == 0;                                       \
        refuse_nothing();                                                    \
        if (status_ != MCM_OK) {                                             \
            STATUS(MCM_ERROR_OUT_OF_MEMORY, status_);                        \
            view after_ = view_of(session);                                  \
            SAME(&after_, &before_, sizeof before_);                         \
        }                                                                    \
    } while (0)
        REFUSED(mcm_session_set_condition(session, id, &conditions[0]));
        REFUSED(mcm_session_set_sample(session, before_.x, 64));
        REFUSED(mcm_session_set_weight(session, id, 1));
        REFUSED(mcm_session_seed(session, &seed, 1));
        OK(mcm_session_seed(session, &seed, 1));
        check_end(session, plain, 64);
    }
    free_parts();
}

static void no_memory_for_a_prediction(void) {
    if (!allocations_are_seen()) return;
    static float x[2 * 64], plain[2 * 64], plain_modulated[2 * 64], e[2 * 64], modulated[2 * 64];
    static const float t[2] = {10, 800};
    open_parts();
    tiny_conditions(2, conditions);
    for (int i = 0; i < 2 * 64; i++) x[i] = (float)(i % 17) / 8 - 1;
    OK(mcm_model_predict(model, 2, 8, 8, x, 128, t, NULL, 0, plain, 128));
    OK(mcm_modulator_modulate(module, model, 2, 8, 8, x, plain, 128, t, conditions, 3, 1, plain_modulated));
    for (int how = ONCE; how < HOWS; how++)
        for (int modulating = 0; modulating < 2; modulating++) {
            int failures = 0;
            for (unsigned k = 1, refused = 1; refused; k++) {
                mcm_model *fresh = tiny_model_open(&(tiny_model){0}, 2);
#define CALL()                                                                                                   \
    (modulating ? mcm_modulator_modulate(module, fresh, 2, 8, 8, x, plain, 128, t, conditions, 3, 1, modulated) \
                : mcm_model_predict(fresh, 2, 8, 8, x, 128, t, NULL, 0, e, 128))
                refuse(k, how);
                mcm_status status = CALL();
                refused = counted().refused > 0;
                refuse_nothing();
                if (status != MCM_OK) {
                    STATUS(MCM_ERROR_OUT_OF_MEMORY, status);
                    CHECK(refused);
                    failures++;
                } else {
                    CHECK(!(refused && how == FROM_THEN_ON));
                    SAME(modulating ? modulated : e, modulating ? plain_modulated : plain, sizeof e);
                }
                for (int i = 0; i < 2; i++) {
                    OK(CALL());
                    SAME(modulating ? modulated : e, modulating ? plain_modulated : plain, sizeof e);
                }
                mcm_model_free(fresh);
            }
            CHECK(failures > 0 || how != FROM_THEN_ON);
        }
    free_parts();
}

static void no_memory_for_a_session(void) {
    if (!allocations_are_seen()) return;
    open_parts();
    mcm_session *const untouched = (mcm_session *)&conditions, *session = untouched;
    int failures = -1;
    for (unsigned k = 1; session == untouched; k++, failures++) {
        refuse(k, FROM_THEN_ON);
        mcm_status status = mcm_session_create(model, NULL, &session);
        STATUS(counted().refused > 0 ? MCM_ERROR_OUT_OF_MEMORY : MCM_OK, status);
        refuse_nothing();
        CHECK((status == MCM_OK) == (session != untouched));
    }
    CHECK(failures > 0);
    mcm_session_free(session);
    free_parts();
}

/* Opening fails as long as a tensor is refused. The next opening is not harmed, and no failed one keeps memory. */
static void no_memory_for_weights(void) {
    if (!allocations_are_seen()) return;
    mcm_memory_file files[TINY_FILES];
    tiny_model_files(&(tiny_model){.classes = 5}, files);
    bytes file = tiny_module_file(&(tiny_module){0});
    mcm_model *const no_model = (mcm_model *)files, *of = no_model;
    mcm_modulator *const no_module = (mcm_modulator *)files, *by = no_module;
    const char *folder = path_in(fashion, "base"), *path = path_in(fashion, "module.mcm.safetensors");
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    options.threads = 2;
    options.cache_bytes = 1 << 24;
    size_t held = 0;
    for (int round = 0; round < 3; round++) {
        for (int what = 0; what < 4; what++) {
            /* A large model's blocks one by one would take long. */
            unsigned k = 1, stride = what == 1 ? 7 : 1, failures = 0;
            for (;; k += stride, failures++) {
                refuse(k, round == 0 ? FROM_THEN_ON : TWICE);
                mcm_status status = what == 0   ? mcm_model_open_memory(files, TINY_FILES, &options, &of)
                                    : what == 1 ? mcm_model_open(folder, &options, &of)
                                    : what == 2 ? mcm_modulator_open_memory(file.data, file.size, &by)
                                                : mcm_modulator_open(path, &by);
                STATUS(counted().refused > 0 ? MCM_ERROR_OUT_OF_MEMORY : MCM_OK, status);
                refuse_nothing();
                if (status == MCM_OK) break;
                CHECK(of == no_model && by == no_module);
            }
            CHECK(failures > 0);
            if (of != no_model) mcm_model_free(of);
            if (by != no_module) mcm_modulator_free(by);
            of = no_model;
            by = no_module;
        }
        struct mallinfo2 heap = mallinfo2();
        if (round == 2) CHECK(heap.uordblks + heap.hblkhd < held + (64 << 10));
        held = heap.uordblks + heap.hblkhd;
    }
    free(file.data);
    free_files(files);
}

static void no_memory_for_one_call(void) {
    if (!allocations_are_seen()) return;
    open_parts();
    uint8_t plain[64], pixels[64];
    drawing d = drawing_of(model, MCM_SCHEDULER_DDPM, 2);
    d.modulator = module;
    draw_generate(&d, plain);
    mcm_attachment attachment = MCM_ATTACHMENT_INIT;
    attachment.modulator = module;
    mcm_generate_options options = MCM_GENERATE_OPTIONS_INIT;
    options.session = &d.options;
    options.attachments = &attachment;
    options.attachment_count = 1;
    for (int how = ONCE; how < HOWS; how++)
        for (unsigned k = 1, refused = 1; refused; k++) {
            refuse(k, how);
            mcm_status status = mcm_generate(model, &options, pixels, 64);
            refused = counted().refused > 0;
            refuse_nothing();
            if (status == MCM_OK)
                SAME(pixels, plain, 64);
            else
                STATUS(MCM_ERROR_OUT_OF_MEMORY, status);
            CHECK(refused || status == MCM_OK);
        }
    free_parts();
}

const test no_memory_tests[] = {
    {"no_memory_in_the_first_step", no_memory_in_the_first_step},
    {"no_memory_in_a_later_step", no_memory_in_a_later_step},
    {"no_memory_between_steps", no_memory_between_steps},
    {"no_memory_for_a_prediction", no_memory_for_a_prediction},
    {"no_memory_for_a_session", no_memory_for_a_session},
    {"no_memory_for_weights", no_memory_for_weights},
    {"no_memory_for_one_call", no_memory_for_one_call},
    {NULL, NULL},
};

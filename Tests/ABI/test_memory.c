/* What memory is held, and when it is asked for; see test_no_memory.c for what happens when there is none. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"
#include "check.h"
#include "drawing.h"
#include "tiny.h"

static mcm_memory model_memory(const mcm_model *of) {
    mcm_memory memory = MCM_MEMORY_INIT;
    OK(mcm_model_get_memory(of, &memory));
    CHECK(memory.struct_size == sizeof memory);
    return memory;
}

static mcm_memory session_memory(const mcm_session *of) {
    mcm_memory memory = MCM_MEMORY_INIT;
    OK(mcm_session_get_memory(of, &memory));
    CHECK(memory.struct_size == sizeof memory && memory.weights == 0 && memory.cache == 0);
    return memory;
}

static mcm_model *open_fashion_with_cache(uint32_t threads, uint64_t cache_bytes) {
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    mcm_model *opened;
    options.threads = threads;
    options.cache_bytes = cache_bytes;
    OK(mcm_model_open(path_in(fashion, "base"), &options, &opened));
    return opened;
}

/* --- What is reported --- */

static void threads_are_reported(void) {
    static const uint32_t threads[] = {1, 2, 7, 256};
    for (int i = 0; i < 4; i++) {
        mcm_model *of = tiny_model_open(&(tiny_model){0}, threads[i]);
        mcm_session *session;
        OK(mcm_session_create(of, NULL, &session));
        CHECK(model_memory(of).threads == threads[i] && session_memory(session).threads == threads[i]);
        mcm_session_free(session);
        mcm_model_free(of);
    }
    mcm_model *of = tiny_model_open(&(tiny_model){0}, 0);
    long cpus = sysconf(_SC_NPROCESSORS_CONF); /* the process may be kept from some */
    CHECK(model_memory(of).threads >= 1 && (long)model_memory(of).threads <= cpus);
    mcm_model_free(of);
}

/* Of this process, without what it only has mapped from files. */
static long bytes_in_use(void) {
    char line[256];
    long kilobytes = -1;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file);
    while (fgets(line, sizeof line, file)) sscanf(line, "RssAnon: %ld kB", &kilobytes);
    fclose(file);
    CHECK(kilobytes >= 0);
    return kilobytes * 1024;
}

static void weights_are_reported(void) {
    enum { OTHER = 16 << 20 }; /* a first call's own, and pages of 2 MiB */
    mcm_model_info info = MCM_MODEL_INFO_INIT;
    long before = bytes_in_use();
    mcm_model *of = open_fashion_model(1);
    long used = bytes_in_use() - before;
    OK(mcm_model_get_info(of, &info));
    mcm_memory memory = model_memory(of);
    CHECK(memory.weights == info.memory_bytes && memory.cache == 0 && memory.arena == 0);
    /* Panels of 16 columns and the shortest vectors take more than their parameters. */
    CHECK(memory.weights >= 2 * info.parameter_count && memory.weights < 5 * info.parameter_count);
    CHECK(used >= (long)memory.weights && used < (long)memory.weights + OTHER);
    mcm_model_free(of);
}

static void models_arena_is_what_predictions_need(void) {
    static float x[3 * 784], e[3 * 784], t[3] = {5, 5, 5};
    mcm_model *of = open_fashion_model(2);
    OK(mcm_model_predict(of, 1, 28, 28, x, 784, t, NULL, 0, e, 784));
    uint64_t one = model_memory(of).arena;
    CHECK(one > 784 * sizeof(float));
    OK(mcm_model_predict(of, 3, 28, 28, x, 3 * 784, t, NULL, 0, e, 3 * 784));
    uint64_t three = model_memory(of).arena;
    CHECK(three > one);
    OK(mcm_model_predict(of, 3, 28, 28, x, 3 * 784, t, NULL, 0, e, 3 * 784));
    CHECK(model_memory(of).arena == three);
    mcm_model_free(of);
}

static void sessions_arena_is_made_in_the_first_step(void) {
    mcm_model *of = open_fashion_model(2);
    mcm_modulator *module = open_fashion_module();
    mcm_condition conditions[2];
    fashion_conditions(0, 3, conditions);
    for (int with_module = 0; with_module < 2; with_module++) {
        drawing d = drawing_of(of, MCM_SCHEDULER_DDPM, 5);
        d.options.batch = 3;
        d.conditions = conditions;
        d.condition_count = 2;
        if (with_module) d.modulator = module;
        mcm_session *session = open_session(&d, NULL);
        uint64_t before = session_memory(session).arena;
        CHECK(before >= 3 * 784 * sizeof(float)); /* the samples, and conditions */
        OK(mcm_session_step(session));
        uint64_t arena = session_memory(session).arena;
        CHECK(arena > before);
        for (int i = 1; i < 5; i++) {
            OK(mcm_session_step(session));
            CHECK(session_memory(session).arena == arena);
        }
        uint64_t seed = 1;
        OK(mcm_session_seed(session, &seed, 1));
        OK(mcm_session_run(session, NULL, NULL));
        CHECK(session_memory(session).arena == arena);
        mcm_session_free(session);
    }
    CHECK(model_memory(of).arena == 0); /* nothing of a session's is the model's */
    mcm_modulator_free(module);
    mcm_model_free(of);
}

/* A module that works in the second half of the steps needs memory from then on. */
static void sessions_arena_grows_with_a_module(void) {
    mcm_model *of = open_fashion_model(2);
    mcm_modulator *module = open_fashion_module();
    mcm_condition conditions[2];
    uint32_t id;
    fashion_conditions(0, 2, conditions);
    drawing d = drawing_of(of, MCM_SCHEDULER_DDIM, 6);
    d.options.batch = 2;
    d.modulator = module;
    d.conditions = conditions;
    d.condition_count = 2;
    mcm_session *session = open_session(&d, &id);
    OK(mcm_session_set_window(session, id, 0.5f, 1));
    uint64_t arena[6];
    for (int i = 0; i < 6; i++) {
        OK(mcm_session_step(session));
        arena[i] = session_memory(session).arena;
    }
    CHECK(arena[0] == arena[1] && arena[1] == arena[2] && arena[3] == arena[4] && arena[4] == arena[5]);
    CHECK(arena[3] >= arena[2]);
    mcm_session_free(session);
    mcm_modulator_free(module);
    mcm_model_free(of);
}

/* --- Options --- */

/* A host that was compiled before cache_bytes came: what lies behind its struct is not the library's business. */
static void options_without_cache_bytes(void) {
    mcm_memory_file files[TINY_FILES];
    tiny_model_files(&(tiny_model){0}, files);
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    options.struct_size = 8;
    options.threads = 3;
    options.cache_bytes = UINT64_MAX;
    mcm_model *of = NULL;
    OK(mcm_model_open_memory(files, TINY_FILES, &options, &of));
    CHECK(model_memory(of).threads == 3 && model_memory(of).cache == 0);
    mcm_model_free(of);
    OK(mcm_model_open(path_in(fashion, "base"), &options, &of));
    CHECK(model_memory(of).threads == 3 && model_memory(of).cache == 0);
    mcm_model_free(of);
    of = NULL;
    options.threads = 257;
    INVALID(mcm_model_open_memory(files, TINY_FILES, &options, &of));
    CHECK(of == NULL);
    /* Only a size that a header once had. */
    options.threads = 1;
    for (options.struct_size = 9; options.struct_size < sizeof options; options.struct_size++)
        if (options.struct_size != 16) /* without what follows cache_bytes */
            STATUS(MCM_ERROR_STRUCT_SIZE, mcm_model_open_memory(files, TINY_FILES, &options, &of));
    CHECK(of == NULL);
    free_files(files);
    unsigned char room[24];
    memset(room, 0xa5, sizeof room);
    mcm_model_options_init((mcm_model_options *)room, 8);
    for (int i = 0; i < 24; i++) CHECK(room[i] == (i == 0 ? 8 : i < 8 ? 0 : 0xa5));
}

static void options_that_cannot_be_had(void) {
    mcm_memory_file files[TINY_FILES];
    tiny_model_files(&(tiny_model){0}, files);
    mcm_model *const untouched = (mcm_model *)files, *of = untouched;
    static const uint64_t caches[] = {UINT64_MAX, (uint64_t)INT64_MAX + 1, INT64_MAX, UINT64_C(1) << 60};
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    for (int i = 0; i < 4; i++) {
        options.cache_bytes = caches[i];
        INVALID(mcm_model_open_memory(files, TINY_FILES, &options, &of));
        MESSAGE("cache_bytes");
        INVALID(mcm_model_open(path_in(fashion, "base"), &options, &of));
        MESSAGE("cache_bytes");
    }
    options.cache_bytes = 0;
    options.threads = 257;
    INVALID(mcm_model_open_memory(files, TINY_FILES, &options, &of));
    MESSAGE("threads is 257");
    INVALID(mcm_model_open(path_in(fashion, "base"), &options, &of));
    MESSAGE("threads is 257");
    CHECK(of == untouched);
    free_files(files);
}

/* Every size of the cache from none to all. */
static void cache_does_not_change_results(void) {
    static float x[2 * 784], plain[2 * 784], cached[2 * 784], sample[2 * 784], plain_sample[2 * 784];
    static uint8_t pixels[2 * 784];
    static const float t[2] = {900, 100};
    for (int i = 0; i < 2 * 784; i++) x[i] = (float)(i % 29) / 14 - 1;
    mcm_model *of = open_fashion_with_cache(2, 0);
    mcm_model_info info = MCM_MODEL_INFO_INIT;
    OK(mcm_model_get_info(of, &info));
    OK(mcm_model_predict(of, 2, 28, 28, x, 2 * 784, t, NULL, 0, plain, 2 * 784));
    drawing d = drawing_of(of, MCM_SCHEDULER_DDPM, 3);
    d.options.batch = 2;
    draw_session(&d, pixels, plain_sample);
    mcm_model_free(of);

    of = open_fashion_with_cache(1, UINT64_C(1) << 30);
    uint64_t all = model_memory(of).cache, before = 0;
    mcm_model_free(of);
    CHECK(all > info.parameter_count && all < UINT64_C(1) << 30);
    const uint64_t sizes[] = {0, 1, all / 100, all / 10, all / 2, all - 1, all, all + 1, all + (1 << 20)};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        of = open_fashion_with_cache(i % 2 ? 3 : 1, sizes[i]);
        mcm_memory memory = model_memory(of);
        CHECK(memory.weights == info.memory_bytes);
        CHECK(memory.cache <= sizes[i] && memory.cache >= before && (memory.cache == all) == (sizes[i] >= all));
        CHECK(memory.cache > 0 || sizes[i] < all / 10);
        before = memory.cache;
        OK(mcm_model_predict(of, 2, 28, 28, x, 2 * 784, t, NULL, 0, cached, 2 * 784));
        SAME(cached, plain, sizeof plain);
        d.model = of;
        draw_session(&d, pixels, sample);
        SAME(sample, plain_sample, sizeof sample);
        mcm_model_free(of);
    }
}

/* --- When memory is asked for --- */

static void check_steps_after_the_first(const drawing *d) {
    mcm_session *session = open_session(d, NULL);
    start_counting();
    OK(mcm_session_step(session));
    CHECK(counted().tensors > 0); /* or this program's functions are not the ones that the library calls */
    for (uint32_t step = 2; step <= d->options.steps; step++) {
        start_counting();
        OK(mcm_session_step(session));
        allocations found = counted();
        if (found.tensors || found.large)
            printf("    step %u: %u tensors, %u large blocks\n", step, found.tensors, found.large);
        CHECK(found.tensors == 0 && found.large == 0);
    }
    mcm_session_free(session);
}

static void steps_after_the_first_need_no_memory(void) {
    if (!allocations_are_seen()) return;
    static const int32_t kinds[] = {MCM_SCHEDULER_DDIM, MCM_SCHEDULER_DDPM};
    static const float classes[] = {1, 4, 0};
    static const uint64_t seeds[] = {1, 2, 3};
    mcm_model *const models[] = {open_fashion_model(1), open_fashion_model(3), open_fashion_with_cache(2, 1 << 22),
                                 tiny_model_open(&(tiny_model){.channels = 3, .classes = 5}, 2),
                                 tiny_model_open(&(tiny_model){.channels = 3, .classes = 5, .learned_variance = 1}, 2)};
    mcm_modulator *fashion_module = open_fashion_module(), *tiny = tiny_module_open(&(tiny_module){.channels = 3});
    mcm_condition for_fashion[2], for_tiny[TINY_CONDITIONS];
    for (int m = 0; m < 5; m++)
        for (int k = 0; k < 2; k++)
            for (uint32_t batch = 1; batch <= 3; batch += 2)
                for (int with_module = 0; with_module < (m == 4 ? 1 : 2); with_module++) {
                    fashion_conditions(0, batch, for_fashion);
                    tiny_conditions(batch, for_tiny);
                    if (m == 4 && kinds[k] == MCM_SCHEDULER_DDIM) continue; /* has no use for a variance */
                    drawing d = drawing_of(models[m], kinds[k], 5);
                    d.options.batch = batch;
                    d.seeds = seeds;
                    d.seed_count = batch;
                    d.conditions = m < 3 ? for_fashion : for_tiny;
                    d.condition_count = m < 3 ? 2 : TINY_CONDITIONS;
                    if (with_module) d.modulator = m < 3 ? fashion_module : tiny;
                    if (m >= 3) d.class_input = classes, d.class_input_count = batch;
                    check_steps_after_the_first(&d);
                }
    for (int m = 0; m < 5; m++) mcm_model_free(models[m]);
    mcm_modulator_free(fashion_module);
    mcm_modulator_free(tiny);
}

/* A second run, too, and a step after an edit that needs no more than the steps before it. */
static void second_run_needs_no_memory(void) {
    if (!allocations_are_seen()) return;
    mcm_model *of = open_fashion_model(2);
    mcm_modulator *module = open_fashion_module();
    static float x[784];
    mcm_condition conditions[2];
    uint64_t seed = 3;
    uint32_t id;
    fashion_conditions(0, 1, conditions);
    drawing d = drawing_of(of, MCM_SCHEDULER_DDPM, 4);
    d.modulator = module;
    d.conditions = conditions;
    d.condition_count = 2;
    mcm_session *session = open_session(&d, &id);
    OK(mcm_session_run(session, NULL, NULL));
    start_counting();
    OK(mcm_session_seed(session, &seed, 1));
    OK(mcm_session_step(session));
    OK(mcm_session_set_weight(session, id, 0));
    OK(mcm_session_step(session));
    OK(mcm_session_set_weight(session, id, 2));
    OK(mcm_session_get_sample(session, x, 784));
    OK(mcm_session_set_sample(session, x, 784));
    OK(mcm_session_step(session));
    CHECK(counted().tensors == 0 && counted().large == 0);
    mcm_session_free(session);
    mcm_modulator_free(module);
    mcm_model_free(of);
}

static void second_prediction_needs_no_memory(void) {
    if (!allocations_are_seen()) return;
    static float x[3 * 784], e[3 * 784], modulated[3 * 784];
    static const float t[3] = {5, 500, 999};
    mcm_model *of = open_fashion_model(2);
    mcm_modulator *module = open_fashion_module();
    mcm_condition conditions[2];
    fashion_conditions(0, 3, conditions);
    for (int i = 0; i < 3; i++) {
        start_counting();
        OK(mcm_model_predict(of, 3, 28, 28, x, 3 * 784, t, NULL, 0, e, 3 * 784));
        OK(mcm_modulator_modulate(module, of, 3, 28, 28, x, e, 3 * 784, t, conditions, 2, 1, modulated));
        OK(mcm_model_predict(of, 1, 28, 28, x, 784, t, NULL, 0, e, 784));
        CHECK(i == 0 ? counted().tensors > 0 : counted().tensors == 0 && counted().large == 0);
    }
    mcm_modulator_free(module);
    mcm_model_free(of);
}

const test memory_tests[] = {
    {"threads_are_reported", threads_are_reported},
    {"weights_are_reported", weights_are_reported},
    {"models_arena_is_what_predictions_need", models_arena_is_what_predictions_need},
    {"sessions_arena_is_made_in_the_first_step", sessions_arena_is_made_in_the_first_step},
    {"sessions_arena_grows_with_a_module", sessions_arena_grows_with_a_module},
    {"options_without_cache_bytes", options_without_cache_bytes},
    {"options_that_cannot_be_had", options_that_cannot_be_had},
    {"cache_does_not_change_results", cache_does_not_change_results},
    {"steps_after_the_first_need_no_memory", steps_after_the_first_need_no_memory},
    {"second_run_needs_no_memory", second_run_needs_no_memory},
    {"second_prediction_needs_no_memory", second_prediction_needs_no_memory},
    {NULL, NULL},
};

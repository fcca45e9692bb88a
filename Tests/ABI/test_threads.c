/* Several threads at once: shared models and modules, a session each, messages of their own. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "drawing.h"
#include "latent.h"
#include "tiny.h"

enum { THREADS = 4 };

static mcm_model *model;
static mcm_modulator *module;
static mcm_condition conditions[2];

typedef struct job {
    drawing drawing;
    uint64_t seed;
    uint8_t pixels[784];
    float sample[784];
} job;

static void *run_job(void *argument) {
    job *j = argument;
    draw_session(&j->drawing, j->pixels, j->sample);
    return NULL;
}

static void sessions_on_several_threads(void) {
    static job jobs[THREADS], alone[THREADS];
    pthread_t threads[THREADS];
    model = open_fashion_model(2);
    module = open_fashion_module();
    fashion_conditions(0, 1, conditions);
    for (int i = 0; i < THREADS; i++) {
        jobs[i].drawing = drawing_of(model, i % 2 ? MCM_SCHEDULER_DDPM : MCM_SCHEDULER_DDIM, 5);
        jobs[i].seed = (uint64_t)i;
        jobs[i].drawing.seeds = &jobs[i].seed;
        jobs[i].drawing.modulator = i == 3 ? NULL : module;
        jobs[i].drawing.conditions = conditions;
        jobs[i].drawing.condition_count = 2;
        alone[i] = jobs[i];
    }
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, run_job, &jobs[i]) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < THREADS; i++) {
        run_job(&alone[i]);
        SAME(alone[i].sample, jobs[i].sample, sizeof jobs[i].sample);
    }
    mcm_modulator_free(module);
    mcm_model_free(model);
}

/* Small calls, many of them, so that threads meet in the library's own locks. */
static void *predict_often(void *argument) {
    float x[64] = {0}, e[64], t = 5, *first = argument;
    OK(mcm_model_predict(model, 1, 8, 8, x, 64, &t, NULL, 0, first, 64));
    for (int i = 0; i < 300; i++) {
        OK(mcm_model_predict(model, 1, 8, 8, x, 64, &t, NULL, 0, e, 64));
        SAME(e, first, sizeof e);
    }
    return NULL;
}

static void predictions_on_several_threads(void) {
    pthread_t threads[THREADS];
    static float results[THREADS][64];
    model = tiny_model_open(&(tiny_model){0}, 3);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, predict_often, results[i]) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 1; i < THREADS; i++) SAME(results[i], results[0], sizeof results[0]);
    mcm_model_free(model);
}

static void *open_and_close(void *argument) {
    (void)argument;
    for (int i = 0; i < 20; i++) {
        mcm_model *own = tiny_model_open(&(tiny_model){0}, 2);
        drawing d = drawing_of(own, MCM_SCHEDULER_DDIM, 2);
        mcm_session *session = open_session(&d, NULL);
        mcm_model_free(own);
        OK(mcm_session_run(session, NULL, NULL));
        mcm_session_free(session);
    }
    return NULL;
}

static void models_open_and_close_on_several_threads(void) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, open_and_close, NULL) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

/* Hosts with many threads give them little stack. */
static void on_a_small_stack(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 128 * 1024) == 0);
    CHECK(pthread_create(&thread, &attributes, open_and_close, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    pthread_attr_destroy(&attributes);
}

/* A child process has the memory, but not the threads of its parent. */
static void after_a_fork(void) {
    static float x[784], e[784], first[784];
    float t = 5;
    model = open_fashion_model(3);
    OK(mcm_model_predict(model, 1, 28, 28, x, 784, &t, NULL, 0, first, 784));
    pid_t child = fork();
    if (child == 0) {
        alarm(20); /* a hang ends here */
        OK(mcm_model_predict(model, 1, 28, 28, x, 784, &t, NULL, 0, e, 784));
        SAME(e, first, sizeof e);
        mcm_model_free(model);
        exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(mcm_model_predict(model, 1, 28, 28, x, 784, &t, NULL, 0, e, 784));
    SAME(e, first, sizeof e);
    mcm_model_free(model);
}

/* Where another thread holds what it needs for loading a part, so that its lock stays held in the child. */
static void *load_again_and_again(void *end) {
    while (!*(volatile int *)end) mcm_prompt_free(encoded(model, "a cat"));
    return NULL;
}

static void after_a_fork_while_a_part_is_loaded(void) {
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    volatile int end = 0;
    pthread_t thread;
    options.on_demand = 1;
    OK(mcm_model_open(latent_model_write(&(latent_model){0}, "fork"), &options, &model));
    mcm_prompt_free(encoded(model, "a cat"));
    CHECK(pthread_create(&thread, NULL, load_again_and_again, (void *)&end) == 0);
    for (int i = 0; i < 30; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        pid_t child = fork();
        if (child == 0) {
            alarm(20); /* a hang ends here */
            mcm_prompt_free(encoded(model, "a dog"));
            mcm_memory memory = MCM_MEMORY_INIT;
            OK(mcm_model_get_memory(model, &memory));
            mcm_model_free(model);
            _exit(0);
        }
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        if (!WIFEXITED(status)) break; /* once is enough */
    }
    end = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    mcm_model_free(model);
}

static void *fail_elsewhere(void *argument) {
    mcm_model *none;
    (void)argument;
    CHECK(strcmp(mcm_last_error(), "") == 0);
    STATUS(MCM_ERROR_IO, mcm_model_open("/the/thread's/own", NULL, &none));
    MESSAGE("/the/thread's/own");
    return NULL;
}

static void messages_are_per_thread(void) {
    pthread_t thread;
    mcm_model *none;
    STATUS(MCM_ERROR_IO, mcm_model_open("/the/first/one's", NULL, &none));
    CHECK(pthread_create(&thread, NULL, fail_elsewhere, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    MESSAGE("/the/first/one's");
}

const test thread_tests[] = {
    {"sessions_on_several_threads", sessions_on_several_threads},
    {"predictions_on_several_threads", predictions_on_several_threads},
    {"models_open_and_close_on_several_threads", models_open_and_close_on_several_threads},
    {"on_a_small_stack", on_a_small_stack},
    {"after_a_fork", after_a_fork},
    {"after_a_fork_while_a_part_is_loaded", after_a_fork_while_a_part_is_loaded},
    {"messages_are_per_thread", messages_are_per_thread},
    {NULL, NULL},
};

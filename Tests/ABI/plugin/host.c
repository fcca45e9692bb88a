/* host <path of the library> <folder of the fashion example> [part of a test's name]
 * A host that loads the library when it runs, as plugins are loaded, and ends in whatever state it is. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <mcm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HANG = 120 /* seconds */, TIMES = 8, STEPS = 3 };

static const char *path, *model_folder;

#define CHECK(condition)                                            \
    do {                                                            \
        if (!(condition)) {                                         \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);  \
            fflush(stdout);                                         \
            _exit(1);                                               \
        }                                                           \
    } while (0)

/* Asked by the leak checker, if there is one: these processes end with whatever they have. */
int __lsan_is_turned_off(void) { return 1; }

static void *load(void) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) printf("%s\n", dlerror());
    CHECK(library);
    return library;
}

#define FUNCTION(library, name) __typeof__(&name) p_##name = (__typeof__(&name))dlsym(library, #name)

/* A session after its first step; its model is not freed. */
static mcm_session *begin(void *library) {
    FUNCTION(library, mcm_model_open);
    FUNCTION(library, mcm_session_create);
    FUNCTION(library, mcm_session_seed);
    FUNCTION(library, mcm_session_step);
    CHECK(p_mcm_model_open && p_mcm_session_create && p_mcm_session_seed && p_mcm_session_step);
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    mcm_session_options session_options = MCM_SESSION_OPTIONS_INIT;
    mcm_model *model;
    mcm_session *session;
    uint64_t seed = 1;
    options.threads = 3;
    session_options.scheduler = MCM_SCHEDULER_DDIM;
    session_options.steps = STEPS;
    CHECK(p_mcm_model_open(model_folder, &options, &model) == MCM_OK);
    CHECK(p_mcm_session_create(model, &session_options, &session) == MCM_OK);
    CHECK(p_mcm_session_seed(session, &seed, 1) == MCM_OK);
    CHECK(p_mcm_session_step(session) == MCM_OK);
    return session;
}

static float sample[784];

static void end(void *library, mcm_session *session) {
    FUNCTION(library, mcm_session_run);
    FUNCTION(library, mcm_session_get_sample);
    FUNCTION(library, mcm_session_free);
    CHECK(p_mcm_session_run && p_mcm_session_get_sample && p_mcm_session_free);
    CHECK(p_mcm_session_run(session, NULL, NULL) == MCM_OK);
    CHECK(p_mcm_session_get_sample(session, sample, 784) == MCM_OK);
    p_mcm_session_free(session);
}

static void draw(void *library) { end(library, begin(library)); }

static void loads_and_exits(void) { load(); }

static void loads_closes_and_exits(void) { dlclose(load()); }

static void draws_and_exits(void) { draw(load()); }

static void draws_closes_and_exits(void) {
    void *library = load();
    draw(library);
    CHECK(dlclose(library) == 0);
}

static void closes_with_a_session_and_exits(void) {
    void *library = load();
    begin(library);
    CHECK(dlclose(library) == 0);
}

static void loads_again_and_again(void) {
    float first[784];
    for (int i = 0; i < 5; i++) {
        void *library = load();
        draw(library);
        if (i == 0) memcpy(first, sample, sizeof first);
        CHECK(memcmp(first, sample, sizeof first) == 0);
        CHECK(dlclose(library) == 0);
    }
}

static void *draw_with(void *library) {
    draw(library);
    return NULL;
}

static void *load_and_draw(void *unused) {
    void *library = load();
    (void)unused;
    draw(library);
    CHECK(dlclose(library) == 0);
    return NULL;
}

/* What the library keeps for a thread must not outlive the library. */
static void thread_ends_after_close(void) {
    pthread_t thread;
    void *library = load();
    FUNCTION(library, mcm_last_error);
    CHECK(pthread_create(&thread, NULL, draw_with, library) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, load_and_draw, NULL) == 0);
    CHECK(p_mcm_last_error()[0] == '\0');
    CHECK(dlclose(library) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static int32_t exit_in_callback(void *user, mcm_session *session, uint32_t step, uint32_t steps) {
    (void)user, (void)session, (void)step, (void)steps;
    exit(0);
}

static void exits_in_the_callback(void) {
    void *library = load();
    FUNCTION(library, mcm_session_run);
    p_mcm_session_run(begin(library), exit_in_callback, NULL);
    CHECK(!"reached");
}

static void forks_draws_and_exits(void) {
    void *library = load();
    mcm_session *session = begin(library);
    pid_t child = fork();
    int status = 0;
    CHECK(child >= 0);
    if (child > 0) CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    end(library, session);
    CHECK(dlclose(library) == 0);
}

static const struct test {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"loads_and_exits", loads_and_exits},
    {"loads_closes_and_exits", loads_closes_and_exits},
    {"draws_and_exits", draws_and_exits},
    {"draws_closes_and_exits", draws_closes_and_exits},
    {"closes_with_a_session_and_exits", closes_with_a_session_and_exits},
    {"loads_again_and_again", loads_again_and_again},
    {"thread_ends_after_close", thread_ends_after_close},
    {"exits_in_the_callback", exits_in_the_callback},
    {"forks_draws_and_exits", forks_draws_and_exits},
};

static int passes(const struct test *t) {
    for (int i = 0; i < TIMES; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            alarm(HANG);
            t->run();
            exit(0);
        }
        int status = -1;
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status)) printf("    ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
        if (status != 0) return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    static char folder[4096];
    if (argc < 3) return 2;
    path = argv[1];
    snprintf(folder, sizeof folder, "%s/base", argv[2]);
    model_folder = folder;
    int passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (argc > 3 && !strstr(tests[i].name, argv[3])) continue;
        int ok = passes(&tests[i]);
        printf("%s plugin: %s\n", ok ? "ok  " : "FAIL", tests[i].name);
        ok ? passed++ : failed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}

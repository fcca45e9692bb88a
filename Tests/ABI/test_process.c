/* The library inside a host's process: forks, exits, signals, CPU time, other libraries. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "drawing.h"
#include "tiny.h"

enum { STEPS = 4, HANG = 120 /* seconds */ };

static mcm_model *model;
static mcm_modulator *module;
static mcm_condition conditions[2];
static uint8_t pixels[2 * 784];

static drawing open_drawing(uint32_t threads) {
    model = open_fashion_model(threads);
    module = open_fashion_module();
    fashion_conditions(0, 2, conditions);
    drawing d = drawing_of(model, MCM_SCHEDULER_DDPM, STEPS);
    d.options.batch = 2;
    d.modulator = module;
    d.conditions = conditions;
    d.condition_count = 2;
    return d;
}

static void free_drawing(void) {
    mcm_modulator_free(module);
    mcm_model_free(model);
}

/* Runs `body` in a child process, which must exit with `code`, and soon. */
static void in_a_child(void (*body)(const drawing *), const drawing *d, int code) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(HANG);
        body(d);
        exit(code);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) printf("    a child ended by signal %d\n", WTERMSIG(status));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

static void sleep_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static int leaks_are_fine; /* by exiting early, or of another library */

/* Asked by the leak checker, if there is one. */
int __lsan_is_turned_off(void) { return leaks_are_fine; }

/* --- Forks --- */

static float expected[2 * 784], predicted[784];
static mcm_session *half_done;

static void predict(float e[784]) {
    static const float x[784], t = 5;
    OK(mcm_model_predict(model, 1, 28, 28, x, 784, &t, NULL, 0, e, 784));
}

static int threads_of_this_process(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    CHECK(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

static void predict_the_same(const drawing *d) {
    float e[784];
    (void)d;
    predict(e);
    SAME(e, predicted, sizeof e);
    CHECK(threads_of_this_process() > 1); /* a child has none of its parent's */
}

static void draw_and_go_on(const drawing *d) {
    static float sample[2 * 784];
    draw_session(d, pixels, sample);
    SAME(sample, expected, sizeof expected);
    OK(mcm_session_run(half_done, NULL, NULL));
    OK(mcm_session_get_sample(half_done, sample, 2 * 784));
    SAME(sample, expected, sizeof expected);
    mcm_session_free(half_done);
    free_drawing();
}

static void draw_in_a_grandchild(const drawing *d) {
    draw_session(d, pixels, NULL);
    in_a_child(draw_and_go_on, d, 0);
    draw_and_go_on(d);
}

/* A child draws what its parent draws, and goes on where its parent was. */
static void child_draws_the_same(void) {
    drawing d = open_drawing(3);
    draw_session(&d, pixels, expected);
    half_done = open_session(&d, NULL);
    for (int i = 0; i < STEPS / 2; i++) OK(mcm_session_step(half_done));
    in_a_child(draw_and_go_on, &d, 0);
    in_a_child(draw_in_a_grandchild, &d, 0);
    draw_and_go_on(&d);
}

static volatile int stop;

static void *draw_until_stopped(void *argument) {
    const drawing *d = argument;
    float e[784];
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        mcm_session *session = open_session(d, NULL);
        OK(mcm_session_run(session, NULL, NULL));
        mcm_session_free(session);
        predict(e);
    }
    return NULL;
}

/* Whatever another thread was doing: a lock that it held stays locked in the child. */
static void fork_while_another_thread_draws(void) {
#ifdef __SANITIZE_ADDRESS__
    printf("     skipped: the sanitizer's own malloc stays locked\n");
    return;
#endif
    drawing d = open_drawing(3);
    pthread_t thread;
    draw_session(&d, pixels, expected);
    predict(predicted);
    half_done = open_session(&d, NULL);
    CHECK(pthread_create(&thread, NULL, draw_until_stopped, &d) == 0);
    for (int i = 0; i < 80; i++) in_a_child(predict_the_same, &d, 0);
    in_a_child(draw_and_go_on, &d, 0);
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    CHECK(pthread_join(thread, NULL) == 0);
    draw_and_go_on(&d);
}

/* --- Exits --- */

enum { CODE = 42 };

static int32_t exit_in_callback(void *user, mcm_session *session, uint32_t step, uint32_t steps) {
    (void)user, (void)session, (void)steps;
    if (step == 2) exit(CODE);
    return 0;
}

static void exit_with_a_session(const drawing *d) {
    mcm_session *session = open_session(d, NULL);
    OK(mcm_session_step(session));
}

static void exit_from_the_callback(const drawing *d) {
    mcm_session_run(open_session(d, NULL), exit_in_callback, NULL);
}

static void *run_and_exit(void *argument) {
    exit_from_the_callback(argument);
    return NULL;
}

static void exit_from_another_threads_callback(const drawing *d) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run_and_exit, (void *)d) == 0);
    pthread_join(thread, NULL);
}

static void exit_while_others_draw(const drawing *d) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, draw_until_stopped, (void *)d) == 0);
    static unsigned round;
    sleep_ms(5 + ++round % 5);
}

static const drawing *last_drawing;

static void draw_at_exit(void) { draw_session(last_drawing, pixels, NULL); }

static void exit_handler_draws(const drawing *d) {
    last_drawing = d;
    draw_session(d, pixels, NULL);
    CHECK(atexit(draw_at_exit) == 0);
}

static void end_by_the_first_thread(const drawing *d) {
    static drawing copy; /* the stack is gone then */
    pthread_t thread;
    copy = *d;
    CHECK(pthread_create(&thread, NULL, run_and_exit, &copy) == 0);
    pthread_exit(NULL);
}

static void exits(void) {
    leaks_are_fine = 1;
    static void (*const ends[])(const drawing *) = {
        exit_with_a_session,    exit_from_the_callback, exit_from_another_threads_callback,
        exit_while_others_draw, exit_handler_draws,     end_by_the_first_thread};
    drawing d = open_drawing(3);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        for (int k = 0; k < 8; k++) in_a_child(ends[i], &d, CODE); /* no thread has run before */
    draw_session(&d, pixels, NULL);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        for (int k = 0; k < 8; k++) in_a_child(ends[i], &d, CODE);
    free_drawing();
}

/* --- Threads, signals, CPU time --- */

static double cpu_seconds(void) {
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static void idle_threads_sleep(void) {
    drawing d = open_drawing(8);
    draw_session(&d, pixels, NULL);
    double before = cpu_seconds();
    sleep_ms(200);
    CHECK(cpu_seconds() - before < 0.02);
    free_drawing();
}

static volatile sig_atomic_t handled;
static pthread_t handler_thread;

static void handle(int number) {
    (void)number;
    handler_thread = pthread_self();
    handled++;
}

/* The library's threads take no signal that is meant for the host, and the caller's mask stays as it is. */
static void signals_are_the_hosts(void) {
    sigset_t own, before, after;
    drawing d = open_drawing(4);
    struct sigaction action = {.sa_handler = handle};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &before) == 0);
    draw_session(&d, pixels, NULL);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    for (int i = 1; i < NSIG; i++) CHECK(sigismember(&before, i) == sigismember(&after, i));
    sigemptyset(&own);
    sigaddset(&own, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &own, NULL) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0); /* to any thread that takes it */
    draw_session(&d, pixels, NULL);
    sleep_ms(20);
    CHECK(handled == 0);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &own, NULL) == 0);
    CHECK(handled == 1 && pthread_equal(handler_thread, pthread_self()));
    free_drawing();
}

static int threads_left = -1; /* that pthread_create below gives; -1: as many as are wanted */

#ifdef MAY_REPLACE_FUNCTIONS
/* Stands before the C library's. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "pthread_create");
    if (threads_left == 0) return EAGAIN;
    if (threads_left > 0) threads_left--;
    return real(thread, attributes, start, argument);
}
#endif

static void no_threads_to_be_had(void) {
#ifndef MAY_REPLACE_FUNCTIONS
    printf("     skipped: a sanitizer makes the threads\n");
    return;
#endif
    float sample[2 * 784];
    drawing d = open_drawing(1);
    draw_session(&d, pixels, expected);
    free_drawing();
    for (int given = 0; given < 3; given++) {
        threads_left = given; /* more than the time before, and fewer than wanted */
        d = open_drawing(8);
        draw_session(&d, pixels, sample);
        CHECK(threads_left == 0);
        SAME(sample, expected, sizeof sample);
        free_drawing();
    }
}

/* --- Others --- */

/* OpenBLAS has settings for the whole process, which are the host's. */
static void hosts_openblas_is_left_alone(void) {
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so"};
    void *openblas = NULL;
    leaks_are_fine = 1;
    for (int i = 0; i < 2 && !openblas; i++) openblas = dlopen(names[i], RTLD_NOW | RTLD_GLOBAL);
    int (*threads)(void) = openblas ? (int (*)(void))dlsym(openblas, "openblas_get_num_threads") : NULL;
    if (!threads) {
        printf("     skipped: there is no OpenBLAS\n");
        return;
    }
    void (*set_threads)(int) = (void (*)(int))dlsym(openblas, "openblas_set_num_threads");
    if (set_threads) set_threads(2);
    int before = threads();
    drawing d = open_drawing(3);
    draw_session(&d, pixels, NULL);
    CHECK(threads() == before);
    free_drawing();
    CHECK(threads() == before);
}

/* For the test below: what this process draws, in a file that ABI_DRAWING names. Alone it tests nothing. */
static void writes_a_drawing(void) {
    const char *path = getenv("ABI_DRAWING");
    if (!path) return;
    static float samples[2][2 * 784];
    drawing d = open_drawing(2);
    draw_session(&d, pixels, samples[0]);
    d.options.scheduler = MCM_SCHEDULER_DDIM;
    d.modulator = NULL;
    draw_session(&d, pixels, samples[1]);
    write_file(path, samples, sizeof samples);
    free_drawing();
}

/* This program once more, with the environment variable MCM_MAX_CPU_ISA. */
static void draw_elsewhere(const char *isa, float samples[4 * 784]) {
    const char *path = path_in(scratch, "drawing");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(HANG);
        if (isa) setenv("MCM_MAX_CPU_ISA", isa, 1);
        else unsetenv("MCM_MAX_CPU_ISA");
        setenv("ABI_DRAWING", path, 1);
        freopen("/dev/null", "w", stdout);
        execl(program, program, fashion, scratch, "writes_a_drawing", (char *)NULL);
        _exit(1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    FILE *file = fopen(path, "rb");
    CHECK(file && fread(samples, sizeof(float), 4 * 784, file) == 4 * 784 && fclose(file) == 0);
    CHECK(remove(path) == 0);
}

static void instructions_do_not_matter(void) {
    static float widest[4 * 784], avx2[4 * 784], unknown[4 * 784];
    draw_elsewhere(NULL, widest);
    draw_elsewhere("avx2", avx2);
    draw_elsewhere("a word", unknown);
    SAME(avx2, widest, sizeof widest);
    SAME(unknown, widest, sizeof widest);
}

const test process_tests[] = {
    {"child_draws_the_same", child_draws_the_same},
    {"fork_while_another_thread_draws", fork_while_another_thread_draws},
    {"exits", exits},
    {"idle_threads_sleep", idle_threads_sleep},
    {"signals_are_the_hosts", signals_are_the_hosts},
    {"no_threads_to_be_had", no_threads_to_be_had},
    {"hosts_openblas_is_left_alone", hosts_openblas_is_left_alone},
    {"writes_a_drawing", writes_a_drawing},
    {"instructions_do_not_matter", instructions_do_not_matter},
    {NULL, NULL},
};

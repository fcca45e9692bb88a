/* abi <folder of the fashion example> <empty folder> [part of a test's name] */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { TIME_LIMIT = 600 }; /* seconds for one test: a hang is a failure */

const char *program, *fashion, *scratch;

void check_failed(const char *file, int line, const char *text) {
    printf("%s:%d: %s\n    mcm_last_error: %s\n", file, line, text, mcm_last_error());
    fflush(stdout);
    _exit(1);
}

void check_status(const char *file, int line, const char *text, mcm_status expected, mcm_status found) {
    int misuse = found >= 1 && found < 100, data = found >= 100 && found < 200;
    int as_expected = expected == ANY_MISUSE ? misuse
                      : expected == ANY_DATA ? data
                      : expected == ANY_ERROR ? misuse || data
                                              : found == expected;
    if (!as_expected) {
        printf("    %s returned %s\n", text, mcm_status_name(found));
        check_failed(file, line, text);
    }
    if (found != MCM_OK && (mcm_last_error()[0] == '\0' || strpbrk(mcm_last_error(), "\r\n") != NULL))
        check_failed(file, line, "the message is one line");
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static int passes(const test *t) {
    double start = seconds();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(TIME_LIMIT);
        t->run();
        exit(0); /* not _exit: a leak checker reports here */
    }
    int status = -1;
    waitpid(child, &status, 0);
    int passed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (WIFSIGNALED(status)) printf("    ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    printf("%s %-50s %6.2f s\n", passed ? "ok  " : "FAIL", t->name, seconds() - start);
    return passed;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    program = argv[0];
    fashion = argv[1];
    scratch = argv[2];
    const char *part = argc > 3 ? argv[3] : "";
    const test *const files[] = {part_tests, image_tests, null_tests, input_tests, model_tests,
                                 modulator_tests, session_tests, attachment_tests, level_tests, memory_tests,
                                 no_memory_tests, thread_tests, process_tests, training_tests,
                                 training_bit_tests, training_file_tests, training_damage_tests,
                                 training_mismatch_tests, training_input_tests, training_option_tests,
                                 training_config_tests, training_null_tests, training_memory_tests,
                                 latent_tests, null_latent_tests, latent_input_tests, prompt_tests, guidance_tests,
                                 begin_tests, controlnet_tests, latent_module_tests, latent_message_tests,
                                 latent_damage_tests, latent_memory_tests, training_latent_tests};
    int passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (const test *t = files[i]; t->run; t++)
            if (strstr(t->name, part)) passes(t) ? passed++ : failed++;
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}

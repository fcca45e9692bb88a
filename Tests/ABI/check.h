/* Checks for the tests of the C ABI.
 *
 * A test is a function. The runner gives each a process of its own: a crash or a hang of the library is one failure
 * and not the end of the run, and the first failed check ends its test. */
#ifndef CHECK_H
#define CHECK_H

#include <mcm.h>

typedef struct test {
    const char *name;
    void (*run)(void);
} test;

/* Prints where, what and mcm_last_error(), and ends the test. */
void check_failed(const char *file, int line, const char *text);
/* The kinds of status that a call may be expected to return. */
enum { ANY_MISUSE = -1, ANY_DATA = -2, ANY_ERROR = -3 };
/* Beside the status: a failing call leaves a message of one line, as every failing call shall. */
void check_status(const char *file, int line, const char *text, mcm_status expected, mcm_status found);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
#define STATUS(expected, call) check_status(__FILE__, __LINE__, #call, expected, call)
#define OK(call) STATUS(MCM_OK, call)
#define INVALID(call) STATUS(MCM_ERROR_INVALID_ARGUMENT, call)
#define MISUSE(call) STATUS(ANY_MISUSE, call)
#define FAILS(call) STATUS(ANY_ERROR, call)
/* The last call's message contains `part`. */
#define MESSAGE(part) CHECK(strstr(mcm_last_error(), part) != NULL)
#define SAME(a, b, bytes) CHECK(memcmp(a, b, bytes) == 0)

/* Defined if this program may stand before the C library with functions of its own. With clang's sanitizers it may not:
 * they are linked into it and have their own. */
#define MAY_REPLACE_FUNCTIONS
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#undef MAY_REPLACE_FUNCTIONS
#endif
#endif

/* The path of this program, the folder of the fashion example, and an empty folder to write into. */
extern const char *program, *fashion, *scratch;

/* Each file's tests, ended by an empty one. */
extern const test attachment_tests[], begin_tests[], controlnet_tests[], guidance_tests[], image_tests[],
    input_tests[], latent_tests[], latent_damage_tests[], latent_input_tests[], latent_memory_tests[],
    latent_message_tests[], latent_module_tests[], level_tests[], memory_tests[], model_tests[],
    modulator_tests[], no_memory_tests[], null_tests[], null_latent_tests[], part_tests[], process_tests[],
    prompt_tests[], session_tests[], thread_tests[], training_tests[], training_bit_tests[],
    training_config_tests[], training_damage_tests[], training_file_tests[], training_input_tests[],
    training_latent_tests[], training_memory_tests[], training_mismatch_tests[], training_null_tests[],
    training_option_tests[];

/* The call with each wrong value of `size`, one field of a struct; the field is restored. */
#define WRONG_SIZES(size, call)                                                                   \
    do {                                                                                          \
        const uint32_t right = (size);                                                            \
        const uint32_t wrong[] = {0, 3, right - 1, right - 4, right + 8, 0x80000000u, UINT32_MAX}; \
        for (size_t i_ = 0; i_ < sizeof wrong / sizeof *wrong; i_++) {                            \
            (size) = wrong[i_];                                                                   \
            STATUS(MCM_ERROR_STRUCT_SIZE, call);                                                  \
        }                                                                                         \
        (size) = right;                                                                           \
    } while (0)

#endif

/* Banks, data sets and trainers in files that are cut short or changed: an error or another file, and no crash. */
#define _GNU_SOURCE /* fork */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "drawing.h"
#include "training.h"

/* Opens what is at `path`; returns whether it could. */
typedef int opener(const char *path);

static int opens_bank(const char *of) {
    mcm_bank *bank = NULL;
    mcm_status status = mcm_bank_open(of, &bank);
    CHECK((status == MCM_OK) == (bank != NULL));
    /* A key that is not known is what a later library may write. */
    if (status != MCM_OK) STATUS(status == MCM_ERROR_UNSUPPORTED ? status : MCM_ERROR_FORMAT, status);
    mcm_bank_free(bank);
    return status == MCM_OK;
}

static int opens_dataset(const char *of) {
    mcm_dataset *data = NULL;
    mcm_dataset_info info = MCM_DATASET_INFO_INIT;
    mcm_status status = mcm_dataset_open(of, &data);
    CHECK((status == MCM_OK) == (data != NULL));
    if (status != MCM_OK) STATUS(ANY_DATA, status);
    if (data) {
        mcm_trainer *t = new_trainer(model, NULL, NULL);
        OK(mcm_dataset_get_info(data, &info));
        if (mcm_trainer_step_dataset(t, data, NULL, EXAMPLES, NULL) != MCM_OK)
            CHECK(state_of_trainer(t).step == 0 && state_of_trainer(t).examples == 0);
        mcm_trainer_free(t);
    }
    mcm_dataset_free(data);
    return status == MCM_OK;
}

static int opens_trainer(const char *of) {
    mcm_trainer *t = NULL;
    mcm_status status = mcm_trainer_resume(model, NULL, of, NULL, &t);
    CHECK((status == MCM_OK) == (t != NULL));
    if (status != MCM_OK) STATUS(ANY_ERROR, status);
    if (t) {
        tiny_batch b;
        mcm_trainer_apply(t, NULL); /* which may be pending */
        if (mcm_trainer_step(t, images_of(&b, 0, 1), NULL) == MCM_OK) CHECK(state_of_trainer(t).step > 0);
    }
    mcm_trainer_free(t);
    return status == MCM_OK;
}

static void check_cut_short(const bytes *file, opener *opens) {
    const char *of = path_in(scratch, "cut");
    for (size_t size = 0; size < file->size; size += 97) {
        write_file(of, file->data, size);
        CHECK(!opens(of));
    }
    write_file(of, file->data, file->size - 1);
    CHECK(!opens(of));
    bytes longer = {malloc(file->size + 8), file->size + 8};
    CHECK(longer.data);
    memset(longer.data, 0, longer.size);
    memcpy(longer.data, file->data, file->size);
    write_file(of, longer.data, longer.size);
    CHECK(!opens(of));
    free(longer.data);
}

/* Random bytes of first .. end - 1 are changed; returns how often it could be opened nevertheless. */
static int opened_with_changes(const bytes *file, size_t first, size_t end, int times, opener *opens) {
    const char *of = path_in(scratch, "changed");
    int opened = 0;
    for (int i = 0; i < times; i++) {
        size_t at = first + random_below((unsigned)(end - first));
        unsigned char was = file->data[at];
        file->data[at] = i % 2 ? (unsigned char)(was ^ 1u << random_below(8)) : "0919-{}\"\\, \xff"[random_below(12)];
        int same = file->data[at] == was;
        write_file(of, file->data, file->size);
        opened += opens(of) && !same;
        file->data[at] = was;
    }
    return opened;
}

static void training_with_a_damaged_bank(void) {
    open_sources(1);
    bytes file = read_file(new_bank_file(model, dataset, "sound bank", 30));
    size_t records = 30 * (2 * SIDE * SIDE + 24);
    check_cut_short(&file, opens_bank);
    CHECK(opened_with_changes(&file, file.size - records, file.size, 150, opens_bank) == 0);
    opened_with_changes(&file, 0, 400, 300, opens_bank); /* the header; a changed number may be a number */
    opened_with_changes(&file, 0, file.size - records, 100, opens_bank);
    free(file.data);
    free_sources();
}

static void training_with_a_damaged_dataset(void) {
    file_tensor tensors[DATASET_TENSORS];
    open_sources(1);
    for (int samples = 0; samples < 2; samples++) {
        dataset_tensors(samples, tensors);
        bytes file = safetensors_file(tensors, DATASET_TENSORS);
        if (samples == 0) check_cut_short(&file, opens_dataset);
        opened_with_changes(&file, 0, header_end(&file), 300, opens_dataset);
        opened_with_changes(&file, header_end(&file), file.size, 60, opens_dataset);
        free(file.data);
    }
    free_sources();
}

static void training_with_a_damaged_trainer(void) {
    tiny_batch b;
    open_sources(1);
    mcm_trainer *t = new_trainer(model, NULL, NULL);
    OK(mcm_trainer_step(t, images_of(&b, 0, 2), NULL));
    OK(mcm_trainer_accumulate(t, images_of(&b, 0, 2), NULL));
    bytes file = saved(t);
    check_cut_short(&file, opens_trainer);
    opened_with_changes(&file, 0, header_end(&file), 500, opens_trainer);
    opened_with_changes(&file, header_end(&file), file.size, 60, opens_trainer);
    free(file.data);
    mcm_trainer_free(t);
    free_sources();
}

/* The same file with a part of its header's text replaced. The caller frees the data. */
static bytes with_header(const bytes *file, const char *from, const char *to) {
    size_t end = header_end(file), length = strlen(from), at = 8;
    while (at + length <= end && memcmp(file->data + at, from, length) != 0) at++;
    CHECK(at + length <= end);
    bytes changed = {malloc(file->size + strlen(to)), file->size - length + strlen(to)};
    CHECK(changed.data);
    memcpy(changed.data, file->data, at);
    memcpy(changed.data + at, to, strlen(to));
    memcpy(changed.data + at + strlen(to), file->data + at + length, file->size - at - length);
    for (int i = 0; i < 8; i++) changed.data[i] = (unsigned char)((end - 8 - length + strlen(to)) >> 8 * i);
    return changed;
}

/* Numbers that no trainer has come to. */
static void training_goes_on_from_absurd_numbers(void) {
    static const char *const changes[][2] = {
        {"\"step\":\"1\"", "\"step\":\"9223372036854775807\""},
        {"\"step\":\"1\"", "\"step\":\"4611686018427387904\""},
        {"\"examples\":\"4\"", "\"examples\":\"9223372036854775807\""},
        {"\"examples\":\"4\"", "\"examples\":\"9223372036854775806\""},
        {"\"pending\":\"2\"", "\"pending\":\"9223372036854775807\""},
        {"\"pending\":\"2\"", "\"pending\":\"9223372036854775808\""},
        {"\"pending\":\"2\"", "\"pending\":\"-2\""},
        {"\"pending\":\"2\"", "\"pending\":\"0\""}, /* yet there are gradients */
        {"\\\"warmup_steps\\\":0", "\\\"warmup_steps\\\":9223372036854775807"},
        {"\\\"total_steps\\\":0", "\\\"total_steps\\\":9223372036854775807"},
        {"\\\"rank\\\":0", "\\\"rank\\\":9223372036854775807"},
        {"\\\"world\\\":1", "\\\"world\\\":9223372036854775807"},
        {"\\\"end_timestep\\\":0", "\\\"end_timestep\\\":2000"},
        {"\\\"beta1\\\":", "\\\"beta1\\\":1e300,\\\"beta1\\\":"},
    };
    tiny_batch b;
    open_sources(1);
    mcm_trainer *t = new_trainer(model, NULL, NULL);
    OK(mcm_trainer_step(t, images_of(&b, 0, 2), NULL));
    OK(mcm_trainer_accumulate(t, images_of(&b, 0, 2), NULL));
    bytes file = saved(t);
    int ended = 0;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const char *of = path_in(scratch, "absurd");
        bytes changed = with_header(&file, changes[i][0], changes[i][1]);
        write_file(of, changed.data, changed.size);
        free(changed.data);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            opens_trainer(of);
            mcm_trainer *next;
            if (mcm_trainer_resume(model, NULL, of, NULL, &next) == MCM_OK) {
                mcm_trainer_accumulate_dataset(next, dataset, NULL, 3, NULL);
                mcm_trainer_apply(next, NULL);
                mcm_trainer_step_dataset(next, dataset, NULL, 3, NULL);
            }
            _exit(0);
        }
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child);
        if (status != 0) printf("    ended by signal %d after %s\n", WTERMSIG(status), changes[i][1]);
        ended += status != 0;
    }
    CHECK(ended == 0);
    free(file.data);
    mcm_trainer_free(t);
    free_sources();
}

const test training_damage_tests[] = {
    {"training_with_a_damaged_bank", training_with_a_damaged_bank},
    {"training_with_a_damaged_dataset", training_with_a_damaged_dataset},
    {"training_with_a_damaged_trainer", training_with_a_damaged_trainer},
    {"training_goes_on_from_absurd_numbers", training_goes_on_from_absurd_numbers},
    {NULL, NULL},
};

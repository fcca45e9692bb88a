/* What training does when there is no memory, and when it asks for some. */
#define _GNU_SOURCE /* fork, RLIMIT_AS, mallinfo2 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocations.h"
#include "check.h"
#include "drawing.h"
#include "training.h"

enum { ONCE, FROM_THEN_ON, HOWS };

static void refuse(unsigned number, int how) { refuse_tensors(number, how == ONCE ? number : ~0u); }

enum { STEP, ACCUMULATE, STEP_DATASET, STEP_BANK, GET_MODULE, TRAIN, CALLS };

static mcm_status do_call(int call, mcm_trainer *trainer) {
    tiny_batch b;
    mcm_train_options loop = MCM_TRAIN_OPTIONS_INIT;
    mcm_modulator *const untouched = (mcm_modulator *)&loop, *module = untouched;
    mcm_status status;
    loop.batch = 3;
    loop.until_step = 2;
    switch (call) {
    case STEP: return mcm_trainer_step(trainer, images_of(&b, 0, 3), NULL);
    case ACCUMULATE: return mcm_trainer_accumulate(trainer, samples_of(&b, 0, 3), NULL);
    case STEP_DATASET: return mcm_trainer_step_dataset(trainer, dataset, NULL, 3, NULL);
    case STEP_BANK: return mcm_trainer_step_dataset(trainer, dataset, bank, 3, NULL);
    case TRAIN: return mcm_trainer_train(trainer, dataset, NULL, &loop, NULL, NULL);
    default:
        status = mcm_trainer_get_modulator(trainer, 1, &module);
        CHECK((status == MCM_OK) == (module != untouched));
        if (status == MCM_OK) mcm_modulator_free(module);
        return status;
    }
}

/* A trainer that has taken a step, or on whose way there gradients wait. */
static mcm_trainer *prepared(int call) {
    tiny_batch b;
    mcm_trainer *trainer = new_trainer(model, NULL, NULL);
    if (call == ACCUMULATE) OK(mcm_trainer_accumulate(trainer, images_of(&b, 0, 1), NULL));
    if (call == TRAIN) OK(mcm_trainer_step(trainer, images_of(&b, 0, 1), NULL));
    return trainer;
}

/* Refused its k-th block, a call has not happened, and can be repeated; at each k, as its caches are filled. */
static void training_without_memory(void) {
    if (!allocations_are_seen()) return;
    open_sources(2);
    for (int call = 0; call < CALLS; call++)
        for (int how = ONCE; how < HOWS; how++) {
            mcm_trainer *undisturbed = prepared(call);
            OK(do_call(call, undisturbed));
            int failures = 0;
            mcm_trainer *trainer = NULL;
            for (unsigned k = 1, refused = 1; refused; k += how == ONCE ? 7 : 3) { /* each would take long */
                if (!trainer) trainer = prepared(call);
                trainer_view before = view_of_trainer(trainer);
                refuse(k, how);
                mcm_status status = do_call(call, trainer);
                refused = counted().refused > 0;
                refuse_nothing();
                if (status == MCM_OK) { /* with a smaller block, or without any */
                    free_view(&before);
                    CHECK(!(refused && how == FROM_THEN_ON));
                    bytes file = saved(trainer), as = saved(undisturbed);
                    CHECK(same_bytes(&file, &as));
                    free(file.data);
                    free(as.data);
                    mcm_trainer_free(trainer);
                    trainer = NULL;
                } else {
                    STATUS(MCM_ERROR_OUT_OF_MEMORY, status);
                    CHECK(refused);
                    check_unchanged(__FILE__, __LINE__, trainer, &before);
                    failures++;
                    if (k % 2) { /* a new one now and then, whose arena is empty */
                        mcm_trainer_free(trainer);
                        trainer = NULL;
                    }
                }
            }
            CHECK(failures > 0);
            mcm_trainer_free(trainer);
            mcm_trainer_free(undisturbed);
        }
    free_sources();
}

/* Runs `body` in a child whose memory is limited, as in a container, to so many MiB more than it has. Returns whether
 * the status was that of missing memory; ends the test if the child was ended. */
static int lacks_memory(mcm_status (*body)(void), long more) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%ld", &pages) == 1);
    fclose(file);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        rlim_t size = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)more << 20);
        CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){size, size}) == 0 && freopen("/dev/null", "w", stderr));
        _exit(body() == MCM_ERROR_OUT_OF_MEMORY ? 0 : 2);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) printf("    ended by signal %d with %ld MiB\n", WTERMSIG(status), more);
    CHECK(!WIFSIGNALED(status));
    return status == 0;
}

static int memory_can_be_limited(void) {
#if !defined MAY_REPLACE_FUNCTIONS || defined __SANITIZE_ADDRESS__
    printf("     skipped: a sanitizer needs the addresses\n");
    return 0;
#endif
    return 1;
}

static mcm_status create_large(void) {
    static const char *const config =
        "{\"net\":{\"sample_size\":8,\"block_out_channels\":[256],\"layers_per_block\":1,\"norm_num_groups\":8,"
        "\"attention_head_dim\":8,\"down_block_types\":[\"DownBlock2D\"],\"up_block_types\":[\"UpBlock2D\"]},"
        "\"prediction_channels\":1,\"modalities\":[{\"name\":\"sketch\",\"channels\":1}]}";
    mcm_trainer *trainer;
    return mcm_trainer_create(model, NULL, config, NULL, &trainer);
}

static void training_of_a_module_beyond_memory(void) {
    if (!memory_can_be_limited()) return;
    open_sources(2);
    int refused = 0;
    for (long more = 2; more < 60; more += 8) refused += lacks_memory(create_large, more); /* the weights have 40 */
    CHECK(refused > 3);
    free_sources();
}

static mcm_dataset *endless;

static mcm_status step_on_endless(void) {
    mcm_trainer *trainer = new_trainer(model, NULL, NULL);
    return mcm_trainer_step_dataset(trainer, endless, NULL, 2, NULL);
}

static mcm_status record_endless(void) {
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    options.count = 2;
    return mcm_bank_record(model, endless, path_in(scratch, "endless bank"), &options, NULL, NULL);
}

/* A file that is nearly all hole: the order of its examples is more than there is memory for. */
static void training_on_a_dataset_beyond_memory(void) {
    enum { COUNT = 100000000, PIXELS = 4 };
    if (!memory_can_be_limited()) return;
    open_sources(2);
    char header[256];
    const char *of = path_in(scratch, "endless");
    sprintf(header,
            "{\"images\":{\"dtype\":\"U8\",\"shape\":[%d,2,2,1],\"data_offsets\":[0,%d]},"
            "\"sketch\":{\"dtype\":\"U8\",\"shape\":[%d,1,1,1],\"data_offsets\":[%d,%d]}}",
            COUNT, PIXELS * COUNT, COUNT, PIXELS * COUNT, (PIXELS + 1) * COUNT);
    uint64_t length = strlen(header);
    FILE *f = fopen(of, "wb");
    CHECK(f && fwrite(&length, 8, 1, f) == 1 && fputs(header, f) >= 0 && fclose(f) == 0);
    CHECK(truncate(of, (off_t)(8 + length) + (off_t)(PIXELS + 1) * COUNT) == 0);
    OK(mcm_dataset_open(of, &endless));
    CHECK(lacks_memory(step_on_endless, 200) && lacks_memory(record_endless, 200)); /* the order has 381 */
    mcm_dataset_free(endless);
    free_sources();
}

static char path[4096], module_path[4096];

static mcm_status make(int what, mcm_trainer **out) {
    mcm_trainer_options options = quick_options();
    switch (what) {
    case 0: return mcm_trainer_create(model, NULL, tiny_config, &options, out);
    case 1: return mcm_trainer_create(NULL, bank, tiny_config, &options, out);
    case 2: return mcm_trainer_create_from(model, NULL, module_path, &options, out);
    default: return mcm_trainer_resume(model, NULL, path, NULL, out);
    }
}

/* Nothing is made, and nothing is kept of what was not. */
static void training_without_memory_to_begin(void) {
    if (!allocations_are_seen()) return;
    open_sources(2);
    snprintf(path, sizeof path, "%s/trainer", scratch);
    snprintf(module_path, sizeof module_path, "%s/module", scratch);
    mcm_trainer *saved_one = prepared(ACCUMULATE);
    OK(mcm_trainer_save(saved_one, path));
    OK(mcm_trainer_write_modulator(saved_one, module_path, 0, MCM_F32));
    mcm_trainer_free(saved_one);
    mcm_trainer *const untouched = (mcm_trainer *)path, *trainer = untouched;
    size_t held = 0;
    for (int round = 0; round < 3; round++) {
        for (int what = 0; what < 4; what++) {
            int failures = 0;
            for (unsigned k = 1;; k++, failures++) {
                refuse(k, round == 0 ? FROM_THEN_ON : ONCE);
                mcm_status status = make(what, &trainer);
                STATUS(counted().refused > 0 ? MCM_ERROR_OUT_OF_MEMORY : MCM_OK, status);
                refuse_nothing();
                if (status == MCM_OK) break;
                CHECK(trainer == untouched);
            }
            CHECK(failures > 4);
            mcm_trainer_free(trainer);
            trainer = untouched;
        }
        struct mallinfo2 heap = mallinfo2();
        if (round == 2) CHECK(heap.uordblks + heap.hblkhd < held + (64 << 10));
        held = heap.uordblks + heap.hblkhd;
    }
    free_sources();
}

static void training_bank_without_memory(void) {
    if (!allocations_are_seen()) return;
    open_sources(2);
    snprintf(path, sizeof path, "%s/bank without memory", scratch);
    bytes whole = read_file(path_in(scratch, "bank"));
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    options.count = RECORDS;
    options.seed = 5;
    options.batch = 3;
    for (int how = ONCE; how < HOWS; how++) {
        int failures = 0;
        for (unsigned k = 1, refused = 1; refused; k++) {
            remove(path);
            refuse(k, how);
            mcm_status status = mcm_bank_record(model, dataset, path, &options, NULL, NULL);
            refused = counted().refused > 0;
            refuse_nothing();
            CHECK((status == MCM_OK) == file_exists(path));
            if (status == MCM_OK) continue;
            STATUS(MCM_ERROR_OUT_OF_MEMORY, status);
            CHECK(refused);
            failures++;
        }
        CHECK(failures > 0);
        OK(mcm_bank_record(model, dataset, path, &options, NULL, NULL));
        bytes recorded = read_file(path);
        CHECK(same_bytes(&whole, &recorded));
        free(recorded.data);
    }
    free(whole.data);
    free_sources();
}

/* From the third step on each step asks for as much as the one before, and gives it back: the module's weights are
 * packed anew in each. */
static void training_needs_no_more_memory(void) {
    if (!allocations_are_seen()) return;
    static const char *const config =
        "{\"net\":{\"sample_size\":8,\"block_out_channels\":[32,64],\"layers_per_block\":1,\"norm_num_groups\":8,"
        "\"attention_head_dim\":8,\"down_block_types\":[\"DownBlock2D\",\"DownBlock2D\"],"
        "\"up_block_types\":[\"UpBlock2D\",\"UpBlock2D\"]},\"prediction_channels\":1,"
        "\"modalities\":[{\"name\":\"sketch\",\"channels\":1},{\"name\":\"labels\",\"channels\":5},"
        "{\"name\":\"photo\",\"channels\":3}]}";
    open_sources(2);
    tiny_batch b;
    for (int of_bank = 0; of_bank < 2; of_bank++) {
        mcm_trainer *trainer;
        OK(mcm_trainer_create(model, NULL, of_bank ? config : tiny_config, NULL, &trainer));
        allocations first = {0, 0, 0};
        for (int i = 0; i < 8; i++) {
            start_counting();
            if (of_bank)
                OK(mcm_trainer_step_dataset(trainer, dataset, bank, 4, NULL));
            else
                OK(mcm_trainer_step(trainer, images_of(&b, 0, 4), NULL));
            allocations now = counted();
            if (i == 2) first = now;
            CHECK(i <= 2 || (now.tensors == first.tensors && now.large == first.large));
        }
        printf("     %u blocks for weights in each step, %u large ones\n", first.tensors, first.large);
        struct mallinfo2 before = mallinfo2();
        for (int i = 0; i < 20; i++) OK(mcm_trainer_step_dataset(trainer, dataset, bank, 4, NULL));
        struct mallinfo2 after = mallinfo2();
        CHECK(after.uordblks + after.hblkhd < before.uordblks + before.hblkhd + (64 << 10));
        mcm_trainer_free(trainer);
    }
    free_sources();
}

const test training_memory_tests[] = {
    {"training_without_memory", training_without_memory},
    {"training_of_a_module_beyond_memory", training_of_a_module_beyond_memory},
    {"training_on_a_dataset_beyond_memory", training_on_a_dataset_beyond_memory},
    {"training_without_memory_to_begin", training_without_memory_to_begin},
    {"training_bank_without_memory", training_bank_without_memory},
    {"training_needs_no_more_memory", training_needs_no_more_memory},
    {NULL, NULL},
};

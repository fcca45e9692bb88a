/* Training: NULL for every pointer of every function, one at a time; struct sizes. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "drawing.h"
#include "training.h"

static struct {
    mcm_model *model;
    mcm_dataset *dataset;
    mcm_bank *bank;
    mcm_trainer *trainer; /* gradients of one image wait */
    tiny_batch batch;
    char path[4096], module[4096], other[4096];
} ok;

static void open_all(void) {
    ok.model = tiny_model_open(&(tiny_model){0}, 1);
    ok.dataset = new_dataset("dataset");
    ok.bank = new_bank(ok.model, ok.dataset, "bank", 10);
    ok.trainer = new_trainer(ok.model, NULL, NULL);
    OK(mcm_trainer_accumulate(ok.trainer, images_of(&ok.batch, 0, 1), NULL));
    snprintf(ok.path, sizeof ok.path, "%s/null trainer", scratch);
    snprintf(ok.module, sizeof ok.module, "%s/null module", scratch);
    snprintf(ok.other, sizeof ok.other, "%s/null other", scratch);
    OK(mcm_trainer_save(ok.trainer, ok.path));
    OK(mcm_trainer_write_modulator(ok.trainer, ok.module, 0, MCM_F32));
}

/* After all that nothing has happened. */
static void free_all(void) {
    tiny_batch b;
    mcm_trainer *undisturbed = new_trainer(ok.model, NULL, NULL);
    OK(mcm_trainer_accumulate(undisturbed, images_of(&b, 0, 1), NULL));
    check_same_and_free(ok.trainer, undisturbed);
    CHECK(!file_exists(ok.other));
    mcm_bank_free(ok.bank);
    mcm_dataset_free(ok.dataset);
    mcm_model_free(ok.model);
}

static void training_free_and_init_of_null(void) {
    mcm_dataset_free(NULL);
    mcm_bank_free(NULL);
    mcm_trainer_free(NULL);
    mcm_dataset_info_init(NULL, sizeof(mcm_dataset_info));
    mcm_bank_options_init(NULL, sizeof(mcm_bank_options));
    mcm_bank_info_init(NULL, sizeof(mcm_bank_info));
    mcm_trainer_options_init(NULL, sizeof(mcm_trainer_options));
    mcm_resume_options_init(NULL, sizeof(mcm_resume_options));
    mcm_batch_init(NULL, sizeof(mcm_batch));
    mcm_train_report_init(NULL, sizeof(mcm_train_report));
    mcm_trainer_state_init(NULL, sizeof(mcm_trainer_state));
    mcm_losses_init(NULL, sizeof(mcm_losses));
    mcm_train_options_init(NULL, sizeof(mcm_train_options));
    mcm_parameter_info_init(NULL, sizeof(mcm_parameter_info));
    CHECK(strcmp(mcm_last_error(), "") == 0);
}

/* The macros say what the functions do; larger structs of a later header get zeros, smaller ones are not overrun. */
#define SAME_INIT(type, init, macro)                                                    \
    do {                                                                                \
        type by_macro_ = macro;                                                         \
        struct {                                                                        \
            type value;                                                                 \
            unsigned char beyond[16];                                                   \
        } by_call_;                                                                     \
        for (size_t size_ = 4; size_ <= sizeof(type) + 8; size_ += 4) {                 \
            const uint32_t as_ = (uint32_t)size_;                                       \
            memset(&by_call_, 0xa5, sizeof by_call_);                                   \
            init(&by_call_.value, as_);                                                 \
            by_macro_.struct_size = as_;                                                \
            size_t known_ = size_ < sizeof(type) ? size_ : sizeof(type);                \
            SAME(&by_call_, &by_macro_, known_);                                        \
            for (size_t k_ = known_; k_ < sizeof(type) + 16; k_++)                      \
                CHECK(((unsigned char *)&by_call_)[k_] == (k_ < size_ ? 0 : 0xa5));     \
        }                                                                               \
    } while (0)

static void training_structs_are_initialised(void) {
    SAME_INIT(mcm_dataset_info, mcm_dataset_info_init, MCM_DATASET_INFO_INIT);
    SAME_INIT(mcm_bank_options, mcm_bank_options_init, MCM_BANK_OPTIONS_INIT);
    SAME_INIT(mcm_bank_info, mcm_bank_info_init, MCM_BANK_INFO_INIT);
    SAME_INIT(mcm_trainer_options, mcm_trainer_options_init, MCM_TRAINER_OPTIONS_INIT);
    SAME_INIT(mcm_resume_options, mcm_resume_options_init, MCM_RESUME_OPTIONS_INIT);
    SAME_INIT(mcm_batch, mcm_batch_init, MCM_BATCH_INIT);
    SAME_INIT(mcm_train_report, mcm_train_report_init, MCM_TRAIN_REPORT_INIT);
    SAME_INIT(mcm_trainer_state, mcm_trainer_state_init, MCM_TRAINER_STATE_INIT);
    SAME_INIT(mcm_losses, mcm_losses_init, MCM_LOSSES_INIT);
    SAME_INIT(mcm_train_options, mcm_train_options_init, MCM_TRAIN_OPTIONS_INIT);
    SAME_INIT(mcm_parameter_info, mcm_parameter_info_init, MCM_PARAMETER_INFO_INIT);
}

static void training_null_to_data_and_banks(void) {
    open_all();
    mcm_dataset *dataset;
    mcm_bank *bank;
    mcm_dataset_info info = MCM_DATASET_INFO_INIT;
    mcm_modality_info modality = MCM_MODALITY_INFO_INIT;
    mcm_bank_info bank_info = MCM_BANK_INFO_INIT;
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    options.count = 2;
    INVALID(mcm_dataset_open(NULL, &dataset));
    INVALID(mcm_dataset_open(path_in(scratch, "dataset"), NULL));
    INVALID(mcm_dataset_get_info(NULL, &info));
    INVALID(mcm_dataset_get_info(ok.dataset, NULL));
    INVALID(mcm_dataset_get_modality(NULL, 0, &modality));
    INVALID(mcm_dataset_get_modality(ok.dataset, 0, NULL));
    INVALID(mcm_bank_open(NULL, &bank));
    INVALID(mcm_bank_open(path_in(scratch, "bank"), NULL));
    INVALID(mcm_bank_get_info(NULL, &bank_info));
    INVALID(mcm_bank_get_info(ok.bank, NULL));
    INVALID(mcm_bank_record(NULL, ok.dataset, ok.other, &options, NULL, NULL));
    INVALID(mcm_bank_record(ok.model, NULL, ok.other, &options, NULL, NULL));
    INVALID(mcm_bank_record(ok.model, ok.dataset, NULL, &options, NULL, NULL));
    INVALID(mcm_bank_record(ok.model, ok.dataset, ok.other, NULL, NULL, NULL));
    free_all();
}

static void training_null_to_trainers(void) {
    open_all();
    mcm_trainer *t;
    mcm_modulator *module;
    const mcm_batch *b = &ok.batch.batch;
    mcm_trainer_state state = MCM_TRAINER_STATE_INIT;
    mcm_losses losses = MCM_LOSSES_INIT;
    mcm_parameter_info parameter = MCM_PARAMETER_INFO_INIT;
    float *values;
    size_t count;
    INVALID(mcm_trainer_create(NULL, NULL, tiny_config, NULL, &t));
    INVALID(mcm_trainer_create(ok.model, NULL, NULL, NULL, &t));
    INVALID(mcm_trainer_create(ok.model, NULL, tiny_config, NULL, NULL));
    INVALID(mcm_trainer_create_from(NULL, NULL, ok.module, NULL, &t));
    INVALID(mcm_trainer_create_from(ok.model, NULL, NULL, NULL, &t));
    INVALID(mcm_trainer_create_from(ok.model, NULL, ok.module, NULL, NULL));
    INVALID(mcm_trainer_resume(NULL, NULL, ok.path, NULL, &t));
    INVALID(mcm_trainer_resume(ok.model, NULL, NULL, NULL, &t));
    INVALID(mcm_trainer_resume(ok.model, NULL, ok.path, NULL, NULL));
    INVALID(mcm_trainer_save(NULL, ok.other));
    INVALID(mcm_trainer_save(ok.trainer, NULL));
    INVALID(mcm_trainer_step(NULL, b, NULL));
    INVALID(mcm_trainer_step(ok.trainer, NULL, NULL));
    INVALID(mcm_trainer_accumulate(NULL, b, NULL));
    INVALID(mcm_trainer_accumulate(ok.trainer, NULL, NULL));
    INVALID(mcm_trainer_apply(NULL, NULL));
    INVALID(mcm_trainer_clear(NULL));
    INVALID(mcm_trainer_step_dataset(NULL, ok.dataset, ok.bank, 1, NULL));
    INVALID(mcm_trainer_step_dataset(ok.trainer, NULL, ok.bank, 1, NULL));
    INVALID(mcm_trainer_accumulate_dataset(NULL, ok.dataset, ok.bank, 1, NULL));
    INVALID(mcm_trainer_accumulate_dataset(ok.trainer, NULL, ok.bank, 1, NULL));
    INVALID(mcm_trainer_get_buffers(NULL, &values, &values, NULL, &count));
    OK(mcm_trainer_get_buffers(ok.trainer, NULL, NULL, NULL, NULL));
    INVALID(mcm_trainer_get_state(NULL, &state));
    INVALID(mcm_trainer_get_state(ok.trainer, NULL));
    INVALID(mcm_trainer_get_losses(NULL, MCM_LOSSES_TIMESTEP, 0, &losses));
    INVALID(mcm_trainer_get_losses(ok.trainer, MCM_LOSSES_TIMESTEP, 0, NULL));
    INVALID(mcm_trainer_get_parameter(NULL, 0, &parameter));
    INVALID(mcm_trainer_get_parameter(ok.trainer, 0, NULL));
    INVALID(mcm_trainer_reset_losses(NULL));
    INVALID(mcm_trainer_get_modulator(NULL, 0, &module));
    INVALID(mcm_trainer_get_modulator(ok.trainer, 0, NULL));
    INVALID(mcm_trainer_write_modulator(NULL, ok.other, 0, MCM_F32));
    INVALID(mcm_trainer_write_modulator(ok.trainer, NULL, 0, MCM_F32));
    INVALID(mcm_trainer_train(NULL, ok.dataset, ok.bank, NULL, NULL, NULL));
    INVALID(mcm_trainer_train(ok.trainer, NULL, ok.bank, NULL, NULL, NULL));
    free_all();
}

/* --- Struct sizes --- */

static void training_struct_sizes(void) {
    open_all();
    mcm_trainer *t;
    mcm_dataset_info data = MCM_DATASET_INFO_INIT;
    mcm_bank_info info = MCM_BANK_INFO_INIT;
    mcm_bank_options recording = MCM_BANK_OPTIONS_INIT;
    mcm_modality_info modality = MCM_MODALITY_INFO_INIT;
    mcm_trainer_options options = MCM_TRAINER_OPTIONS_INIT;
    mcm_resume_options resuming = MCM_RESUME_OPTIONS_INIT;
    mcm_train_options loop = MCM_TRAIN_OPTIONS_INIT;
    mcm_train_report report = MCM_TRAIN_REPORT_INIT;
    mcm_trainer_state state = MCM_TRAINER_STATE_INIT;
    mcm_losses losses = MCM_LOSSES_INIT;
    mcm_parameter_info parameter = MCM_PARAMETER_INFO_INIT;
    mcm_batch *b = &ok.batch.batch;
    mcm_image image = b->images[0], condition_image = b->conditions[0].images[0];
    recording.count = 2;
    WRONG_SIZES(data.struct_size, mcm_dataset_get_info(ok.dataset, &data));
    WRONG_SIZES(modality.struct_size, mcm_dataset_get_modality(ok.dataset, 0, &modality));
    WRONG_SIZES(info.struct_size, mcm_bank_get_info(ok.bank, &info));
    WRONG_SIZES(recording.struct_size, mcm_bank_record(ok.model, ok.dataset, ok.other, &recording, NULL, NULL));
    WRONG_SIZES(options.struct_size, mcm_trainer_create(ok.model, NULL, tiny_config, &options, &t));
    WRONG_SIZES(options.struct_size, mcm_trainer_create_from(ok.model, NULL, ok.module, &options, &t));
    WRONG_SIZES(resuming.struct_size, mcm_trainer_resume(ok.model, NULL, ok.path, &resuming, &t));
    WRONG_SIZES(loop.struct_size, mcm_trainer_train(ok.trainer, ok.dataset, NULL, &loop, NULL, NULL));
    WRONG_SIZES(report.struct_size, mcm_trainer_step(ok.trainer, b, &report));
    WRONG_SIZES(report.struct_size, mcm_trainer_accumulate(ok.trainer, b, &report));
    WRONG_SIZES(report.struct_size, mcm_trainer_apply(ok.trainer, &report));
    WRONG_SIZES(report.struct_size, mcm_trainer_step_dataset(ok.trainer, ok.dataset, NULL, 1, &report));
    WRONG_SIZES(report.struct_size, mcm_trainer_accumulate_dataset(ok.trainer, ok.dataset, NULL, 1, &report));
    WRONG_SIZES(report.struct_size, mcm_trainer_evaluate(ok.trainer, b, 0, &report));
    WRONG_SIZES(report.struct_size, mcm_trainer_evaluate_dataset(ok.trainer, ok.dataset, NULL, 1, 0, &report));
    WRONG_SIZES(modality.struct_size, mcm_trainer_get_modality(ok.trainer, 0, &modality));
    WRONG_SIZES(state.struct_size, mcm_trainer_get_state(ok.trainer, &state));
    WRONG_SIZES(losses.struct_size, mcm_trainer_get_losses(ok.trainer, MCM_LOSSES_TIMESTEP, 0, &losses));
    WRONG_SIZES(parameter.struct_size, mcm_trainer_get_parameter(ok.trainer, 0, &parameter));
    WRONG_SIZES(b->struct_size, mcm_trainer_accumulate(ok.trainer, b, NULL));
    WRONG_SIZES(ok.batch.conditions[0].struct_size, mcm_trainer_accumulate(ok.trainer, b, NULL));
    WRONG_SIZES(ok.batch.conditions[1].struct_size, mcm_trainer_accumulate(ok.trainer, b, NULL));
    b->images = &image;
    WRONG_SIZES(image.struct_size, mcm_trainer_accumulate(ok.trainer, b, NULL));
    ok.batch.conditions[0].images = &condition_image;
    WRONG_SIZES(condition_image.struct_size, mcm_trainer_accumulate(ok.trainer, b, NULL));
    /* Nothing was written. */
    CHECK(data.count == 0 && info.count == 0 && report.examples == 0 && state.parameter_count == 0);
    CHECK(losses.count == 0 && parameter.count == 0);
    free_all();
}

/* A struct_size at the very end of the accessible memory: it is looked at before anything behind it. */
static void training_structs_are_not_read_beyond_their_size(void) {
    enum { PAGE = 65536 };
    open_all();
    char *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && mprotect(memory + PAGE, PAGE, PROT_NONE) == 0);
    void *end = memory + PAGE - 8;
    *(uint32_t *)end = 4; /* of no struct */
    mcm_trainer *t;
    mcm_batch *b = &ok.batch.batch;
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_dataset_get_info(ok.dataset, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_dataset_get_modality(ok.dataset, 0, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_get_modality(ok.trainer, 0, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_bank_get_info(ok.bank, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_bank_record(ok.model, ok.dataset, ok.other, end, NULL, NULL));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_create(ok.model, NULL, tiny_config, end, &t));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_create_from(ok.model, NULL, ok.module, end, &t));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_resume(ok.model, NULL, ok.path, end, &t));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_accumulate(ok.trainer, end, NULL));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_accumulate(ok.trainer, b, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_get_state(ok.trainer, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_get_losses(ok.trainer, MCM_LOSSES_GIVEN, 0, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_get_parameter(ok.trainer, 0, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_train(ok.trainer, ok.dataset, NULL, end, NULL, NULL));
    b->conditions = end;
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_accumulate(ok.trainer, b, NULL));
    b->condition_count = 0;
    b->images = end;
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_trainer_accumulate(ok.trainer, b, NULL));
    munmap(memory, 2 * PAGE);
    free_all();
}

const test training_null_tests[] = {
    {"training_free_and_init_of_null", training_free_and_init_of_null},
    {"training_structs_are_initialised", training_structs_are_initialised},
    {"training_null_to_data_and_banks", training_null_to_data_and_banks},
    {"training_null_to_trainers", training_null_to_trainers},
    {"training_struct_sizes", training_struct_sizes},
    {"training_structs_are_not_read_beyond_their_size", training_structs_are_not_read_beyond_their_size},
    {NULL, NULL},
};

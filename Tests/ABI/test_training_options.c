/* Options of trainers and banks: values out of range, and what the others do. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "training.h"

static struct {
    mcm_model *model;
    mcm_dataset *dataset;
    mcm_bank *bank;
    mcm_trainer *trainer;
    tiny_batch batch;
} ok;

static void open_all(void) {
    ok.model = tiny_model_open(&(tiny_model){0}, 1);
    ok.dataset = new_dataset("dataset");
    ok.bank = new_bank(ok.model, ok.dataset, "bank", 10);
    ok.trainer = new_trainer(ok.model, NULL, NULL);
    OK(mcm_trainer_step(ok.trainer, images_of(&ok.batch, 0, 3), NULL));
}

static void free_all(void) {
    tiny_batch b;
    mcm_trainer *undisturbed = new_trainer(ok.model, NULL, NULL);
    OK(mcm_trainer_step(undisturbed, images_of(&b, 0, 3), NULL));
    check_same_and_free(ok.trainer, undisturbed);
    mcm_bank_free(ok.bank);
    mcm_dataset_free(ok.dataset);
    mcm_model_free(ok.model);
}

/* --- Options --- */

static mcm_status create(const mcm_trainer_options *options) {
    mcm_trainer *const untouched = (mcm_trainer *)&ok, *trainer = untouched;
    mcm_status status = mcm_trainer_create(ok.model, NULL, tiny_config, options, &trainer);
    CHECK((status == MCM_OK) == (trainer != untouched));
    if (status == MCM_OK) mcm_trainer_free(trainer);
    return status;
}

/* One field of the options with each of some values. */
#define WRONG(field, ...)                                                        \
    do {                                                                         \
        const double wrong_[] = {__VA_ARGS__};                                   \
        for (size_t i_ = 0; i_ < sizeof wrong_ / sizeof *wrong_; i_++) {         \
            mcm_trainer_options options = MCM_TRAINER_OPTIONS_INIT;              \
            options.field = (__typeof__(options.field))wrong_[i_];               \
            if (create(&options) == MCM_OK) printf("    %s = %g\n", #field, wrong_[i_]); \
            INVALID(create(&options));                                           \
        }                                                                        \
    } while (0)

static void training_options_out_of_range(void) {
    open_all();
    OK(create(NULL));
    WRONG(learning_rate, -1e-3, NAN, INFINITY, -INFINITY, 1e30);
    WRONG(weight_decay, -1, NAN, INFINITY);
    WRONG(beta1, -0.1, 1, 1.5, NAN);
    WRONG(beta2, -0.1, 1, 1.5, NAN);
    WRONG(epsilon, -1, 0, NAN, INFINITY);
    WRONG(clip_norm, -1, NAN, INFINITY);
    WRONG(ema_decay, -0.1, 1, 1.5, NAN);
    WRONG(min_snr_gamma, -1, 0, NAN, INFINITY);
    WRONG(noise_weight_low, -1, 0, 11, NAN, INFINITY);
    WRONG(noise_weight_high, -1, 0, 0.2, NAN, INFINITY);
    WRONG(weighting, -1, 0, 4, INT32_MAX, INT32_MIN);
    WRONG(timesteps, -1, 0, 3, INT32_MAX, INT32_MIN);
    WRONG(world, 0, 65537, UINT32_MAX);
    WRONG(rank, 1, UINT32_MAX); /* of one */
    WRONG(first_timestep, 1, 999, UINT32_MAX); /* without an end */
    WRONG(end_timestep, 1001, UINT32_MAX);
    WRONG(total_steps, 9e18);
    WRONG(threads, 257, UINT32_MAX);
    WRONG(reserved, 1, UINT32_MAX);
    mcm_trainer_options options = MCM_TRAINER_OPTIONS_INIT;
    options.first_timestep = options.end_timestep = 5;
    INVALID(create(&options));
    options.end_timestep = 4;
    INVALID(create(&options));
    options.end_timestep = 6;
    OK(create(&options));

    float dropout[4] = {0.5f, 0, 1, 0.5f};
    mcm_trainer_options_init(&options, sizeof options);
    options.dropout_count = 1;
    INVALID(create(&options)); /* NULL */
    options.dropout = dropout;
    OK(create(&options));
    options.dropout_count = CONDITIONS;
    OK(create(&options));
    static const uint32_t counts[] = {2, 4, 65, UINT32_MAX};
    for (int i = 0; i < 4; i++) {
        options.dropout_count = counts[i];
        MISUSE(create(&options));
    }
    static const float wrong[] = {-0.1f, 1.1f, NAN, INFINITY};
    options.dropout_count = CONDITIONS;
    for (int i = 0; i < 4; i++) {
        dropout[2] = wrong[i];
        INVALID(create(&options));
    }
    free_all();
}

static void training_bank_options_out_of_range(void) {
    open_all();
    const char *path = path_in(scratch, "none");
    static const struct {
        uint32_t batch;
        uint64_t count;
        uint32_t first, end;
    } bad[] = {{0, 5, 0, 0},         {65537, 5, 0, 0}, {UINT32_MAX, 5, 0, 0}, {4, 0, 0, 0},
               {4, UINT64_MAX, 0, 0}, {4, 5, 5, 5},     {4, 5, 5, 4},          {4, 5, 0, 1001},
               {4, 5, 1, 0},         {4, 5, 999, UINT32_MAX}, {4, 1ull << 41, 0, 0}, {4, INT64_MAX, 0, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
        options.batch = bad[i].batch;
        options.count = bad[i].count;
        options.first_timestep = bad[i].first;
        options.end_timestep = bad[i].end;
        INVALID(mcm_bank_record(ok.model, ok.dataset, path, &options, NULL, NULL));
        CHECK(!file_exists(path) && !file_exists(path_in(scratch, "none.part")));
    }
    free_all();
}

/* --- What options do --- */

static mcm_losses losses_of(const mcm_trainer *trainer, int32_t kind, uint32_t index) {
    mcm_losses losses = MCM_LOSSES_INIT;
    OK(mcm_trainer_get_losses(trainer, kind, index, &losses));
    return losses;
}

/* Timesteps of the range alone, however they are drawn; modalities are withheld as often as was said. */
static void training_draws_what_options_say(void) {
    static const float dropout[CONDITIONS] = {0, 1, 0.5f};
    open_all();
    for (int weighting = MCM_WEIGHTING_UNIFORM; weighting <= MCM_WEIGHTING_NOISE; weighting++)
        for (int timesteps = MCM_TIMESTEPS_UNIFORM; timesteps <= MCM_TIMESTEPS_WEIGHTED; timesteps++) {
            mcm_trainer_options options = quick_options();
            options.weighting = weighting;
            options.timesteps = timesteps;
            options.first_timestep = 300;
            options.end_timestep = 500;
            options.dropout = dropout;
            options.dropout_count = CONDITIONS;
            mcm_trainer *trainer = new_trainer(ok.model, NULL, &options);
            for (int i = 0; i < 12; i++) OK(mcm_trainer_step_dataset(trainer, ok.dataset, NULL, 5, NULL));
            uint64_t low = losses_of(trainer, MCM_LOSSES_TIMESTEP, 3).count;
            uint64_t high = losses_of(trainer, MCM_LOSSES_TIMESTEP, 4).count, given[CONDITIONS];
            for (uint32_t m = 0; m < CONDITIONS; m++) given[m] = losses_of(trainer, MCM_LOSSES_GIVEN, m).count;
            CHECK(low > 10 && high > 10 && low + high == 60);
            CHECK(given[0] == 60 && given[1] == 0 && given[2] > 15 && given[2] < 45);
            mcm_trainer_free(trainer);
        }
    free_all();
}

static void training_rate_follows_its_schedule(void) {
    open_all();
    mcm_trainer_options options = quick_options();
    mcm_train_report report = MCM_TRAIN_REPORT_INIT;
    options.learning_rate = 1e-3f;
    options.warmup_steps = 4;
    options.total_steps = 10;
    options.ema_decay = 0;
    mcm_trainer *trainer = new_trainer(ok.model, NULL, &options);
    for (int i = 0; i < 10; i++) {
        double warm = i < 4 ? (i + 1) / 4.0 : 1, progress = i / 10.0;
        OK(mcm_trainer_step_dataset(trainer, ok.dataset, NULL, 2, &report));
        CHECK(fabs(report.learning_rate - 1e-3 * warm * (cos(3.14159265358979 * progress) / 2 + 0.5)) < 1e-8);
    }
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_step_dataset(trainer, ok.dataset, NULL, 2, &report));
    /* It goes on if told to. */
    mcm_resume_options longer = MCM_RESUME_OPTIONS_INIT;
    longer.total_steps = 20;
    longer.learning_rate = 2e-3f;
    OK(mcm_trainer_save(trainer, path_in(scratch, "done")));
    mcm_trainer_free(trainer);
    OK(mcm_trainer_resume(ok.model, NULL, path_in(scratch, "done"), &longer, &trainer));
    OK(mcm_trainer_step_dataset(trainer, ok.dataset, NULL, 2, &report));
    CHECK(fabs(report.learning_rate - 1e-3) < 1e-8 && state_of_trainer(trainer).total_steps == 20);
    /* A warmup is at most as long as the training. */
    options.warmup_steps = 200;
    mcm_trainer *warm = new_trainer(ok.model, NULL, &options);
    OK(mcm_trainer_step_dataset(warm, ok.dataset, NULL, 2, &report));
    CHECK(fabs(report.learning_rate - 1e-4) < 1e-8);
    mcm_trainer_free(warm);
    /* Without an average the averaged module is the plain one. */
    bytes files[2];
    for (int averaged = 0; averaged < 2; averaged++) {
        OK(mcm_trainer_write_modulator(trainer, path_in(scratch, "plain"), averaged, MCM_F32));
        files[averaged] = read_file(path_in(scratch, "plain"));
    }
    CHECK(same_bytes(&files[0], &files[1]));
    free(files[0].data);
    free(files[1].data);
    mcm_trainer_free(trainer);
    free_all();
}

const test training_option_tests[] = {
    {"training_options_out_of_range", training_options_out_of_range},
    {"training_bank_options_out_of_range", training_bank_options_out_of_range},
    {"training_draws_what_options_say", training_draws_what_options_say},
    {"training_rate_follows_its_schedule", training_rate_follows_its_schedule},
    {NULL, NULL},
};

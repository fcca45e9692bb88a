/* What training is made of, wrong in each of its parts: options, configs, models, banks, data sets, struct sizes, and
 * NULL for every pointer. */
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

/* --- Configs and models --- */

static void training_configs_that_cannot_be(void) {
    static const char *const changes[][2] = {
        {"{\"net\"", "[\"net\""}, {"]}", ""}, {"\"prediction_channels\":1,", ""},
        {"\"prediction_channels\":1", "\"prediction_channels\":0"},
        {"\"prediction_channels\":1", "\"prediction_channels\":1e18"},
        {"\"prediction_channels\":1", "\"prediction_channels\":\"1\""},
        {"\"scale_offset\":1.0", "\"scale_offset\":1e999"}, {"\"scale_offset\":1.0", "\"mystery\":1.0"},
        {"\"presence_flags\":true", "\"presence_flags\":7"}, {"DownBlock2D", "MysteryBlock2D"},
        {"UpBlock2D", "DownBlock2D"}, {"[4]", "[4,4]"}, {"[4]", "[0]"}, {"[4]", "[-4]"}, {"[4]", "[]"},
        {"[4]", "[65537]"}, {"[4]", "[1e15]"}, {"[4]", "4"}, {"\"norm_num_groups\":1", "\"norm_num_groups\":3"},
        {"\"norm_num_groups\":1", "\"norm_num_groups\":0"}, {"\"attention_head_dim\":4", "\"attention_head_dim\":0"},
        {"\"layers_per_block\":1", "\"layers_per_block\":0"},
        {"\"layers_per_block\":1", "\"layers_per_block\":1000000000"}, {"\"sample_size\":8", "\"mystery\":8"},
        {"\"sample_size\":8", "\"num_class_embeds\":3"}, {"\"sketch\"", "\"labels\""}, {"\"sketch\"", "\"\""},
        {"\"grey\"", "\"mystery\""}, {"\"area\"", "\"mystery\""}, {"\"channels\":1", "\"channels\":0"},
        {"\"channels\":1", "\"channels\":3"}, {"\"channels\":1", "\"channels\":1000000000000"},
        {"\"modalities\":[", "\"modalities\":[[],"}, {"\"modalities\"", "\"Modalities\""},
    };
    static const char *const texts[] = {"",   " ",  "{",              "null", "7",    "\"text\"",
                                        "[]", "{}", "{\"net\":{}}", "{]",   "\x01", "{\"modalities\":[]}"};
    open_all();
    mcm_trainer *const untouched = (mcm_trainer *)&ok, *trainer = untouched;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char config[2048];
        const char *found = strstr(tiny_config, changes[i][0]);
        CHECK(found);
        snprintf(config, sizeof config, "%.*s%s%s", (int)(found - tiny_config), tiny_config, changes[i][1],
                 found + strlen(changes[i][0]));
        mcm_status status = mcm_trainer_create(ok.model, NULL, config, NULL, &trainer);
        if (status == MCM_OK) printf("    created with %s\n", changes[i][1]);
        STATUS(ANY_DATA, status);
        CHECK(trainer == untouched);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        STATUS(MCM_ERROR_FORMAT, mcm_trainer_create(ok.model, NULL, texts[i], NULL, &trainer));
    INVALID(mcm_trainer_create(ok.model, NULL, "\xff\xfe", NULL, &trainer));
    static char deep[200001]; /* deeper than any stack */
    memset(deep, '[', sizeof deep - 1);
    STATUS(MCM_ERROR_FORMAT, mcm_trainer_create(ok.model, NULL, deep, NULL, &trainer));
    CHECK(trainer == untouched);
    free_all();
}

static void training_on_models_that_do_not_fit(void) {
    open_all();
    mcm_trainer *const untouched = (mcm_trainer *)&ok, *trainer = untouched;
    mcm_model *classes = tiny_model_open(&(tiny_model){.classes = 5}, 1);
    mcm_model *variance = tiny_model_open(&(tiny_model){.learned_variance = 1}, 1);
    mcm_model *colour = tiny_model_open(&(tiny_model){.channels = 3}, 1);
    mcm_model *other = tiny_model_open(&(tiny_model){.seed = 9}, 1);
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    tiny_batch b;
    options.count = 4;
    char path[4096], module[4096], banked[4096];
    snprintf(path, sizeof path, "%s/a trainer", scratch);
    snprintf(module, sizeof module, "%s/a module", scratch);
    snprintf(banked, sizeof banked, "%s/no bank", scratch);
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_trainer_create(classes, NULL, tiny_config, NULL, &trainer));
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_trainer_create(variance, NULL, tiny_config, NULL, &trainer));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_trainer_create(colour, NULL, tiny_config, NULL, &trainer));
    INVALID(mcm_trainer_create(ok.model, ok.bank, tiny_config, NULL, &trainer)); /* both */
    INVALID(mcm_trainer_create(NULL, NULL, tiny_config, NULL, &trainer));
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_bank_record(classes, ok.dataset, banked, &options, NULL, NULL));
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_bank_record(variance, ok.dataset, banked, &options, NULL, NULL));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_bank_record(colour, ok.dataset, banked, &options, NULL, NULL));
    CHECK(!file_exists(banked));

    OK(mcm_trainer_save(ok.trainer, path));
    OK(mcm_trainer_write_modulator(ok.trainer, module, 0, MCM_F32));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_trainer_resume(other, NULL, path, NULL, &trainer));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_trainer_resume(colour, NULL, path, NULL, &trainer));
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_trainer_resume(classes, NULL, path, NULL, &trainer));
    INVALID(mcm_trainer_resume(ok.model, ok.bank, path, NULL, &trainer));
    INVALID(mcm_trainer_resume(NULL, NULL, path, NULL, &trainer));
    mcm_resume_options resuming = MCM_RESUME_OPTIONS_INIT;
    resuming.threads = 257;
    INVALID(mcm_trainer_resume(ok.model, NULL, path, &resuming, &trainer));
    INVALID(mcm_trainer_resume(NULL, ok.bank, path, &resuming, &trainer));
    resuming.threads = 0;
    resuming.rank = resuming.world = 2;
    INVALID(mcm_trainer_resume(ok.model, NULL, path, &resuming, &trainer));
    STATUS(MCM_ERROR_FORMAT, mcm_trainer_resume(ok.model, NULL, module, NULL, &trainer)); /* no trainer's file */
    STATUS(MCM_ERROR_FORMAT, mcm_trainer_create_from(ok.model, NULL, path, NULL, &trainer)); /* and no module's */
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_trainer_create_from(colour, NULL, module, NULL, &trainer));
    STATUS(MCM_ERROR_IO, mcm_trainer_resume(ok.model, NULL, "/no/such/trainer", NULL, &trainer));
    STATUS(MCM_ERROR_IO, mcm_trainer_create_from(ok.model, NULL, "/no/such/module", NULL, &trainer));
    bytes later = tiny_module_file(&(tiny_module){.damage = {.from = "\"version\":\"1\"", .to = "\"version\":\"2\""}});
    bytes nan = tiny_module_file(&(tiny_module){.damage = {.not_finite = "conv_out.bias"}});
    bytes strange = tiny_module_file(&(tiny_module){.damage = {.from = "\\\"scale_offset", .to = "\\\"scale_OFFset"}});
    write_file(module, nan.data, nan.size);
    STATUS(MCM_ERROR_FORMAT, mcm_trainer_create_from(ok.model, NULL, module, NULL, &trainer));
    write_file(module, strange.data, strange.size);
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_trainer_create_from(ok.model, NULL, module, NULL, &trainer));
    MESSAGE(module);
    write_file(module, later.data, later.size);
    STATUS(MCM_ERROR_FORMAT, mcm_trainer_create_from(ok.model, NULL, module, NULL, &trainer));
    CHECK(trainer == untouched);
    free(later.data);
    free(nan.data);
    free(strange.data);

    /* One file for all processes that share a step. */
    mcm_trainer_options shared = quick_options();
    shared.rank = 1;
    shared.world = 2;
    mcm_trainer *created = new_trainer(ok.model, NULL, &shared), *resumed;
    mcm_trainer *alone = new_trainer(ok.model, NULL, NULL);
    OK(mcm_trainer_save(alone, module));
    mcm_trainer_free(alone);
    resuming.rank = 1;
    OK(mcm_trainer_resume(ok.model, NULL, module, &resuming, &resumed));
    REFUSED(MCM_ERROR_STATE, created, mcm_trainer_step(created, images_of(&b, 0, 2), NULL)); /* not alone */
    REFUSED(MCM_ERROR_STATE, created, mcm_trainer_step_dataset(created, ok.dataset, NULL, 2, NULL));
    mcm_train_options loop = MCM_TRAIN_OPTIONS_INIT;
    loop.until_step = 3;
    REFUSED(MCM_ERROR_STATE, created, mcm_trainer_train(created, ok.dataset, NULL, &loop, NULL, NULL));
    OK(mcm_trainer_accumulate(created, images_of(&b, 0, 2), NULL));
    OK(mcm_trainer_accumulate(resumed, images_of(&b, 0, 2), NULL));
    mcm_trainer *const first = (mcm_trainer *)&ok, *none = first;
    OK(mcm_trainer_save(created, module)); /* with gradients that wait: of this rank alone */
    resuming.rank = 0;
    STATUS(MCM_ERROR_STATE, mcm_trainer_resume(ok.model, NULL, module, &resuming, &none));
    resuming.world = 0;
    resuming.rank = 1;
    INVALID(mcm_trainer_resume(ok.model, NULL, module, &resuming, &none));
    resuming.rank = 0;
    resuming.reserved = 1;
    INVALID(mcm_trainer_resume(ok.model, NULL, module, &resuming, &none));
    resuming.reserved = 0;
    CHECK(none == first);
    OK(mcm_trainer_resume(ok.model, NULL, module, &resuming, &none));
    mcm_trainer_free(none);
    OK(mcm_trainer_apply(created, NULL));
    OK(mcm_trainer_apply(resumed, NULL));
    check_same_and_free(created, resumed);

    /* Of a trainer with a model, go on with a bank of it, and the other way round. */
    mcm_trainer *without, *with;
    resuming = (mcm_resume_options)MCM_RESUME_OPTIONS_INIT;
    resuming.threads = 2;
    OK(mcm_trainer_resume(NULL, ok.bank, path, &resuming, &without));
    STATUS(MCM_ERROR_STATE, mcm_trainer_step(without, images_of(&b, 0, 2), NULL));
    OK(mcm_trainer_step_dataset(without, ok.dataset, ok.bank, 2, NULL));
    OK(mcm_trainer_save(without, path));
    OK(mcm_trainer_resume(ok.model, NULL, path, NULL, &with));
    check_same_and_free(without, with);
    mcm_model *const models[] = {classes, variance, colour, other};
    for (int i = 0; i < 4; i++) mcm_model_free(models[i]);
    free_all();
}

static void training_datasets_that_are_none(void) {
    open_all();
    file_tensor sound[DATASET_TENSORS], samples[DATASET_TENSORS];
    dataset_tensors(0, sound);
    dataset_tensors(1, samples);
    static const float nan_samples[EXAMPLES * SIDE * SIDE] = {[700] = NAN};
    static const uint8_t classes[EXAMPLES * SIDE * SIDE] = {[700] = 3};
    static const uint8_t zeros[EXAMPLES * 49 * 3];
    const file_tensor none = {"images", "U8", 4, {0, 8, 8, 1}, zeros, 0};
    const file_tensor bad[] = {
        {"pictures", "U8", 4, {EXAMPLES, 8, 8, 1}, zeros, EXAMPLES * 64}, none,
        {"images", "U8", 4, {2, 0, 8, 1}, zeros, 0}, {"images", "U8", 4, {2, 8, 0, 1}, zeros, 0},
        {"images", "U8", 4, {2, 8, 8, 0}, zeros, 0}, {"images", "U8", 4, {2, 0, 5000000000, 1}, zeros, 0},
        {"images", "U8", 4, {5000000000, 0, 8, 1}, zeros, 0}, {"images", "U8", 4, {2, 0, 8, 5000000000}, zeros, 0},
        {"images", "U8", 3, {EXAMPLES, 8, 8}, zeros, EXAMPLES * 64},
        {"images", "U8", 5, {EXAMPLES, 8, 8, 1, 1}, zeros, EXAMPLES * 64},
        {"images", "I8", 4, {EXAMPLES, 8, 8, 1}, zeros, EXAMPLES * 64},
        {"samples", "U8", 4, {EXAMPLES, 1, 8, 8}, zeros, EXAMPLES * 64},
        {"samples", "F32", 4, {1, 5000000000, 0, 8}, zeros, 0},
        {"images", "U8", 4, {EXAMPLES, 7, 7, 1}, zeros, EXAMPLES * 49}, /* odd, for this model */
        {"images", "U8", 4, {EXAMPLES, 7, 7, 3}, zeros, EXAMPLES * 49 * 3},
        {"samples", "F32", 4, {EXAMPLES, 1, SIDE, SIDE}, nan_samples, sizeof nan_samples},
        {"images", "F32", 4, {EXAMPLES, SIDE, SIDE, 1}, nan_samples, sizeof nan_samples},
        {"samples", "F32", 4, {EXAMPLES, 1, SIDE, SIDE}, samples[0].data, samples[0].size}, /* and a bad "labels" */
    };
    size_t count = sizeof bad / sizeof *bad;
    char path[4096];
    snprintf(path, sizeof path, "%s/no dataset", scratch);
    for (size_t i = 0; i < count; i++) {
        file_tensor both[2] = {bad[i], {"labels", "U8", 4, {EXAMPLES, SIDE, SIDE, 1}, classes, sizeof classes}};
        bytes file = safetensors_file(both, i + 1 == count ? 2 : 1);
        mcm_dataset *dataset = NULL;
        write_file(path, file.data, file.size);
        free(file.data);
        mcm_status status = mcm_dataset_open(path, &dataset);
        CHECK((status == MCM_OK) == (dataset != NULL));
        if (!dataset) {
            STATUS(ANY_DATA, status);
            continue;
        }
        mcm_dataset_info info = MCM_DATASET_INFO_INIT;
        mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
        options.count = EXAMPLES;
        OK(mcm_dataset_get_info(dataset, &info));
        REFUSED(ANY_ERROR, ok.trainer, mcm_trainer_step_dataset(ok.trainer, dataset, NULL, EXAMPLES, NULL));
        if (i + 1 < count) FAILS(mcm_bank_record(ok.model, dataset, path_in(scratch, "bad"), &options, NULL, NULL));
        remove(path_in(scratch, "bad.part"));
        mcm_dataset_free(dataset);
    }
    sound[1].shape[0] = samples[1].shape[0] = EXAMPLES / 2; /* fewer labels than images */
    sound[1].size /= 2;
    bytes file = safetensors_file(sound, DATASET_TENSORS);
    mcm_dataset *dataset;
    write_file(path, file.data, file.size);
    STATUS(MCM_ERROR_FORMAT, mcm_dataset_open(path, &dataset));
    free(file.data);
    const file_tensor two[] = {samples[0], sound[0]};
    file = safetensors_file(two, 2);
    write_file(path, file.data, file.size);
    STATUS(MCM_ERROR_FORMAT, mcm_dataset_open(path, &dataset));
    free(file.data);
    char name[65];
    memset(name, 'n', 64);
    for (int length = 63; length < 65; length++) { /* as a module's modalities may be called */
        name[length] = 0;
        const file_tensor named[] = {samples[0], {name, "U8", 4, {EXAMPLES, 1, 1, 1}, zeros, EXAMPLES}};
        file = safetensors_file(named, 2);
        write_file(path, file.data, file.size);
        free(file.data);
        if (length == 64) {
            STATUS(MCM_ERROR_FORMAT, mcm_dataset_open(path, &dataset));
        } else {
            OK(mcm_dataset_open(path, &dataset));
            mcm_dataset_free(dataset);
        }
        name[length] = 'n';
    }
    STATUS(MCM_ERROR_IO, mcm_dataset_open("/no/such/dataset", &dataset));
    STATUS(MCM_ERROR_IO, mcm_dataset_open(scratch, &dataset));
    free_all();
}

const test training_option_tests[] = {
    {"training_options_out_of_range", training_options_out_of_range},
    {"training_bank_options_out_of_range", training_bank_options_out_of_range},
    {"training_draws_what_options_say", training_draws_what_options_say},
    {"training_rate_follows_its_schedule", training_rate_follows_its_schedule},
    {"training_configs_that_cannot_be", training_configs_that_cannot_be},
    {"training_on_models_that_do_not_fit", training_on_models_that_do_not_fit},
    {"training_datasets_that_are_none", training_datasets_that_are_none},
    {NULL, NULL},
};

/* Configs, models, files and data sets that no module can be trained with; one trainer's file in other places. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "training.h"

static mcm_trainer *trained; /* one step */

static void open_all(void) {
    tiny_batch b;
    open_sources(1);
    trained = new_trainer(model, NULL, NULL);
    OK(mcm_trainer_step(trained, images_of(&b, 0, 3), NULL));
}

/* Checks, too, that nothing has happened to the trainer. */
static void free_all(void) {
    tiny_batch b;
    mcm_trainer *undisturbed = new_trainer(model, NULL, NULL);
    OK(mcm_trainer_step(undisturbed, images_of(&b, 0, 3), NULL));
    check_same_and_free(trained, undisturbed);
    free_sources();
}

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
    mcm_trainer *const untouched = (mcm_trainer *)&model, *trainer = untouched;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char config[2048];
        const char *found = strstr(tiny_config, changes[i][0]);
        CHECK(found);
        snprintf(config, sizeof config, "%.*s%s%s", (int)(found - tiny_config), tiny_config, changes[i][1],
                 found + strlen(changes[i][0]));
        mcm_status status = mcm_trainer_create(model, NULL, config, NULL, &trainer);
        if (status == MCM_OK) printf("    created with %s\n", changes[i][1]);
        STATUS(ANY_DATA, status);
        CHECK(trainer == untouched);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        STATUS(MCM_ERROR_FORMAT, mcm_trainer_create(model, NULL, texts[i], NULL, &trainer));
    INVALID(mcm_trainer_create(model, NULL, "\xff\xfe", NULL, &trainer));
    static char deep[200001]; /* deeper than any stack */
    memset(deep, '[', sizeof deep - 1);
    STATUS(MCM_ERROR_FORMAT, mcm_trainer_create(model, NULL, deep, NULL, &trainer));
    CHECK(trainer == untouched);
    free_all();
}

static void training_on_models_that_do_not_fit(void) {
    open_all();
    mcm_trainer *const untouched = (mcm_trainer *)&model, *trainer = untouched;
    mcm_model *classes = tiny_model_open(&(tiny_model){.classes = 5}, 1);
    mcm_model *variance = tiny_model_open(&(tiny_model){.learned_variance = 1}, 1);
    mcm_model *colour = tiny_model_open(&(tiny_model){.channels = 3}, 1);
    mcm_model *other = tiny_model_open(&(tiny_model){.seed = 9}, 1);
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    options.count = 4;
    char path[4096], module[4096], banked[4096];
    snprintf(path, sizeof path, "%s/a trainer", scratch);
    snprintf(module, sizeof module, "%s/a module", scratch);
    snprintf(banked, sizeof banked, "%s/no bank", scratch);
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_trainer_create(classes, NULL, tiny_config, NULL, &trainer));
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_trainer_create(variance, NULL, tiny_config, NULL, &trainer));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_trainer_create(colour, NULL, tiny_config, NULL, &trainer));
    INVALID(mcm_trainer_create(model, bank, tiny_config, NULL, &trainer)); /* both */
    INVALID(mcm_trainer_create(NULL, NULL, tiny_config, NULL, &trainer));
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_bank_record(classes, dataset, banked, &options, NULL, NULL));
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_bank_record(variance, dataset, banked, &options, NULL, NULL));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_bank_record(colour, dataset, banked, &options, NULL, NULL));
    CHECK(!file_exists(banked));

    OK(mcm_trainer_save(trained, path));
    OK(mcm_trainer_write_modulator(trained, module, 0, MCM_F32));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_trainer_resume(other, NULL, path, NULL, &trainer));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_trainer_resume(colour, NULL, path, NULL, &trainer));
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_trainer_resume(classes, NULL, path, NULL, &trainer));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_trainer_create_from(colour, NULL, module, NULL, &trainer));
    INVALID(mcm_trainer_resume(model, bank, path, NULL, &trainer));
    INVALID(mcm_trainer_resume(NULL, NULL, path, NULL, &trainer));
    CHECK(trainer == untouched);
    mcm_model *const models[] = {classes, variance, colour, other};
    for (int i = 0; i < 4; i++) mcm_model_free(models[i]);
    free_all();
}

/* What is refused says which file it was. */
static void training_from_files_that_are_none(void) {
    open_all();
    mcm_trainer *const untouched = (mcm_trainer *)&model, *trainer = untouched;
    char path[4096], module[4096];
    snprintf(path, sizeof path, "%s/a trainer", scratch);
    snprintf(module, sizeof module, "%s/a module", scratch);
    OK(mcm_trainer_save(trained, path));
    OK(mcm_trainer_write_modulator(trained, module, 0, MCM_F32));
    STATUS(MCM_ERROR_FORMAT, mcm_trainer_resume(model, NULL, module, NULL, &trainer)); /* no trainer's file */
    MESSAGE(module);
    STATUS(MCM_ERROR_FORMAT, mcm_trainer_create_from(model, NULL, path, NULL, &trainer)); /* and no module's */
    MESSAGE(path);
    STATUS(MCM_ERROR_IO, mcm_trainer_resume(model, NULL, "/no/such/trainer", NULL, &trainer));
    STATUS(MCM_ERROR_IO, mcm_trainer_create_from(model, NULL, "/no/such/module", NULL, &trainer));
    const struct {
        damage damage;
        mcm_status status;
    } modules[] = {
        {{.from = "\"version\":\"1\"", .to = "\"version\":\"2\""}, MCM_ERROR_FORMAT},
        {{.from = "\\\"scale_offset", .to = "\\\"scale_OFFset"}, MCM_ERROR_UNSUPPORTED},
        {{.not_finite = "conv_out.bias"}, MCM_ERROR_FORMAT},
    };
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        bytes file = tiny_module_file(&(tiny_module){.damage = modules[i].damage});
        write_file(module, file.data, file.size);
        free(file.data);
        STATUS(modules[i].status, mcm_trainer_create_from(model, NULL, module, NULL, &trainer));
        MESSAGE(modules[i].damage.not_finite ? modules[i].damage.not_finite : module);
    }
    CHECK(trainer == untouched);
    free_all();
}

/* One file for all processes that share a step; none of them takes one alone. */
static void training_goes_on_as_another_rank(void) {
    open_all();
    tiny_batch b;
    const char *path = path_in(scratch, "for all ranks");
    mcm_trainer_options shared = quick_options();
    mcm_resume_options resuming = MCM_RESUME_OPTIONS_INIT;
    mcm_train_options loop = MCM_TRAIN_OPTIONS_INIT;
    mcm_trainer *const untouched = (mcm_trainer *)&model, *none = untouched;
    shared.rank = resuming.rank = 1;
    shared.world = resuming.world = 2;
    loop.until_step = 3;
    mcm_trainer *created = new_trainer(model, NULL, &shared), *resumed;
    mcm_trainer *alone = new_trainer(model, NULL, NULL);
    OK(mcm_trainer_save(alone, path));
    mcm_trainer_free(alone);
    OK(mcm_trainer_resume(model, NULL, path, &resuming, &resumed));
    REFUSED(MCM_ERROR_STATE, created, mcm_trainer_step(created, images_of(&b, 0, 2), NULL));
    REFUSED(MCM_ERROR_STATE, created, mcm_trainer_step_dataset(created, dataset, NULL, 2, NULL));
    REFUSED(MCM_ERROR_STATE, created, mcm_trainer_train(created, dataset, NULL, &loop, NULL, NULL));
    OK(mcm_trainer_accumulate(created, images_of(&b, 0, 2), NULL));
    OK(mcm_trainer_accumulate(resumed, images_of(&b, 0, 2), NULL));
    OK(mcm_trainer_save(created, path)); /* with gradients that wait: of this rank alone */
    resuming.rank = 0;
    STATUS(MCM_ERROR_STATE, mcm_trainer_resume(model, NULL, path, &resuming, &none));
    resuming.rank = 2;
    INVALID(mcm_trainer_resume(model, NULL, path, &resuming, &none));
    resuming.rank = 1;
    resuming.world = 0;
    INVALID(mcm_trainer_resume(model, NULL, path, &resuming, &none));
    CHECK(none == untouched);
    resuming.rank = 0; /* as saved */
    OK(mcm_trainer_resume(model, NULL, path, &resuming, &none));
    mcm_trainer_free(none);
    OK(mcm_trainer_apply(created, NULL));
    OK(mcm_trainer_apply(resumed, NULL));
    check_same_and_free(created, resumed);
    free_all();
}

/* Of a trainer with a model, go on with a bank of it, and the other way round. */
static void training_goes_on_without_the_model(void) {
    open_all();
    tiny_batch b;
    const char *path = path_in(scratch, "with and without");
    mcm_trainer *const untouched = (mcm_trainer *)&model, *none = untouched, *without, *with;
    mcm_resume_options resuming = MCM_RESUME_OPTIONS_INIT;
    OK(mcm_trainer_save(trained, path));
    resuming.threads = 257;
    INVALID(mcm_trainer_resume(model, NULL, path, &resuming, &none));
    INVALID(mcm_trainer_resume(NULL, bank, path, &resuming, &none));
    resuming.threads = 2;
    resuming.reserved = 1;
    INVALID(mcm_trainer_resume(NULL, bank, path, &resuming, &none));
    resuming.reserved = 0;
    CHECK(none == untouched);
    OK(mcm_trainer_resume(NULL, bank, path, &resuming, &without));
    STATUS(MCM_ERROR_STATE, mcm_trainer_step(without, images_of(&b, 0, 2), NULL));
    OK(mcm_trainer_step_dataset(without, dataset, bank, 2, NULL));
    OK(mcm_trainer_save(without, path));
    OK(mcm_trainer_resume(model, NULL, path, NULL, &with));
    check_same_and_free(without, with);
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
        REFUSED(ANY_ERROR, trained, mcm_trainer_step_dataset(trained, dataset, NULL, EXAMPLES, NULL));
        if (i + 1 < count) FAILS(mcm_bank_record(model, dataset, path_in(scratch, "bad"), &options, NULL, NULL));
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

const test training_config_tests[] = {
    {"training_configs_that_cannot_be", training_configs_that_cannot_be},
    {"training_on_models_that_do_not_fit", training_on_models_that_do_not_fit},
    {"training_from_files_that_are_none", training_from_files_that_are_none},
    {"training_goes_on_as_another_rank", training_goes_on_as_another_rank},
    {"training_goes_on_without_the_model", training_goes_on_without_the_model},
    {"training_datasets_that_are_none", training_datasets_that_are_none},
    {NULL, NULL},
};

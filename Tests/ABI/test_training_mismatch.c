/* Training with parts that do not belong together: models, banks, data sets, files, options. */
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
} ok;

static void open_all(void) {
    ok.model = tiny_model_open(&(tiny_model){0}, 1);
    ok.dataset = new_dataset("dataset");
    ok.bank = new_bank(ok.model, ok.dataset, "bank", 10);
    ok.trainer = new_trainer(ok.model, NULL, NULL);
}

static void free_all(void) {
    mcm_trainer_free(ok.trainer);
    mcm_bank_free(ok.bank);
    mcm_dataset_free(ok.dataset);
    mcm_model_free(ok.model);
}

/* The same weights with something replaced in the scheduler's config, by as many bytes. */
static mcm_model *model_with_schedule(const char *from, const char *to) {
    mcm_memory_file files[TINY_FILES];
    mcm_model *model;
    tiny_model_files(&(tiny_model){0}, files);
    for (int i = 0; i < TINY_FILES; i++) {
        if (!strstr(files[i].name, "scheduler")) continue;
        char *text = (char *)(uintptr_t)files[i].data;
        for (size_t at = 0; at + strlen(from) <= files[i].size; at++)
            if (memcmp(text + at, from, strlen(from)) == 0) memcpy(text + at, to, strlen(to));
    }
    OK(mcm_model_open_memory(files, TINY_FILES, NULL, &model));
    free_files(files);
    return model;
}

/* The fingerprint is of the weights alone: a record's timestep is an index into the schedule. */
static void training_with_another_schedule(void) {
    open_all();
    const char *path = path_in(scratch, "of the first");
    OK(mcm_trainer_save(ok.trainer, path));
    static const char *const changes[][2] = {{"1000", " 100"}, {"1000", "1001"}, 
        {"\"beta_schedule\":\"linear\"", "\"beta_end\":0.03         "},
        {"\"variance_type\":\"fixed_small\"", "\"prediction_type\":\"sample\"   "}};
    for (int i = 0; i < 4; i++) {
        mcm_model *other = model_with_schedule(changes[i][0], changes[i][1]);
        mcm_trainer *trainer = new_trainer(other, NULL, NULL), *none = NULL;
        REFUSED(MCM_ERROR_INCOMPATIBLE, trainer, mcm_trainer_step_dataset(trainer, ok.dataset, ok.bank, 4, NULL));
        MESSAGE("schedule");
        STATUS(MCM_ERROR_INCOMPATIBLE, mcm_trainer_resume(other, NULL, path, NULL, &none));
        MESSAGE("schedule");
        CHECK(none == NULL);
        OK(mcm_trainer_step_dataset(trainer, ok.dataset, NULL, 4, NULL));
        mcm_trainer_free(trainer);
        mcm_model_free(other);
    }
    free_all();
}

/* Predictions of another model, of other images, of images of another size. */
static void training_with_another_bank(void) {
    open_all();
    mcm_model *other = tiny_model_open(&(tiny_model){.seed = 9}, 1);
    mcm_bank *of_another = new_bank(other, ok.dataset, "of another", 4), *of_other_images;
    mcm_dataset *images, *wide;
    file_tensor t[DATASET_TENSORS];
    dataset_tensors(1, t);
    bytes file = safetensors_file(t, DATASET_TENSORS);
    const char *path = path_in(scratch, "other images");
    write_file(path, file.data, file.size);
    free(file.data);
    OK(mcm_dataset_open(path, &images));
    of_other_images = new_bank(ok.model, images, "for others", 4);
    static const uint8_t pixels[3 * 12 * 16];
    const file_tensor two[] = {{"images", "U8", 4, {3, 12, 16, 1}, pixels, sizeof pixels},
                               {"sketch", "U8", 4, {3, 12, 16, 1}, pixels, sizeof pixels}};
    file = safetensors_file(two, 2);
    write_file(path_in(scratch, "wide"), file.data, file.size);
    free(file.data);
    OK(mcm_dataset_open(path_in(scratch, "wide"), &wide));
    mcm_bank *of_wide = new_bank(ok.model, wide, "of wide", 4);
    mcm_bank *const banks[] = {of_another, of_other_images, of_wide};
    for (int i = 0; i < 3; i++) {
        REFUSED(MCM_ERROR_INCOMPATIBLE, ok.trainer,
                mcm_trainer_step_dataset(ok.trainer, ok.dataset, banks[i], 2, NULL));
        REFUSED(MCM_ERROR_INCOMPATIBLE, ok.trainer,
                mcm_trainer_accumulate_dataset(ok.trainer, ok.dataset, banks[i], 2, NULL));
        mcm_train_options loop = MCM_TRAIN_OPTIONS_INIT;
        loop.until_step = 2;
        REFUSED(MCM_ERROR_INCOMPATIBLE, ok.trainer,
                mcm_trainer_train(ok.trainer, ok.dataset, banks[i], &loop, NULL, NULL));
    }
    mcm_trainer *trainer = new_trainer(ok.model, NULL, NULL); /* which takes any size */
    OK(mcm_trainer_step_dataset(trainer, wide, of_wide, 4, NULL));
    OK(mcm_trainer_step_dataset(trainer, images, of_other_images, 4, NULL));
    OK(mcm_trainer_step_dataset(trainer, images, NULL, 4, NULL));
    mcm_trainer_free(trainer);
    for (int i = 0; i < 3; i++) mcm_bank_free(banks[i]);
    mcm_dataset_free(wide);
    mcm_dataset_free(images);
    mcm_model_free(other);
    free_all();
}

/* None of what the module wants: all would count as withheld, and it would learn to follow nothing. */
static void training_without_known_modalities(void) {
    open_all();
    file_tensor tensors[DATASET_TENSORS];
    mcm_dataset *dataset;
    dataset_tensors(0, tensors);
    for (int named = 0; named < 2; named++) {
        tensors[3].name = "sketches";
        const file_tensor two[] = {tensors[0], tensors[3]};
        bytes file = safetensors_file(two, 1 + named);
        write_file(path_in(scratch, "unknown"), file.data, file.size);
        free(file.data);
        OK(mcm_dataset_open(path_in(scratch, "unknown"), &dataset));
        REFUSED(MCM_ERROR_INCOMPATIBLE, ok.trainer, mcm_trainer_step_dataset(ok.trainer, dataset, NULL, 2, NULL));
        MESSAGE(named ? "\"sketches\"" : "no modality");
        mcm_dataset_free(dataset);
    }
    free_all();
}

/* A bank's timesteps and those that the options allow. */
static void training_on_timesteps_of_a_bank(void) {
    open_all();
    mcm_bank_options recording = MCM_BANK_OPTIONS_INIT;
    mcm_bank_info info = MCM_BANK_INFO_INIT;
    mcm_bank *bank;
    recording.count = 12;
    recording.first_timestep = 100;
    recording.end_timestep = 110;
    OK(mcm_bank_record(ok.model, ok.dataset, path_in(scratch, "some"), &recording, NULL, NULL));
    OK(mcm_bank_open(path_in(scratch, "some"), &bank));
    OK(mcm_bank_get_info(bank, &info));
    CHECK(info.first_timestep == 100 && info.end_timestep == 110);
    OK(mcm_bank_get_info(ok.bank, &info));
    CHECK(info.first_timestep == 0 && info.end_timestep == 1000);
    static const uint32_t ranges[][3] = {{0, 0, 1},     {100, 110, 1}, {99, 200, 1},
                                         {101, 110, 0}, {100, 109, 0}, {900, 999, 0}};
    for (int i = 0; i < 6; i++) {
        mcm_trainer_options options = quick_options();
        options.first_timestep = ranges[i][0];
        options.end_timestep = ranges[i][1];
        mcm_trainer *trainer = new_trainer(ok.model, NULL, &options);
        if (ranges[i][2])
            OK(mcm_trainer_step_dataset(trainer, ok.dataset, bank, 4, NULL));
        else
            REFUSED(MCM_ERROR_INCOMPATIBLE, trainer, mcm_trainer_step_dataset(trainer, ok.dataset, bank, 4, NULL));
        mcm_trainer_free(trainer);
    }
    mcm_bank_free(bank);
    free_all();
}

/* A bank is mapped; what was sound when it was opened is looked at again. */
static void training_on_a_bank_that_changes(void) {
    open_all();
    const char *path = new_bank_file(ok.model, ok.dataset, "changing bank", 10);
    bytes file = read_file(path);
    mcm_bank *bank;
    OK(mcm_bank_open(path, &bank));
    FILE *f = fopen(path, "r+b");
    CHECK(f);
    size_t record = 2 * SIDE * SIDE + 24;
    for (size_t i = 0; i < 10; i++) {
        CHECK(fseek(f, (long)(file.size - (i + 1) * record + 4), SEEK_SET) == 0);
        CHECK(fwrite("\xff\xff\xff\xff", 1, 4, f) == 4); /* the timestep */
    }
    fclose(f);
    REFUSED(MCM_ERROR_FORMAT, ok.trainer, mcm_trainer_step_dataset(ok.trainer, ok.dataset, bank, 4, NULL));
    MESSAGE("is damaged");
    mcm_bank_free(bank);
    free(file.data);
    free_all();
}

/* Networks that cannot embed every timestep. */
static void training_of_modules_that_miss_timesteps(void) {
    open_all();
    static const struct {
        const char *net;
        uint32_t first;
        int fits;
    } cases[] = {
        {"\"time_embedding_type\":\"fourier\"", 0, 0}, /* the logarithm of 0 */
        {"\"time_embedding_type\":\"fourier\"", 1, 1},
        {"\"time_embedding_type\":\"learned\",\"num_train_timesteps\":999", 0, 0},
        {"\"time_embedding_type\":\"learned\",\"num_train_timesteps\":1000", 0, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char config[2048];
        mcm_trainer_options options = quick_options();
        mcm_trainer *trainer = NULL;
        snprintf(config, sizeof config, "{\"net\":{%s,%s", cases[i].net, tiny_config + strlen("{\"net\":{"));
        options.first_timestep = cases[i].first;
        options.end_timestep = 1000;
        mcm_status status = mcm_trainer_create(ok.model, NULL, config, &options, &trainer);
        if (cases[i].fits) {
            OK(status);
            for (int k = 0; k < 40; k++) OK(mcm_trainer_step_dataset(trainer, ok.dataset, NULL, 12, NULL));
        } else {
            INVALID(status);
            MESSAGE("timestep");
        }
        mcm_trainer_free(trainer);
    }
    free_all();
}

/* Errors say which example it is. */
static void training_names_the_bad_example(void) {
    open_all();
    file_tensor tensors[DATASET_TENSORS];
    static uint8_t labels[EXAMPLES * SIDE * SIDE];
    mcm_dataset *dataset;
    labels[7 * SIDE * SIDE + 3 * SIDE + 5] = TINY_CLASSES;
    dataset_tensors(0, tensors);
    tensors[1].data = labels;
    bytes file = safetensors_file(tensors, DATASET_TENSORS);
    write_file(path_in(scratch, "bad label"), file.data, file.size);
    free(file.data);
    OK(mcm_dataset_open(path_in(scratch, "bad label"), &dataset));
    REFUSED(MCM_ERROR_FORMAT, ok.trainer, mcm_trainer_step_dataset(ok.trainer, dataset, NULL, EXAMPLES, NULL));
    STATUS(MCM_ERROR_FORMAT, mcm_trainer_step_dataset(ok.trainer, dataset, NULL, EXAMPLES, NULL));
    MESSAGE("bad label: example 7: condition \"labels\": the pixel at x 5, y 3");
    mcm_dataset_free(dataset);
    free_all();
}

const test training_mismatch_tests[] = {
    {"training_with_another_schedule", training_with_another_schedule},
    {"training_with_another_bank", training_with_another_bank},
    {"training_without_known_modalities", training_without_known_modalities},
    {"training_on_timesteps_of_a_bank", training_on_timesteps_of_a_bank},
    {"training_on_a_bank_that_changes", training_on_a_bank_that_changes},
    {"training_of_modules_that_miss_timesteps", training_of_modules_that_miss_timesteps},
    {"training_names_the_bad_example", training_names_the_bad_example},
    {NULL, NULL},
};

/* Opening models, sound and damaged; information and predictions. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "check.h"
#include "drawing.h"
#include "tiny.h"

static const char weights_name[] = "unet/diffusion_pytorch_model.safetensors";

static void info_of_the_fashion_model(void) {
    mcm_model *model = open_fashion_model(1);
    mcm_model_info info = MCM_MODEL_INFO_INIT;
    OK(mcm_model_get_info(model, &info));
    CHECK(info.struct_size == sizeof info);
    CHECK(info.width == 28 && info.height == 28 && info.channels == 1 && info.prediction_channels == 1);
    CHECK(info.prediction_type == MCM_PREDICTION_EPSILON && info.num_train_timesteps == 1000);
    CHECK(info.size_multiple == 4); /* three levels, two halvings */
    CHECK(info.class_input_size == 0 && info.class_count == 0);
    CHECK(info.parameter_count > 1500000 && info.parameter_count < 2000000);
    CHECK(info.memory_bytes >= 2 * info.parameter_count);
    CHECK(strlen(info.fingerprint) == 16 && strspn(info.fingerprint, "0123456789abcdef") == 16);
    mcm_model_free(model);
}

static void info_of_tiny_models(void) {
    mcm_model_info info = MCM_MODEL_INFO_INIT, other = MCM_MODEL_INFO_INIT;
    mcm_model *model = tiny_model_open(&(tiny_model){.channels = 3, .classes = 5, .learned_variance = 1}, 1);
    OK(mcm_model_get_info(model, &info));
    CHECK(info.width == TINY_SIZE && info.channels == 3 && info.prediction_channels == 6 && info.size_multiple == 2);
    CHECK(info.class_input_size == 1 && info.class_count == 5);
    mcm_model_free(model);
    /* The fingerprint tells weights apart. */
    model = tiny_model_open(&(tiny_model){.channels = 3, .classes = 5, .learned_variance = 1, .seed = 1}, 1);
    OK(mcm_model_get_info(model, &other));
    CHECK(strcmp(info.fingerprint, other.fingerprint) != 0);
    mcm_model_free(model);
}

static char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    CHECK(file);
    char *data = malloc(8 << 20);
    CHECK(data);
    *size = fread(data, 1, 8 << 20, file);
    CHECK(*size > 0 && *size < 8 << 20);
    fclose(file);
    return data;
}

static void folder_and_memory_give_the_same_model(void) {
    static const char *const names[] = {"model_index.json", "unet/config.json", "scheduler/scheduler_config.json",
                                        weights_name};
    static float x[28 * 28], a[28 * 28], b[28 * 28];
    mcm_memory_file files[4];
    for (int i = 0; i < 4; i++) {
        files[i].name = names[i];
        files[i].data = read_file(path_in(path_in(fashion, "base"), names[i]), &files[i].size);
    }
    mcm_model *model, *from_memory;
    OK(mcm_model_open(path_in(fashion, "base"), NULL, &model));
    OK(mcm_model_open_memory(files, 4, NULL, &from_memory));
    free_files(files); /* no longer needed */
    float t = 500;
    for (int i = 0; i < 28 * 28; i++) x[i] = (float)(i % 29) / 14 - 1;
    OK(mcm_model_predict(model, 1, 28, 28, x, 784, &t, NULL, 0, a, 784));
    OK(mcm_model_predict(from_memory, 1, 28, 28, x, 784, &t, NULL, 0, b, 784));
    SAME(a, b, sizeof a);
    mcm_model_info one = MCM_MODEL_INFO_INIT, two = MCM_MODEL_INFO_INIT;
    OK(mcm_model_get_info(model, &one));
    OK(mcm_model_get_info(from_memory, &two));
    CHECK(strcmp(one.fingerprint, two.fingerprint) == 0 && one.parameter_count == two.parameter_count);
    mcm_model_free(from_memory);
    mcm_model_free(model);
}

static void weights_need_not_be_aligned(void) {
    static float x[64], a[64], b[64], t = 10;
    mcm_memory_file files[TINY_FILES];
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1), *odd;
    tiny_model_files(&(tiny_model){0}, files);
    char *copy = malloc(files[3].size + 1), *original = (char *)files[3].data;
    CHECK(copy);
    memcpy(copy + 1, original, files[3].size);
    files[3].data = copy + 1;
    OK(mcm_model_open_memory(files, TINY_FILES, NULL, &odd));
    memset(copy, 0xff, files[3].size + 1); /* it is not looked at again */
    free(copy);
    files[3].data = original;
    free_files(files);
    OK(mcm_model_predict(model, 1, 8, 8, x, 64, &t, NULL, 0, a, 64));
    OK(mcm_model_predict(odd, 1, 8, 8, x, 64, &t, NULL, 0, b, 64));
    SAME(a, b, sizeof a);
    mcm_model_free(odd);
    mcm_model_free(model);
}

static void folders_that_are_none(void) {
    mcm_model *model = NULL;
    STATUS(MCM_ERROR_IO, mcm_model_open("/no/such/folder", NULL, &model));
    MESSAGE("/no/such/folder");
    STATUS(MCM_ERROR_IO, mcm_model_open("", NULL, &model));
    /* A file, but not a model's. */
    STATUS(MCM_ERROR_FORMAT, mcm_model_open(path_in(fashion, "module.mcm.safetensors"), NULL, &model));
    STATUS(ANY_DATA, mcm_model_open(fashion, NULL, &model)); /* a folder, but not a model's */
    STATUS(ANY_DATA, mcm_model_open("/no/such/folder\nwith a line feed", NULL, &model));
    FAILS(mcm_model_open("not \xff UTF-8", NULL, &model));
    static char long_path[100000];
    memset(long_path, 'x', sizeof long_path - 1);
    STATUS(ANY_DATA, mcm_model_open(long_path, NULL, &model));
    CHECK(model == NULL);
}

/* Writes a model folder into scratch, less the file `missing`. */
static const char *write_folder(const char *name, const char *missing) {
    static char folder[4096];
    strcpy(folder, path_in(scratch, name));
    mcm_memory_file files[TINY_FILES];
    tiny_model_files(&(tiny_model){0}, files);
    mkdir(folder, 0755);
    mkdir(path_in(folder, "unet"), 0755);
    mkdir(path_in(folder, "scheduler"), 0755);
    for (int i = 0; i < TINY_FILES; i++)
        if (!missing || strcmp(files[i].name, missing) != 0)
            write_file(path_in(folder, files[i].name), files[i].data, files[i].size);
    free_files(files);
    return folder;
}

static void files_that_are_missing(void) {
    static const char *const names[] = {"unet/config.json", "scheduler/scheduler_config.json", weights_name};
    mcm_model *model = NULL;
    char name[] = "missing0";
    for (int i = 0; i < 3; i++, name[7]++) {
        STATUS(ANY_DATA, mcm_model_open(write_folder(name, names[i]), NULL, &model));
        CHECK(model == NULL);
        mcm_memory_file files[TINY_FILES], fewer[TINY_FILES];
        size_t count = 0;
        tiny_model_files(&(tiny_model){0}, files);
        for (int k = 0; k < TINY_FILES; k++)
            if (strcmp(files[k].name, names[i]) != 0) fewer[count++] = files[k];
        STATUS(ANY_DATA, mcm_model_open_memory(fewer, count, NULL, &model));
        free_files(files);
    }
    FAILS(mcm_model_open_memory(NULL, 0, NULL, &model));
    OK(mcm_model_open(write_folder("sound", NULL), NULL, &model));
    mcm_model_free(model);
}

/* Weights by an index that points elsewhere, and weights that are a pickle. */
static void weights_elsewhere(void) {
    static const char *const indices[] = {
        "{\"weight_map\":{\"conv_in.weight\":\"../../secret.safetensors\"}}",
        "{\"weight_map\":{\"conv_in.weight\":\"/etc/passwd\"}}",
        "{\"weight_map\":{\"conv_in.weight\":\"missing.safetensors\"}}",
        "{\"weight_map\":{\"conv_in.weight\":\"\"}}",
        "{\"weight_map\":{\"conv_in.weight\":7}}",
        "{\"weight_map\":{}}",
        "{}",
    };
    mcm_memory_file files[TINY_FILES], other[TINY_FILES];
    mcm_model *model = NULL;
    tiny_model_files(&(tiny_model){0}, files);
    memcpy(other, files, sizeof other);
    other[3].name = "unet/diffusion_pytorch_model.safetensors.index.json";
    for (size_t i = 0; i < sizeof indices / sizeof *indices; i++) {
        other[3].data = indices[i];
        other[3].size = strlen(indices[i]);
        STATUS(ANY_DATA, mcm_model_open_memory(other, TINY_FILES, NULL, &model));
    }
    free_files(files);
    const char *folder = write_folder("pickle", weights_name);
    write_file(path_in(folder, "unet/diffusion_pytorch_model.bin"), "PK\3\4", 4);
    STATUS(MCM_ERROR_UNSUPPORTED, mcm_model_open(folder, NULL, &model));
    CHECK(model == NULL);
}

/* Rewriting a model's files while it is in use is not sound, but it is no reason to end the process. */
static void files_change_after_opening(void) {
    mcm_model *model;
    float x[64] = {0}, e[64], t = 5;
    const char *folder = write_folder("changing", NULL);
    OK(mcm_model_open(folder, NULL, &model));
    write_file(path_in(folder, weights_name), "", 0);
    mcm_model_predict(model, 1, 8, 8, x, 64, &t, NULL, 0, e, 64);
    mcm_model_free(model);
}

static void text_that_is_damaged(void) {
    static const char *const contents[] = {"", "{", "[]", "null", "{\"_class_name\": \"UNet2DModel\"", "\xff\xfe", "7",
                                           "{\"_class_name\": 7}", "{\"_class_name\": \"UNet2DModel\",}"};
    mcm_memory_file files[TINY_FILES], bad[TINY_FILES];
    tiny_model_files(&(tiny_model){0}, files);
    char *nested = malloc(2000001);
    CHECK(nested);
    memset(nested, '[', 2000000);
    for (int file = 0; file < 3; file++) {
        memcpy(bad, files, sizeof bad);
        for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
            mcm_model *model = NULL;
            bad[file].data = contents[i];
            bad[file].size = strlen(contents[i]);
            STATUS(ANY_DATA, mcm_model_open_memory(bad, TINY_FILES, NULL, &model));
            MESSAGE(files[file].name);
        }
        mcm_model *model = NULL;
        bad[file].data = nested; /* two million brackets: a parser that recurses would run out of stack */
        bad[file].size = 2000000;
        STATUS(ANY_DATA, mcm_model_open_memory(bad, TINY_FILES, NULL, &model));
    }
    free(nested);
    free_files(files);
}

static void values_that_are_absurd(void) {
    static const char *const changes[][2] = {
        {"\"block_out_channels\":[4,8]", "\"block_out_channels\":[]"},
        {"\"block_out_channels\":[4,8]", "\"block_out_channels\":[4]"},
        {"\"block_out_channels\":[4,8]", "\"block_out_channels\":[4,-8]"},
        {"\"block_out_channels\":[4,8]", "\"block_out_channels\":[4,0]"},
        {"\"block_out_channels\":[4,8]", "\"block_out_channels\":[4,1e18]"},
        {"\"block_out_channels\":[4,8]", "\"block_out_channels\":[4,9223372036854775807]"},
        {"\"block_out_channels\":[4,8]", "\"block_out_channels\":\"4,8\""},
        {"\"layers_per_block\":1", "\"layers_per_block\":0"},
        {"\"layers_per_block\":1", "\"layers_per_block\":2"},
        {"\"layers_per_block\":1", "\"layers_per_block\":-1"},
        {"\"layers_per_block\":1", "\"layers_per_block\":1000000000"},
        {"\"norm_num_groups\":2", "\"norm_num_groups\":0"},
        {"\"norm_num_groups\":2", "\"norm_num_groups\":3"},
        {"\"norm_num_groups\":2", "\"norm_num_groups\":-2"},
        {"\"attention_head_dim\":4", "\"attention_head_dim\":0"},
        {"\"attention_head_dim\":4", "\"attention_head_dim\":-4"},
        {"\"attention_head_dim\":4", "\"attention_head_dim\":3"},
        {"\"attention_head_dim\":4", "\"attention_head_dim\":16"},
        {"\"in_channels\":1", "\"in_channels\":0"},
        {"\"in_channels\":1", "\"in_channels\":2"},
        {"\"out_channels\":1", "\"out_channels\":3"},
        {"\"sample_size\":8", "\"sample_size\":0"},
        {"\"sample_size\":8", "\"sample_size\":-8"},
        {"\"sample_size\":8", "\"sample_size\":1000000000000"},
        {"\"sample_size\":8", "\"sample_size\":[8]"},
        {"[\"DownBlock2D\",\"DownBlock2D\"]", "[\"DownBlock2D\"]"},
        {"[\"DownBlock2D\",\"DownBlock2D\"]", "[\"DownBlock2D\",\"MysteryBlock\"]"},
        {"\"UNet2DModel\"", "\"UNet3DModel\""},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        mcm_model *model = NULL;
        mcm_memory_file files[TINY_FILES];
        tiny_model_files(&(tiny_model){.damage = {.from = changes[i][0], .to = changes[i][1]}}, files);
        mcm_status status = mcm_model_open_memory(files, TINY_FILES, NULL, &model);
        if (status == MCM_OK) printf("    opened with %s\n", changes[i][1]);
        STATUS(ANY_DATA, status);
        CHECK(model == NULL);
        free_files(files);
    }
}

static void schedules_that_are_absurd(void) {
    static const char *const configs[] = {
        "{\"_class_name\":\"DDPMScheduler\",\"num_train_timesteps\":0}",
        "{\"_class_name\":\"DDPMScheduler\",\"num_train_timesteps\":-1}",
        "{\"_class_name\":\"DDPMScheduler\",\"num_train_timesteps\":1000000000000}",
        "{\"_class_name\":\"DDPMScheduler\",\"num_train_timesteps\":1.5}",
        "{\"_class_name\":\"DDPMScheduler\",\"beta_schedule\":\"mystery\"}",
        "{\"_class_name\":\"DDPMScheduler\",\"beta_start\":-1}",
        "{\"_class_name\":\"DDPMScheduler\",\"beta_end\":2}",
        "{\"_class_name\":\"DDPMScheduler\",\"trained_betas\":[]}",
        "{\"_class_name\":\"DDPMScheduler\",\"trained_betas\":[2,3]}",
        "{\"_class_name\":\"DDPMScheduler\",\"prediction_type\":\"mystery\"}",
        "{\"_class_name\":\"MysteryScheduler\"}",
    };
    mcm_memory_file files[TINY_FILES], bad[TINY_FILES];
    tiny_model_files(&(tiny_model){0}, files);
    memcpy(bad, files, sizeof bad);
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        mcm_model *model = NULL;
        bad[2].data = configs[i];
        bad[2].size = strlen(configs[i]);
        mcm_status status = mcm_model_open_memory(bad, TINY_FILES, NULL, &model);
        if (status == MCM_OK) printf("    opened with %s\n", configs[i]);
        STATUS(ANY_DATA, status);
    }
    free_files(files);
}

static int in_between(size_t at, size_t size) {
    return at > 12000 && at + 128 < size;
}

static void weights_truncated(void) {
    mcm_memory_file files[TINY_FILES];
    tiny_model_files(&(tiny_model){0}, files);
    size_t size = files[3].size;
    /* Every byte of the header and of the end, and some between. */
    for (files[3].size = 0; files[3].size < size; files[3].size += in_between(files[3].size, size) ? 61 : 1) {
        mcm_model *model = NULL;
        STATUS(MCM_ERROR_FORMAT, mcm_model_open_memory(files, TINY_FILES, NULL, &model));
        CHECK(model == NULL);
    }
    free_files(files);
}

static void weights_that_do_not_fit(void) {
    static const struct {
        damage damage;
        const char *named;
    } cases[] = {
        {{.not_finite = "mid_block.resnets.0.conv1.weight"}, "mid_block.resnets.0.conv1.weight"},
        {{.not_finite = "conv_out.bias"}, "conv_out.bias"},
        {{.missing = "up_blocks.1.resnets.0.norm2.bias"}, "up_blocks.1.resnets.0.norm2.bias"},
        {{.missing = "conv_in.weight"}, "conv_in.weight"},
        {{.surplus = "down_blocks.7.mystery"}, "down_blocks.7.mystery.weight"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mcm_model *model = NULL;
        mcm_memory_file files[TINY_FILES];
        tiny_model_files(&(tiny_model){.damage = cases[i].damage}, files);
        STATUS(MCM_ERROR_FORMAT, mcm_model_open_memory(files, TINY_FILES, NULL, &model));
        MESSAGE(cases[i].named);
        CHECK(model == NULL);
        free_files(files);
    }
}

static void thread_options(void) {
    mcm_memory_file files[TINY_FILES];
    tiny_model_files(&(tiny_model){0}, files);
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    mcm_model *model = NULL;
    static const uint32_t wrong[] = {257, 0x80000000, UINT32_MAX}, right[] = {0, 1, 2, 256};
    for (int i = 0; i < 3; i++) {
        options.threads = wrong[i];
        INVALID(mcm_model_open_memory(files, TINY_FILES, &options, &model));
        CHECK(model == NULL);
    }
    for (int i = 0; i < 4; i++) {
        options.threads = right[i];
        OK(mcm_model_open_memory(files, TINY_FILES, &options, &model));
        mcm_model_free(model);
    }
    free_files(files);
}

/* Each image of a batch is predicted at its own timestep, and as it would be alone. */
static void predict_is_per_image(void) {
    enum { N = 3 };
    mcm_model *model = tiny_model_open(&(tiny_model){.classes = 5, .learned_variance = 1}, 2);
    float x[N * 64], e[N * 128], alone[128], t[N] = {10, 999, 0.5f}, classes[N] = {0, 4, 2};
    for (int i = 0; i < N * 64; i++) x[i] = (float)(i * 7 % 31) / 15 - 1;
    OK(mcm_model_predict(model, N, 8, 8, x, N * 64, t, classes, N, e, N * 128));
    for (int k = 0; k < N; k++) {
        OK(mcm_model_predict(model, 1, 8, 8, x + 64 * k, 64, t + k, classes + k, 1, alone, 128));
        SAME(alone, e + 128 * k, sizeof alone);
    }
    for (int i = 0; i < N * 128; i++) CHECK(isfinite(e[i]));
    mcm_model_free(model);
}

/* Other sizes than the trained one, wide and tall, small and larger. */
static void predict_at_other_sizes(void) {
    static float x[64 * 64], e[64 * 64];
    static const uint32_t sizes[][2] = {{2, 2}, {2, 64}, {64, 2}, {10, 6}, {64, 64}};
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 2);
    float t = 100;
    for (int i = 0; i < 64 * 64; i++) x[i] = (float)(i % 17) / 8 - 1;
    for (int i = 0; i < 5; i++) {
        size_t count = sizes[i][0] * sizes[i][1];
        OK(mcm_model_predict(model, 1, sizes[i][0], sizes[i][1], x, count, &t, NULL, 0, e, count));
        for (size_t k = 0; k < count; k++) CHECK(isfinite(e[k]));
    }
    mcm_model_free(model);
}

/* With little address space left, a large prediction is refused and the model still works. */
static void no_memory_for_a_large_prediction(void) {
    enum { SIDE = 2048 };
    size_t count = (size_t)SIDE * SIDE;
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    float t = 100, small[64] = {0}, *x = calloc(count, sizeof *x), *e = calloc(count, sizeof *e);
    CHECK(x && e);
    OK(mcm_model_predict(model, 1, 8, 8, small, 64, &t, NULL, 0, small, 64));

    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = (rlim_t)pages * 4096 + (64 << 20);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    STATUS(MCM_ERROR_OUT_OF_MEMORY, mcm_model_predict(model, 1, SIDE, SIDE, x, count, &t, NULL, 0, e, count));
    OK(mcm_model_predict(model, 1, 8, 8, small, 64, &t, NULL, 0, small, 64));
    free(x);
    free(e);
    mcm_model_free(model);
}

const test model_tests[] = {
    {"info_of_the_fashion_model", info_of_the_fashion_model},
    {"info_of_tiny_models", info_of_tiny_models},
    {"folder_and_memory_give_the_same_model", folder_and_memory_give_the_same_model},
    {"weights_need_not_be_aligned", weights_need_not_be_aligned},
    {"folders_that_are_none", folders_that_are_none},
    {"files_that_are_missing", files_that_are_missing},
    {"weights_elsewhere", weights_elsewhere},
    {"files_change_after_opening", files_change_after_opening},
    {"text_that_is_damaged", text_that_is_damaged},
    {"values_that_are_absurd", values_that_are_absurd},
    {"schedules_that_are_absurd", schedules_that_are_absurd},
    {"weights_truncated", weights_truncated},
    {"weights_that_do_not_fit", weights_that_do_not_fit},
    {"thread_options", thread_options},
    {"predict_is_per_image", predict_is_per_image},
    {"predict_at_other_sizes", predict_at_other_sizes},
    {"no_memory_for_a_large_prediction", no_memory_for_a_large_prediction},
    {NULL, NULL},
};

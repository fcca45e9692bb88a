#define _POSIX_C_SOURCE 200809L
#include "training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "drawing.h"

const char *const tiny_config =
    "{\"net\":{\"sample_size\":8,\"block_out_channels\":[4],\"layers_per_block\":1,\"norm_num_groups\":1,"
    "\"attention_head_dim\":4,\"down_block_types\":[\"DownBlock2D\"],\"up_block_types\":[\"UpBlock2D\"]},"
    "\"prediction_channels\":1,\"scale_offset\":1.0,\"presence_flags\":true,\"modalities\":["
    "{\"name\":\"sketch\",\"channels\":1,\"encoding\":\"grey\",\"resize\":\"area\"},"
    "{\"name\":\"labels\",\"channels\":3,\"encoding\":\"one-hot\",\"resize\":\"nearest\"},"
    "{\"name\":\"photo\",\"channels\":3,\"encoding\":\"rgb\",\"resize\":\"bilinear\"}]}";

mcm_trainer_options quick_options(void) {
    mcm_trainer_options options = MCM_TRAINER_OPTIONS_INIT;
    options.warmup_steps = 0;
    options.learning_rate = 5e-3f;
    options.seed = 11;
    return options;
}

mcm_trainer *new_trainer(const mcm_model *model, const mcm_bank *bank, const mcm_trainer_options *options) {
    mcm_trainer_options quick = quick_options();
    mcm_trainer *trainer;
    OK(mcm_trainer_create(model, bank, tiny_config, options ? options : &quick, &trainer));
    return trainer;
}

/* --- Examples --- */

enum { PIXELS = SIDE * SIDE };

static uint8_t pixels[EXAMPLES][PIXELS], sketches[EXAMPLES][PIXELS], labels[EXAMPLES][PIXELS];
static uint8_t photos[EXAMPLES][PIXELS * 3];
static float samples[EXAMPLES][PIXELS];
static mcm_image views[1 + CONDITIONS][EXAMPLES];

/* A bright rectangle on a dark ground, another one in each example. */
static void make_examples(void) {
    if (views[0][0].data) return;
    for (int k = 0; k < EXAMPLES; k++) {
        for (int i = 0; i < PIXELS; i++) {
            int x = i % SIDE, y = i / SIDE, inside = x >= k % 3 && x < 4 + k % 4 && y >= k % 4 && y < 5 + k % 3;
            pixels[k][i] = (uint8_t)(inside ? 230 - 7 * k : 20 + (i * 13 + k) % 9);
            samples[k][i] = (float)pixels[k][i] / 127.5f - 1;
            sketches[k][i] = inside ? 255 : 0;
            labels[k][i] = (uint8_t)(inside ? 1 + k % 2 : 0);
            for (int c = 0; c < 3; c++) photos[k][3 * i + c] = (uint8_t)(pixels[k][i] / (c + 1));
        }
        const void *const data[] = {pixels[k], sketches[k], labels[k], photos[k]};
        for (int m = 0; m < 1 + CONDITIONS; m++) {
            mcm_image_init(&views[m][k], sizeof(mcm_image));
            views[m][k].data = data[m];
            views[m][k].width = views[m][k].height = SIDE;
            views[m][k].channels = m == 3 ? 3 : 1;
        }
    }
}

static mcm_batch *conditioned(tiny_batch *into, uint32_t first, uint32_t count) {
    static const char *const names[] = {"sketch", "labels", "photo"};
    make_examples();
    CHECK(first + count <= EXAMPLES);
    mcm_batch_init(&into->batch, sizeof into->batch);
    for (int m = 0; m < CONDITIONS; m++) {
        mcm_condition_init(&into->conditions[m], sizeof(mcm_condition));
        into->conditions[m].modality = names[m];
        into->conditions[m].images = &views[1 + m][first];
        into->conditions[m].image_count = count;
    }
    into->batch.count = count;
    into->batch.conditions = into->conditions;
    into->batch.condition_count = CONDITIONS;
    return &into->batch;
}

const mcm_batch *images_of(tiny_batch *into, uint32_t first, uint32_t count) {
    mcm_batch *batch = conditioned(into, first, count);
    batch->images = &views[0][first];
    return batch;
}

const mcm_batch *samples_of(tiny_batch *into, uint32_t first, uint32_t count) {
    mcm_batch *batch = conditioned(into, first, count);
    batch->samples = samples[first];
    batch->sample_count = (size_t)count * PIXELS;
    batch->width = batch->height = SIDE;
    return batch;
}

/* --- Files --- */

bytes safetensors_file(const file_tensor *tensors, int count) {
    char header[8192] = "{";
    size_t end = 0, length;
    for (int i = 0; i < count; i++) {
        char shape[128] = "";
        for (int k = 0; k < tensors[i].rank; k++)
            sprintf(shape + strlen(shape), "%s%llu", k > 0 ? "," : "", (unsigned long long)tensors[i].shape[k]);
        length = strlen(header);
        snprintf(header + length, sizeof header - length,
                 "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", i > 0 ? "," : "",
                 tensors[i].name, tensors[i].dtype, shape, end, end + tensors[i].size);
        end += tensors[i].size;
    }
    strcat(header, "}");
    while (strlen(header) % 8) strcat(header, " ");
    length = strlen(header);
    bytes file = {malloc(8 + length + end), 8 + length + end};
    CHECK(file.data);
    for (int i = 0; i < 8; i++) file.data[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(file.data + 8, header, length);
    for (int i = 0; i < count; i++) {
        memcpy(file.data + 8 + length, tensors[i].data, tensors[i].size);
        length += tensors[i].size;
    }
    return file;
}

/* F32 before U8, for alignment. */
void dataset_tensors(int of_samples, file_tensor tensors[DATASET_TENSORS]) {
    make_examples();
    tensors[0] = (file_tensor){"images", "U8", 4, {EXAMPLES, SIDE, SIDE, 1}, pixels, sizeof pixels};
    if (of_samples)
        tensors[0] = (file_tensor){"samples", "F32", 4, {EXAMPLES, 1, SIDE, SIDE}, samples, sizeof samples};
    tensors[1] = (file_tensor){"labels", "U8", 4, {EXAMPLES, SIDE, SIDE, 1}, labels, sizeof labels};
    tensors[2] = (file_tensor){"photo", "U8", 4, {EXAMPLES, SIDE, SIDE, 3}, photos, sizeof photos};
    tensors[3] = (file_tensor){"sketch", "U8", 4, {EXAMPLES, SIDE, SIDE, 1}, sketches, sizeof sketches};
}

mcm_dataset *new_dataset(const char *name) {
    file_tensor tensors[DATASET_TENSORS];
    mcm_dataset *dataset;
    const char *path = path_in(scratch, name);
    dataset_tensors(0, tensors);
    bytes file = safetensors_file(tensors, DATASET_TENSORS);
    write_file(path, file.data, file.size);
    free(file.data);
    OK(mcm_dataset_open(path, &dataset));
    return dataset;
}

const char *new_bank_file(const mcm_model *model, const mcm_dataset *dataset, const char *name, uint64_t count) {
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    const char *path = path_in(scratch, name);
    options.count = count;
    options.seed = 5;
    OK(mcm_bank_record(model, dataset, path, &options, NULL, NULL));
    return path;
}

mcm_bank *new_bank(const mcm_model *model, const mcm_dataset *dataset, const char *name, uint64_t count) {
    mcm_bank *bank;
    OK(mcm_bank_open(new_bank_file(model, dataset, name, count), &bank));
    return bank;
}

bytes read_file(const char *path) {
    bytes file = {NULL, 0};
    FILE *f = fopen(path, "rb");
    CHECK(f && fseek(f, 0, SEEK_END) == 0);
    file.size = (size_t)ftell(f);
    file.data = malloc(file.size + 1);
    CHECK(file.data && fseek(f, 0, SEEK_SET) == 0 && fread(file.data, 1, file.size, f) == file.size);
    fclose(f);
    return file;
}

int same_bytes(const bytes *a, const bytes *b) {
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

int file_exists(const char *path) { return access(path, F_OK) == 0; }

size_t header_end(const bytes *file) {
    size_t length = 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | file->data[i];
    return 8 + length;
}

static unsigned random_state = 1;

unsigned random_below(unsigned n) {
    random_state = random_state * 1664525u + 1013904223u;
    return (unsigned)((uint64_t)random_state * n >> 32);
}

/* --- What tests train from --- */

mcm_dataset *dataset;
mcm_bank *bank;

void open_sources(uint32_t threads) {
    model = tiny_model_open(&(tiny_model){0}, threads);
    dataset = new_dataset("dataset");
    bank = new_bank(model, dataset, "bank", RECORDS);
}

void free_sources(void) {
    mcm_bank_free(bank);
    mcm_dataset_free(dataset);
    mcm_model_free(model);
}

/* --- Trainers --- */

mcm_trainer_state state_of_trainer(const mcm_trainer *trainer) {
    mcm_trainer_state state = MCM_TRAINER_STATE_INIT;
    OK(mcm_trainer_get_state(trainer, &state));
    return state;
}

bytes saved(const mcm_trainer *trainer) {
    char path[4096]; /* not path_in: callers hold its results */
    snprintf(path, sizeof path, "%s/saved", scratch);
    OK(mcm_trainer_save(trainer, path));
    return read_file(path);
}

void check_same_and_free(mcm_trainer *a, mcm_trainer *b) {
    bytes first = saved(a), second = saved(b);
    CHECK(same_bytes(&first, &second));
    free(first.data);
    free(second.data);
    mcm_trainer_free(a);
    mcm_trainer_free(b);
}

static float *copied(const float *values, size_t count) {
    float *copy = malloc(count * sizeof *copy);
    CHECK(copy);
    return memcpy(copy, values, count * sizeof *copy);
}

trainer_view view_of_trainer(mcm_trainer *trainer) {
    trainer_view view = {.state = state_of_trainer(trainer)};
    float *parameters, *gradients;
    int finite = 1;
    OK(mcm_trainer_get_buffers(trainer, &parameters, &gradients, NULL, &view.count));
    for (size_t i = 0; i < view.count; i++) finite &= isfinite(parameters[i]) && isfinite(gradients[i]);
    if (finite) view.file = saved(trainer); /* others are not saved */
    view.parameters = copied(parameters, view.count);
    view.gradients = copied(gradients, view.count);
    for (uint32_t i = 0; i < 10 + 2 * CONDITIONS; i++) {
        int32_t kind = i < 10 ? MCM_LOSSES_TIMESTEP : i < 10 + CONDITIONS ? MCM_LOSSES_GIVEN : MCM_LOSSES_WITHHELD;
        uint32_t index = i < 10 ? i : (i - 10) % CONDITIONS;
        mcm_losses_init(&view.losses[i], sizeof(mcm_losses));
        if (i < 10 || index < view.state.modality_count)
            OK(mcm_trainer_get_losses(trainer, kind, index, &view.losses[i]));
    }
    return view;
}

void free_view(trainer_view *view) {
    free(view->file.data);
    free(view->parameters);
    free(view->gradients);
}

void check_unchanged(const char *file, int line, mcm_trainer *trainer, trainer_view *before) {
    trainer_view after = view_of_trainer(trainer);
    size_t size = after.count * sizeof(float);
    if (memcmp(&after.state, &before->state, sizeof after.state) != 0) check_failed(file, line, "the same state");
    if (memcmp(after.parameters, before->parameters, size) != 0) check_failed(file, line, "the same parameters");
    if (memcmp(after.gradients, before->gradients, size) != 0) check_failed(file, line, "the same gradients");
    if (memcmp(after.losses, before->losses, sizeof after.losses) != 0) check_failed(file, line, "the same losses");
    if (!same_bytes(&after.file, &before->file)) check_failed(file, line, "the same file");
    free_view(&after);
    free_view(before);
}

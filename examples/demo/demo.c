/* The demonstration: garments drawn after sketches, after segmentation maps, after both and after neither, by one
 * frozen model and one small conditioning module, side by side on a contact sheet.
 *
 *   demo <folder of the fashion example> <out.png>
 *
 * Rows are the eight conditions. In a row every image but the last starts from the same noise.
 */
#define _POSIX_C_SOURCE 200809L /* isatty, clock_gettime */
#include <mcm.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "sheet.h"

enum { ROWS = 8, STEPS = 25, RUNS = 5, FIRST_SEED = 1 };

/* One session of ROWS images: which conditions it is given, and where its seeds begin. */
static const struct run {
    const char *title;
    int sketch, segmentation;
    uint64_t seed;
} runs[RUNS] = {
    {"nothing", 0, 0, FIRST_SEED},      {"sketch", 1, 0, FIRST_SEED},      {"segmentation", 0, 1, FIRST_SEED},
    {"both", 1, 1, FIRST_SEED},         {"both, again", 1, 1, FIRST_SEED + 100},
};

#define CHECK(call) ((call) == MCM_OK ? (void)0 : fail())

static void fail(void) {
    fprintf(stderr, "\n%s\n", mcm_last_error());
    exit(1);
}

static void *allocate(size_t size) {
    void *memory = malloc(size);
    if (!memory) {
        fprintf(stderr, "\nout of memory\n");
        exit(1);
    }
    return memory;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

struct progress {
    int run, terminal;
    double start;
};

/* One line that is rewritten on a terminal; elsewhere one line per session. */
static int32_t show_progress(void *user, mcm_session *session, uint32_t step, uint32_t steps) {
    const struct progress *p = user;
    double done = (p->run + (double)step / steps) / RUNS;
    (void)session;
    if (!p->terminal && step < steps) return 0;
    int ends = !p->terminal || done == 1;
    printf("%s%3.0f %%  %5.1f s  step %2u of %u of %d images from %-12s%s", p->terminal ? "\r" : "", 100 * done,
           seconds() - p->start, step, steps, ROWS, runs[p->run].title, ends ? "\n" : "");
    fflush(stdout);
    return 0;
}

/* The ROWS conditions of one modality: conditions/00_sketch.png, 01_sketch.png, ... */
static void read_conditions(const char *folder, const char *modality, mcm_image *images) {
    for (int k = 0; k < ROWS; k++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/conditions/%02d_%s.png", folder, k, modality);
        mcm_image_init(&images[k], sizeof(mcm_image));
        CHECK(mcm_png_size(path, &images[k].width, &images[k].height, &images[k].channels));
        size_t size = (size_t)images[k].width * images[k].height * images[k].channels;
        images[k].data = allocate(size);
        CHECK(mcm_png_read(path, (uint8_t *)images[k].data, size));
    }
}

static void set_condition(mcm_session *session, uint32_t id, const char *modality, const mcm_image *images) {
    mcm_condition condition = MCM_CONDITION_INIT;
    condition.modality = modality;
    condition.images = images;
    condition.image_count = ROWS;
    CHECK(mcm_session_set_condition(session, id, &condition));
}

/* Draws ROWS images of `size` bytes each. */
static void draw(const mcm_model *model, const mcm_modulator *module, const mcm_image *sketches,
                 const mcm_image *segmentations, struct progress *progress, uint8_t *pixels, size_t size) {
    const struct run *run = &runs[progress->run];
    mcm_session_options options = MCM_SESSION_OPTIONS_INIT;
    options.batch = ROWS;
    options.scheduler = MCM_SCHEDULER_DDIM;
    options.steps = STEPS;
    mcm_session *session;
    CHECK(mcm_session_create(model, &options, &session));

    /* Without a condition the module has nothing to say: the first column is the frozen model's alone. */
    if (run->sketch || run->segmentation) {
        uint32_t id;
        CHECK(mcm_session_attach(session, module, NULL, &id));
        if (run->sketch) set_condition(session, id, "sketch", sketches);
        if (run->segmentation) set_condition(session, id, "segmentation", segmentations);
    }

    uint64_t seeds[ROWS];
    for (int k = 0; k < ROWS; k++) seeds[k] = run->seed + k;
    CHECK(mcm_session_seed(session, seeds, ROWS));
    CHECK(mcm_session_run(session, show_progress, progress));
    for (int k = 0; k < ROWS; k++) CHECK(mcm_session_decode(session, MCM_DECODE_SAMPLE, k, pixels + k * size, size));
    mcm_session_free(session);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: demo <folder of the fashion example> <out.png>\n");
        return 2;
    }
    char path[4096];
    mcm_model *model;
    mcm_modulator *module;
    snprintf(path, sizeof path, "%s/base", argv[1]);
    CHECK(mcm_model_open(path, NULL, &model));
    snprintf(path, sizeof path, "%s/module.mcm.safetensors", argv[1]);
    CHECK(mcm_modulator_open(path, &module));

    mcm_model_info info = MCM_MODEL_INFO_INIT;
    mcm_modulator_info module_info = MCM_MODULATOR_INFO_INIT;
    CHECK(mcm_model_get_info(model, &info));
    CHECK(mcm_modulator_get_info(module, &module_info));
    printf("libmcm %s: a frozen model of %llu parameters and a module of %llu (%.1f %%)\n", mcm_version_string(),
           (unsigned long long)info.parameter_count, (unsigned long long)module_info.parameter_count,
           100.0 * module_info.parameter_count / info.parameter_count);

    mcm_image sketches[ROWS], segmentations[ROWS];
    read_conditions(argv[1], "sketch", sketches);
    read_conditions(argv[1], "segmentation", segmentations);

    size_t size = (size_t)info.width * info.height * info.channels;
    uint8_t *pixels = allocate(RUNS * ROWS * size);
    struct progress progress = {0, isatty(STDOUT_FILENO), seconds()};
    for (int r = 0; r < RUNS; r++) {
        progress.run = r;
        draw(model, module, sketches, segmentations, &progress, pixels + r * ROWS * size, size);
    }

    sheet *sheet = sheet_create(2 + RUNS, ROWS, 2, info.width, info.height);
    sheet_group(sheet, 0, 2, "given");
    sheet_group(sheet, 2, RUNS, "drawn from");
    sheet_title(sheet, 0, "sketch");
    sheet_title(sheet, 1, "segmentation");
    for (int k = 0; k < ROWS; k++) {
        sheet_put(sheet, 0, k, &sketches[k], SHEET_INK);
        sheet_put(sheet, 1, k, &segmentations[k], SHEET_CLASSES);
    }
    for (int r = 0; r < RUNS; r++) {
        sheet_title(sheet, 2 + r, runs[r].title);
        for (int k = 0; k < ROWS; k++) {
            mcm_image image = MCM_IMAGE_INIT;
            image.data = pixels + (r * ROWS + k) * size;
            image.width = info.width;
            image.height = info.height;
            image.channels = info.channels;
            sheet_put(sheet, 2 + r, k, &image, SHEET_COLOURS);
        }
    }
    mcm_image page = sheet_image(sheet);
    CHECK(mcm_png_write(argv[2], &page));
    printf("wrote %s, %u x %u\n", argv[2], page.width, page.height);

    sheet_free(sheet);
    free(pixels);
    for (int k = 0; k < ROWS; k++) {
        free((void *)sketches[k].data);
        free((void *)segmentations[k].data);
    }
    mcm_modulator_free(module);
    mcm_model_free(model);
    return 0;
}

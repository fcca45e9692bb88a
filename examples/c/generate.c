/* Level 1: one call draws an image that follows a sketch and a segmentation map.
 *
 *   generate [folder of the fashion example] [out.png] [seed]
 */
#include <mcm.h>
#include <stdio.h>
#include <stdlib.h>

/* Every function returns a status; mcm_last_error() says in one line what went wrong. */
#define CHECK(call) ((call) == MCM_OK ? (void)0 : fail())

static void fail(void) {
    fprintf(stderr, "%s\n", mcm_last_error());
    exit(1);
}

/* The path of a file of the example; valid until the next call. */
static const char *in(const char *folder, const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* An image is a view of pixels that belong to the program. */
static mcm_image read_image(const char *path) {
    mcm_image image = MCM_IMAGE_INIT;
    CHECK(mcm_png_size(path, &image.width, &image.height, &image.channels));
    size_t size = (size_t)image.width * image.height * image.channels;
    uint8_t *pixels = malloc(size);
    if (!pixels) exit(1);
    CHECK(mcm_png_read(path, pixels, size));
    image.data = pixels;
    return image;
}

/* Called after each step. Nonzero would cancel. */
static int32_t progress(void *user, mcm_session *session, uint32_t step, uint32_t steps) {
    (void)user, (void)session;
    printf("generate: step %u of %u\n", step, steps);
    return 0;
}

int main(int argc, char **argv) {
    const char *folder = argc > 1 ? argv[1] : "../fashion";
    const char *out = argc > 2 ? argv[2] : "generate.png";
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;

    mcm_model *model;
    mcm_modulator *module;
    CHECK(mcm_model_open(in(folder, "base"), NULL, &model));
    CHECK(mcm_modulator_open(in(folder, "module.mcm.safetensors"), &module));

    /* What to follow. A modality that is left out is simply not given. */
    mcm_image sketch = read_image(in(folder, "conditions/00_sketch.png"));
    mcm_image segmentation = read_image(in(folder, "conditions/00_segmentation.png"));
    mcm_condition conditions[2] = {MCM_CONDITION_INIT, MCM_CONDITION_INIT};
    conditions[0].modality = "sketch";
    conditions[0].images = &sketch;
    conditions[1].modality = "segmentation";
    conditions[1].images = &segmentation;

    mcm_attachment attachment = MCM_ATTACHMENT_INIT;
    attachment.modulator = module;
    attachment.conditions = conditions;
    attachment.condition_count = 2;

    mcm_session_options session = MCM_SESSION_OPTIONS_INIT;
    session.scheduler = MCM_SCHEDULER_DDIM;
    session.steps = 25;

    mcm_generate_options options = MCM_GENERATE_OPTIONS_INIT;
    options.session = &session;
    options.seeds = &seed;
    options.seed_count = 1;
    options.attachments = &attachment;
    options.attachment_count = 1;
    options.callback = progress;

    mcm_model_info info = MCM_MODEL_INFO_INIT;
    CHECK(mcm_model_get_info(model, &info));
    size_t size = (size_t)info.width * info.height * info.channels;
    uint8_t *pixels = malloc(size);
    if (!pixels) return 1;
    CHECK(mcm_generate(model, &options, pixels, size));

    mcm_image image = MCM_IMAGE_INIT;
    image.data = pixels;
    image.width = info.width;
    image.height = info.height;
    image.channels = info.channels;
    CHECK(mcm_png_write(out, &image));
    printf("wrote %s: %ux%u, seed %llu\n", out, image.width, image.height, (unsigned long long)seed);
    free(pixels);
    free((void *)sketch.data);
    free((void *)segmentation.data);
    mcm_modulator_free(module);
    mcm_model_free(model);
    return 0;
}

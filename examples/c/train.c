/* Training: a new module learns to follow outlines, from batches that the program makes up as it goes.
 *
 *   train [folder of the fashion example] [module file to write] [picture to write] [steps]
 *
 * The picture has outlines in its first row, and below each what the module makes the model draw for it.
 */
#include <mcm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 28, BATCH = 32, SHOWN = 8 };

/* Every function returns a status; mcm_last_error() says in one line what went wrong. */
#define CHECK(call) ((call) == MCM_OK ? (void)0 : fail())

static void fail(void) {
    fprintf(stderr, "%s\n", mcm_last_error());
    exit(1);
}

/* What the module is to be: a small UNet that reads one plane of conditions, "outline". */
static const char *const config =
    "{\"prediction_channels\": 1,"
    " \"modalities\": [{\"name\": \"outline\", \"channels\": 1}],"
    " \"net\": {\"sample_size\": 28, \"block_out_channels\": [12, 16, 16], \"layers_per_block\": 1,"
    "         \"norm_num_groups\": 4,"
    "         \"down_block_types\": [\"DownBlock2D\", \"DownBlock2D\", \"DownBlock2D\"],"
    "         \"up_block_types\": [\"UpBlock2D\", \"UpBlock2D\", \"UpBlock2D\"]}}";

static int between(int low, int high) { return low + rand() % (high - low + 1); }

/* A pair of trousers or a shirt with sleeves of some length, and its outline. */
static void draw_garment(uint8_t image[SIDE][SIDE], uint8_t outline[SIDE][SIDE]) {
    int width = between(5, 8), top = between(2, 6), bottom = between(21, 26), sleeve = between(5, 19);
    int trousers = between(0, 1), shade = between(90, 250);
    memset(image, 0, SIDE * SIDE);
    for (int y = top; y < bottom; y++)
        for (int x = 0; x < SIDE; x++) {
            int side = x < SIDE / 2 ? SIDE / 2 - 1 - x : x - SIDE / 2;
            int inside = trousers ? side < width && (side > 1 || y < top + 6)
                                  : side < width || (side < width + 4 && y < top + sleeve);
            if (inside) image[y][x] = (uint8_t)shade;
        }
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            outline[y][x] = image[y][x] && !(y && x && y + 1 < SIDE && x + 1 < SIDE && image[y - 1][x] &&
                                             image[y + 1][x] && image[y][x - 1] && image[y][x + 1]) ? 255 : 0;
}

static void view(mcm_image *image, const void *pixels) {
    mcm_image_init(image, sizeof *image);
    image->data = pixels;
    image->width = image->height = SIDE;
}

int main(int argc, char **argv) {
    const char *folder = argc > 1 ? argv[1] : "../fashion";
    const char *out = argc > 2 ? argv[2] : "outline.mcm.safetensors";
    const char *picture = argc > 3 ? argv[3] : "train.png";
    uint64_t steps = argc > 4 ? strtoull(argv[4], NULL, 10) : 200;

    char path[4096];
    snprintf(path, sizeof path, "%s/base", folder);
    mcm_model *model;
    CHECK(mcm_model_open(path, NULL, &model));

    mcm_trainer_options options = MCM_TRAINER_OPTIONS_INIT;
    options.total_steps = steps; /* the learning rate falls to 0 by then */
    options.warmup_steps = 50;
    options.ema_decay = 0.99f;
    mcm_trainer *trainer;
    CHECK(mcm_trainer_create(model, NULL, config, &options, &trainer));

    static uint8_t images[BATCH][SIDE][SIDE], outlines[BATCH][SIDE][SIDE];
    mcm_image image_views[BATCH], outline_views[BATCH];
    for (int i = 0; i < BATCH; i++) {
        view(&image_views[i], images[i]);
        view(&outline_views[i], outlines[i]);
    }
    mcm_condition condition = MCM_CONDITION_INIT;
    condition.modality = "outline";
    condition.images = outline_views;
    condition.image_count = BATCH;
    mcm_batch batch = MCM_BATCH_INIT;
    batch.count = BATCH;
    batch.images = image_views;
    batch.conditions = &condition;
    batch.condition_count = 1;

    for (uint64_t step = 1; step <= steps; step++) {
        mcm_train_report report = MCM_TRAIN_REPORT_INIT;
        for (int i = 0; i < BATCH; i++) draw_garment(images[i], outlines[i]);
        CHECK(mcm_trainer_step(trainer, &batch, &report));
        if (step % 20 == 0 || step == steps)
            printf("step %llu: loss %.4f, of the model alone %.4f\n", (unsigned long long)step, report.loss,
                   report.base_loss);
    }
    CHECK(mcm_trainer_write_modulator(trainer, out, 1, MCM_F16));

    /* Draw with it: the outlines of the last batch. */
    mcm_modulator *module;
    CHECK(mcm_trainer_get_modulator(trainer, 1, &module));
    mcm_session_options drawing = MCM_SESSION_OPTIONS_INIT;
    drawing.scheduler = MCM_SCHEDULER_DDIM;
    drawing.steps = 25;
    drawing.batch = SHOWN;
    mcm_session *session;
    CHECK(mcm_session_create(model, &drawing, &session));
    uint32_t id;
    CHECK(mcm_session_attach(session, module, NULL, &id));
    condition.image_count = SHOWN;
    CHECK(mcm_session_set_condition(session, id, &condition));
    uint64_t seeds[SHOWN];
    for (int i = 0; i < SHOWN; i++) seeds[i] = (uint64_t)i;
    CHECK(mcm_session_seed(session, seeds, SHOWN));
    CHECK(mcm_session_run(session, NULL, NULL));

    static uint8_t sheet[2 * SIDE][SHOWN * SIDE], drawn[SIDE][SIDE];
    for (uint32_t i = 0; i < SHOWN; i++) {
        CHECK(mcm_session_decode(session, MCM_DECODE_SAMPLE, i, drawn[0], sizeof drawn));
        for (int y = 0; y < SIDE; y++) {
            memcpy(&sheet[y][i * SIDE], outlines[i][y], SIDE);
            memcpy(&sheet[SIDE + y][i * SIDE], drawn[y], SIDE);
        }
    }
    mcm_image whole = MCM_IMAGE_INIT;
    whole.data = sheet;
    whole.width = SHOWN * SIDE;
    whole.height = 2 * SIDE;
    CHECK(mcm_png_write(picture, &whole));
    printf("wrote %s and %s\n", out, picture);

    mcm_session_free(session);
    mcm_modulator_free(module);
    mcm_trainer_free(trainer);
    mcm_model_free(model);
    return 0;
}

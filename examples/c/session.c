/* Level 2: a session is stepped by the program, which looks at it, and may change it, between the steps.
 *
 *   session [folder of the fashion example] [out.png] [seed] [edit]
 *
 * With "edit", the module's weight is raised for the second half of the run.
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

/* What the network takes the result to be at this step, in characters, every other row. */
static void print_preview(const mcm_session *session, const mcm_session_state *state, uint8_t *pixels, size_t size) {
    CHECK(mcm_session_decode(session, MCM_DECODE_X0, 0, pixels, size));
    for (uint32_t y = 0; y < state->height; y += 2) {
        for (uint32_t x = 0; x < state->width; x++)
            putchar(" .:-=+*#%@"[pixels[(y * state->width + x) * state->channels] * 10 / 256]);
        putchar('\n');
    }
}

int main(int argc, char **argv) {
    const char *folder = argc > 1 ? argv[1] : "../fashion";
    const char *out = argc > 2 ? argv[2] : "session.png";
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    int edit = argc > 4;

    mcm_model *model;
    mcm_modulator *module;
    CHECK(mcm_model_open(in(folder, "base"), NULL, &model));
    CHECK(mcm_modulator_open(in(folder, "module.mcm.safetensors"), &module));

    mcm_session_options options = MCM_SESSION_OPTIONS_INIT;
    options.scheduler = MCM_SCHEDULER_DDIM;
    options.steps = 25;
    mcm_session *session;
    CHECK(mcm_session_create(model, &options, &session));
    CHECK(mcm_session_seed(session, &seed, 1));

    uint32_t id; /* names this attachment below */
    CHECK(mcm_session_attach(session, module, NULL, &id));
    CHECK(mcm_session_set_condition_png(session, id, "sketch", in(folder, "conditions/00_sketch.png")));
    CHECK(mcm_session_set_condition_png(session, id, "segmentation", in(folder, "conditions/00_segmentation.png")));

    /* The session keeps what it needs. */
    mcm_modulator_free(module);
    mcm_model_free(model);

    mcm_session_state state = MCM_SESSION_STATE_INIT;
    CHECK(mcm_session_get_state(session, &state));
    size_t size = (size_t)state.width * state.height * state.channels;
    uint8_t *pixels = malloc(size);
    if (!pixels) return 1;

    while (state.step < state.steps) {
        if (edit && state.step == state.steps / 2) {
            CHECK(mcm_session_set_weight(session, id, 1.5f));
            printf("weight 1.5 from here\n");
        }
        CHECK(mcm_session_step(session));
        CHECK(mcm_session_get_state(session, &state));
        if (state.step % 8 == 1) {
            printf("step %u of %u, next timestep %d:\n", state.step, state.steps, state.timestep);
            print_preview(session, &state, pixels, size);
        }
    }

    CHECK(mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, pixels, size));
    mcm_image image = MCM_IMAGE_INIT;
    image.data = pixels;
    image.width = state.width;
    image.height = state.height;
    image.channels = state.channels;
    CHECK(mcm_png_write(out, &image));
    printf("wrote %s: %ux%u, seed %llu\n", out, image.width, image.height, (unsigned long long)seed);

    free(pixels);
    mcm_session_free(session);
    return 0;
}

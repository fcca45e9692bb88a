/* Stable Diffusion that follows a sketch: a session with prompts, a module and a ControlNet, stepped by the program.
 *
 *   text_to_image MODEL PROMPT [--negative TEXT] [--module FILE --sketch PNG] [--controlnet FOLDER --control PNG]
 *                 [--steps N] [--seed N] [--out PNG]
 *
 * MODEL is a diffusers folder or a .safetensors file; a prompt may have weights: a (red:1.3) boot. Both PNGs are grey
 * or RGB; the sketch may have any size, what the ControlNet follows has the image's.
 */
#include <mcm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every function returns a status; mcm_last_error() says in one line what went wrong. */
#define CHECK(call) ((call) == MCM_OK ? (void)0 : fail(mcm_last_error(), ""))

static void fail(const char *message, const char *what) {
    fprintf(stderr, "%s%s\n", message, what);
    exit(1);
}

static uint64_t number(const char *text, uint64_t most) {
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value > most) fail("expected a whole number, found ", text);
    return value;
}

static void *allocate(size_t size) {
    void *memory = malloc(size);
    if (!memory) fail("out of memory", "");
    return memory;
}

/* An image is a view of pixels that belong to the program. */
static mcm_image read_image(const char *path) {
    mcm_image image = MCM_IMAGE_INIT;
    CHECK(mcm_png_size(path, &image.width, &image.height, &image.channels));
    size_t size = (size_t)image.width * image.height * image.channels;
    image.data = allocate(size);
    CHECK(mcm_png_read(path, (uint8_t *)image.data, size));
    return image;
}

static mcm_prompt *encode(const mcm_model *model, const char *text) {
    mcm_prompt_options options = MCM_PROMPT_OPTIONS_INIT;
    mcm_prompt_info info = MCM_PROMPT_INFO_INIT;
    mcm_prompt *prompt;
    options.weights = 1;
    CHECK(mcm_prompt_encode(model, &text, 1, &options, &prompt));
    CHECK(mcm_prompt_get_info(prompt, &info));
    if (info.truncated) printf("too long, its end is left out: %s\n", text);
    return prompt;
}

int main(int argc, char **argv) {
    static const char *const names[] = {"--negative", "--module", "--sketch", "--controlnet", "--control", "--steps",
                                        "--seed", "--out"};
    enum { NEGATIVE, MODULE, SKETCH, CONTROLNET, CONTROL, STEPS, SEED, OUT, OPTIONS };
    const char *given[OPTIONS] = {NULL, NULL, NULL, NULL, NULL, "25", "0", "image.png"};
    if (argc < 3 || argc % 2 == 0) fail("usage: text_to_image MODEL PROMPT [--OPTION VALUE]...", "");
    for (int i = 3, k; i < argc; i += 2) {
        for (k = 0; k < OPTIONS && strcmp(argv[i], names[k]) != 0; k++) {}
        if (k == OPTIONS) fail("unknown option ", argv[i]);
        given[k] = argv[i + 1];
    }
    if (!given[MODULE] != !given[SKETCH]) fail("--module and --sketch go together", "");
    if (!given[CONTROLNET] != !given[CONTROL]) fail("--controlnet and --control go together", "");

    mcm_model *model;
    CHECK(mcm_model_open(argv[1], NULL, &model));
    mcm_session_options options = MCM_SESSION_OPTIONS_INIT;
    options.scheduler = MCM_SCHEDULER_DPM_SOLVER_MULTISTEP;
    options.steps = (uint32_t)number(given[STEPS], UINT32_MAX);
    mcm_session *session;
    CHECK(mcm_session_create(model, &options, &session));

    mcm_prompt *prompt = encode(model, argv[2]), *negative = given[NEGATIVE] ? encode(model, given[NEGATIVE]) : NULL;
    CHECK(mcm_session_set_prompt(session, prompt, negative));
    mcm_prompt_free(prompt); /* the session keeps what it needs */
    mcm_prompt_free(negative);
    if (given[MODULE]) {
        mcm_modulator *module;
        uint32_t id; /* names the module in further calls: conditions, weight, window */
        CHECK(mcm_modulator_open(given[MODULE], &module));
        CHECK(mcm_session_attach(session, module, NULL, &id));
        CHECK(mcm_session_set_condition_png(session, id, "sketch", given[SKETCH]));
        mcm_modulator_free(module);
    }
    if (given[CONTROLNET]) {
        mcm_controlnet *controlnet;
        mcm_image control = read_image(given[CONTROL]);
        CHECK(mcm_controlnet_open(given[CONTROLNET], NULL, &controlnet));
        CHECK(mcm_session_attach_controlnet(session, controlnet, &control, 1, 0, NULL, NULL));
        mcm_controlnet_free(controlnet);
        free((void *)control.data);
    }

    uint64_t seed = number(given[SEED], UINT64_MAX);
    CHECK(mcm_session_seed(session, &seed, 1));
    mcm_session_state state = MCM_SESSION_STATE_INIT;
    CHECK(mcm_session_get_state(session, &state));
    while (state.step < state.steps) { /* between steps: look at x_0, change prompt, weights or conditions, stop */
        CHECK(mcm_session_step(session));
        CHECK(mcm_session_get_state(session, &state));
        printf("step %u of %u\n", state.step, state.steps);
        fflush(stdout);
    }

    mcm_image image = MCM_IMAGE_INIT;
    image.width = state.image_width, image.height = state.image_height, image.channels = state.image_channels;
    size_t size = (size_t)image.width * image.height * image.channels;
    uint8_t *pixels = allocate(size);
    CHECK(mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, pixels, size));
    image.data = pixels;
    CHECK(mcm_png_write(given[OUT], &image));
    printf("%s\n", given[OUT]);
    free(pixels);
    mcm_session_free(session);
    mcm_model_free(model);
    return 0;
}

/* NULL for every pointer of the functions for latent models and texts, one at a time, as in test_null.c. */
#include <string.h>

#include "check.h"
#include "latent_session.h"

static struct {
    mcm_model *model, *xl;
    mcm_controlnet *controlnet;
    mcm_prompt *prompt, *prompt_of_xl;
    mcm_session *session, *session_of_xl;
    mcm_image image, mask;
    float x[64], e[64], t, numbers[CHUNK * 2 * TEXT_CHANNELS];
    uint8_t pixels[IMAGE_BYTES];
} ok;

static void open_all(void) {
    ok.model = latent_model_open(&(latent_model){0}, 1);
    ok.xl = latent_model_open(&(latent_model){.kind = STABLE_DIFFUSION_XL}, 1);
    ok.controlnet = controlnet_open(&(tiny_controlnet){0});
    ok.prompt = encoded(ok.model, "a cat");
    ok.prompt_of_xl = encoded(ok.xl, "a cat");
    ok.session = latent_session(ok.model, NULL, 1);
    ok.session_of_xl = latent_session(ok.xl, NULL, 1);
    ok.image = picture(0);
    ok.mask = half_mask();
}

/* The sessions go on. */
static void free_all(void) {
    latent_end(ok.session);
    latent_end(ok.session_of_xl);
    mcm_prompt_free(ok.prompt);
    mcm_prompt_free(ok.prompt_of_xl);
    mcm_controlnet_free(ok.controlnet);
    mcm_model_free(ok.model);
    mcm_model_free(ok.xl);
}

static void null_to_prompts(void) {
    open_all();
    mcm_prompt *prompt;
    mcm_prompt_info info = MCM_PROMPT_INFO_INIT;
    const char *text = "a cat", *none = NULL;
    INVALID(mcm_prompt_encode(NULL, &text, 1, NULL, &prompt));
    INVALID(mcm_prompt_encode(ok.model, NULL, 1, NULL, &prompt));
    INVALID(mcm_prompt_encode(ok.model, &none, 1, NULL, &prompt));
    INVALID(mcm_prompt_encode(ok.model, &text, 1, NULL, NULL));
    INVALID(mcm_prompt_create(1, 2, 3, NULL, 6, 0, NULL, 0, &prompt));
    INVALID(mcm_prompt_create(1, 2, 3, ok.numbers, 6, 2, NULL, 2, &prompt));
    INVALID(mcm_prompt_create(1, 2, 3, ok.numbers, 6, 0, NULL, 0, NULL));
    INVALID(mcm_prompt_get_info(NULL, &info));
    INVALID(mcm_prompt_get_info(ok.prompt, NULL));
    INVALID(mcm_prompt_get_states(NULL, ok.numbers, CHUNK * TEXT_CHANNELS));
    INVALID(mcm_prompt_get_states(ok.prompt, NULL, CHUNK * TEXT_CHANNELS));
    INVALID(mcm_prompt_get_pooled(NULL, ok.numbers, POOLED_CHANNELS));
    INVALID(mcm_prompt_get_pooled(ok.prompt_of_xl, NULL, POOLED_CHANNELS));
    free_all();
}

static void null_to_controlnets(void) {
    open_all();
    mcm_controlnet *controlnet;
    uint32_t id;
    INVALID(mcm_controlnet_open(NULL, NULL, &controlnet));
    INVALID(mcm_controlnet_open(scratch, NULL, NULL));
    INVALID(mcm_session_attach_controlnet(NULL, ok.controlnet, &ok.image, 1, 0, NULL, &id));
    INVALID(mcm_session_attach_controlnet(ok.session, NULL, &ok.image, 1, 0, NULL, &id));
    INVALID(mcm_session_attach_controlnet(ok.session, ok.controlnet, NULL, 1, 0, NULL, &id));
    mcm_image bad = ok.image;
    bad.data = NULL;
    INVALID(mcm_session_attach_controlnet(ok.session, ok.controlnet, &bad, 1, 0, NULL, &id));
    OK(mcm_session_attach_controlnet(ok.session, ok.controlnet, &ok.image, 1, 0, NULL, NULL));
    free_all();
}

static void null_to_latent_models(void) {
    open_all();
    mcm_predict_options options = MCM_PREDICT_OPTIONS_INIT;
    options.prompt = ok.prompt;
    INVALID(mcm_model_predict_with(NULL, 1, 4, 4, ok.x, 64, &ok.t, &options, ok.e, 64));
    INVALID(mcm_model_predict_with(ok.model, 1, 4, 4, NULL, 64, &ok.t, &options, ok.e, 64));
    INVALID(mcm_model_predict_with(ok.model, 1, 4, 4, ok.x, 64, NULL, &options, ok.e, 64));
    INVALID(mcm_model_predict_with(ok.model, 1, 4, 4, ok.x, 64, &ok.t, &options, NULL, 64));
    STATUS(MCM_ERROR_STATE, mcm_model_predict_with(ok.model, 1, 4, 4, ok.x, 64, &ok.t, NULL, ok.e, 64));
    OK(mcm_model_predict_with(ok.model, 1, 4, 4, ok.x, 64, &ok.t, &options, ok.e, 64));
    options.class_input_count = 1;
    MISUSE(mcm_model_predict_with(ok.model, 1, 4, 4, ok.x, 64, &ok.t, &options, ok.e, 64));
    free_all();
}

static void null_to_latent_sessions(void) {
    open_all();
    INVALID(mcm_session_set_prompt(NULL, ok.prompt, NULL));
    INVALID(mcm_session_set_prompt(ok.session, NULL, NULL));
    INVALID(mcm_session_set_prompt(ok.session, NULL, ok.prompt));
    INVALID(mcm_session_set_image(NULL, &ok.image, 1));
    INVALID(mcm_session_set_image(ok.session, NULL, 1));
    INVALID(mcm_session_set_mask(NULL, &ok.mask, 1));
    INVALID(mcm_session_set_mask(ok.session, NULL, 1));
    INVALID(mcm_session_set_time_ids(NULL, ok.numbers, ok.numbers, 6));
    INVALID(mcm_session_set_time_ids(ok.session_of_xl, NULL, ok.numbers, 6));
    INVALID(mcm_session_set_time_ids(ok.session_of_xl, ok.numbers, NULL, 6));
    OK(mcm_session_step(ok.session));
    INVALID(mcm_session_decode(ok.session, MCM_DECODE_PREVIEW, 0, NULL, 48));
    INVALID(mcm_session_decode(NULL, MCM_DECODE_PREVIEW, 0, ok.pixels, 48));

    mcm_generate_options options = MCM_GENERATE_OPTIONS_INIT;
    mcm_session_options session = latent_options();
    options.session = &session;
    options.image_count = 1;
    INVALID(mcm_generate(ok.model, &options, ok.pixels, IMAGE_BYTES)); /* no images */
    options.images = &ok.image;
    options.mask_count = 1;
    INVALID(mcm_generate(ok.model, &options, ok.pixels, IMAGE_BYTES)); /* no masks */
    options.masks = &ok.mask;
    OK(mcm_generate(ok.model, &options, ok.pixels, IMAGE_BYTES)); /* no text is the empty one */
    free_all();
}

const test null_latent_tests[] = {
    {"null_to_prompts", null_to_prompts},
    {"null_to_controlnets", null_to_controlnets},
    {"null_to_latent_models", null_to_latent_models},
    {"null_to_latent_sessions", null_to_latent_sessions},
    {NULL, NULL},
};

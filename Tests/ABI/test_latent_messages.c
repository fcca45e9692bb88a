/* What is said of wrong models, texts, images and parts: what was found, and what was expected. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "latent_session.h"
#include "tiny.h"

/* The call fails as expected, with one line that holds both parts. */
#define SAYS(expected, call, found, wanted) \
    do {                                    \
        STATUS(expected, call);             \
        MESSAGE(found);                     \
        MESSAGE(wanted);                    \
    } while (0)

static void folders_that_are_no_models(void) {
    static const struct {
        latent_kind kind;
        const char *without; /* the file that is not there */
    } missing[] = {{STABLE_DIFFUSION, "model_index.json"},
                   {STABLE_DIFFUSION, "unet/config.json"},
                   {STABLE_DIFFUSION, "unet/diffusion_pytorch_model.safetensors"},
                   {STABLE_DIFFUSION, "vae/diffusion_pytorch_model.safetensors"},
                   {STABLE_DIFFUSION, "vae/config.json"},
                   {STABLE_DIFFUSION, "text_encoder/model.safetensors"},
                   {STABLE_DIFFUSION, "tokenizer/vocab.json"},
                   {STABLE_DIFFUSION_XL, "text_encoder_2/config.json"},
                   {LATENT_DIFFUSION, "vqvae/diffusion_pytorch_model.safetensors"},
                   {LATENT_DIFFUSION, "scheduler/scheduler_config.json"}};
    mcm_model *opened = NULL;
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        char name[32];
        sprintf(name, "missing %zu", i);
        const char *folder = latent_model_write(&(latent_model){.kind = missing[i].kind}, name);
        const char *path = path_in(folder, missing[i].without);
        CHECK(remove(path) == 0);
        SAYS(MCM_ERROR_IO, mcm_model_open(folder, NULL, &opened), path, i == 0 ? "expected a model folder" : "");
    }
    static const struct {
        const char *part, *from, *to, *found, *wanted;
    } other[] = {{"model_index", "StableDiffusionPipeline", "FluxPipeline", "\"FluxPipeline\"", "\"LDMPipeline\""},
                 {"model_index", "UNet2DConditionModel", "UNet2DModel", "\"UNet2DModel\"", "UNet2DConditionModel"},
                 {"model_index", "AutoencoderKL", "AutoencoderTiny", "\"AutoencoderTiny\"", "AutoencoderKL"},
                 {"model_index", "\"CLIPTextModel\"", "\"T5EncoderModel\"", "\"T5EncoderModel\"", "CLIPTextModel"},
                 {"scheduler", "DDIMScheduler", "EDMEulerScheduler", "\"EDMEulerScheduler\"", "DDIMScheduler"},
                 {"unet", "UNet2DConditionModel", "UNet3DConditionModel", "\"UNet3DConditionModel\"",
                  "UNet2DConditionModel"},
                 {"vae", "AutoencoderKL", "AutoencoderTiny", "\"AutoencoderTiny\"", "AutoencoderKL"}};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        latent_model description = {.damaged = other[i].part, .damage = {.from = other[i].from, .to = other[i].to}};
        const char *folder = latent_model_write(&description, "other");
        SAYS(MCM_ERROR_UNSUPPORTED, mcm_model_open(folder, NULL, &opened), other[i].found, other[i].wanted);
    }
    CHECK(opened == NULL);
}

static void files_that_are_no_models(void) {
    bytes module = tiny_module_file(&(tiny_module){.channels = 4});
    const char *path = path_in(scratch, "file.safetensors"), *pickle = path_in(scratch, "file.ckpt");
    static const char zip[64] = "PK\3\4";
    mcm_model *opened = NULL;
    write_file(path, module.data, module.size);
    SAYS(MCM_ERROR_FORMAT, mcm_model_open(path, NULL, &opened), path, "model.diffusion_model.input_blocks.0.0.weight");
    mcm_memory_file in_memory = {"memory.safetensors", module.data, module.size};
    SAYS(MCM_ERROR_FORMAT, mcm_model_open_memory(&in_memory, 1, NULL, &opened), "memory.safetensors", "expected");
    write_file(path, module.data, module.size / 2);
    SAYS(MCM_ERROR_FORMAT, mcm_model_open(path, NULL, &opened), path, "but there are only");
    write_file(pickle, zip, sizeof zip);
    SAYS(MCM_ERROR_UNSUPPORTED, mcm_model_open(pickle, NULL, &opened), "is a pickle file", "expected safetensors");
    mcm_modulator *other = NULL;
    SAYS(MCM_ERROR_UNSUPPORTED, mcm_modulator_open(pickle, &other), "is a pickle file", "expected safetensors");
    CHECK(opened == NULL && other == NULL);
    free(module.data);
}

static void texts_sizes_and_masks(void) {
    mcm_model *model = latent_model_open(&(latent_model){.kind = STABLE_DIFFUSION}, 1);
    mcm_model *pixels = tiny_model_open(&(tiny_model){0}, 1);
    mcm_prompt *prompt = NULL;
    static const char *const bad[] = {"a \xff cat", "\xc3(", "\xed\xa0\x80", "cut \xe2\x82"};
    for (int i = 0; i < 4; i++)
        SAYS(MCM_ERROR_INVALID_ARGUMENT, mcm_prompt_encode(model, &bad[i], 1, NULL, &prompt), "text", "UTF-8");
    const char *text = "a cat";
    SAYS(MCM_ERROR_UNSUPPORTED, mcm_prompt_encode(pixels, &text, 1, NULL, &prompt), "no text encoder", "expected");
    uint8_t image_bytes[IMAGE_BYTES];
    mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
    generate.prompt = bad[0];
    SAYS(MCM_ERROR_INVALID_ARGUMENT, mcm_generate(model, &generate, image_bytes, IMAGE_BYTES), "prompt", "UTF-8");
    generate.prompt = text;
    generate.negative_prompt = bad[0];
    SAYS(MCM_ERROR_INVALID_ARGUMENT, mcm_generate(model, &generate, image_bytes, IMAGE_BYTES), "negative", "UTF-8");

    mcm_session *session = NULL;
    mcm_session_options options = latent_options();
    options.width = 9, options.height = 8;
    SAYS(MCM_ERROR_SIZE, mcm_session_create(model, &options, &session), "9 x 8", "multiples of 2");
    CHECK(session == NULL && prompt == NULL);
    session = latent_session(model, NULL, 0);
    mcm_image image = picture(0), mask = half_mask();
    mask.height = 4;
    SAYS(MCM_ERROR_SIZE, mcm_session_set_mask(session, &mask, 1), "mask is 8 x 4", "expected 8 x 8");
    mask = picture(0);
    SAYS(MCM_ERROR_SIZE, mcm_session_set_mask(session, &mask, 1), "3 channels", "1");
    image.width = 4;
    SAYS(MCM_ERROR_SIZE, mcm_session_set_image(session, &image, 1), "image is 4 x 8", "expected 8 x 8");
    mask = half_mask();
    OK(mcm_session_set_mask(session, &mask, 1));
    uint64_t seed = 1;
    SAYS(MCM_ERROR_STATE, mcm_session_seed(session, &seed, 1), "a mask is set, but no image", "");
    mcm_session_free(session);
    mcm_model_free(model);
    mcm_model_free(pixels);
}

static void parts_of_another_base(void) {
    mcm_model *model = latent_model_open(&(latent_model){.kind = STABLE_DIFFUSION}, 1);
    mcm_model *other = latent_model_open(&(latent_model){.kind = STABLE_DIFFUSION, .seed = 9}, 1);
    mcm_model *xl = latent_model_open(&(latent_model){.kind = STABLE_DIFFUSION_XL}, 1);
    char fingerprint[24];
    strcpy(fingerprint, model_info(other).fingerprint);
    mcm_modulator *of_other = tiny_module_open(&(tiny_module){.channels = 4, .fingerprint = fingerprint});
    mcm_modulator *of_ldm = tiny_module_open(&(tiny_module){.channels = 3});
    mcm_modulator *of_v = tiny_module_open(
        &(tiny_module){.channels = 4, .fingerprint = fingerprint, .damage = {.from = "epsilon", .to = "v_prediction"}});
    mcm_session *session = latent_session(model, NULL, 1), *of_xl = latent_session(xl, NULL, 1);
    uint32_t id = 0;
#define REFUSED(call, found, wanted) SAYS(MCM_ERROR_INCOMPATIBLE, call, found, wanted)
    REFUSED(mcm_session_attach(session, of_other, NULL, &id), fingerprint, model_info(model).fingerprint);
    REFUSED(mcm_session_attach(session, of_ldm, NULL, &id), "is 3", "the model's 4");
    REFUSED(mcm_session_attach(session, of_v, NULL, &id), "v_prediction", "epsilon");
    mcm_attach_options anyway = MCM_ATTACH_OPTIONS_INIT;
    anyway.other_base = 1; /* other weights, but not another kind */
    REFUSED(mcm_session_attach(session, of_v, &anyway, &id), "v_prediction", "epsilon");
    CHECK(id == 0);
    OK(mcm_session_attach(session, of_other, &anyway, &id));
    mcm_image sketch = half_mask(), control = picture(1), small = picture(1);
    mcm_condition condition = MCM_CONDITION_INIT;
    condition.modality = "depth";
    condition.images = &sketch;
    REFUSED(mcm_session_set_condition(session, id, &condition), "depth", "\"sketch\", \"labels\", \"photo\"");
    mcm_controlnet *controlnet = controlnet_open(&(tiny_controlnet){0});
    mcm_controlnet *thin = controlnet_open(&(tiny_controlnet){.channels = 3});
    REFUSED(mcm_session_attach_controlnet(of_xl, controlnet, &control, 1, 0, NULL, &id), "8", "16");
    REFUSED(mcm_session_attach_controlnet(session, thin, &control, 1, 0, NULL, &id), "3", "4");
    small.width = 4;
    SAYS(MCM_ERROR_SIZE, mcm_session_attach_controlnet(session, controlnet, &small, 1, 0, NULL, &id), "4 x 8", "8 x 8");
    mcm_prompt *prompt = encoded(model, "a cat");
    REFUSED(mcm_session_set_prompt(of_xl, prompt, NULL), "8 channels", "16");
    mcm_model *opened = NULL;
    SAYS(MCM_ERROR_IO, mcm_model_open(path_in(scratch, "controlnet"), NULL, &opened), "model_index.json", "");
    mcm_prompt_free(prompt);
    mcm_controlnet_free(controlnet);
    mcm_controlnet_free(thin);
    mcm_modulator_free(of_other);
    mcm_modulator_free(of_ldm);
    mcm_modulator_free(of_v);
    mcm_session_free(session);
    mcm_session_free(of_xl);
    mcm_model_free(model);
    mcm_model_free(other);
    mcm_model_free(xl);
}

const test latent_message_tests[] = {
    {"folders_that_are_no_models", folders_that_are_no_models},
    {"files_that_are_no_models", files_that_are_no_models},
    {"texts_sizes_and_masks", texts_sizes_and_masks},
    {"parts_of_another_base", parts_of_another_base},
    {NULL, NULL},
};

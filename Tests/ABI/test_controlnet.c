/* ControlNets: attached, changed, and refused. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "latent_session.h"

static mcm_model *model;
static mcm_controlnet *controlnet;
static mcm_image pictures[2];

static void open_parts(void) {
    model = latent_model_open(&(latent_model){0}, 2);
    controlnet = controlnet_open(&(tiny_controlnet){0});
    pictures[0] = picture(2);
    pictures[1] = picture(3);
}

static void free_parts(void) {
    mcm_controlnet_free(controlnet);
    mcm_model_free(model);
}

/* A run that follows the first picture; out_id may be NULL. */
static mcm_session *controlled(const mcm_controlnet *of, const mcm_attach_options *attach, int32_t guess,
                               uint32_t *out_id) {
    mcm_session *session = latent_session(model, NULL, 1);
    OK(mcm_session_attach_controlnet(session, of, pictures, 1, guess, attach, out_id));
    return session;
}

static void controlnets_change_the_result(void) {
    open_parts();
    latent_view plain = latent_end(latent_session(model, NULL, 1));
    latent_view with = latent_end(controlled(controlnet, NULL, 0, NULL));
    latent_view guess = latent_end(controlled(controlnet, NULL, 1, NULL));
    CHECK(!same_view(&plain, &with) && !same_view(&with, &guess) && !same_view(&plain, &guess));
    /* Guidance in two passes, or in one. */
    for (int32_t passes = 1; passes <= 2; passes++)
        for (int32_t guesses = 0; guesses < 2; guesses++) {
            mcm_session_options options = latent_options();
            options.guidance_passes = passes;
            mcm_session *session = latent_session(model, &options, 1);
            OK(mcm_session_attach_controlnet(session, controlnet, pictures, 1, guesses, NULL, NULL));
            latent_view same = latent_end(session);
            CHECK(same_view(&same, guesses ? &guess : &with));
        }
    /* One whose residuals are means acts with the prompt alone. */
    mcm_controlnet *pooled = controlnet_open(&(tiny_controlnet){.pooled = 1});
    latent_view of_pooled = latent_end(controlled(pooled, NULL, 0, NULL));
    CHECK(!same_view(&of_pooled, &with) && !same_view(&of_pooled, &plain));
    mcm_controlnet_free(pooled);
    free_parts();
}

/* Weight 0, a window that is over, and detached: as without it. Weights and windows may change between steps. */
static void controlnets_without_effect(void) {
    open_parts();
    latent_view plain = latent_end(latent_session(model, NULL, 1));
    mcm_attach_options attach = MCM_ATTACH_OPTIONS_INIT;
    uint32_t id;
    attach.weight = 0;
    latent_view same = latent_end(controlled(controlnet, &attach, 0, NULL));
    CHECK(same_view(&plain, &same));
    attach.weight = 1;
    attach.begin = attach.end = 1;
    same = latent_end(controlled(controlnet, &attach, 0, NULL));
    CHECK(same_view(&plain, &same));
    mcm_session *session = controlled(controlnet, NULL, 0, &id);
    OK(mcm_session_detach(session, id));
    MISUSE(mcm_session_detach(session, id));
    same = latent_end(session);
    CHECK(same_view(&plain, &same));
    attach.begin = 0;
    attach.end = 0.5f;
    latent_view half = latent_end(controlled(controlnet, &attach, 0, NULL));
    session = controlled(controlnet, NULL, 0, &id);
    for (int i = 0; i < LATENT_STEPS / 2; i++) OK(mcm_session_step(session));
    OK(mcm_session_set_weight(session, id, 0));
    same = latent_end(session);
    CHECK(same_view(&half, &same));
    session = controlled(controlnet, NULL, 0, &id);
    for (int i = 0; i < LATENT_STEPS / 2; i++) OK(mcm_session_step(session));
    OK(mcm_session_set_window(session, id, 0, 0.5f));
    same = latent_end(session);
    CHECK(same_view(&half, &same));
    free_parts();
}

/* Several add up, in any passes; they keep what they need of their handles. */
static void several_controlnets(void) {
    open_parts();
    mcm_session *session = controlled(controlnet, NULL, 0, NULL);
    mcm_controlnet *other = controlnet_open(&(tiny_controlnet){.seed = 5});
    uint32_t first, second;
    OK(mcm_session_attach_controlnet(session, other, &pictures[1], 1, 1, NULL, &first));
    OK(mcm_session_attach_controlnet(session, controlnet, &pictures[1], 1, 0, NULL, &second));
    CHECK(first != second && first > 0);
    mcm_controlnet_free(other);
    mcm_prompt *dog = encoded(model, "a dog");
    OK(mcm_session_step(session));
    OK(mcm_session_set_prompt(session, dog, NULL)); /* which they read too */
    mcm_prompt_free(dog);
    OK(mcm_session_step(session));
    OK(mcm_session_detach(session, second));
    latent_end(session);
    free_parts();
}

static void controlnets_in_a_batch(void) {
    open_parts();
    static const uint64_t seeds[] = {7, 8};
    mcm_session_options options = latent_options();
    options.batch = 2;
    mcm_session *session = latent_session(model, &options, 0);
    OK(mcm_session_attach_controlnet(session, controlnet, pictures, 2, 0, NULL, NULL));
    OK(mcm_session_seed(session, seeds, 2));
    latent_view both = latent_end(session);
    for (int k = 0; k < 2; k++) {
        session = latent_session(model, NULL, 0);
        OK(mcm_session_attach_controlnet(session, controlnet, &pictures[k], 1, 0, NULL, NULL));
        OK(mcm_session_seed(session, &seeds[k], 1));
        latent_view alone = latent_end(session);
        SAME(alone.x, both.x + 64 * k, 64 * sizeof(float));
    }
    free_parts();
}

static void controlnets_that_cannot_be_attached(void) {
    open_parts();
    uint32_t id = 77;
    mcm_session *session = latent_session(model, NULL, 1);
    mcm_controlnet *wide = controlnet_open(&(tiny_controlnet){.text = 16});
    mcm_controlnet *thin = controlnet_open(&(tiny_controlnet){.channels = 3});
#define REFUSED(expected, net, images, count, options) \
    UNCHANGED(expected, session, mcm_session_attach_controlnet(session, net, images, count, 0, options, &id))
    REFUSED(MCM_ERROR_INCOMPATIBLE, wide, pictures, 1, NULL);
    REFUSED(MCM_ERROR_INCOMPATIBLE, thin, pictures, 1, NULL);
    REFUSED(MCM_ERROR_SIZE, controlnet, pictures, 0, NULL);
    REFUSED(MCM_ERROR_SIZE, controlnet, pictures, 2, NULL);
    REFUSED(MCM_ERROR_SIZE, controlnet, pictures, UINT32_MAX, NULL);
    REFUSED(MCM_ERROR_INVALID_ARGUMENT, controlnet, NULL, 1, NULL);
    REFUSED(MCM_ERROR_INVALID_ARGUMENT, NULL, pictures, 1, NULL);
    mcm_image image = pictures[0];
    image.width = 4;
    REFUSED(MCM_ERROR_SIZE, controlnet, &image, 1, NULL);
    image = pictures[0];
    image.struct_size -= 4;
    REFUSED(MCM_ERROR_STRUCT_SIZE, controlnet, &image, 1, NULL);
    float bad[IMAGE_BYTES] = {0, 2};
    image = pictures[0];
    image.dtype = MCM_F32;
    image.data = bad;
    REFUSED(MCM_ERROR_INVALID_ARGUMENT, controlnet, &image, 1, NULL);
    mcm_attach_options attach = MCM_ATTACH_OPTIONS_INIT;
    attach.weight = NAN;
    REFUSED(MCM_ERROR_INVALID_ARGUMENT, controlnet, pictures, 1, &attach);
    attach.weight = 1;
    attach.begin = 2;
    REFUSED(MCM_ERROR_INVALID_ARGUMENT, controlnet, pictures, 1, &attach);
    attach.begin = 0;
    attach.struct_size++;
    REFUSED(MCM_ERROR_STRUCT_SIZE, controlnet, pictures, 1, &attach);
    CHECK(id == 77);
    /* A ControlNet has no modalities. */
    OK(mcm_session_attach_controlnet(session, controlnet, pictures, 1, 0, NULL, &id));
    mcm_condition condition = MCM_CONDITION_INIT;
    condition.modality = "sketch";
    condition.images = pictures;
    INVALID(mcm_session_set_condition(session, id, &condition));
    INVALID(mcm_session_set_condition_png(session, id, "sketch", path_in(scratch, "none.png")));
    INVALID(mcm_session_clear_condition(session, id, NULL));
    OK(mcm_session_detach(session, id));
    latent_view end = latent_end(session), plain = latent_end(latent_session(model, NULL, 1));
    CHECK(same_view(&end, &plain));
    mcm_model *without_text = latent_model_open(&(latent_model){.kind = LATENT_DIFFUSION}, 1);
    session = latent_session(without_text, NULL, 1);
    REFUSED(MCM_ERROR_INCOMPATIBLE, controlnet, pictures, 1, NULL);
    latent_end(session);
    mcm_model_free(without_text);
    mcm_controlnet_free(wide);
    mcm_controlnet_free(thin);
    free_parts();
}

static void controlnets_of_damaged_files(void) {
    static const struct {
        mcm_status status;
        damage damage;
    } all[] = {{MCM_ERROR_FORMAT, {.missing = "controlnet_mid_block.weight"}},
               {MCM_ERROR_FORMAT, {.missing = "controlnet_cond_embedding.blocks.1.bias"}},
               {MCM_ERROR_FORMAT, {.missing = "down_blocks.0.attentions.0.proj_in.weight"}},
               {MCM_ERROR_FORMAT, {.not_finite = "controlnet_down_blocks.0.weight"}},
               {ANY_DATA, {.from = "[8]", .to = "[16]"}},
               {ANY_DATA, {.from = "[8]", .to = "[]"}},
               {ANY_DATA, {.from = "[8]", .to = "[0]"}},
               {ANY_DATA, {.from = "[4,8]", .to = "[]"}},
               {ANY_DATA, {.from = "[4,8]", .to = "[4,8,8]"}},
               {ANY_DATA, {.from = "[4,8]", .to = "[4,9223372036854775807]"}},
               {ANY_DATA, {.from = "\"in_channels\":4", .to = "\"in_channels\":0"}},
               {ANY_DATA, {.from = "\"in_channels\":4", .to = "\"surprise\":4"}},
               {ANY_DATA, {.from = "\"attention_head_dim\":2", .to = "\"attention_head_dim\":3"}},
               {ANY_DATA, {.from = "\"norm_num_groups\":2", .to = "\"norm_num_groups\":3"}},
               {ANY_DATA, {.from = "ControlNetModel", .to = "UNet2DConditionModel"}},
               {ANY_DATA, {.from = "{", .to = "["}}};
    mcm_controlnet *controlnet = NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const char *folder = controlnet_write(&(tiny_controlnet){.damage = all[i].damage}, "damaged");
        STATUS(all[i].status, mcm_controlnet_open(folder, NULL, &controlnet));
        CHECK(controlnet == NULL);
    }
    STATUS(MCM_ERROR_IO, mcm_controlnet_open(path_in(scratch, "no such folder"), NULL, &controlnet));
    INVALID(mcm_controlnet_open("\xff", NULL, &controlnet));
    const char *folder = controlnet_write(&(tiny_controlnet){0}, "sound");
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    options.variant = "fp16";
    STATUS(MCM_ERROR_IO, mcm_controlnet_open(folder, &options, &controlnet));
    options.variant = NULL;
    options.threads = 257;
    INVALID(mcm_controlnet_open(folder, &options, &controlnet));
    options.threads = 1;
    options.int8_weights = 1;
    OK(mcm_controlnet_open(folder, &options, &controlnet));
    mcm_controlnet_free(controlnet);
}

const test controlnet_tests[] = {
    {"controlnets_change_the_result", controlnets_change_the_result},
    {"controlnets_without_effect", controlnets_without_effect},
    {"several_controlnets", several_controlnets},
    {"controlnets_in_a_batch", controlnets_in_a_batch},
    {"controlnets_that_cannot_be_attached", controlnets_that_cannot_be_attached},
    {"controlnets_of_damaged_files", controlnets_of_damaged_files},
    {NULL, NULL},
};

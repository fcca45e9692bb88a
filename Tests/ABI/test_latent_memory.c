/* What latent models hold, with and without parts on demand, and what happens when there is no memory for them. */
#include <stdlib.h>
#include <string.h>

#include "allocations.h"
#include "check.h"
#include "drawing.h"
#include "latent_session.h"

static mcm_memory memory_of(const mcm_model *model) {
    mcm_memory memory = MCM_MEMORY_INIT;
    OK(mcm_model_get_memory(model, &memory));
    return memory;
}

static void parts_on_demand(void) {
    for (int kind = 0; kind < LATENT_KINDS; kind++) {
        const char *folder = latent_model_write(&(latent_model){.kind = (latent_kind)kind}, "demand");
        mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
        mcm_model *all, *few;
        OK(mcm_model_open(folder, &options, &all));
        options.on_demand = 1;
        OK(mcm_model_open(folder, &options, &few));
        mcm_memory whole = memory_of(all), parts = memory_of(few);
        CHECK(parts.weights > 0 && parts.weights < whole.weights);
        CHECK(model_info(few).memory_bytes == parts.weights && model_info(all).memory_bytes == whole.weights);
        CHECK(model_info(few).parameter_count == model_info(all).parameter_count);
        /* The same images, and nothing is kept. */
        mcm_image image = picture(0), mask = half_mask();
        mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
        mcm_session_options session = latent_options();
        uint8_t pixels[2][IMAGE_BYTES];
        generate.session = &session;
        generate.prompt = "a cat";
        generate.images = &image;
        generate.masks = &mask;
        generate.image_count = generate.mask_count = 1;
        for (int again = 0; again < 2; again++) {
            OK(mcm_generate(all, &generate, pixels[0], IMAGE_BYTES));
            OK(mcm_generate(few, &generate, pixels[1], IMAGE_BYTES));
            SAME(pixels[0], pixels[1], IMAGE_BYTES);
            CHECK(memory_of(few).weights == parts.weights && memory_of(all).weights == whole.weights);
        }
        mcm_model_free(all);
        mcm_model_free(few);
    }
}

/* A module's or a session's memory does not grow from run to run. */
static void latent_sessions_do_not_grow(void) {
    mcm_model *model = latent_model_open(&(latent_model){0}, 1);
    mcm_controlnet *controlnet = controlnet_open(&(tiny_controlnet){0});
    mcm_image images[] = {picture(0), picture(1)}, mask = half_mask();
    mcm_prompt *prompts[] = {encoded(model, "a cat"), encoded(model, "a dog")};
    mcm_session *session = latent_session(model, NULL, 0);
    uint64_t seed = 1, largest = 0;
    uint32_t id;
    uint8_t pixels[IMAGE_BYTES];
    OK(mcm_session_attach_controlnet(session, controlnet, images, 1, 0, NULL, &id));
    for (int i = 0; i < 12; i++) {
        mcm_memory memory = MCM_MEMORY_INIT;
        OK(mcm_session_set_image(session, &images[i % 2], 1));
        OK(mcm_session_set_mask(session, &mask, 1));
        OK(mcm_session_set_prompt(session, prompts[i % 2], i % 3 ? prompts[0] : NULL));
        OK(mcm_session_seed(session, &seed, 1));
        OK(mcm_session_detach(session, id));
        OK(mcm_session_attach_controlnet(session, controlnet, images, 1, 0, NULL, &id));
        OK(mcm_session_step(session));
        OK(mcm_session_set_prompt(session, prompts[1 - i % 2], NULL));
        OK(mcm_session_step(session));
        OK(mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, pixels, IMAGE_BYTES));
        OK(mcm_session_decode(session, MCM_DECODE_PREVIEW, 0, pixels, 48));
        OK(mcm_session_get_memory(session, &memory));
        if (i < 4 && memory.arena > largest) largest = memory.arena;
        CHECK(memory.arena <= largest);
    }
    mcm_session_free(session);
    for (int i = 0; i < 2; i++) mcm_prompt_free(prompts[i]);
    mcm_controlnet_free(controlnet);
    mcm_model_free(model);
}

/* Memory is refused from the k-th block on, for every k: the call fails, or does what it does. `after` follows each. */
#define REFUSING(call, after)                                                    \
    for (unsigned k_ = 1, refused_ = 1; refused_; k_++) {                        \
        refuse_tensors(k_, ~0u);                                                 \
        mcm_status status_ = call;                                               \
        refused_ = counted().refused > 0;                                        \
        refuse_nothing();                                                        \
        if (status_ != MCM_OK) STATUS(MCM_ERROR_OUT_OF_MEMORY, status_);         \
        CHECK(refused_ || status_ == MCM_OK);                                    \
        int succeeded = status_ == MCM_OK;                                       \
        (void)succeeded;                                                         \
        after;                                                                   \
    }

static void no_memory_for_latent_weights(void) {
    if (!allocations_are_seen()) return;
    for (int kind = STABLE_DIFFUSION_XL; kind < LATENT_KINDS; kind++) {
        latent_files files = latent_model_files(&(latent_model){.kind = (latent_kind)kind});
        mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
        options.threads = 1;
        for (options.int8_weights = 0; options.int8_weights < 2; options.int8_weights++) {
            mcm_model *model = NULL;
            REFUSING(mcm_model_open_memory(files.files, files.count, &options, &model), {
                CHECK(succeeded == (model != NULL));
                mcm_model_free(model);
                model = NULL;
            });
        }
        free_latent_files(&files);
    }
    const char *folder = controlnet_write(&(tiny_controlnet){0}, "refused");
    mcm_controlnet *controlnet = NULL;
    REFUSING(mcm_controlnet_open(folder, NULL, &controlnet), {
        CHECK(succeeded == (controlnet != NULL));
        mcm_controlnet_free(controlnet);
        controlnet = NULL;
    });
}

/* From a folder, with one thread. */
static mcm_model *open_folder(latent_kind kind, int32_t on_demand) {
    const char *folder = latent_model_write(&(latent_model){.kind = kind}, "refused");
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    mcm_model *model;
    options.threads = 1;
    options.on_demand = on_demand;
    OK(mcm_model_open(folder, &options, &model));
    return model;
}

static void no_memory_for_prompts(void) {
    if (!allocations_are_seen()) return;
    for (int32_t on_demand = 0; on_demand < 2; on_demand++) {
        mcm_model *model = open_folder(STABLE_DIFFUSION_XL, on_demand);
        uint64_t weights = memory_of(model).weights;
        mcm_prompt *prompt = NULL;
        const char *const texts[] = {"a cat", "a dog"};
        REFUSING(mcm_prompt_encode(model, texts, 2, NULL, &prompt), {
            CHECK(succeeded == (prompt != NULL) && memory_of(model).weights == weights);
            mcm_prompt_free(prompt);
            prompt = NULL;
        });
        mcm_model_free(model);
    }
    float numbers[160];
    some_numbers(1, numbers, 160);
    mcm_prompt *prompt = NULL;
    REFUSING(mcm_prompt_create(1, 10, 16, numbers, 160, 6, numbers, 6, &prompt), {
        CHECK(succeeded == (prompt != NULL));
        mcm_prompt_free(prompt);
        prompt = NULL;
    });
}

/* Each call of a session is refused at every k, and the session goes on as if it had not been made. */
static void no_memory_in_latent_sessions(void) {
    if (!allocations_are_seen()) return;
    for (int kind = STABLE_DIFFUSION; kind <= STABLE_DIFFUSION_XL; kind++)
        for (int32_t passes = 1; passes <= 2; passes++) {
            mcm_model *model = latent_model_open(&(latent_model){.kind = (latent_kind)kind}, 2);
            mcm_controlnet *controlnet = kind == STABLE_DIFFUSION ? controlnet_open(&(tiny_controlnet){0}) : NULL;
            mcm_image image = picture(0), mask = half_mask();
            mcm_prompt *prompt = encoded(model, "a dog");
            mcm_session_options options = latent_options();
            options.guidance_passes = passes;
            options.guidance_rescale = 0.5f;
            options.strength = 0.75;
            uint64_t seed = 7;
            uint8_t pixels[IMAGE_BYTES], expected_pixels[IMAGE_BYTES], preview[48], expected_preview[48];
            latent_view expected;
            for (int refusing = 0; refusing < 2; refusing++) {
                mcm_session *session = latent_session(model, &options, 0);
                latent_view before = latent_view_of(session);
#define EACH(call)                                                      \
    do {                                                                \
        if (refusing) {                                                 \
            before = latent_view_of(session);                           \
            REFUSING(call, if (!succeeded) {                            \
                latent_view after_ = latent_view_of(session);           \
                CHECK(same_view(&before, &after_));                     \
            } else break);                                              \
        } else {                                                        \
            OK(call);                                                   \
        }                                                               \
    } while (0)
                EACH(mcm_session_set_image(session, &image, 1));
                EACH(mcm_session_set_mask(session, &mask, 1));
                EACH(mcm_session_seed(session, &seed, 1));
                if (controlnet)
                    EACH(mcm_session_attach_controlnet(session, controlnet, &image, 1, 0, NULL, NULL));
                EACH(mcm_session_step(session));
                OK(mcm_session_set_prompt(session, prompt, NULL));
                EACH(mcm_session_step(session));
                EACH(mcm_session_decode(session, MCM_DECODE_PREVIEW, 0, preview, 48));
                EACH(mcm_session_decode(session, MCM_DECODE_X0, 0, pixels, IMAGE_BYTES));
                if (refusing) {
                    SAME(pixels, expected_pixels, IMAGE_BYTES);
                    SAME(preview, expected_preview, 48);
                    latent_view end = latent_end(session);
                    CHECK(same_view(&end, &expected));
                } else {
                    memcpy(expected_pixels, pixels, IMAGE_BYTES);
                    memcpy(expected_preview, preview, 48);
                    expected = latent_end(session);
                }
            }
            mcm_prompt_free(prompt);
            mcm_controlnet_free(controlnet);
            mcm_model_free(model);
        }
}

static void no_memory_for_latent_calls(void) {
    if (!allocations_are_seen()) return;
    for (int32_t on_demand = 0; on_demand < 2; on_demand++) {
        mcm_model *model = open_folder(LATENT_DIFFUSION, on_demand);
        uint64_t weights = memory_of(model).weights;
        float sample[48];
        uint8_t pixels[IMAGE_BYTES];
        mcm_image image = picture(0);
        mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
        mcm_session_options session = latent_options();
        session.steps = 2;
        generate.session = &session;
        REFUSING(mcm_model_encode(model, &image, 1, sample, 48), CHECK(memory_of(model).weights == weights));
        REFUSING(mcm_model_decode(model, 4, 4, sample, 48, pixels, IMAGE_BYTES),
                 CHECK(memory_of(model).weights == weights));
        REFUSING(mcm_generate(model, &generate, pixels, IMAGE_BYTES), CHECK(memory_of(model).weights == weights));
        mcm_model_free(model);
    }
}

const test latent_memory_tests[] = {
    {"parts_on_demand", parts_on_demand},
    {"latent_sessions_do_not_grow", latent_sessions_do_not_grow},
    {"no_memory_for_latent_weights", no_memory_for_latent_weights},
    {"no_memory_for_prompts", no_memory_for_prompts},
    {"no_memory_in_latent_sessions", no_memory_in_latent_sessions},
    {"no_memory_for_latent_calls", no_memory_for_latent_calls},
    {NULL, NULL},
};

/* Struct sizes of what latent models and texts brought: wrong ones, those of earlier headers, and no byte beyond. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "latent_session.h"

static void struct_sizes_of_latent_calls(void) {
    mcm_model *model = latent_model_open(&(latent_model){0}, 1);
    mcm_controlnet *controlnet = controlnet_open(&(tiny_controlnet){0});
    mcm_prompt *prompt = encoded(model, "a cat");
    mcm_session *session = latent_session(model, NULL, 1);
    mcm_image image = picture(0), mask = half_mask();
    const char *text = "a cat";
    float x[64] = {0}, e[64], t = 5;
    uint8_t pixels[IMAGE_BYTES];
    mcm_prompt *made;

    mcm_prompt_options reading = MCM_PROMPT_OPTIONS_INIT;
    WRONG_SIZES(reading.struct_size, mcm_prompt_encode(model, &text, 1, &reading, &made));
    mcm_prompt_info info = MCM_PROMPT_INFO_INIT;
    WRONG_SIZES(info.struct_size, mcm_prompt_get_info(prompt, &info));
    CHECK(info.count == 0 && info.tokens == 0);
    mcm_predict_options predict = MCM_PREDICT_OPTIONS_INIT;
    predict.prompt = prompt;
    WRONG_SIZES(predict.struct_size, mcm_model_predict_with(model, 1, 4, 4, x, 64, &t, &predict, e, 64));
    WRONG_SIZES(image.struct_size, mcm_session_set_image(session, &image, 1));
    WRONG_SIZES(mask.struct_size, mcm_session_set_mask(session, &mask, 1));
    WRONG_SIZES(image.struct_size, mcm_model_encode(model, &image, 1, x, 64));
    WRONG_SIZES(image.struct_size, mcm_session_attach_controlnet(session, controlnet, &image, 1, 0, NULL, NULL));
    mcm_attach_options attach = MCM_ATTACH_OPTIONS_INIT;
    WRONG_SIZES(attach.struct_size, mcm_session_attach_controlnet(session, controlnet, &image, 1, 0, &attach, NULL));
    mcm_session_options options = latent_options();
    mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
    generate.session = &options;
    generate.prompt_options = &reading;
    generate.images = &image;
    generate.masks = &mask;
    generate.image_count = generate.mask_count = 1;
    WRONG_SIZES(generate.struct_size, mcm_generate(model, &generate, pixels, IMAGE_BYTES));
    WRONG_SIZES(options.struct_size, mcm_generate(model, &generate, pixels, IMAGE_BYTES));
    WRONG_SIZES(reading.struct_size, mcm_generate(model, &generate, pixels, IMAGE_BYTES));
    WRONG_SIZES(image.struct_size, mcm_generate(model, &generate, pixels, IMAGE_BYTES));
    WRONG_SIZES(mask.struct_size, mcm_generate(model, &generate, pixels, IMAGE_BYTES));
    OK(mcm_generate(model, &generate, pixels, IMAGE_BYTES));
    mcm_model_options opening = MCM_MODEL_OPTIONS_INIT;
    const char *folder = controlnet_write(&(tiny_controlnet){0}, "sizes");
    mcm_controlnet *opened;
    WRONG_SIZES(opening.struct_size, mcm_controlnet_open(folder, &opening, &opened));

    latent_end(session);
    mcm_prompt_free(prompt);
    mcm_controlnet_free(controlnet);
    mcm_model_free(model);
}

/* Structs at the very end of the accessible memory: of the sizes that earlier headers gave them, they are read so far
 * and no further. */
static void earlier_structs_are_not_read_beyond(void) {
    enum { PAGE = 65536 };
    mcm_model *model = latent_model_open(&(latent_model){0}, 1), *other;
    const char *folder = latent_model_write(&(latent_model){0}, "earlier");
    char *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && mprotect(memory + PAGE, PAGE, PROT_NONE) == 0);
    mcm_model_options opening = MCM_MODEL_OPTIONS_INIT;
    mcm_session_options options = latent_options();
    mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
    static const uint32_t model_sizes[] = {8, 16}, session_sizes[] = {28, 40};
    for (int i = 0; i < 2; i++) {
        void *end = memory + PAGE - model_sizes[i];
        opening.struct_size = model_sizes[i];
        memcpy(end, &opening, model_sizes[i]);
        OK(mcm_model_open(folder, end, &other));
        mcm_model_free(other);
        end = memory + PAGE - session_sizes[i];
        options.struct_size = session_sizes[i];
        memcpy(end, &options, session_sizes[i]);
        mcm_session *session;
        OK(mcm_session_create(model, end, &session));
        mcm_session_free(session);
    }
    void *end = memory + PAGE - 72;
    uint8_t pixels[IMAGE_BYTES];
    options = latent_options();
    generate.session = &options;
    generate.struct_size = 72;
    memcpy(end, &generate, 72);
    OK(mcm_generate(model, end, pixels, IMAGE_BYTES));
    /* A size of none: nothing behind it is read. */
    end = memory + PAGE - 4;
    *(uint32_t *)end = 4;
    const char *text = "a cat";
    mcm_prompt *prompt = NULL;
    float x[64] = {0}, e[64], t = 5;
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_prompt_encode(model, &text, 1, end, &prompt));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_model_predict_with(model, 1, 4, 4, x, 64, &t, end, e, 64));
    mcm_session *session = latent_session(model, NULL, 1);
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_session_set_image(session, end, 1));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_session_set_mask(session, end, 1));
    latent_end(session);
    munmap(memory, 2 * PAGE);
    mcm_model_free(model);
}

/* An init function, told a smaller size or a larger one, writes so much and no more. */
static void init_functions_write_their_size(void) {
    struct {
        mcm_prompt_options options;
        char behind[8];
    } a;
    memset(&a, 0xab, sizeof a);
    mcm_prompt_options_init(&a.options, 8);
    CHECK(a.options.struct_size == 8 && a.options.clip_skip == 0 && a.options.chunks == (int32_t)0xabababab);
    mcm_prompt_options_init(&a.options, sizeof a);
    CHECK(a.options.struct_size == sizeof a && a.behind[7] == 0);
    mcm_session_options session;
    memset(&session, 0xab, sizeof session);
    mcm_session_options_init(&session, 40);
    CHECK(session.batch == 1 && session.reserved == 0xabababab);
    mcm_session_options_init(&session, sizeof session);
    CHECK(session.strength == 1 && session.guidance_scale == 0 && session.reserved == 0);
}

const test latent_input_tests[] = {
    {"struct_sizes_of_latent_calls", struct_sizes_of_latent_calls},
    {"earlier_structs_are_not_read_beyond", earlier_structs_are_not_read_beyond},
    {"init_functions_write_their_size", init_functions_write_their_size},
    {NULL, NULL},
};

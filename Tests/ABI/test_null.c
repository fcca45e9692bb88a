/* NULL for every pointer of every function that needs one, one at a time: INVALID_ARGUMENT, and no crash. */
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "tiny.h"

/* What a call needs beside the NULL: all sound. */
static struct {
    mcm_model *model;
    mcm_modulator *module;
    mcm_scheduler *scheduler;
    mcm_rng *rng;
    mcm_session *session;
    uint32_t id; /* of the module in the session */
    mcm_condition conditions[TINY_CONDITIONS];
    float x[64], e[64], out[64], t;
    uint8_t pixels[64];
} ok;

static void open_all(void) {
    ok.model = tiny_model_open(&(tiny_model){0}, 1);
    ok.module = tiny_module_open(&(tiny_module){0});
    tiny_conditions(1, ok.conditions);
    drawing d = drawing_of(ok.model, MCM_SCHEDULER_DDIM, 3);
    d.modulator = ok.module;
    ok.session = open_session(&d, &ok.id);
    OK(mcm_session_step(ok.session));
    OK(mcm_scheduler_create(ok.model, MCM_SCHEDULER_DDIM, 3, 0, &ok.scheduler));
    OK(mcm_rng_create(1, &ok.rng));
}

static void free_all(void) {
    mcm_session_free(ok.session);
    mcm_scheduler_free(ok.scheduler);
    mcm_rng_free(ok.rng);
    mcm_modulator_free(ok.module);
    mcm_model_free(ok.model);
}

static void free_of_null(void) {
    mcm_model_free(NULL);
    mcm_modulator_free(NULL);
    mcm_scheduler_free(NULL);
    mcm_session_free(NULL);
    mcm_rng_free(NULL);
    mcm_prompt_free(NULL);
    mcm_controlnet_free(NULL);
    CHECK(strcmp(mcm_last_error(), "") == 0);
}

static void init_of_null(void) {
    mcm_image_init(NULL, sizeof(mcm_image));
    mcm_model_options_init(NULL, sizeof(mcm_model_options));
    mcm_model_info_init(NULL, sizeof(mcm_model_info));
    mcm_memory_init(NULL, sizeof(mcm_memory));
    mcm_modulator_info_init(NULL, sizeof(mcm_modulator_info));
    mcm_modality_info_init(NULL, sizeof(mcm_modality_info));
    mcm_condition_init(NULL, sizeof(mcm_condition));
    mcm_session_options_init(NULL, sizeof(mcm_session_options));
    mcm_attach_options_init(NULL, sizeof(mcm_attach_options));
    mcm_session_state_init(NULL, sizeof(mcm_session_state));
    mcm_attachment_init(NULL, sizeof(mcm_attachment));
    mcm_generate_options_init(NULL, sizeof(mcm_generate_options));
    mcm_predict_options_init(NULL, sizeof(mcm_predict_options));
    mcm_prompt_options_init(NULL, sizeof(mcm_prompt_options));
    mcm_prompt_info_init(NULL, sizeof(mcm_prompt_info));
}

static void null_to_images_and_rng(void) {
    open_all();
    mcm_image image = MCM_IMAGE_INIT;
    const char *path = path_in(scratch, "null.png");
    INVALID(mcm_png_size(NULL, NULL, NULL, NULL));
    INVALID(mcm_png_read(NULL, ok.pixels, 64));
    INVALID(mcm_png_read(path, NULL, 64));
    INVALID(mcm_png_write(NULL, &ok.conditions[0].images[0]));
    INVALID(mcm_png_write(path, NULL));
    image.width = image.height = 8;
    INVALID(mcm_png_write(path, &image)); /* data is NULL */
    INVALID(mcm_rng_create(1, NULL));
    INVALID(mcm_rng_normal(NULL, ok.x, 64));
    INVALID(mcm_rng_normal(ok.rng, NULL, 64));
    free_all();
}

static void null_to_model(void) {
    open_all();
    mcm_model *model;
    mcm_memory_file files[TINY_FILES], bad[TINY_FILES];
    tiny_model_files(&(tiny_model){0}, files);
    INVALID(mcm_model_open(NULL, NULL, &model));
    INVALID(mcm_model_open(fashion, NULL, NULL));
    INVALID(mcm_model_open_memory(NULL, TINY_FILES, NULL, &model));
    INVALID(mcm_model_open_memory(files, TINY_FILES, NULL, NULL));
    for (int i = 0; i < TINY_FILES; i++) {
        memcpy(bad, files, sizeof bad);
        bad[i].name = NULL;
        INVALID(mcm_model_open_memory(bad, TINY_FILES, NULL, &model));
        memcpy(bad, files, sizeof bad);
        bad[i].data = NULL;
        INVALID(mcm_model_open_memory(bad, TINY_FILES, NULL, &model));
    }
    free_files(files);

    mcm_model_info info = MCM_MODEL_INFO_INIT;
    INVALID(mcm_model_get_info(NULL, &info));
    INVALID(mcm_model_get_info(ok.model, NULL));
    mcm_memory memory = MCM_MEMORY_INIT;
    INVALID(mcm_model_get_memory(NULL, &memory));
    INVALID(mcm_model_get_memory(ok.model, NULL));
    INVALID(mcm_model_predict(NULL, 1, 8, 8, ok.x, 64, &ok.t, NULL, 0, ok.e, 64));
    INVALID(mcm_model_predict(ok.model, 1, 8, 8, NULL, 64, &ok.t, NULL, 0, ok.e, 64));
    INVALID(mcm_model_predict(ok.model, 1, 8, 8, ok.x, 64, NULL, NULL, 0, ok.e, 64));
    INVALID(mcm_model_predict(ok.model, 1, 8, 8, ok.x, 64, &ok.t, NULL, 0, NULL, 64));
    INVALID(mcm_model_encode(NULL, ok.conditions[0].images, 1, ok.x, 64));
    INVALID(mcm_model_encode(ok.model, NULL, 1, ok.x, 64));
    INVALID(mcm_model_encode(ok.model, ok.conditions[0].images, 1, NULL, 64));
    INVALID(mcm_model_decode(NULL, 8, 8, ok.x, 64, ok.pixels, 64));
    INVALID(mcm_model_decode(ok.model, 8, 8, NULL, 64, ok.pixels, 64));
    INVALID(mcm_model_decode(ok.model, 8, 8, ok.x, 64, NULL, 64));
    free_all();
}

static void null_to_modulator(void) {
    open_all();
    mcm_modulator *module;
    mcm_modulator_info info = MCM_MODULATOR_INFO_INIT;
    mcm_modality_info modality = MCM_MODALITY_INFO_INIT;
    INVALID(mcm_modulator_open(NULL, &module));
    INVALID(mcm_modulator_open(fashion, NULL));
    INVALID(mcm_modulator_open_memory(NULL, 64, &module));
    INVALID(mcm_modulator_open_memory(ok.pixels, 64, NULL));
    INVALID(mcm_modulator_get_info(NULL, &info));
    INVALID(mcm_modulator_get_info(ok.module, NULL));
    INVALID(mcm_modulator_get_modality(NULL, 0, &modality));
    INVALID(mcm_modulator_get_modality(ok.module, 0, NULL));
    INVALID(mcm_modulator_check(NULL, ok.model));
    INVALID(mcm_modulator_check(ok.module, NULL));

    const mcm_condition *c = ok.conditions;
    INVALID(mcm_modulator_modulate(NULL, ok.model, 1, 8, 8, ok.x, ok.e, 64, &ok.t, c, 1, 1, ok.out));
    INVALID(mcm_modulator_modulate(ok.module, NULL, 1, 8, 8, ok.x, ok.e, 64, &ok.t, c, 1, 1, ok.out));
    INVALID(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, NULL, ok.e, 64, &ok.t, c, 1, 1, ok.out));
    INVALID(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, NULL, 64, &ok.t, c, 1, 1, ok.out));
    INVALID(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, ok.e, 64, NULL, c, 1, 1, ok.out));
    INVALID(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, ok.e, 64, &ok.t, NULL, 1, 1, ok.out));
    INVALID(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, ok.e, 64, &ok.t, c, 1, 1, NULL));
    /* No condition at all is a choice. */
    OK(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, ok.e, 64, &ok.t, NULL, 0, 1, ok.out));
    mcm_condition bad = ok.conditions[0];
    bad.modality = NULL;
    INVALID(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, ok.e, 64, &ok.t, &bad, 1, 1, ok.out));
    bad = ok.conditions[0];
    bad.images = NULL;
    INVALID(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, ok.e, 64, &ok.t, &bad, 1, 1, ok.out));
    free_all();
}

static void null_to_scheduler(void) {
    open_all();
    mcm_scheduler *scheduler;
    uint32_t count;
    int32_t needs;
    INVALID(mcm_scheduler_create(NULL, MCM_SCHEDULER_DDIM, 3, 0, &scheduler));
    INVALID(mcm_scheduler_create(ok.model, MCM_SCHEDULER_DDIM, 3, 0, NULL));
    INVALID(mcm_scheduler_create_with_options(NULL, MCM_SCHEDULER_DDIM, 3, 0, NULL, &scheduler));
    INVALID(mcm_scheduler_create_with_options(ok.model, MCM_SCHEDULER_DDIM, 3, 0, NULL, NULL));
    mcm_scheduler_info run = MCM_SCHEDULER_INFO_INIT;
    mcm_step_info step = MCM_STEP_INFO_INIT;
    INVALID(mcm_scheduler_get_info(NULL, &run));
    INVALID(mcm_scheduler_get_info(ok.scheduler, NULL));
    INVALID(mcm_scheduler_get_step(NULL, 0, &step));
    INVALID(mcm_scheduler_get_step(ok.scheduler, 0, NULL));
    INVALID(mcm_scheduler_step_with_history(NULL, 0, 1, ok.x, 64, ok.e, 64, NULL, NULL, 0, ok.out, NULL));
    INVALID(mcm_scheduler_get_timesteps(NULL, NULL, 0, &count));
    INVALID(mcm_scheduler_get_timesteps(ok.scheduler, NULL, 0, NULL));
    INVALID(mcm_scheduler_needs_noise(NULL, 0, &needs));
    INVALID(mcm_scheduler_needs_noise(ok.scheduler, 0, NULL));
    INVALID(mcm_scheduler_step(NULL, 0, 1, ok.x, 64, ok.e, 64, NULL, ok.out, NULL));
    INVALID(mcm_scheduler_step(ok.scheduler, 0, 1, NULL, 64, ok.e, 64, NULL, ok.out, NULL));
    INVALID(mcm_scheduler_step(ok.scheduler, 0, 1, ok.x, 64, NULL, 64, NULL, ok.out, NULL));
    INVALID(mcm_scheduler_step(ok.scheduler, 0, 1, ok.x, 64, ok.e, 64, NULL, NULL, NULL));
    INVALID(mcm_scheduler_add_noise(NULL, 0, ok.x, ok.e, 64, ok.out));
    INVALID(mcm_scheduler_add_noise(ok.scheduler, 0, NULL, ok.e, 64, ok.out));
    INVALID(mcm_scheduler_add_noise(ok.scheduler, 0, ok.x, NULL, 64, ok.out));
    INVALID(mcm_scheduler_add_noise(ok.scheduler, 0, ok.x, ok.e, 64, NULL));
    free_all();
}

static void null_to_session(void) {
    open_all();
    mcm_session *session;
    uint64_t seed = 1;
    uint32_t id;
    mcm_session_state state = MCM_SESSION_STATE_INIT;
    mcm_memory memory = MCM_MEMORY_INIT;
    INVALID(mcm_session_create(NULL, NULL, &session));
    INVALID(mcm_session_create(ok.model, NULL, NULL));
    INVALID(mcm_session_seed(NULL, &seed, 1));
    INVALID(mcm_session_seed(ok.session, NULL, 1));
    INVALID(mcm_session_set_class_input(NULL, ok.x, 1));
    MISUSE(mcm_session_set_class_input(ok.session, NULL, 1)); /* this model takes none */
    INVALID(mcm_session_attach(NULL, ok.module, NULL, &id));
    INVALID(mcm_session_attach(ok.session, NULL, NULL, &id));
    INVALID(mcm_session_detach(NULL, ok.id));
    INVALID(mcm_session_set_weight(NULL, ok.id, 1));
    INVALID(mcm_session_set_window(NULL, ok.id, 0, 1));
    INVALID(mcm_session_set_condition(NULL, ok.id, &ok.conditions[0]));
    INVALID(mcm_session_set_condition(ok.session, ok.id, NULL));
    mcm_condition bad = ok.conditions[0];
    bad.modality = NULL;
    INVALID(mcm_session_set_condition(ok.session, ok.id, &bad));
    bad = ok.conditions[0];
    bad.images = NULL;
    INVALID(mcm_session_set_condition(ok.session, ok.id, &bad));
    mcm_image image = ok.conditions[0].images[0];
    image.data = NULL;
    bad.images = &image;
    INVALID(mcm_session_set_condition(ok.session, ok.id, &bad));
    INVALID(mcm_session_set_condition_png(NULL, ok.id, "sketch", "x.png"));
    INVALID(mcm_session_set_condition_png(ok.session, ok.id, NULL, "x.png"));
    INVALID(mcm_session_set_condition_png(ok.session, ok.id, "sketch", NULL));
    INVALID(mcm_session_clear_condition(NULL, ok.id, "sketch"));
    INVALID(mcm_session_step(NULL));
    INVALID(mcm_session_run(NULL, NULL, NULL));
    INVALID(mcm_session_get_state(NULL, &state));
    INVALID(mcm_session_get_state(ok.session, NULL));
    INVALID(mcm_session_get_memory(NULL, &memory));
    INVALID(mcm_session_get_memory(ok.session, NULL));
    INVALID(mcm_session_get_sample(NULL, ok.x, 64));
    INVALID(mcm_session_get_sample(ok.session, NULL, 64));
    INVALID(mcm_session_set_sample(NULL, ok.x, 64));
    INVALID(mcm_session_set_sample(ok.session, NULL, 64));
    INVALID(mcm_session_get_x0(NULL, ok.x, 64));
    INVALID(mcm_session_get_x0(ok.session, NULL, 64));
    INVALID(mcm_session_decode(NULL, MCM_DECODE_SAMPLE, 0, ok.pixels, 64));
    INVALID(mcm_session_decode(ok.session, MCM_DECODE_SAMPLE, 0, NULL, 64));
    /* After all that the session goes on. */
    OK(mcm_session_run(ok.session, NULL, NULL));
    free_all();
}

static void null_to_generate(void) {
    open_all();
    mcm_attachment attachment = MCM_ATTACHMENT_INIT;
    mcm_generate_options options = MCM_GENERATE_OPTIONS_INIT;
    mcm_session_options session = MCM_SESSION_OPTIONS_INIT;
    session.scheduler = MCM_SCHEDULER_DDIM;
    session.steps = 2;
    options.session = &session;
    INVALID(mcm_generate(NULL, &options, ok.pixels, 64));
    INVALID(mcm_generate(ok.model, &options, NULL, 64));
    options.seed_count = 1;
    INVALID(mcm_generate(ok.model, &options, ok.pixels, 64)); /* no seeds */
    options.seed_count = 0;
    options.attachment_count = 1;
    INVALID(mcm_generate(ok.model, &options, ok.pixels, 64)); /* no attachments */
    options.attachments = &attachment;
    INVALID(mcm_generate(ok.model, &options, ok.pixels, 64)); /* no modulator */
    attachment.modulator = ok.module;
    attachment.condition_count = 1;
    INVALID(mcm_generate(ok.model, &options, ok.pixels, 64)); /* no conditions */
    attachment.conditions = ok.conditions;
    OK(mcm_generate(ok.model, &options, ok.pixels, 64));
    options.class_input_count = 1;
    MISUSE(mcm_generate(ok.model, &options, ok.pixels, 64)); /* no class input */
    free_all();
}

const test null_tests[] = {
    {"free_of_null", free_of_null},
    {"init_of_null", init_of_null},
    {"null_to_images_and_rng", null_to_images_and_rng},
    {"null_to_model", null_to_model},
    {"null_to_modulator", null_to_modulator},
    {"null_to_scheduler", null_to_scheduler},
    {"null_to_session", null_to_session},
    {"null_to_generate", null_to_generate},
    {NULL, NULL},
};

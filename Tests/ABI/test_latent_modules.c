/* Modules on latent models: what they follow, where they act, several of them beside a ControlNet, and the paper's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "latent_session.h"
#include "tiny.h"

static mcm_model *model;
static mcm_modulator *modules[2];

static void open_parts(latent_kind kind) {
    model = latent_model_open(&(latent_model){.kind = kind}, 2);
    uint32_t channels = model_info(model).channels;
    for (uint32_t i = 0; i < 2; i++) modules[i] = tiny_module_open(&(tiny_module){.channels = channels, .seed = i});
}

static void free_parts(void) {
    for (int i = 0; i < 2; i++) mcm_modulator_free(modules[i]);
    mcm_model_free(model);
}

/* Black and white, of the image's size. Stays valid. seed: 0..3. */
static mcm_image drawn(uint32_t seed) {
    static uint8_t pixels[4][IMAGE_SIDE * IMAGE_SIDE];
    CHECK(seed < 4);
    for (uint32_t i = 0; i < IMAGE_SIDE * IMAGE_SIDE; i++)
        pixels[seed][i] = (i * (5 + 2 * seed) + seed) % 11 < 5 ? 255 : 0;
    mcm_image image = MCM_IMAGE_INIT;
    image.data = pixels[seed];
    image.width = image.height = IMAGE_SIDE;
    return image;
}

static mcm_condition condition_of(const char *modality, const mcm_image *images) {
    mcm_condition condition = MCM_CONDITION_INIT;
    condition.modality = modality;
    condition.images = images;
    return condition;
}

/* A run that follows one condition, or with `condition` NULL none. */
static latent_view followed(const mcm_condition *condition, const mcm_session_options *options) {
    mcm_session *session = latent_session(model, options, 1);
    uint32_t id;
    OK(mcm_session_attach(session, modules[0], NULL, &id));
    if (condition) OK(mcm_session_set_condition(session, id, condition));
    return latent_end(session);
}

/* A sketch of the image's size is what the modality's rule makes of it at the latents' size. */
static void sketches_of_the_images_size(void) {
    for (int kind = 0; kind < LATENT_KINDS; kind++) {
        if (kind == INPAINTING) continue;
        open_parts((latent_kind)kind);
        latent_view plain = latent_end(latent_session(model, NULL, 1)), given[2];
        latent_view none = followed(NULL, NULL);
        for (uint32_t i = 0; i < 2; i++) {
            mcm_image image = drawn(i);
            mcm_condition condition = condition_of("sketch", &image);
            given[i] = followed(&condition, NULL);
            CHECK(!same_view(&given[i], &plain) && !same_view(&given[i], &none));

            const uint8_t *pixels = image.data;
            float means[LATENT_SIDE * LATENT_SIDE];
            for (int y = 0; y < LATENT_SIDE; y++)
                for (int x = 0; x < LATENT_SIDE; x++) {
                    const uint8_t *block = pixels + 2 * y * IMAGE_SIDE + 2 * x;
                    means[y * LATENT_SIDE + x] =
                        (block[0] + block[1] + block[IMAGE_SIDE] + block[IMAGE_SIDE + 1]) / (4 * 255.0f);
                }
            image.dtype = MCM_F32;
            image.data = means;
            image.width = image.height = LATENT_SIDE;
            latent_view same = followed(&condition, NULL);
            CHECK(same_view(&same, &given[i]));
        }
        CHECK(!same_view(&given[0], &given[1]));

        /* Classes are those under the pixels' centres. */
        uint8_t labels[IMAGE_SIDE * IMAGE_SIDE], centres[LATENT_SIDE * LATENT_SIDE];
        for (int i = 0; i < IMAGE_SIDE * IMAGE_SIDE; i++) labels[i] = (uint8_t)(i * 7 % 5 % TINY_CLASSES);
        for (int i = 0; i < LATENT_SIDE * LATENT_SIDE; i++)
            centres[i] = labels[(2 * (i / LATENT_SIDE) + 1) * IMAGE_SIDE + 2 * (i % LATENT_SIDE) + 1];
        mcm_image image = drawn(0);
        image.data = labels;
        mcm_condition condition = condition_of("labels", &image);
        given[0] = followed(&condition, NULL);
        image.data = centres;
        image.width = image.height = LATENT_SIDE;
        given[1] = followed(&condition, NULL);
        CHECK(same_view(&given[0], &given[1]) && !same_view(&given[0], &none));
        free_parts();
    }
}

/* e = e_u + s (e_c - e_u) by hand, the module on e or on e_c: the session's bits. */
static void modules_act_where_they_are_told(void) {
    open_parts(STABLE_DIFFUSION);
    enum { COUNT = 4 * LATENT_SIDE * LATENT_SIDE };
    mcm_image image = drawn(1);
    mcm_condition condition = condition_of("sketch", &image);
    mcm_prompt *prompts[2] = {encoded(model, "a cat"), encoded(model, "")};
    latent_view ends[2];
    for (int32_t place = MCM_MODULATE_GUIDED; place <= MCM_MODULATE_CONDITIONAL; place++) {
        mcm_rng *rng;
        mcm_scheduler *scheduler;
        float x[COUNT], e[2][COUNT];
        OK(mcm_rng_create(7, &rng));
        OK(mcm_rng_normal(rng, x, COUNT));
        OK(mcm_scheduler_create(model, MCM_SCHEDULER_DDIM, LATENT_STEPS, 0, &scheduler));
        for (uint32_t step = 0; step < LATENT_STEPS; step++) {
            mcm_step_info info = MCM_STEP_INFO_INIT;
            OK(mcm_scheduler_get_step(scheduler, step, &info));
            for (int i = 0; i < 2; i++) {
                mcm_predict_options predict = MCM_PREDICT_OPTIONS_INIT;
                predict.prompt = prompts[i];
                OK(mcm_model_predict_with(model, 1, LATENT_SIDE, LATENT_SIDE, x, COUNT, &info.timestep, &predict, e[i],
                                          COUNT));
            }
            for (int32_t at = MCM_MODULATE_CONDITIONAL; at >= MCM_MODULATE_GUIDED; at--) {
                if (at == place)
                    OK(mcm_modulator_modulate(modules[0], model, 1, LATENT_SIDE, LATENT_SIDE, x, e[0], COUNT,
                                              &info.timestep, &condition, 1, 1, e[0]));
                for (int i = 0; i < COUNT && at == MCM_MODULATE_CONDITIONAL; i++)
                    e[0][i] = e[1][i] + 5 * (e[0][i] - e[1][i]);
            }
            OK(mcm_scheduler_step(scheduler, step, 1, x, COUNT, e[0], COUNT, NULL, x, NULL));
        }
        mcm_session_options options = latent_options();
        options.guidance_scale = 5;
        options.modulate = place;
        ends[place] = followed(&condition, &options);
        SAME(x, ends[place].x, sizeof x);
        mcm_rng_free(rng);
        mcm_scheduler_free(scheduler);
    }
    CHECK(!same_view(&ends[0], &ends[1]));
    for (int i = 0; i < 2; i++) mcm_prompt_free(prompts[i]);
    free_parts();
}

enum { A = 1, B = 2, CONTROL = 4, CONTROL_LAST = 8 };

/* Two modules, each with its own sketch, and a ControlNet: those that are in `parts`. images: 1 or the batch. */
static mcm_session *together(int parts, const mcm_session_options *options, const mcm_controlnet *controlnet,
                             uint32_t first, uint32_t images, uint32_t ids[3]) {
    mcm_session *session = latent_session(model, options, 0);
    const mcm_image sketches[2][2] = {{drawn(0), drawn(1)}, {drawn(2), drawn(3)}};
    const mcm_image pictures[2] = {picture(2), picture(3)};
    mcm_attach_options attach = MCM_ATTACH_OPTIONS_INIT;
    if (parts & CONTROL)
        OK(mcm_session_attach_controlnet(session, controlnet, pictures + first, images, 0, NULL, &ids[2]));
    for (int i = 0; i < 2; i++)
        if (parts & (i == 0 ? A : B)) {
            mcm_condition condition = condition_of("sketch", sketches[i] + first);
            condition.image_count = images;
            attach.weight = i == 0 ? 0.75f : 0.25f;
            attach.end = i == 0 ? 1 : 0.5f;
            OK(mcm_session_attach(session, modules[i], &attach, &ids[i]));
            OK(mcm_session_set_condition(session, ids[i], &condition));
        }
    if (parts & CONTROL_LAST)
        OK(mcm_session_attach_controlnet(session, controlnet, pictures + first, images, 0, NULL, &ids[2]));
    return session;
}

static void several_modules_and_a_controlnet(void) {
    open_parts(STABLE_DIFFUSION);
    mcm_controlnet *controlnet = controlnet_open(&(tiny_controlnet){0});
    static const uint64_t seeds[] = {7, 8};
    static const int all[] = {0, A, B, CONTROL, A | B, A | CONTROL, B | CONTROL, A | B | CONTROL};
    enum { KINDS = sizeof all / sizeof *all };
    latent_view ends[KINDS], same;
    uint32_t ids[3];
    mcm_session *session;
    for (int i = 0; i < KINDS; i++) {
        session = together(all[i], NULL, controlnet, 0, 1, ids);
        OK(mcm_session_seed(session, seeds, 1));
        ends[i] = latent_end(session);
        for (int k = 0; k < i; k++) CHECK(!same_view(&ends[i], &ends[k]));
    }
    /* In which order ControlNet and modules come makes no difference. */
    session = together(A | B | CONTROL_LAST, NULL, controlnet, 0, 1, ids);
    OK(mcm_session_seed(session, seeds, 1));
    same = latent_end(session);
    CHECK(same_view(&same, &ends[KINDS - 1]));
    /* All are gone after a step, with and without the first step done again. */
    session = together(A | B | CONTROL, NULL, controlnet, 0, 1, ids);
    OK(mcm_session_seed(session, seeds, 1));
    OK(mcm_session_step(session));
    for (int i = 0; i < 3; i++) OK(mcm_session_detach(session, ids[i]));
    OK(mcm_session_run(session, NULL, NULL));
    same = latent_view_of(session);
    CHECK(!same_view(&same, &ends[0]));
    OK(mcm_session_seed(session, seeds, 1));
    same = latent_end(session);
    CHECK(same_view(&same, &ends[0]));
    /* Image k of a batch is what it is alone, whatever the place of the modules. */
    for (int32_t place = MCM_MODULATE_GUIDED; place <= MCM_MODULATE_CONDITIONAL; place++) {
        mcm_session_options options = latent_options();
        options.modulate = place;
        options.batch = 2;
        session = together(A | B | CONTROL, &options, controlnet, 0, 2, ids);
        OK(mcm_session_seed(session, seeds, 2));
        latent_view both = latent_end(session);
        options.batch = 1;
        for (uint32_t k = 0; k < 2; k++) {
            session = together(A | B | CONTROL, &options, controlnet, k, 1, ids);
            OK(mcm_session_seed(session, &seeds[k], 1));
            latent_view alone = latent_end(session);
            SAME(alone.x, both.x + 64 * k, 64 * sizeof(float));
        }
    }
    mcm_controlnet_free(controlnet);
    free_parts();
}

/* The module of the paper's unconditional LDM, with its 3.9 million parameters, trained for a step on a tiny one. */
static void the_papers_module(void) {
    enum { SIDE = 16, LATENTS = 3 * 8 * 8 };
    static const char config[] =
        "{\"net\":{\"sample_size\":64,\"block_out_channels\":[32,32,64,128],\"layers_per_block\":2,"
        "\"down_block_types\":[\"DownBlock2D\",\"DownBlock2D\",\"AttnDownBlock2D\",\"DownBlock2D\"],"
        "\"up_block_types\":[\"UpBlock2D\",\"AttnUpBlock2D\",\"UpBlock2D\",\"UpBlock2D\"],\"attention_head_dim\":null},"
        "\"prediction_channels\":3,\"scale_offset\":1.0,\"presence_flags\":false,\"modalities\":["
        "{\"name\":\"sketch\",\"channels\":1,\"encoding\":\"grey\",\"resize\":\"area\"},"
        "{\"name\":\"segmentation\",\"channels\":19,\"encoding\":\"one-hot\",\"resize\":\"nearest\"}]}";
    open_parts(LATENT_DIFFUSION);
    uint8_t colours[3 * SIDE * SIDE], lines[SIDE * SIDE], classes[SIDE * SIDE];
    for (int i = 0; i < 3 * SIDE * SIDE; i++) colours[i] = (uint8_t)(i * 37);
    for (int i = 0; i < SIDE * SIDE; i++) lines[i] = i % 7 < 3 ? 255 : 0, classes[i] = (uint8_t)(i / SIDE * 19 / SIDE);
    mcm_image example = MCM_IMAGE_INIT, sketch, segmentation;
    example.width = example.height = SIDE;
    sketch = segmentation = example;
    example.data = colours, example.channels = 3;
    sketch.data = lines;
    segmentation.data = classes;
    mcm_condition both[2] = {condition_of("sketch", &sketch), condition_of("segmentation", &segmentation)};

    mcm_trainer *trainer;
    mcm_trainer_options options = MCM_TRAINER_OPTIONS_INIT;
    options.warmup_steps = 0;
    mcm_trainer_state state = MCM_TRAINER_STATE_INIT;
    OK(mcm_trainer_create(model, NULL, config, &options, &trainer));
    OK(mcm_trainer_get_state(trainer, &state));
    CHECK(state.parameter_count == 3866694); /* as diffusers counts */
    mcm_modulator *module[3]; /* untrained, trained, from the file */
    OK(mcm_trainer_get_modulator(trainer, 0, &module[0]));
    mcm_batch batch = MCM_BATCH_INIT;
    batch.count = 1;
    batch.images = &example;
    batch.conditions = both;
    batch.condition_count = 2;
    for (int i = 0; i < 2; i++) OK(mcm_trainer_step(trainer, &batch, NULL));
    OK(mcm_trainer_get_modulator(trainer, 0, &module[1]));
    const char *path = path_in(scratch, "paper.mcm.safetensors");
    OK(mcm_trainer_write_modulator(trainer, path, 0, MCM_F32));
    OK(mcm_modulator_open(path, &module[2]));
    mcm_trainer_free(trainer);

    float ends[4][4][LATENTS]; /* by module, the last one being none, and by the conditions that are given */
    for (int m = 0; m < 4; m++)
        for (int given = 0; given < 4; given++) {
            mcm_session_options run = latent_options();
            run.width = run.height = SIDE;
            mcm_session *session;
            uint64_t seed = 3;
            uint32_t id;
            OK(mcm_session_create(model, &run, &session));
            OK(mcm_session_seed(session, &seed, 1));
            if (m < 3) {
                OK(mcm_session_attach(session, module[m], NULL, &id));
                for (int i = 0; i < 2; i++)
                    if (given >> i & 1) OK(mcm_session_set_condition(session, id, &both[i]));
            }
            OK(mcm_session_run(session, NULL, NULL));
            OK(mcm_session_get_sample(session, ends[m][given], LATENTS));
            mcm_session_free(session);
        }
    SAME(ends[0], ends[3], sizeof ends[0]); /* untrained: nothing changes */
    SAME(ends[1], ends[2], sizeof ends[1]);
    for (int given = 0; given < 4; given++)
        for (int other = 0; other <= given; other++)
            CHECK(memcmp(ends[1][given], other == given ? ends[3][0] : ends[1][other], sizeof ends[0][0]) != 0);
    for (int i = 0; i < 3; i++) mcm_modulator_free(module[i]);
    free_parts();
}

const test latent_module_tests[] = {
    {"sketches_of_the_images_size", sketches_of_the_images_size},
    {"modules_act_where_they_are_told", modules_act_where_they_are_told},
    {"several_modules_and_a_controlnet", several_modules_and_a_controlnet},
    {"the_papers_module", the_papers_module},
    {NULL, NULL},
};

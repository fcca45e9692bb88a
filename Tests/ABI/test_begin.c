/* Runs that begin from an image, or paint in one. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "latent_session.h"

static mcm_image pictures[2], mask;

static mcm_model *open_parts(latent_kind kind) {
    pictures[0] = picture(0);
    pictures[1] = picture(1);
    mask = half_mask();
    return latent_model_open(&(latent_model){.kind = kind}, 2);
}

static const uint64_t seven = 7;

static void begins_from_an_image(void) {
    for (int kind = 0; kind < LATENT_KINDS; kind++) {
        if (kind == INPAINTING) continue;
        mcm_model *model = open_parts((latent_kind)kind);
        latent_view noise = latent_end(latent_session(model, NULL, 1));
        mcm_session_options options = latent_options();
        for (int i = 0; i < 2; i++) {
            options.strength = i == 0 ? 1 : 0.5;
            mcm_session *session = latent_session(model, &options, 0);
            OK(mcm_session_set_image(session, pictures, 1));
            OK(mcm_session_seed(session, &seven, 1));
            CHECK(latent_view_of(session).state.steps == (i == 0 ? LATENT_STEPS : LATENT_STEPS / 2));
            latent_view end = latent_end(session);
            CHECK(memcmp(end.x, noise.x, sizeof end.x) != 0);
            /* Again from the same image, and after it is taken away from none. */
            session = latent_session(model, &options, 0);
            OK(mcm_session_set_image(session, &pictures[1], 1));
            OK(mcm_session_set_image(session, &pictures[0], 1));
            OK(mcm_session_seed(session, &seven, 1));
            OK(mcm_session_step(session));
            OK(mcm_session_seed(session, &seven, 1));
            OK(mcm_session_run(session, NULL, NULL));
            latent_view again = latent_view_of(session);
            CHECK(same_view(&again, &end));
            OK(mcm_session_set_image(session, NULL, 0));
            if (i == 0) {
                OK(mcm_session_seed(session, &seven, 1));
                latent_view plain = latent_end(session);
                CHECK(same_view(&plain, &noise));
            } else {
                UNCHANGED(MCM_ERROR_STATE, session, mcm_session_seed(session, &seven, 1));
                mcm_session_free(session);
            }
        }
        mcm_model_free(model);
    }
}

static void strength_needs_an_image(void) {
    mcm_model *model = open_parts(STABLE_DIFFUSION);
    mcm_session_options options = latent_options();
    options.strength = 0.5;
    mcm_session *session = latent_session(model, &options, 0);
    STATUS(MCM_ERROR_STATE, mcm_session_seed(session, &seven, 1));
    CHECK(!latent_view_of(session).state.seeded);
    mcm_session_free(session);
    uint8_t pixels[IMAGE_BYTES];
    mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
    generate.session = &options;
    STATUS(MCM_ERROR_STATE, mcm_generate(model, &generate, pixels, IMAGE_BYTES));
    options.strength = 0; /* no step is left */
    INVALID(mcm_session_create(model, &options, &session));
    options.strength = 0.2; /* of four */
    INVALID(mcm_session_create(model, &options, &session));
    mcm_model_free(model);
}

static void images_to_begin_from_that_do_not_fit(void) {
    mcm_model *model = open_parts(STABLE_DIFFUSION);
    mcm_session *session = latent_session(model, NULL, 0);
    OK(mcm_session_set_image(session, pictures, 1));
    OK(mcm_session_set_mask(session, &mask, 1));
    OK(mcm_session_seed(session, &seven, 1));
    latent_view begun = latent_view_of(session);
    float bad[IMAGE_BYTES] = {0};
    for (int i = 0; i < 7; i++) {
        mcm_image image = pictures[0], other = mask;
        mcm_status expected = MCM_ERROR_SIZE;
        switch (i) {
        case 0: image.width = other.width = 4; break;
        case 1: image.height = other.height = 7; break;
        case 2: image.channels = 4, image.data = bad, other.channels = 3, other.data = pictures[0].data; break;
        case 3: image.data = other.data = NULL, expected = MCM_ERROR_INVALID_ARGUMENT; break;
        case 4: image.struct_size = other.struct_size = 4, expected = MCM_ERROR_STRUCT_SIZE; break;
        case 5: bad[2] = NAN, expected = MCM_ERROR_INVALID_ARGUMENT; break;
        case 6: bad[2] = 1.5f, expected = MCM_ERROR_INVALID_ARGUMENT; break;
        }
        if (i >= 5) {
            image.dtype = other.dtype = MCM_F32;
            image.data = other.data = bad;
        }
        UNCHANGED(expected, session, mcm_session_set_image(session, &image, 1));
        UNCHANGED(expected, session, mcm_session_set_mask(session, &other, 1));
    }
    static const uint32_t counts[] = {2, 3, UINT32_MAX};
    for (int i = 0; i < 3; i++) {
        UNCHANGED(MCM_ERROR_SIZE, session, mcm_session_set_image(session, pictures, counts[i]));
        UNCHANGED(MCM_ERROR_SIZE, session, mcm_session_set_mask(session, &mask, counts[i]));
    }
    /* Image and mask are those that were set. */
    OK(mcm_session_seed(session, &seven, 1));
    latent_view again = latent_view_of(session);
    CHECK(same_view(&begun, &again));
    mcm_session_free(session);
    mcm_session_options options = latent_options();
    options.batch = 3;
    session = latent_session(model, &options, 0);
    STATUS(MCM_ERROR_SIZE, mcm_session_set_image(session, pictures, 2));
    mcm_session_free(session);
    mcm_model_free(model);
}

static void masks_need_an_image(void) {
    mcm_model *model = open_parts(STABLE_DIFFUSION);
    mcm_session *session = latent_session(model, NULL, 1);
    OK(mcm_session_step(session));
    OK(mcm_session_set_mask(session, &mask, 1));
    UNCHANGED(MCM_ERROR_STATE, session, mcm_session_seed(session, &seven, 1));
    OK(mcm_session_set_mask(session, NULL, 0));
    OK(mcm_session_seed(session, &seven, 1));
    mcm_session_free(session);
    mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
    uint8_t pixels[IMAGE_BYTES];
    generate.masks = &mask;
    generate.mask_count = 1;
    STATUS(MCM_ERROR_STATE, mcm_generate(model, &generate, pixels, IMAGE_BYTES));
    mcm_model_free(model);

    model = open_parts(INPAINTING);
    session = latent_session(model, NULL, 0);
    STATUS(MCM_ERROR_STATE, mcm_session_seed(session, &seven, 1));
    OK(mcm_session_set_image(session, pictures, 1));
    STATUS(MCM_ERROR_STATE, mcm_session_seed(session, &seven, 1));
    OK(mcm_session_set_mask(session, &mask, 1));
    OK(mcm_session_seed(session, &seven, 1));
    latent_end(session);
    mcm_model_free(model);
}

/* Where nothing is painted, the result is the image's. */
static void what_is_not_painted_stays(void) {
    mcm_model *model = open_parts(STABLE_DIFFUSION);
    latent_view ends[2];
    for (int k = 0; k < 2; k++) {
        mcm_session *session = latent_session(model, NULL, 0);
        OK(mcm_session_set_image(session, &pictures[k], 1));
        OK(mcm_session_set_mask(session, &mask, 1));
        OK(mcm_session_seed(session, &seven, 1));
        ends[k] = latent_end(session);
    }
    for (int c = 0; c < 4; c++)
        for (int y = 0; y < LATENT_SIDE; y++) CHECK(ends[0].x[(c * 4 + y) * 4] != ends[1].x[(c * 4 + y) * 4]);
    mcm_model_free(model);
}

/* Image k of a batch with images and masks of their own is what it is alone. */
static void an_image_for_each_of_a_batch(void) {
    for (int kind = STABLE_DIFFUSION; kind <= INPAINTING; kind++) {
        static const uint64_t seeds[] = {7, 8};
        mcm_model *model = open_parts((latent_kind)kind);
        mcm_session_options options = latent_options();
        options.batch = 2;
        options.strength = 0.75;
        mcm_session *session = latent_session(model, &options, 0);
        OK(mcm_session_set_image(session, pictures, 2));
        OK(mcm_session_set_mask(session, &mask, 1));
        OK(mcm_session_seed(session, seeds, 2));
        latent_view both = latent_end(session);
        options.batch = 1;
        for (int k = 0; k < 2; k++) {
            session = latent_session(model, &options, 0);
            OK(mcm_session_set_image(session, &pictures[k], 1));
            OK(mcm_session_set_mask(session, &mask, 1));
            OK(mcm_session_seed(session, &seeds[k], 1));
            latent_view alone = latent_end(session);
            SAME(alone.x, both.x + 64 * k, 64 * sizeof(float));
        }
        mcm_model_free(model);
    }
}

static void generate_from_an_image(void) {
    for (int kind = STABLE_DIFFUSION; kind <= INPAINTING; kind++) {
        mcm_model *model = open_parts((latent_kind)kind);
        mcm_session_options options = latent_options();
        options.strength = 0.75;
        uint8_t pixels[IMAGE_BYTES], expected[IMAGE_BYTES];
        mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
        generate.session = &options;
        generate.seeds = &seven;
        generate.seed_count = 1;
        generate.prompt = "a cat";
        generate.images = pictures;
        generate.masks = &mask;
        generate.image_count = generate.mask_count = 1;
        OK(mcm_generate(model, &generate, pixels, IMAGE_BYTES));
        mcm_session *session = latent_session(model, &options, 0);
        OK(mcm_session_set_image(session, pictures, 1));
        OK(mcm_session_set_mask(session, &mask, 1));
        OK(mcm_session_seed(session, &seven, 1));
        OK(mcm_session_run(session, NULL, NULL));
        OK(mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, expected, IMAGE_BYTES));
        SAME(pixels, expected, IMAGE_BYTES);
        mcm_session_free(session);
        generate.image_count = 2;
        STATUS(MCM_ERROR_SIZE, mcm_generate(model, &generate, pixels, IMAGE_BYTES));
        generate.image_count = 1;
        generate.images = NULL;
        INVALID(mcm_generate(model, &generate, pixels, IMAGE_BYTES));
        mcm_model_free(model);
    }
}

/* An image or mask that is changed between steps is for the next seed. */
static void images_are_for_the_next_seed(void) {
    mcm_model *model = open_parts(INPAINTING);
    latent_view ends[2];
    for (int changing = 0; changing < 2; changing++) {
        mcm_session *session = latent_session(model, NULL, 0);
        OK(mcm_session_set_image(session, pictures, 1));
        OK(mcm_session_set_mask(session, &mask, 1));
        OK(mcm_session_seed(session, &seven, 1));
        OK(mcm_session_step(session));
        if (changing) {
            OK(mcm_session_set_image(session, &pictures[1], 1));
            OK(mcm_session_step(session));
            OK(mcm_session_set_mask(session, NULL, 0));
            OK(mcm_session_set_image(session, NULL, 0));
        }
        ends[changing] = latent_end(session);
    }
    CHECK(same_view(&ends[0], &ends[1]));
    mcm_model_free(model);
}

const test begin_tests[] = {
    {"begins_from_an_image", begins_from_an_image},
    {"strength_needs_an_image", strength_needs_an_image},
    {"images_to_begin_from_that_do_not_fit", images_to_begin_from_that_do_not_fit},
    {"masks_need_an_image", masks_need_an_image},
    {"what_is_not_painted_stays", what_is_not_painted_stays},
    {"an_image_for_each_of_a_batch", an_image_for_each_of_a_batch},
    {"generate_from_an_image", generate_from_an_image},
    {"images_are_for_the_next_seed", images_are_for_the_next_seed},
    {NULL, NULL},
};

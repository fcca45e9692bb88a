/* Module files, sound and damaged; what modulation does. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "tiny.h"

static void info_of_the_fashion_module(void) {
    mcm_model *model = open_fashion_model(1);
    mcm_modulator *module = open_fashion_module();
    mcm_modulator_info info = MCM_MODULATOR_INFO_INIT;
    mcm_model_info base = MCM_MODEL_INFO_INIT;
    OK(mcm_modulator_get_info(module, &info));
    OK(mcm_model_get_info(model, &base));
    CHECK(info.modality_count == 2 && info.prediction_channels == 1);
    CHECK(info.prediction_type == MCM_PREDICTION_EPSILON);
    CHECK(info.parameter_count > 10000 && info.parameter_count < base.parameter_count / 10);
    CHECK(strcmp(info.base_fingerprint, base.fingerprint) == 0);
    mcm_modality_info sketch = MCM_MODALITY_INFO_INIT, segmentation = MCM_MODALITY_INFO_INIT;
    OK(mcm_modulator_get_modality(module, 0, &sketch));
    OK(mcm_modulator_get_modality(module, 1, &segmentation));
    CHECK(strcmp(sketch.name, "sketch") == 0 && sketch.channels == 1);
    CHECK(sketch.encoding == MCM_ENCODING_GREY && sketch.resize == MCM_RESIZE_AREA);
    CHECK(strcmp(segmentation.name, "segmentation") == 0 && segmentation.channels == 11);
    CHECK(segmentation.encoding == MCM_ENCODING_ONE_HOT && segmentation.resize == MCM_RESIZE_NEAREST);
    OK(mcm_modulator_check(module, model));
    mcm_modulator_free(module);
    mcm_model_free(model);
}

static void info_of_a_tiny_module(void) {
    mcm_modulator *module = tiny_module_open(&(tiny_module){.channels = 3});
    mcm_modulator_info info = MCM_MODULATOR_INFO_INIT;
    mcm_modality_info photo = MCM_MODALITY_INFO_INIT;
    OK(mcm_modulator_get_info(module, &info));
    CHECK(info.modality_count == 3 && info.prediction_channels == 3 && info.prediction_type == 0);
    CHECK(info.base_fingerprint[0] == '\0');
    OK(mcm_modulator_get_modality(module, 2, &photo));
    CHECK(strcmp(photo.name, "photo") == 0 && photo.channels == 3);
    CHECK(photo.encoding == MCM_ENCODING_RGB && photo.resize == MCM_RESIZE_BILINEAR);
    mcm_modulator_free(module);
}

static void truncated_at_every_byte(void) {
    bytes file = tiny_module_file(&(tiny_module){0});
    for (size_t size = 0; size < file.size; size++) {
        mcm_modulator *module = NULL;
        STATUS(MCM_ERROR_FORMAT, mcm_modulator_open_memory(file.data, size, &module));
        CHECK(module == NULL);
    }
    free(file.data);
}

static void fashion_module_truncated(void) {
    static unsigned char data[1 << 20];
    FILE *f = fopen(path_in(fashion, "module.mcm.safetensors"), "rb");
    CHECK(f);
    size_t size = fread(data, 1, sizeof data, f);
    CHECK(size > 1000 && size < sizeof data);
    fclose(f);
    for (size_t n = 0; n < size; n += n + 256 < size ? 97 : 1) {
        mcm_modulator *module = NULL;
        STATUS(MCM_ERROR_FORMAT, mcm_modulator_open_memory(data, n, &module));
        CHECK(module == NULL);
    }
    const char *path = path_in(scratch, "truncated.safetensors");
    for (size_t n = 0; n < size; n += 9973) {
        mcm_modulator *module = NULL;
        write_file(path, data, n);
        STATUS(MCM_ERROR_FORMAT, mcm_modulator_open(path, &module));
        MESSAGE("truncated.safetensors");
    }
}

static void any_byte_changed_does_not_crash(void) {
    bytes file = tiny_module_file(&(tiny_module){0});
    size_t header = 8;
    for (int i = 7; i >= 0; i--) header = i == 7 ? file.data[i] : header << 8 | file.data[i];
    CHECK(header < file.size - 8);
    for (size_t i = 0; i < 8 + header; i++) {
        static const unsigned char changes[] = {0x01, 0x80, 0xff};
        for (int k = 0; k < 3; k++) {
            mcm_modulator *module = NULL;
            file.data[i] ^= changes[k];
            mcm_status status = mcm_modulator_open_memory(file.data, file.size, &module);
            CHECK((status == MCM_OK) == (module != NULL));
            mcm_modulator_free(module);
            file.data[i] ^= changes[k];
        }
    }
    free(file.data);
}

static void files_that_are_none(void) {
    mcm_modulator *module = NULL;
    STATUS(MCM_ERROR_IO, mcm_modulator_open("/no/such/module.safetensors", &module));
    MESSAGE("/no/such/module.safetensors");
    STATUS(ANY_DATA, mcm_modulator_open(scratch, &module)); /* a folder */
    STATUS(MCM_ERROR_IO, mcm_modulator_open("", &module));
    STATUS(ANY_DATA, mcm_modulator_open("/no/such\r\nmodule", &module));
    /* The base's file is sound, but no module. */
    const char *base = path_in(fashion, "base/unet/diffusion_pytorch_model.safetensors");
    STATUS(MCM_ERROR_FORMAT, mcm_modulator_open(base, &module));
    static const char sixteen[] = "0123456789abcdef";
    STATUS(MCM_ERROR_FORMAT, mcm_modulator_open_memory(sixteen, 16, &module));
    static const unsigned char lengths[][16] = {
        {8, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' ', ' ', ' ', ' ', ' '},       /* no metadata */
        {9, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' ', ' ', ' ', ' ', ' '},       /* one byte more than there are */
        {0, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' ', ' ', ' ', ' ', ' '},
        {255, 255, 255, 255, 255, 255, 255, 255, '{', '}'},
        {248, 255, 255, 255, 255, 255, 255, 255, '{', '}'},                     /* 8 + length is 0 */
        {8, 0, 0, 0, 0, 0, 0, 128, '{', '}'},
    };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        STATUS(MCM_ERROR_FORMAT, mcm_modulator_open_memory(lengths[i], 16, &module));
    CHECK(module == NULL);
}

/* Changes of the metadata; backslashes, since the config is JSON as text inside JSON. */
static void metadata_that_is_wrong(void) {
    static const char *const changes[][2] = {
        {"\"format\":\"mcm\"", "\"format\":\"pt\""},
        {"\"version\":\"1\"", "\"version\":\"2\""},
        {"\"version\":\"1\"", "\"version\":1"},
        {"\"format\":\"mcm\",", ""},
        {"\"config\"", "\"konfig\""},
        {"{\\\"net\\\"", "[\\\"net\\\""},
        {"\\\"net\\\":{", "\\\"nett\\\":{"},
        {"[4]", "[5]"},
        {"[4]", "[-4]"},
        {"[4]", "[4,4]"},
        {"\\\"norm_num_groups\\\":1", "\\\"norm_num_groups\\\":0"},
        {"\\\"norm_num_groups\\\":1", "\\\"norm_num_groups\\\":3"},
        {"\\\"prediction_channels\\\":1", "\\\"prediction_channels\\\":0"},
        {"\\\"prediction_channels\\\":1", "\\\"prediction_channels\\\":2"},
        {"\\\"prediction_channels\\\":1", "\\\"prediction_channels\\\":-1"},
        {"\\\"prediction_channels\\\":1", "\\\"prediction_channels\\\":1e18"},
        {"\\\"scale_offset\\\":1.0", "\\\"scale_offset\\\":\\\"one\\\""},
        {"\\\"scale_offset\\\":1.0", "\\\"scale_offset\\\":1e999"},
        {"\\\"presence_flags\\\":true", "\\\"presence_flags\\\":false"},
        {"\\\"presence_flags\\\":true", "\\\"presence_flags\\\":7"},
        {"\\\"name\\\":\\\"sketch\\\"", "\\\"name\\\":\\\"\\\""},
        {"\\\"name\\\":\\\"sketch\\\"", "\\\"name\\\":\\\"labels\\\""}, /* twice the same */
        {"\\\"name\\\":\\\"sketch\\\"", "\\\"name\\\":7"},
        {"\\\"name\\\":\\\"sketch\\\"",
         "\\\"name\\\":\\\"a name that is longer than the 63 bytes that the struct of the C interface can hold\\\""},
        {"\\\"channels\\\":1,", "\\\"channels\\\":0,"},
        {"\\\"channels\\\":1,", "\\\"channels\\\":3,"}, /* grey has one */
        {"\\\"channels\\\":3,", "\\\"channels\\\":1000000000000,"},
        {"\\\"channels\\\":3,", "\\\"channels\\\":-3,"},
        {"\\\"grey\\\"", "\\\"mystery\\\""},
        {"\\\"area\\\"", "\\\"mystery\\\""},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        mcm_modulator *module = NULL;
        bytes file = tiny_module_file(&(tiny_module){.damage = {.from = changes[i][0], .to = changes[i][1]}});
        mcm_status status = mcm_modulator_open_memory(file.data, file.size, &module);
        if (status == MCM_OK) printf("    opened with %s\n", changes[i][1]);
        STATUS(ANY_DATA, status);
        CHECK(module == NULL);
        free(file.data);
    }
}

static void tensors_that_do_not_fit(void) {
    static const struct {
        damage damage;
        const char *named;
    } cases[] = {
        {{.not_finite = "mid_block.attentions.0.to_q.weight"}, "mid_block.attentions.0.to_q.weight"},
        {{.not_finite = "conv_out.bias"}, "conv_out.bias"},
        {{.missing = "time_embedding.linear_1.bias"}, "time_embedding.linear_1.bias"},
        {{.surplus = "mystery"}, "mystery.weight"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mcm_modulator *module = NULL;
        bytes file = tiny_module_file(&(tiny_module){.damage = cases[i].damage});
        STATUS(MCM_ERROR_FORMAT, mcm_modulator_open_memory(file.data, file.size, &module));
        MESSAGE(cases[i].named);
        CHECK(module == NULL);
        free(file.data);
    }
}

static void module_for_another_base(void) {
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1), *colour = tiny_model_open(&(tiny_model){.channels = 3}, 1);
    mcm_model_info info = MCM_MODEL_INFO_INIT;
    OK(mcm_model_get_info(model, &info));
    mcm_modulator *unsaid = tiny_module_open(&(tiny_module){0});
    mcm_modulator *own = tiny_module_open(&(tiny_module){.fingerprint = info.fingerprint});
    mcm_modulator *other = tiny_module_open(&(tiny_module){.fingerprint = "0123456789abcdef"});
    mcm_session *session, *colour_session;
    OK(mcm_session_create(model, NULL, &session));
    OK(mcm_session_create(colour, NULL, &colour_session));

    OK(mcm_modulator_check(unsaid, model));
    OK(mcm_modulator_check(own, model));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_modulator_check(other, model));
    OK(mcm_session_attach(session, own, NULL, NULL));
    uint32_t id = 12345;
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_session_attach(session, other, NULL, &id));
    CHECK(id == 12345);
    mcm_attach_options options = MCM_ATTACH_OPTIONS_INIT;
    options.other_base = 1;
    OK(mcm_session_attach(session, other, &options, &id));

    /* The number of channels cannot be overlooked. */
    float x[192] = {0}, t = 1;
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_modulator_check(unsaid, colour));
    STATUS(MCM_ERROR_INCOMPATIBLE, mcm_session_attach(colour_session, unsaid, &options, NULL));
    STATUS(MCM_ERROR_INCOMPATIBLE,
           mcm_modulator_modulate(unsaid, colour, 1, 8, 8, x, x, 192, &t, NULL, 0, 1, x));
    mcm_session_free(colour_session);
    mcm_session_free(session);
    mcm_modulator_free(other);
    mcm_modulator_free(own);
    mcm_modulator_free(unsaid);
    mcm_model_free(colour);
    mcm_model_free(model);
}

static struct {
    mcm_model *model;
    mcm_condition conditions[TINY_CONDITIONS];
    float x[2 * 64], e[2 * 64], t[2];
} given;

static void set_given(void) {
    given.model = tiny_model_open(&(tiny_model){0}, 1);
    tiny_conditions(2, given.conditions);
    given.t[0] = 700, given.t[1] = 30;
    for (int i = 0; i < 128; i++) given.x[i] = (float)(i * 5 % 23) / 11 - 1, given.e[i] = (float)(i * 7 % 19) / 9 - 1;
}

static void modulate(const mcm_modulator *module, const mcm_condition *conditions, uint32_t count, float weight,
                     float *out) {
    OK(mcm_modulator_modulate(module, given.model, 2, 8, 8, given.x, given.e, 128, given.t, conditions, count, weight,
                              out));
}

static void untrained_module_changes_no_bit(void) {
    float out[128];
    set_given();
    mcm_modulator *module = tiny_module_open(&(tiny_module){.untrained = 1});
    modulate(module, given.conditions, 3, 1, out);
    SAME(out, given.e, sizeof out);
    modulate(module, NULL, 0, 1, out);
    SAME(out, given.e, sizeof out);
    mcm_modulator_free(module);
    mcm_model_free(given.model);
}

static void weight_of_a_modulation(void) {
    float none[128], half[128], full[128];
    set_given();
    given.e[3] = -0.0f; /* its sign is a bit, too */
    mcm_modulator *module = tiny_module_open(&(tiny_module){0});
    modulate(module, given.conditions, 3, 0, none);
    modulate(module, given.conditions, 3, 0.5f, half);
    modulate(module, given.conditions, 3, 1, full);
    SAME(none, given.e, sizeof none);
    CHECK(memcmp(full, given.e, sizeof full) != 0);
    for (int i = 0; i < 128; i++) CHECK(fabsf(half[i] - (given.e[i] + full[i]) / 2) < 1e-5f);
    mcm_modulator_free(module);
    mcm_model_free(given.model);
}

static void modulation_in_place_and_again(void) {
    float out[128], in_place[128];
    set_given();
    mcm_modulator *module = tiny_module_open(&(tiny_module){0});
    memcpy(in_place, given.e, sizeof in_place);
    modulate(module, given.conditions, 3, 0.75f, out);
    OK(mcm_modulator_modulate(module, given.model, 2, 8, 8, given.x, in_place, 128, given.t, given.conditions, 3,
                              0.75f, in_place));
    SAME(in_place, out, sizeof out);
    modulate(module, given.conditions, 3, 0.75f, in_place);
    SAME(in_place, out, sizeof out);
    mcm_modulator_free(module);
    mcm_model_free(given.model);
}

/* The order of conditions is of no account; each of them is of some. */
static void every_condition_matters(void) {
    float all[128], other[128];
    set_given();
    mcm_modulator *module = tiny_module_open(&(tiny_module){0});
    mcm_condition *c = given.conditions, reversed[3] = {c[2], c[1], c[0]};
    modulate(module, c, 3, 1, all);
    modulate(module, reversed, 3, 1, other);
    SAME(all, other, sizeof all);
    modulate(module, c, 2, 1, other);
    CHECK(memcmp(all, other, sizeof all) != 0);
    modulate(module, c + 1, 2, 1, other);
    CHECK(memcmp(all, other, sizeof all) != 0);
    /* "Not given" differs from "all zero". */
    uint8_t black[64] = {0};
    mcm_image image = c[0].images[0];
    image.data = black;
    mcm_condition zero = c[0];
    zero.images = &image;
    zero.image_count = 1;
    modulate(module, NULL, 0, 1, all);
    modulate(module, &zero, 1, 1, other);
    CHECK(memcmp(all, other, sizeof all) != 0);
    mcm_modulator_free(module);
    mcm_model_free(given.model);
}

/* Grey and RGB images of floats, and images with a stride, are the same as plain bytes. */
static void ways_to_show_an_image(void) {
    float plain[128], other[128], floats[64 * 3];
    uint8_t spread[8 * 40];
    set_given();
    mcm_modulator *module = tiny_module_open(&(tiny_module){0});
    for (int m = 0; m < 3; m++) {
        mcm_condition c = given.conditions[m];
        mcm_image image = c.images[0];
        const uint8_t *pixels = image.data;
        size_t row = 8 * image.channels;
        c.image_count = 1;
        modulate(module, &c, 1, 1, plain);
        c.images = &image;
        for (size_t i = 0; i < 8 * row; i++) floats[i] = m == 1 ? pixels[i] : pixels[i] / 255.0f;
        image.dtype = MCM_F32;
        image.data = floats;
        modulate(module, &c, 1, 1, other);
        SAME(plain, other, sizeof plain);
        memset(spread, 0xff, sizeof spread);
        for (int y = 0; y < 8; y++) memcpy(spread + 40 * y, pixels + row * y, row);
        image.dtype = MCM_U8;
        image.data = spread;
        image.row_stride = 40;
        modulate(module, &c, 1, 1, other);
        SAME(plain, other, sizeof plain);
    }
    mcm_modulator_free(module);
    mcm_model_free(given.model);
}

/* A grey modality takes an RGB image's luminance, an RGB modality a grey image three times; classes have no colours. */
static void grey_and_colours(void) {
    static const uint8_t corner[] = {255, 0, 0, 0, 255, 0, 0, 0, 255, 200, 100, 50}; /* luminance 76, 150, 29, 124 */
    static const uint8_t corner_greys[] = {76, 150, 29, 124};
    float plain[128], other[128];
    uint8_t greys[64], colours[64 * 3];
    set_given();
    mcm_modulator *module = tiny_module_open(&(tiny_module){0});
    for (int m = 0; m < 3; m++) {
        mcm_condition c = given.conditions[m];
        mcm_image image = c.images[0];
        c.image_count = 1;
        c.images = &image;
        for (int i = 0; i < 64; i++) {
            greys[i] = (uint8_t)(m == 1 ? i % TINY_CLASSES : i * 4);
            memset(colours + 3 * i, greys[i], 3);
        }
        if (m == 0) {
            memcpy(greys, corner_greys, sizeof corner_greys);
            memcpy(colours, corner, sizeof corner);
        }
        image.data = greys;
        image.channels = 1;
        modulate(module, &c, 1, 1, plain);
        image.data = colours;
        image.channels = 3;
        if (m == 1) {
            STATUS(MCM_ERROR_INCOMPATIBLE, mcm_modulator_modulate(module, given.model, 2, 8, 8, given.x, given.e, 128,
                                                                  given.t, &c, 1, 1, other));
            MESSAGE("3 channels");
            MESSAGE("class indices");
        } else {
            modulate(module, &c, 1, 1, other);
            SAME(plain, other, sizeof plain);
        }
    }
    mcm_modulator_free(module);
    mcm_model_free(given.model);
}

/* An image of twice the size, each pixel doubled, is scaled back to the original by the nearest and the area rule. */
static void conditions_are_resized(void) {
    float plain[128], other[128];
    uint8_t doubled[256];
    set_given();
    mcm_modulator *module = tiny_module_open(&(tiny_module){0});
    for (int m = 0; m < 2; m++) {
        mcm_condition c = given.conditions[m];
        mcm_image image = c.images[0];
        c.image_count = 1;
        modulate(module, &c, 1, 1, plain);
        for (int i = 0; i < 256; i++) doubled[i] = ((const uint8_t *)image.data)[i / 32 * 8 + i % 16 / 2];
        image.data = doubled;
        image.width = image.height = 16;
        c.images = &image;
        modulate(module, &c, 1, 1, other);
        SAME(plain, other, sizeof plain);
    }
    mcm_modulator_free(module);
    mcm_model_free(given.model);
}

const test modulator_tests[] = {
    {"info_of_the_fashion_module", info_of_the_fashion_module},
    {"info_of_a_tiny_module", info_of_a_tiny_module},
    {"truncated_at_every_byte", truncated_at_every_byte},
    {"fashion_module_truncated", fashion_module_truncated},
    {"any_byte_changed_does_not_crash", any_byte_changed_does_not_crash},
    {"files_that_are_none", files_that_are_none},
    {"metadata_that_is_wrong", metadata_that_is_wrong},
    {"tensors_that_do_not_fit", tensors_that_do_not_fit},
    {"module_for_another_base", module_for_another_base},
    {"untrained_module_changes_no_bit", untrained_module_changes_no_bit},
    {"weight_of_a_modulation", weight_of_a_modulation},
    {"modulation_in_place_and_again", modulation_in_place_and_again},
    {"every_condition_matters", every_condition_matters},
    {"ways_to_show_an_image", ways_to_show_an_image},
    {"grey_and_colours", grey_and_colours},
    {"conditions_are_resized", conditions_are_resized},
    {NULL, NULL},
};

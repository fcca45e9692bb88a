/* PNG files in and out, sound and not. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "drawing.h"
#include "png.h"

static mcm_image view(const uint8_t *pixels, uint32_t width, uint32_t height, uint32_t channels) {
    mcm_image image = MCM_IMAGE_INIT;
    image.data = pixels;
    image.width = width;
    image.height = height;
    image.channels = channels;
    return image;
}

static void png_round_trip(void) {
    enum { W = 13, H = 7 };
    uint8_t pixels[W * H * 4], back[W * H * 4];
    for (int i = 0; i < W * H * 4; i++) pixels[i] = (uint8_t)(i * 91 + i / 7);
    const char *path = path_in(scratch, "round.png");
    static const uint32_t channels[] = {1, 3, 4};
    for (int i = 0; i < 3; i++) {
        mcm_image image = view(pixels, W, H, channels[i]);
        OK(mcm_png_write(path, &image));
        uint32_t w, h, c;
        OK(mcm_png_size(path, &w, &h, &c));
        CHECK(w == W && h == H && c == channels[i]);
        OK(mcm_png_size(path, NULL, NULL, NULL));
        OK(mcm_png_read(path, back, W * H * c));
        SAME(back, pixels, W * H * c);
        STATUS(MCM_ERROR_SIZE, mcm_png_read(path, back, W * H * c - 1));
        STATUS(MCM_ERROR_SIZE, mcm_png_read(path, back, W * H * c + 1));
        STATUS(MCM_ERROR_SIZE, mcm_png_read(path, back, 0));
    }
}

static void png_write_follows_the_stride(void) {
    enum { W = 5, H = 4, STRIDE = 17 };
    uint8_t pixels[H * STRIDE], back[W * H * 3];
    for (int i = 0; i < H * STRIDE; i++) pixels[i] = (uint8_t)(i * 13);
    mcm_image image = view(pixels, W, H, 3);
    image.row_stride = STRIDE;
    const char *path = path_in(scratch, "stride.png");
    OK(mcm_png_write(path, &image));
    OK(mcm_png_read(path, back, sizeof back));
    for (int y = 0; y < H; y++) SAME(back + y * W * 3, pixels + y * STRIDE, W * 3);
}

static void png_write_refuses(void) {
    const char *path = path_in(scratch, "refused.png");
    uint8_t pixels[64] = {0};
    mcm_image image = view(pixels, 4, 4, 1);
    image.dtype = MCM_F32;
    MISUSE(mcm_png_write(path, &image));
    image = view(pixels, 4, 4, 2);
    MISUSE(mcm_png_write(path, &image));
    image = view(pixels, 0, 4, 1);
    MISUSE(mcm_png_write(path, &image));
    image = view(pixels, 4, 65537, 1);
    MISUSE(mcm_png_write(path, &image));
    image = view(pixels, 4, 4, 3);
    image.row_stride = 11;
    MISUSE(mcm_png_write(path, &image));
    image.row_stride = SIZE_MAX;
    MISUSE(mcm_png_write(path, &image));
    image = view(NULL, 4, 4, 1);
    INVALID(mcm_png_write(path, &image));
    CHECK(fopen(path, "rb") == NULL); /* nothing was written */
    image = view(pixels, 4, 4, 1);
    STATUS(MCM_ERROR_IO, mcm_png_write(path_in(scratch, "no/such/folder.png"), &image));
    STATUS(MCM_ERROR_IO, mcm_png_write(scratch, &image));
    STATUS(MCM_ERROR_IO, mcm_png_write("", &image));
}

static void png_kinds(void) {
    static const struct {
        int depth, type;
        size_t row;
        int colours;
        mcm_status status;
        uint32_t channels;
    } kinds[] = {
        {8, PNG_GREY, 4, 0, MCM_OK, 1},
        {8, PNG_RGB, 12, 0, MCM_OK, 3},
        {8, PNG_RGBA, 16, 0, MCM_OK, 4},
        {8, PNG_PALETTE, 4, 9, MCM_OK, 3},
        {16, PNG_GREY, 8, 0, MCM_ERROR_UNSUPPORTED, 0},
        {16, PNG_RGB, 24, 0, MCM_ERROR_UNSUPPORTED, 0},
        {8, 5, 4, 0, MCM_ERROR_FORMAT, 0}, /* no such colour type */
    };
    uint8_t rows[24 * 4], pixels[64];
    const char *path = path_in(scratch, "kind.png");
    for (int i = 0; i < 24 * 4; i++) rows[i] = (uint8_t)(i % 9);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bytes file = png_file(4, 4, kinds[i].depth, kinds[i].type, rows, 4, kinds[i].row, kinds[i].colours);
        write_file(path, file.data, file.size);
        free(file.data);
        uint32_t channels = 0;
        STATUS(kinds[i].status, mcm_png_size(path, NULL, NULL, &channels));
        CHECK(channels == kinds[i].channels);
        STATUS(kinds[i].status, mcm_png_read(path, pixels, channels ? 16 * channels : sizeof pixels));
        if (kinds[i].type == PNG_RGBA) SAME(pixels, rows, 64);
        if (channels == 3 && kinds[i].colours > 0)
            for (int p = 0; p < 48; p++) CHECK(pixels[p] == rows[p / 3] * (p % 3 + 1));
    }
}

static void palette_that_is_missing(void) {
    uint8_t rows[16] = {0}, pixels[48];
    const char *path = path_in(scratch, "palette.png");
    bytes file = png_file(4, 4, 8, PNG_PALETTE, rows, 4, 4, 0);
    write_file(path, file.data, file.size);
    free(file.data);
    STATUS(MCM_ERROR_FORMAT, mcm_png_read(path, pixels, sizeof pixels));
}

static void png_truncated_at_every_byte(void) {
    uint8_t rows[16] = {0}, pixels[16];
    bytes file = png_file(4, 4, 8, PNG_GREY, rows, 4, 4, 0);
    const char *path = path_in(scratch, "truncated.png");
    /* Up to the last 12 bytes, the empty end chunk, without which the pixels are all there. */
    for (size_t size = 0; size < file.size - 12; size++) {
        write_file(path, file.data, size);
        STATUS(MCM_ERROR_FORMAT, mcm_png_read(path, pixels, sizeof pixels));
    }
    free(file.data);
}

static void png_with_any_byte_changed_does_not_crash(void) {
    uint8_t rows[64], pixels[8 * 8 * 3];
    for (int i = 0; i < 64; i++) rows[i] = (uint8_t)(i % 9);
    bytes file = png_file(8, 8, 8, PNG_PALETTE, rows, 8, 8, 9);
    const char *path = path_in(scratch, "changed.png");
    for (size_t i = 0; i < file.size; i++) {
        file.data[i] ^= 0xff;
        write_file(path, file.data, file.size);
        mcm_png_read(path, pixels, sizeof pixels);
        file.data[i] ^= 0xff;
    }
    free(file.data);
}

static void png_of_absurd_size(void) {
    static const uint32_t sizes[][2] = {{100000, 100000}, {0x7fffffff, 0x7fffffff}, {0xffffffff, 1}, {0, 4}, {4, 0},
                                        {65537, 1}};
    uint8_t rows[16] = {0}, pixels[16];
    const char *path = path_in(scratch, "absurd.png");
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    mcm_modulator *module = tiny_module_open(&(tiny_module){0});
    drawing d = drawing_of(model, MCM_SCHEDULER_DDIM, 2);
    d.modulator = module;
    uint32_t id;
    mcm_session *session = open_session(&d, &id);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bytes file = png_file(sizes[i][0], sizes[i][1], 8, PNG_GREY, rows, 4, 4, 0);
        write_file(path, file.data, file.size);
        free(file.data);
        FAILS(mcm_png_size(path, NULL, NULL, NULL));
        FAILS(mcm_png_read(path, pixels, sizeof pixels));
        FAILS(mcm_png_read(path, pixels, (size_t)sizes[i][0] * sizes[i][1])); /* fails before it writes there */
        FAILS(mcm_session_set_condition_png(session, id, "sketch", path));
    }
    mcm_session_free(session);
    mcm_modulator_free(module);
    mcm_model_free(model);
}

static void png_that_is_none(void) {
    static const char *const contents[] = {"", "\x89PNG", "\x89PNG\r\n\x1a\n", "GIF89a, or so it says at its start"};
    uint8_t pixels[16];
    const char *path = path_in(scratch, "none.png");
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        write_file(path, contents[i], strlen(contents[i]));
        STATUS(MCM_ERROR_FORMAT, mcm_png_size(path, NULL, NULL, NULL));
        STATUS(MCM_ERROR_FORMAT, mcm_png_read(path, pixels, sizeof pixels));
        MESSAGE("none.png");
    }
    STATUS(MCM_ERROR_IO, mcm_png_read("/no/such/file.png", pixels, sizeof pixels));
    STATUS(MCM_ERROR_IO, mcm_png_size("/no/such/file.png", NULL, NULL, NULL));
    STATUS(ANY_DATA, mcm_png_read(scratch, pixels, sizeof pixels)); /* a folder */
    STATUS(MCM_ERROR_IO, mcm_png_read("", pixels, sizeof pixels));
}

static void encode_and_decode(void) {
    enum { COUNT = 2 * 8 * 8 };
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    uint8_t pixels[COUNT], back[64];
    float sample[COUNT], from_floats[COUNT], floats[COUNT];
    for (int i = 0; i < COUNT; i++) pixels[i] = (uint8_t)(i * 2), floats[i] = pixels[i] / 255.0f;
    mcm_image images[2] = {view(pixels, 8, 8, 1), view(pixels + 64, 8, 8, 1)};
    OK(mcm_model_encode(model, images, 2, sample, COUNT));
    for (int i = 0; i < COUNT; i++) {
        float difference = sample[i] - (2 * floats[i] - 1);
        CHECK(difference < 1e-6f && difference > -1e-6f);
    }
    for (int k = 0; k < 2; k++) {
        OK(mcm_model_decode(model, 8, 8, sample + 64 * k, 64, back, 64));
        SAME(back, pixels + 64 * k, 64);
        images[k].dtype = MCM_F32;
        images[k].data = floats + 64 * k;
    }
    OK(mcm_model_encode(model, images, 2, from_floats, COUNT));
    SAME(from_floats, sample, sizeof sample);
    mcm_model_free(model);
}

static void decode_clamps(void) {
    mcm_model *model = tiny_model_open(&(tiny_model){0}, 1);
    float infinity = 1e38f * 10, x[64] = {0};
    uint8_t pixels[64];
    x[0] = -1, x[1] = 1, x[2] = -5, x[3] = 5, x[4] = infinity, x[5] = -infinity, x[6] = infinity - infinity, x[7] = 0;
    static const uint8_t expected[] = {0, 255, 0, 255, 255, 0, 0, 128};
    OK(mcm_model_decode(model, 8, 8, x, 64, pixels, 64));
    SAME(pixels, expected, sizeof expected);
    mcm_model_free(model);
}

static void colours_are_interleaved(void) {
    mcm_model *model = tiny_model_open(&(tiny_model){.channels = 3}, 1);
    uint8_t pixels[8 * 8 * 3], back[8 * 8 * 3];
    float sample[3 * 64];
    for (int i = 0; i < 192; i++) pixels[i] = (uint8_t)(i % 3 * 90 + i / 3);
    mcm_image image = view(pixels, 8, 8, 3);
    OK(mcm_model_encode(model, &image, 1, sample, 192));
    for (int i = 0; i < 64; i++) CHECK(sample[i] < sample[64 + i] && sample[64 + i] < sample[128 + i]);
    OK(mcm_model_decode(model, 8, 8, sample, 192, back, 192));
    SAME(back, pixels, 192);
    image = view(pixels, 8, 8, 1);
    MISUSE(mcm_model_encode(model, &image, 1, sample, 64)); /* the model has three channels */
    mcm_model_free(model);
}

const test image_tests[] = {
    {"png_round_trip", png_round_trip},
    {"png_write_follows_the_stride", png_write_follows_the_stride},
    {"png_write_refuses", png_write_refuses},
    {"png_kinds", png_kinds},
    {"palette_that_is_missing", palette_that_is_missing},
    {"png_truncated_at_every_byte", png_truncated_at_every_byte},
    {"png_with_any_byte_changed_does_not_crash", png_with_any_byte_changed_does_not_crash},
    {"png_of_absurd_size", png_of_absurd_size},
    {"png_that_is_none", png_that_is_none},
    {"encode_and_decode", encode_and_decode},
    {"decode_clamps", decode_clamps},
    {"colours_are_interleaved", colours_are_interleaved},
    {NULL, NULL},
};

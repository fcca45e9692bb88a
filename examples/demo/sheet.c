#include "sheet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SCALE = 5,       /* sheet pixels per image pixel */
    GAP = 10,        /* between images, and around the sheet */
    APART_GAP = 14,  /* more of it between the columns that stand apart and the others */
    TEXT = 2,        /* sheet pixels per font pixel */
    HEADER = 62,     /* height of the titles */
    GLYPH_WIDTH = 6  /* font pixels from letter to letter */
};

struct sheet {
    int cell_width, cell_height, width, height, apart;
    uint8_t *pixels; /* RGB */
};

typedef struct colour {
    uint8_t r, g, b;
} colour;

static const colour paper = {240, 239, 235}, ink = {52, 54, 60}, rule = {190, 188, 180};

/* Class 0 is the background. */
static const colour classes[] = {{38, 40, 48},    {230, 159, 0},   {86, 180, 233}, {0, 158, 115},
                                 {240, 228, 66},  {0, 114, 178},   {213, 94, 0},   {204, 121, 167},
                                 {148, 103, 189}, {140, 196, 104}, {224, 122, 122}};

/* 5x7 letters: five columns each, the lowest bit on top. */
static const uint8_t letters[26][5] = {
    {0x20, 0x54, 0x54, 0x54, 0x78}, {0x7f, 0x48, 0x44, 0x44, 0x38}, {0x38, 0x44, 0x44, 0x44, 0x28},
    {0x38, 0x44, 0x44, 0x48, 0x7f}, {0x38, 0x54, 0x54, 0x54, 0x18}, {0x08, 0x7e, 0x09, 0x01, 0x02},
    {0x0c, 0x52, 0x52, 0x52, 0x3e}, {0x7f, 0x08, 0x04, 0x04, 0x78}, {0x00, 0x44, 0x7d, 0x40, 0x00},
    {0x20, 0x40, 0x44, 0x3d, 0x00}, {0x7f, 0x10, 0x28, 0x44, 0x00}, {0x00, 0x41, 0x7f, 0x40, 0x00},
    {0x7c, 0x04, 0x18, 0x04, 0x78}, {0x7c, 0x08, 0x04, 0x04, 0x78}, {0x38, 0x44, 0x44, 0x44, 0x38},
    {0x7c, 0x14, 0x14, 0x14, 0x08}, {0x08, 0x14, 0x14, 0x18, 0x7c}, {0x7c, 0x08, 0x04, 0x04, 0x08},
    {0x48, 0x54, 0x54, 0x54, 0x20}, {0x04, 0x3f, 0x44, 0x40, 0x20}, {0x3c, 0x40, 0x40, 0x20, 0x7c},
    {0x1c, 0x20, 0x40, 0x20, 0x1c}, {0x3c, 0x40, 0x30, 0x40, 0x3c}, {0x44, 0x28, 0x10, 0x28, 0x44},
    {0x0c, 0x50, 0x50, 0x50, 0x3c}, {0x44, 0x64, 0x54, 0x4c, 0x44}};
static const uint8_t comma[5] = {0x00, 0x00, 0x80, 0x60, 0x00}, space[5] = {0};

static void fill(sheet *s, int left, int top, int width, int height, colour c) {
    for (int y = top; y < top + height; y++)
        for (int x = left; x < left + width; x++) {
            uint8_t *p = s->pixels + 3 * ((size_t)y * s->width + x);
            p[0] = c.r, p[1] = c.g, p[2] = c.b;
        }
}

static int left_of(const sheet *s, int column) {
    return GAP + column * (s->cell_width + GAP) + (column >= s->apart ? APART_GAP : 0);
}

/* Centred on x. */
static void write_text(sheet *s, int x, int top, const char *text) {
    x -= TEXT * ((int)strlen(text) * GLYPH_WIDTH - 1) / 2;
    for (; *text; text++, x += TEXT * GLYPH_WIDTH) {
        const uint8_t *glyph = *text >= 'a' && *text <= 'z' ? letters[*text - 'a'] : *text == ',' ? comma : space;
        for (int column = 0; column < 5; column++)
            for (int row = 0; row < 8; row++)
                if (glyph[column] >> row & 1) fill(s, x + TEXT * column, top + TEXT * row, TEXT, TEXT, ink);
    }
}

sheet *sheet_create(int columns, int rows, int apart, int width, int height) {
    sheet *s = calloc(1, sizeof *s);
    if (s) {
        s->cell_width = SCALE * width;
        s->cell_height = SCALE * height;
        s->apart = apart;
        s->width = GAP + columns * (s->cell_width + GAP) + APART_GAP;
        s->height = HEADER + rows * (s->cell_height + GAP);
        s->pixels = malloc((size_t)3 * s->width * s->height);
    }
    if (!s || !s->pixels) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    fill(s, 0, 0, s->width, s->height, paper);
    return s;
}

void sheet_group(sheet *s, int first, int count, const char *title) {
    int left = left_of(s, first), right = left_of(s, first + count - 1) + s->cell_width;
    write_text(s, (left + right) / 2, 10, title);
    fill(s, left, 31, right - left, 1, rule);
}

void sheet_title(sheet *s, int column, const char *title) {
    write_text(s, left_of(s, column) + s->cell_width / 2, 38, title);
}

void sheet_put(sheet *s, int column, int row, const mcm_image *image, int how) {
    int left = left_of(s, column), top = HEADER + row * (s->cell_height + GAP);
    for (uint32_t y = 0; y < image->height; y++)
        for (uint32_t x = 0; x < image->width; x++) {
            const uint8_t *p = (const uint8_t *)image->data + ((size_t)y * image->width + x) * image->channels;
            colour c = {p[0], p[image->channels / 2], p[image->channels - 1]};
            if (how == SHEET_CLASSES) c = classes[p[0] % (sizeof classes / sizeof *classes)];
            if (how == SHEET_INK) {
                c.r = (uint8_t)(255 - p[0] * (255 - ink.r) / 255);
                c.g = (uint8_t)(255 - p[0] * (255 - ink.g) / 255);
                c.b = (uint8_t)(255 - p[0] * (255 - ink.b) / 255);
            }
            fill(s, left + SCALE * (int)x, top + SCALE * (int)y, SCALE, SCALE, c);
        }
}

mcm_image sheet_image(const sheet *s) {
    mcm_image image = MCM_IMAGE_INIT;
    image.data = s->pixels;
    image.width = (uint32_t)s->width;
    image.height = (uint32_t)s->height;
    image.channels = 3;
    return image;
}

void sheet_free(sheet *s) {
    free(s->pixels);
    free(s);
}

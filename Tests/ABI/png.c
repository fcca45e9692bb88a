#include "png.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

static uint32_t crc(const unsigned char *data, size_t size) {
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        c ^= data[i];
        for (int bit = 0; bit < 8; bit++) c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}

static unsigned char *put32(unsigned char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (24 - 8 * i));
    return at + 4;
}

static unsigned char *chunk(unsigned char *at, const char *type, const unsigned char *data, size_t size) {
    at = put32(at, (uint32_t)size);
    memcpy(at, type, 4);
    if (size > 0) memcpy(at + 4, data, size);
    return put32(at + 4 + size, crc(at, 4 + size));
}

/* zlib's format with one stored block: no compression. */
static size_t stored(unsigned char *out, const unsigned char *rows, size_t row_count, size_t row_size) {
    size_t length = row_count * (row_size + 1);
    CHECK(length < 65536);
    unsigned char *at = out;
    *at++ = 0x78, *at++ = 0x01, *at++ = 1;
    *at++ = (unsigned char)length, *at++ = (unsigned char)(length >> 8);
    *at++ = (unsigned char)~length, *at++ = (unsigned char)(~length >> 8);
    uint32_t a = 1, b = 0; /* Adler-32 */
    for (size_t y = 0; y < row_count; y++)
        for (size_t i = 0; i <= row_size; i++) {
            *at = i == 0 ? 0 : rows[y * row_size + i - 1];
            a = (a + *at++) % 65521;
            b = (b + a) % 65521;
        }
    return (size_t)(put32(at, b << 16 | a) - out);
}

bytes png_file(uint32_t width, uint32_t height, int depth, int colour_type, const void *rows, size_t row_count,
               size_t row_size, int colours) {
    size_t length = row_count * (row_size + 1);
    bytes file = {malloc(length + 2048), 0};
    unsigned char *data = malloc(length + 64), header[13] = {0}, palette[768];
    CHECK(file.data && data);
    put32(header, width);
    put32(header + 4, height);
    header[8] = (unsigned char)depth;
    header[9] = (unsigned char)colour_type;
    memcpy(file.data, "\x89PNG\r\n\x1a\n", 8);
    unsigned char *at = chunk(file.data + 8, "IHDR", header, 13);
    for (int i = 0; i < colours; i++)
        for (int c = 0; c < 3; c++) palette[3 * i + c] = (unsigned char)(i * (c + 1));
    if (colours > 0) at = chunk(at, "PLTE", palette, 3 * (size_t)colours);
    at = chunk(at, "IDAT", data, stored(data, rows, row_count, row_size));
    at = chunk(at, "IEND", NULL, 0);
    file.size = (size_t)(at - file.data);
    free(data);
    return file;
}

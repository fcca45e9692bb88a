#include "weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { HEADER_CAPACITY = 65536, VALUE_CAPACITY = 65536 };

/* Uniform in [-1, 1): a linear congruential generator's upper bits. */
static float random_value(writer *w) {
    w->random = w->random * 1664525u + 1013904223u;
    return (float)(w->random >> 8) / 8388608.0f - 1.0f;
}

void tensor(writer *w, const char *prefix, const char *leaf, int rank, const uint32_t *shape) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", prefix, leaf);
    if (w->damage->missing && strcmp(name, w->damage->missing) == 0) return;

    size_t begin = w->count, size = 1, fan_in = 1;
    char dimensions[64] = "";
    for (int i = 0; i < rank; i++) {
        size *= shape[i];
        if (i > 0) fan_in *= shape[i];
        sprintf(dimensions + strlen(dimensions), "%s%u", i > 0 ? "," : "", shape[i]);
    }
    int is_norm = rank == 1 && strcmp(leaf, "weight") == 0;
    int is_zero = w->untrained && strcmp(prefix, "conv_out") == 0;
    for (size_t i = 0; i < size; i++) {
        float r = random_value(w);
        float value = rank > 1 ? r * 1.7f / sqrtf((float)fan_in) : is_norm ? 1 + 0.1f * r : 0.1f * r;
        w->values[w->count++] = is_zero ? 0 : value;
    }
    if (w->damage->not_finite && strcmp(name, w->damage->not_finite) == 0) w->values[w->count - 1] = NAN;
    w->header_size += (size_t)snprintf(w->header + w->header_size, HEADER_CAPACITY - w->header_size,
                                       ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", name,
                                       dimensions, 4 * begin, 4 * w->count);
    CHECK(w->header_size < HEADER_CAPACITY && w->count < VALUE_CAPACITY);
}

void norm(writer *w, const char *prefix, uint32_t channels) {
    tensor(w, prefix, "weight", 1, &channels);
    tensor(w, prefix, "bias", 1, &channels);
}

void linear(writer *w, const char *prefix, uint32_t in, uint32_t out) {
    tensor(w, prefix, "weight", 2, (uint32_t[]){out, in});
    tensor(w, prefix, "bias", 1, &out);
}

void conv(writer *w, const char *prefix, uint32_t in, uint32_t out, uint32_t kernel) {
    tensor(w, prefix, "weight", 4, (uint32_t[]){out, in, kernel, kernel});
    tensor(w, prefix, "bias", 1, &out);
}

const char *join(writer *w, const char *prefix, const char *leaf) {
    snprintf(w->joined, sizeof w->joined, "%s.%s", prefix, leaf);
    return w->joined;
}

void resnet(writer *w, const char *prefix, uint32_t in, uint32_t out, uint32_t time) {
    norm(w, join(w, prefix, "norm1"), in);
    conv(w, join(w, prefix, "conv1"), in, out, 3);
    if (time > 0) linear(w, join(w, prefix, "time_emb_proj"), time, out);
    norm(w, join(w, prefix, "norm2"), out);
    conv(w, join(w, prefix, "conv2"), out, out, 3);
    if (in != out) conv(w, join(w, prefix, "conv_shortcut"), in, out, 1);
}

void unet2d(writer *w, uint32_t in, uint32_t out, const uint32_t *widths, int levels, uint32_t classes) {
    static const char *const attention[] = {"to_q", "to_k", "to_v", "to_out.0"};
    uint32_t time = 4 * widths[0], last = widths[levels - 1];
    char prefix[64];
    conv(w, "conv_in", in, widths[0], 3);
    linear(w, "time_embedding.linear_1", widths[0], time);
    linear(w, "time_embedding.linear_2", time, time);
    if (classes > 0) tensor(w, "class_embedding", "weight", 2, (uint32_t[]){classes, time});
    for (int i = 0; i < levels; i++) {
        sprintf(prefix, "down_blocks.%d.resnets.0", i);
        resnet(w, prefix, widths[i > 0 ? i - 1 : 0], widths[i], time);
        sprintf(prefix, "down_blocks.%d.downsamplers.0.conv", i);
        if (i < levels - 1) conv(w, prefix, widths[i], widths[i], 3);
    }
    resnet(w, "mid_block.resnets.0", last, last, time);
    norm(w, "mid_block.attentions.0.group_norm", last);
    for (int i = 0; i < 4; i++) linear(w, join(w, "mid_block.attentions.0", attention[i]), last, last);
    resnet(w, "mid_block.resnets.1", last, last, time);
    for (int i = 0; i < levels; i++) {
        uint32_t width = widths[levels - 1 - i], below = i > 0 ? widths[levels - i] : last;
        uint32_t outer = widths[levels - 2 - i >= 0 ? levels - 2 - i : 0];
        sprintf(prefix, "up_blocks.%d.resnets.0", i);
        resnet(w, prefix, below + width, width, time);
        sprintf(prefix, "up_blocks.%d.resnets.1", i);
        resnet(w, prefix, width + outer, width, time);
        sprintf(prefix, "up_blocks.%d.upsamplers.0.conv", i);
        if (i < levels - 1) conv(w, prefix, width, width, 3);
    }
    norm(w, "conv_norm_out", widths[0]);
    conv(w, "conv_out", widths[0], out, 3);
}

writer begin_weights(const char *metadata, uint32_t seed, int untrained, const damage *damage) {
    writer w = {malloc(HEADER_CAPACITY), 0, malloc(VALUE_CAPACITY * sizeof(float)), 0, seed, untrained, damage, ""};
    CHECK(w.header && w.values);
    w.header_size = (size_t)sprintf(w.header, "{\"__metadata__\":{%s}", metadata);
    return w;
}

bytes finish_weights(writer *w) {
    if (w->damage->surplus) tensor(w, w->damage->surplus, "weight", 1, (uint32_t[]){4});
    w->header[w->header_size++] = '}';
    while (w->header_size % 8) w->header[w->header_size++] = ' ';
    bytes file = {NULL, 8 + w->header_size + 4 * w->count};
    file.data = malloc(file.size);
    CHECK(file.data);
    for (int i = 0; i < 8; i++) file.data[i] = (unsigned char)((uint64_t)w->header_size >> 8 * i);
    memcpy(file.data + 8, w->header, w->header_size);
    memcpy(file.data + 8 + w->header_size, w->values, 4 * w->count);
    free(w->header);
    free(w->values);
    return file;
}

char *damaged_text(const char *text, const damage *damage) {
    char *copy = calloc(1, TEXT_CAPACITY);
    CHECK(copy);
    const char *found = damage->from ? strstr(text, damage->from) : NULL;
    CHECK(!damage->from || found);
    if (found)
        sprintf(copy, "%.*s%s%s", (int)(found - text), text, damage->to, found + strlen(damage->from));
    else
        strcpy(copy, text);
    return copy;
}

void set_text(mcm_memory_file *file, const char *name, const char *text) {
    file->name = name;
    file->size = strlen(text);
    char *copy = malloc(file->size + 1);
    CHECK(copy);
    file->data = strcpy(copy, text);
}


/* Files of random weights, written into memory: safetensors, and texts beside them. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include <mcm.h>

typedef struct bytes {
    unsigned char *data;
    size_t size;
} bytes;

/* Deviations from a sound file; all zero for none. */
typedef struct damage {
    const char *not_finite; /* the tensor whose last value is NaN */
    const char *missing;    /* the tensor that is left out */
    const char *surplus;    /* a tensor that is not the network's */
    const char *from, *to;  /* replaced in the metadata (or, in a model, in the component's config) */
} damage;

enum { TEXT_CAPACITY = 4096 };

/* A safetensors file in the making. */
typedef struct writer {
    char *header;
    size_t header_size;
    float *values;
    size_t count;
    uint32_t random;
    int untrained; /* the last convolution is zero */
    const damage *damage;
    char joined[128];
} writer;

/* metadata: the members of the header's __metadata__ object. */
writer begin_weights(const char *metadata, uint32_t seed, int untrained, const damage *damage);
/* The caller frees the data. */
bytes finish_weights(writer *w);

/* "prefix.leaf", of a size that suits it. */
void tensor(writer *w, const char *prefix, const char *leaf, int rank, const uint32_t *shape);
void norm(writer *w, const char *prefix, uint32_t channels);
void linear(writer *w, const char *prefix, uint32_t in, uint32_t out);
void conv(writer *w, const char *prefix, uint32_t in, uint32_t out, uint32_t kernel);
/* diffusers' ResnetBlock2D; time 0: without a time embedding. */
void resnet(writer *w, const char *prefix, uint32_t in, uint32_t out, uint32_t time);
/* prefix.leaf, valid until the next call. */
const char *join(writer *w, const char *prefix, const char *leaf);

/* UNet2DModel with one residual block per level and attention in the middle. */
void unet2d(writer *w, uint32_t in, uint32_t out, const uint32_t *widths, int levels, uint32_t classes);

/* A copy of `text` with the damage's replacement done; the caller frees it. */
char *damaged_text(const char *text, const damage *damage);
/* Copies the text; the name is kept as it is. */
void set_text(mcm_memory_file *file, const char *name, const char *text);

#endif

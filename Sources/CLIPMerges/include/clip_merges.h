/* The merges of CLIP's byte-pair encoding, merges.txt: without them, checkpoints that come in one file could read no text.
 * From OpenAI's CLIP (MIT licence, see LICENSE here); all of Stable Diffusion's text encoders use them. */
#ifndef MCM_CLIP_MERGES_H
#define MCM_CLIP_MERGES_H
#include <stddef.h>

/* The file's contents and their size in bytes. */
const unsigned char *clip_merges(size_t *size);

#endif

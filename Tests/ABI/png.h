/* Writes PNG files of any kind, sound or not, without a library. */
#ifndef PNG_H
#define PNG_H

#include "tiny.h"

enum { PNG_GREY = 0, PNG_RGB = 2, PNG_PALETTE = 3, PNG_GREY_ALPHA = 4, PNG_RGBA = 6 };

/* rows: `height` rows of row_size bytes as they are in the file, less the filter byte before each. A palette image
 * gets the colours (i, 2 i, 3 i) for its `colours` indices. The caller frees the data. */
bytes png_file(uint32_t width, uint32_t height, int depth, int colour_type, const void *rows, size_t row_count,
               size_t row_size, int colours);

#endif

/* A contact sheet: a grid of enlarged images under column titles, on light paper. */
#ifndef SHEET_H
#define SHEET_H

#include <mcm.h>

typedef struct sheet sheet;

enum { SHEET_COLOURS, SHEET_INK, SHEET_CLASSES }; /* as is; dark lines on paper; one colour per class index */

/* For columns x rows images of at most width x height pixels; the first `apart` columns stand apart from the others.
 * Exits if there is no memory. */
sheet *sheet_create(int columns, int rows, int apart, int width, int height);

/* A title over the columns first .. first + count - 1, with a line under it. */
void sheet_group(sheet *s, int first, int count, const char *title);

/* The title of one column: lower-case letters, commas and spaces. */
void sheet_title(sheet *s, int column, const char *title);

/* An MCM_U8 image of 1 or 3 channels, drawn as one of the above. */
void sheet_put(sheet *s, int column, int row, const mcm_image *image, int how);

/* A view of the sheet, valid until it changes. */
mcm_image sheet_image(const sheet *s);

void sheet_free(sheet *s);

#endif

#include "clip_merges.h"

#pragma clang diagnostic ignored "-Wc23-extensions"
static const unsigned char merges[] = {
#embed "merges.txt"
};

const unsigned char *clip_merges(size_t *size) {
    *size = sizeof merges;
    return merges;
}

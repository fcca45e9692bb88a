#include <stdio.h>
#include <stdlib.h>

#include "../../../Tests/ABI/check.h"
#include "../../../Tests/ABI/drawing.h"
#include "../../../Tests/ABI/latent.h"
#include "../../../Tests/ABI/training.h"
#include "fixtures.h"

/* What the helpers of Tests/ABI need of its runner. */

const char *program, *fashion, *scratch;

void check_failed(const char *file, int line, const char *text) {
    printf("%s:%d: %s\n    mcm_last_error: %s\n", file, line, text, mcm_last_error());
    exit(1);
}

void check_status(const char *file, int line, const char *text, mcm_status expected, mcm_status found) {
    if (found != expected) check_failed(file, line, text);
}

/* What the tests of C++ need of the helpers. */

mcm_model *new_tiny_model(uint32_t classes) { return tiny_model_open(&(tiny_model){.classes = classes}, 1); }

mcm_modulator *new_tiny_modulator(void) { return tiny_module_open(&(tiny_module){0}); }

void new_tiny_files(mcm_memory_file files[TINY_MODEL_FILES]) { tiny_model_files(&(tiny_model){0}, files); }

mcm_memory_file new_tiny_modulator_file(void) {
    bytes file = tiny_module_file(&(tiny_module){0});
    return (mcm_memory_file){"module", file.data, file.size};
}

mcm_model *new_latent_model(int kind) {
    const latent_kind kinds[] = {STABLE_DIFFUSION, STABLE_DIFFUSION_XL, LATENT_DIFFUSION};
    return latent_model_open(&(latent_model){.kind = kinds[kind]}, 1);
}

const char *new_controlnet_folder(void) { return controlnet_write(&(tiny_controlnet){0}, "controlnet"); }

void write_colours(const char *name) {
    static const uint8_t colours[8 * 8 * 8 * 3], sketches[8 * 8 * 8];
    const file_tensor tensors[] = {{"images", "U8", 4, {8, 8, 8, 3}, colours, sizeof colours},
                                   {"sketch", "U8", 4, {8, 8, 8, 1}, sketches, sizeof sketches}};
    bytes file = safetensors_file(tensors, 2);
    write_file(path_in(scratch, name), file.data, file.size);
    free(file.data);
}

#include "tiny.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

void tiny_model_files(const tiny_model *d, mcm_memory_file files[TINY_FILES]) {
    static const uint32_t widths[] = {4, 8};
    uint32_t channels = d->channels ? d->channels : 1, out = d->learned_variance ? 2 * channels : channels;
    char config[TEXT_CAPACITY], classes[64] = "";
    if (d->classes) sprintf(classes, ",\"num_class_embeds\":%u", d->classes);
    sprintf(config,
            "{\"_class_name\":\"UNet2DModel\",\"sample_size\":%d,\"in_channels\":%u,\"out_channels\":%u,"
            "\"block_out_channels\":[4,8],\"layers_per_block\":1,\"norm_num_groups\":2,\"attention_head_dim\":4,"
            "\"down_block_types\":[\"DownBlock2D\",\"DownBlock2D\"],"
            "\"up_block_types\":[\"UpBlock2D\",\"UpBlock2D\"]%s}",
            TINY_SIZE, channels, out, classes);
    writer w = begin_weights("\"format\":\"pt\"", d->seed, 0, &d->damage);
    unet2d(&w, channels, out, widths, 2, d->classes);
    bytes weights = finish_weights(&w);

    set_text(&files[0], "model_index.json",
             "{\"_class_name\":\"DDPMPipeline\",\"unet\":[\"diffusers\",\"UNet2DModel\"],"
             "\"scheduler\":[\"diffusers\",\"DDPMScheduler\"]}");
    char *text = damaged_text(config, &d->damage);
    set_text(&files[1], "unet/config.json", text);
    free(text);
    set_text(&files[2], "scheduler/scheduler_config.json",
             d->learned_variance ? "{\"_class_name\":\"DDPMScheduler\",\"num_train_timesteps\":1000,"
                                   "\"beta_schedule\":\"linear\",\"variance_type\":\"learned_range\"}"
                                 : "{\"_class_name\":\"DDPMScheduler\",\"num_train_timesteps\":1000,"
                                   "\"beta_schedule\":\"linear\",\"variance_type\":\"fixed_small\"}");
    files[3] = (mcm_memory_file){"unet/diffusion_pytorch_model.safetensors", weights.data, weights.size};
}

void free_files(mcm_memory_file files[TINY_FILES]) {
    for (int i = 0; i < TINY_FILES; i++) free((void *)files[i].data);
}

mcm_model *tiny_model_open(const tiny_model *description, uint32_t threads) {
    mcm_memory_file files[TINY_FILES];
    tiny_model_files(description, files);
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    options.threads = threads;
    mcm_model *model;
    OK(mcm_model_open_memory(files, TINY_FILES, &options, &model));
    free_files(files);
    return model;
}

bytes tiny_module_file(const tiny_module *d) {
    static const uint32_t widths[] = {4};
    uint32_t channels = d->channels ? d->channels : 1;
    char metadata[TEXT_CAPACITY];
    /* The config is JSON as text inside JSON, hence the backslashes. */
    sprintf(metadata,
            "\"format\":\"mcm\",\"version\":\"1\",\"config\":\"{"
            "\\\"net\\\":{\\\"sample_size\\\":%d,\\\"block_out_channels\\\":[4],\\\"layers_per_block\\\":1,"
            "\\\"norm_num_groups\\\":1,\\\"attention_head_dim\\\":4,"
            "\\\"down_block_types\\\":[\\\"DownBlock2D\\\"],\\\"up_block_types\\\":[\\\"UpBlock2D\\\"]},"
            "\\\"prediction_channels\\\":%u,\\\"scale_offset\\\":1.0,\\\"presence_flags\\\":true,"
            "\\\"modalities\\\":["
            "{\\\"name\\\":\\\"sketch\\\",\\\"channels\\\":1,\\\"encoding\\\":\\\"grey\\\","
            "\\\"resize\\\":\\\"area\\\"},"
            "{\\\"name\\\":\\\"labels\\\",\\\"channels\\\":%d,\\\"encoding\\\":\\\"one-hot\\\","
            "\\\"resize\\\":\\\"nearest\\\"},"
            "{\\\"name\\\":\\\"photo\\\",\\\"channels\\\":3,\\\"encoding\\\":\\\"rgb\\\","
            "\\\"resize\\\":\\\"bilinear\\\"}]",
            TINY_SIZE, channels, TINY_CLASSES);
    if (d->fingerprint)
        sprintf(metadata + strlen(metadata),
                ",\\\"base\\\":{\\\"prediction_type\\\":\\\"epsilon\\\",\\\"channels\\\":%u,\\\"sample_size\\\":%d,"
                "\\\"fingerprint\\\":\\\"%s\\\"}",
                channels, TINY_SIZE, d->fingerprint);
    strcat(metadata, "}\"");
    char *text = damaged_text(metadata, &d->damage);
    writer w = begin_weights(text, d->seed + 77, d->untrained, &d->damage);
    free(text);
    unet2d(&w, 2 * channels + 1 + TINY_CLASSES + 3 + 3, 2 * channels, widths, 1, 0);
    return finish_weights(&w);
}

mcm_modulator *tiny_module_open(const tiny_module *description) {
    bytes file = tiny_module_file(description);
    mcm_modulator *module;
    OK(mcm_modulator_open_memory(file.data, file.size, &module));
    free(file.data);
    return module;
}

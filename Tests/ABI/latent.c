#define _POSIX_C_SOURCE 200809L
#include "latent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "drawing.h"

enum { WIDTH = 8, TIME = 4 * WIDTH, VOCABULARY = 54, START_ID = 52, END_ID = 53, CODES = 16, TIME_ID_WIDTH = 4 };

/* --- Networks --- */

typedef char name[128];

static void below(name out, const char *prefix, const char *leaf) {
    snprintf(out, sizeof(name), "%s.%s", prefix, leaf);
}

static void attention(writer *w, const char *prefix, uint32_t channels, uint32_t states, int has_bias) {
    static const char *const names[] = {"to_q", "to_k", "to_v"};
    for (int i = 0; i < 3; i++) {
        name projection;
        below(projection, prefix, names[i]);
        tensor(w, projection, "weight", 2, (uint32_t[]){channels, i > 0 ? states : channels});
        if (has_bias) tensor(w, projection, "bias", 1, &channels);
    }
    linear(w, join(w, prefix, "to_out.0"), channels, channels);
}

/* Transformer2DModel with one block. */
static void transformer(writer *w, const char *prefix, uint32_t channels, uint32_t text) {
    name block, part;
    below(block, prefix, "transformer_blocks.0");
    norm(w, join(w, prefix, "norm"), channels);
    conv(w, join(w, prefix, "proj_in"), channels, channels, 1);
    norm(w, join(w, block, "norm1"), channels);
    below(part, block, "attn1");
    attention(w, part, channels, channels, 0);
    norm(w, join(w, block, "norm2"), channels);
    below(part, block, "attn2");
    attention(w, part, channels, text, 0);
    norm(w, join(w, block, "norm3"), channels);
    linear(w, join(w, block, "ff.net.0.proj"), channels, 8 * channels);
    linear(w, join(w, block, "ff.net.2"), 4 * channels, channels);
    conv(w, join(w, prefix, "proj_out"), channels, channels, 1);
}

/* What a UNet2DConditionModel of one level and a ControlNetModel have in common. */
static void encoder_half(writer *w, uint32_t in, uint32_t text) {
    conv(w, "conv_in", in, WIDTH, 3);
    linear(w, "time_embedding.linear_1", WIDTH, TIME);
    linear(w, "time_embedding.linear_2", TIME, TIME);
    resnet(w, "down_blocks.0.resnets.0", WIDTH, WIDTH, TIME);
    transformer(w, "down_blocks.0.attentions.0", WIDTH, text);
    resnet(w, "mid_block.resnets.0", WIDTH, WIDTH, TIME);
    transformer(w, "mid_block.attentions.0", WIDTH, text);
    resnet(w, "mid_block.resnets.1", WIDTH, WIDTH, TIME);
}

static void conditional_unet(writer *w, uint32_t in, uint32_t out, uint32_t text, int is_xl) {
    encoder_half(w, in, text);
    if (is_xl) {
        linear(w, "add_embedding.linear_1", POOLED_CHANNELS + 6 * TIME_ID_WIDTH, TIME);
        linear(w, "add_embedding.linear_2", TIME, TIME);
    }
    resnet(w, "up_blocks.0.resnets.0", 2 * WIDTH, WIDTH, TIME);
    transformer(w, "up_blocks.0.attentions.0", WIDTH, text);
    resnet(w, "up_blocks.0.resnets.1", 2 * WIDTH, WIDTH, TIME);
    transformer(w, "up_blocks.0.attentions.1", WIDTH, text);
    norm(w, "conv_norm_out", WIDTH);
    conv(w, "conv_out", WIDTH, out, 3);
}

static void autoencoder_middle(writer *w, const char *prefix) {
    name part;
    below(part, prefix, "mid_block.resnets.0");
    resnet(w, part, 8, 8, 0);
    below(part, prefix, "mid_block.attentions.0");
    norm(w, join(w, part, "group_norm"), 8);
    attention(w, part, 8, 8, 1);
    below(part, prefix, "mid_block.resnets.1");
    resnet(w, part, 8, 8, 0);
}

/* AutoencoderKL, or with codes a VQModel: levels of 4 and 8 channels. */
static void autoencoder(writer *w, uint32_t channels, int has_codes) {
    uint32_t moments = has_codes ? channels : 2 * channels;
    conv(w, "encoder.conv_in", 3, 4, 3);
    resnet(w, "encoder.down_blocks.0.resnets.0", 4, 4, 0);
    conv(w, "encoder.down_blocks.0.downsamplers.0.conv", 4, 4, 3);
    resnet(w, "encoder.down_blocks.1.resnets.0", 4, 8, 0);
    autoencoder_middle(w, "encoder");
    norm(w, "encoder.conv_norm_out", 8);
    conv(w, "encoder.conv_out", 8, moments, 3);
    conv(w, "quant_conv", moments, moments, 1);
    if (has_codes) tensor(w, "quantize.embedding", "weight", 2, (uint32_t[]){CODES, channels});
    conv(w, "post_quant_conv", channels, channels, 1);
    conv(w, "decoder.conv_in", channels, 8, 3);
    autoencoder_middle(w, "decoder");
    resnet(w, "decoder.up_blocks.0.resnets.0", 8, 8, 0);
    resnet(w, "decoder.up_blocks.0.resnets.1", 8, 8, 0);
    conv(w, "decoder.up_blocks.0.upsamplers.0.conv", 8, 8, 3);
    resnet(w, "decoder.up_blocks.1.resnets.0", 8, 4, 0);
    resnet(w, "decoder.up_blocks.1.resnets.1", 4, 4, 0);
    norm(w, "decoder.conv_norm_out", 4);
    conv(w, "decoder.conv_out", 4, 3, 3);
}

static void text_encoder(writer *w, int has_projection) {
    static const char *const projections[] = {"q_proj", "k_proj", "v_proj", "out_proj"};
    tensor(w, "text_model.embeddings.token_embedding", "weight", 2, (uint32_t[]){VOCABULARY, TEXT_CHANNELS});
    tensor(w, "text_model.embeddings.position_embedding", "weight", 2, (uint32_t[]){CHUNK, TEXT_CHANNELS});
    for (int i = 0; i < 2; i++) {
        name layer, part;
        snprintf(layer, sizeof layer, "text_model.encoder.layers.%d", i);
        norm(w, join(w, layer, "layer_norm1"), TEXT_CHANNELS);
        below(part, layer, "self_attn");
        for (int k = 0; k < 4; k++) linear(w, join(w, part, projections[k]), TEXT_CHANNELS, TEXT_CHANNELS);
        norm(w, join(w, layer, "layer_norm2"), TEXT_CHANNELS);
        linear(w, join(w, layer, "mlp.fc1"), TEXT_CHANNELS, 16);
        linear(w, join(w, layer, "mlp.fc2"), 16, TEXT_CHANNELS);
    }
    norm(w, "text_model.final_layer_norm", TEXT_CHANNELS);
    if (has_projection) tensor(w, "text_projection", "weight", 2, (uint32_t[]){POOLED_CHANNELS, TEXT_CHANNELS});
}

/* --- Files --- */

/* Of a folder in the making. */
typedef struct maker {
    const latent_model *of;
    latent_files files;
} maker;

static const damage no_damage;

static const damage *damage_of(const maker *m, const char *component) {
    return m->of->damaged && strcmp(m->of->damaged, component) == 0 ? &m->of->damage : &no_damage;
}

static void add_text(maker *m, const char *component, const char *file, const char *text) {
    char *copy = damaged_text(text, damage_of(m, component));
    set_text(&m->files.files[m->files.count++], file, copy);
    free(copy);
}

static writer weights_of(const maker *m, const char *component, uint32_t seed) {
    return begin_weights("\"format\":\"pt\"", m->of->seed + seed, 0, damage_of(m, component));
}

static void add_weights(maker *m, const char *file, writer *w) {
    bytes b = finish_weights(w);
    m->files.files[m->files.count++] = (mcm_memory_file){file, b.data, b.size};
}

static void add_tokenizer(maker *m, const char *component, const char *const paths[3]) {
    char text[TEXT_CAPACITY] = "{";
    for (int i = 0; i < 26; i++) {
        char letter = (char)('a' + i);
        sprintf(text + strlen(text), "\"%c\":%d,\"%c</w>\":%d,", letter, i, letter, 26 + i);
    }
    sprintf(text + strlen(text), "\"<|startoftext|>\":%d,\"<|endoftext|>\":%d}", START_ID, END_ID);
    add_text(m, component, paths[0], text);
    set_text(&m->files.files[m->files.count++], paths[1], "#version: 0.2\n");
    sprintf(text, "{\"model_max_length\":%d}", CHUNK);
    set_text(&m->files.files[m->files.count++], paths[2], text);
}

static void add_text_encoder(maker *m, const char *component, const char *config, const char *weights,
                             uint32_t seed, int has_projection) {
    char text[TEXT_CAPACITY];
    sprintf(text,
            "{\"vocab_size\":%d,\"hidden_size\":%d,\"intermediate_size\":16,\"projection_dim\":%d,"
            "\"num_hidden_layers\":2,\"num_attention_heads\":2,\"max_position_embeddings\":%d,"
            "\"bos_token_id\":%d,\"eos_token_id\":%d,\"hidden_act\":\"quick_gelu\"}",
            VOCABULARY, TEXT_CHANNELS, POOLED_CHANNELS, CHUNK, START_ID, END_ID);
    add_text(m, component, config, text);
    writer w = weights_of(m, component, seed);
    text_encoder(&w, has_projection);
    add_weights(m, weights, &w);
}

static void add_autoencoder(maker *m, int has_codes) {
    char text[TEXT_CAPACITY];
    const char *component = has_codes ? "vqvae" : "vae";
    uint32_t channels = has_codes ? 3 : 4;
    sprintf(text,
            "{\"_class_name\":\"%s\",\"in_channels\":3,\"out_channels\":3,\"latent_channels\":%u,"
            "\"block_out_channels\":[4,8],\"layers_per_block\":1,\"norm_num_groups\":2,\"sample_size\":%d,%s"
            "\"down_block_types\":[\"DownEncoderBlock2D\",\"DownEncoderBlock2D\"],"
            "\"up_block_types\":[\"UpDecoderBlock2D\",\"UpDecoderBlock2D\"]}",
            has_codes ? "VQModel" : "AutoencoderKL", channels, IMAGE_SIDE,
            has_codes ? "\"num_vq_embeddings\":16,\"vq_embed_dim\":3,\"scaling_factor\":1.0," : "");
    add_text(m, component, has_codes ? "vqvae/config.json" : "vae/config.json", text);
    writer w = weights_of(m, component, 3);
    autoencoder(&w, channels, has_codes);
    add_weights(m, has_codes ? "vqvae/diffusion_pytorch_model.safetensors" : "vae/diffusion_pytorch_model.safetensors",
                &w);
}

/* Of UNet2DConditionModel and ControlNetModel, beside what only one has. */
static const char conditional_options[] =
    "\"block_out_channels\":[8],\"layers_per_block\":1,\"norm_num_groups\":2,\"attention_head_dim\":2,"
    "\"down_block_types\":[\"CrossAttnDownBlock2D\"]";

static void add_unet(maker *m) {
    char text[TEXT_CAPACITY];
    static const uint32_t widths[] = {4, 8};
    int is_xl = m->of->kind == STABLE_DIFFUSION_XL;
    uint32_t in = m->of->kind == INPAINTING ? 9 : 4, states = is_xl ? 2 * TEXT_CHANNELS : TEXT_CHANNELS;
    writer w = weights_of(m, "unet", 0);
    if (m->of->kind == LATENT_DIFFUSION) {
        sprintf(text,
                "{\"_class_name\":\"UNet2DModel\",\"sample_size\":%d,\"in_channels\":3,\"out_channels\":3,"
                "\"block_out_channels\":[4,8],\"layers_per_block\":1,\"norm_num_groups\":2,\"attention_head_dim\":4,"
                "\"down_block_types\":[\"DownBlock2D\",\"DownBlock2D\"],"
                "\"up_block_types\":[\"UpBlock2D\",\"UpBlock2D\"]}",
                LATENT_SIDE);
        unet2d(&w, 3, 3, widths, 2, 0);
    } else {
        sprintf(text,
                "{\"_class_name\":\"UNet2DConditionModel\",\"sample_size\":%d,\"in_channels\":%u,\"out_channels\":4,%s,"
                "\"up_block_types\":[\"CrossAttnUpBlock2D\"],\"cross_attention_dim\":%u",
                LATENT_SIDE, in, conditional_options, states);
        if (is_xl)
            sprintf(text + strlen(text),
                    ",\"addition_embed_type\":\"text_time\",\"addition_time_embed_dim\":%d,"
                    "\"projection_class_embeddings_input_dim\":%d",
                    TIME_ID_WIDTH, POOLED_CHANNELS + 6 * TIME_ID_WIDTH);
        strcat(text, "}");
        conditional_unet(&w, in, 4, states, is_xl);
    }
    add_text(m, "unet", "unet/config.json", text);
    add_weights(m, "unet/diffusion_pytorch_model.safetensors", &w);
}

static void add_index(maker *m) {
    static const char *const pipelines[LATENT_KINDS] = {"StableDiffusionPipeline", "StableDiffusionInpaintPipeline",
                                                        "StableDiffusionXLPipeline", "LDMPipeline"};
    char text[TEXT_CAPACITY];
    int reads_text = m->of->kind != LATENT_DIFFUSION;
    sprintf(text,
            "{\"_class_name\":\"%s\",\"unet\":[\"diffusers\",\"%s\"],"
            "\"scheduler\":[\"diffusers\",\"DDIMScheduler\"],%s",
            pipelines[m->of->kind], reads_text ? "UNet2DConditionModel" : "UNet2DModel",
            reads_text ? "\"vae\":[\"diffusers\",\"AutoencoderKL\"]" : "\"vqvae\":[\"diffusers\",\"VQModel\"]");
    if (reads_text && !m->of->without_text_encoder)
        strcat(text, ",\"text_encoder\":[\"transformers\",\"CLIPTextModel\"],"
                     "\"tokenizer\":[\"transformers\",\"CLIPTokenizer\"]");
    if (m->of->kind == STABLE_DIFFUSION_XL && !m->of->without_text_encoder)
        strcat(text, ",\"text_encoder_2\":[\"transformers\",\"CLIPTextModelWithProjection\"],"
                     "\"tokenizer_2\":[\"transformers\",\"CLIPTokenizer\"]");
    strcat(text, "}");
    add_text(m, "model_index", "model_index.json", text);
}

latent_files latent_model_files(const latent_model *description) {
    static const char *const tokenizer[] = {"tokenizer/vocab.json", "tokenizer/merges.txt",
                                            "tokenizer/tokenizer_config.json"};
    static const char *const tokenizer_2[] = {"tokenizer_2/vocab.json", "tokenizer_2/merges.txt",
                                              "tokenizer_2/tokenizer_config.json"};
    maker m = {description, {{{NULL, NULL, 0}}, 0}};
    int reads_text = description->kind != LATENT_DIFFUSION;
    add_index(&m);
    add_text(&m, "scheduler", "scheduler/scheduler_config.json",
             "{\"_class_name\":\"DDIMScheduler\",\"num_train_timesteps\":1000,\"beta_schedule\":\"scaled_linear\","
             "\"beta_start\":0.00085,\"beta_end\":0.012,\"clip_sample\":false,\"set_alpha_to_one\":false,"
             "\"steps_offset\":1}");
    add_unet(&m);
    add_autoencoder(&m, !reads_text);
    if (reads_text && !description->without_text_encoder) {
        add_text_encoder(&m, "text_encoder", "text_encoder/config.json", "text_encoder/model.safetensors", 5, 0);
        add_tokenizer(&m, "tokenizer", tokenizer);
        if (description->kind == STABLE_DIFFUSION_XL) {
            add_text_encoder(&m, "text_encoder_2", "text_encoder_2/config.json", "text_encoder_2/model.safetensors", 6,
                             1);
            add_tokenizer(&m, "tokenizer_2", tokenizer_2);
        }
    }
    return m.files;
}

void free_latent_files(latent_files *files) {
    for (size_t i = 0; i < files->count; i++) free((void *)files->files[i].data);
}

mcm_model *latent_model_open(const latent_model *description, uint32_t threads) {
    latent_files files = latent_model_files(description);
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    mcm_model *model;
    options.threads = threads;
    OK(mcm_model_open_memory(files.files, files.count, &options, &model));
    free_latent_files(&files);
    return model;
}

void write_files(const char *folder, const mcm_memory_file *files, size_t count) {
    mkdir(folder, 0777);
    for (size_t i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
        char *slash = strrchr(path, '/');
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
        write_file(path, files[i].data, files[i].size);
    }
}

const char *latent_model_write(const latent_model *description, const char *name) {
    const char *folder = path_in(scratch, name);
    latent_files files = latent_model_files(description);
    write_files(folder, files.files, files.count);
    free_latent_files(&files);
    return folder;
}

/* --- ControlNets --- */

const char *controlnet_write(const tiny_controlnet *d, const char *name) {
    uint32_t channels = d->channels ? d->channels : 4, text = d->text ? d->text : TEXT_CHANNELS;
    char config[TEXT_CAPACITY];
    mcm_memory_file files[CONTROLNET_FILES];
    const char *folder = path_in(scratch, name);
    sprintf(config,
            "{\"_class_name\":\"ControlNetModel\",\"in_channels\":%u,%s,\"cross_attention_dim\":%u,"
            "\"conditioning_embedding_out_channels\":[4,8],\"global_pool_conditions\":%s}",
            channels, conditional_options, text, d->pooled ? "true" : "false");
    writer w = begin_weights("\"format\":\"pt\"", d->seed + 9, 0, &d->damage);
    encoder_half(&w, channels, text);
    conv(&w, "controlnet_cond_embedding.conv_in", 3, 4, 3);
    conv(&w, "controlnet_cond_embedding.blocks.0", 4, 4, 3);
    conv(&w, "controlnet_cond_embedding.blocks.1", 4, 8, 3);
    conv(&w, "controlnet_cond_embedding.conv_out", 8, WIDTH, 3);
    conv(&w, "controlnet_down_blocks.0", WIDTH, WIDTH, 1);
    conv(&w, "controlnet_down_blocks.1", WIDTH, WIDTH, 1);
    conv(&w, "controlnet_mid_block", WIDTH, WIDTH, 1);
    bytes weights = finish_weights(&w);
    char *copy = damaged_text(config, &d->damage);
    set_text(&files[0], "config.json", copy);
    free(copy);
    files[1] = (mcm_memory_file){"diffusion_pytorch_model.safetensors", weights.data, weights.size};
    write_files(folder, files, CONTROLNET_FILES);
    for (int i = 0; i < CONTROLNET_FILES; i++) free((void *)files[i].data);
    return folder;
}

mcm_controlnet *controlnet_open(const tiny_controlnet *description) {
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    mcm_controlnet *controlnet;
    options.threads = 1;
    OK(mcm_controlnet_open(controlnet_write(description, "controlnet"), &options, &controlnet));
    return controlnet;
}

/* --- What they are given --- */

void some_numbers(uint32_t seed, float *values, size_t count) {
    uint32_t state = seed * 2654435761u + 12345;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (float)(state >> 8) / 8388608.0f - 1;
    }
}

mcm_image picture(uint32_t seed) {
    static uint8_t pixels[8][IMAGE_BYTES];
    CHECK(seed < 8);
    for (uint32_t i = 0; i < IMAGE_BYTES; i++) pixels[seed][i] = (uint8_t)(i * (7 + seed) + 31 * seed);
    mcm_image image = MCM_IMAGE_INIT;
    image.data = pixels[seed];
    image.width = image.height = IMAGE_SIDE;
    image.channels = 3;
    return image;
}

mcm_image half_mask(void) {
    static uint8_t pixels[IMAGE_SIDE * IMAGE_SIDE];
    for (int i = 0; i < IMAGE_SIDE * IMAGE_SIDE; i++) pixels[i] = i % IMAGE_SIDE >= IMAGE_SIDE / 2 ? 255 : 0;
    mcm_image image = MCM_IMAGE_INIT;
    image.data = pixels;
    image.width = image.height = IMAGE_SIDE;
    return image;
}

mcm_prompt *encoded(const mcm_model *model, const char *text) {
    mcm_prompt *prompt;
    OK(mcm_prompt_encode(model, &text, 1, NULL, &prompt));
    return prompt;
}

mcm_model_info model_info(const mcm_model *model) {
    mcm_model_info info = MCM_MODEL_INFO_INIT;
    OK(mcm_model_get_info(model, &info));
    return info;
}

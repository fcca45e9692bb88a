/* Latent models in damaged folders: an error, now or with on_demand when the part is needed, and no crash. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "drawing.h"
#include "latent_session.h"

typedef struct damaged_part {
    latent_kind kind;
    const char *part;
    damage damage;
} damaged_part;

static const damaged_part damages[] = {
    {STABLE_DIFFUSION, "vae", {.missing = "decoder.conv_in.weight"}},
    {STABLE_DIFFUSION, "vae", {.missing = "encoder.mid_block.attentions.0.to_q.bias"}},
    {STABLE_DIFFUSION, "vae", {.not_finite = "quant_conv.weight"}},
    {STABLE_DIFFUSION, "vae", {.surplus = "decoder.surplus"}},
    {STABLE_DIFFUSION, "vae", {.from = "[4,8]", .to = "[4,16]"}},
    {STABLE_DIFFUSION, "vae", {.from = "\"norm_num_groups\":2", .to = "\"norm_num_groups\":3"}},
    {STABLE_DIFFUSION, "text_encoder", {.missing = "text_model.final_layer_norm.bias"}},
    {STABLE_DIFFUSION, "text_encoder", {.missing = "text_model.embeddings.token_embedding.weight"}},
    {STABLE_DIFFUSION, "text_encoder", {.not_finite = "text_model.encoder.layers.1.mlp.fc2.weight"}},
    {STABLE_DIFFUSION, "text_encoder", {.surplus = "text_model.surplus"}},
    {STABLE_DIFFUSION, "text_encoder", {.from = "\"num_hidden_layers\":2", .to = "\"num_hidden_layers\":3"}},
    {STABLE_DIFFUSION, "text_encoder", {.from = "\"intermediate_size\":16", .to = "\"intermediate_size\":8"}},
    {STABLE_DIFFUSION_XL, "text_encoder_2", {.missing = "text_projection.weight"}},
    {LATENT_DIFFUSION, "vqvae", {.missing = "quantize.embedding.weight"}},
    {LATENT_DIFFUSION, "vqvae", {.not_finite = "quantize.embedding.weight"}},
    {LATENT_DIFFUSION, "vqvae", {.from = "\"num_vq_embeddings\":16", .to = "\"num_vq_embeddings\":17"}},
};

static void latent_weights_that_are_damaged(void) {
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        latent_model description = {
            .kind = damages[i].kind, .damaged = damages[i].part, .damage = damages[i].damage};
        latent_files files = latent_model_files(&description);
        mcm_model *model = NULL;
        STATUS(MCM_ERROR_FORMAT, mcm_model_open_memory(files.files, files.count, NULL, &model));
        CHECK(model == NULL);
        /* On demand: what needs the part fails, each time, and the rest works. */
        const char *folder = path_in(scratch, "on demand");
        write_files(folder, files.files, files.count);
        free_latent_files(&files);
        mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
        options.on_demand = 1;
        OK(mcm_model_open(folder, &options, &model));
        int is_text = strncmp(damages[i].part, "text", 4) == 0;
        mcm_image image = picture(0);
        mcm_prompt *prompt = NULL;
        const char *text = "a cat";
        float sample[64] = {0};
        size_t count = (size_t)model_info(model).channels * 16;
        uint8_t pixels[IMAGE_BYTES];
        for (int again = 0; again < 2; again++) {
            STATUS(is_text ? MCM_OK : MCM_ERROR_FORMAT, mcm_model_encode(model, &image, 1, sample, count));
            STATUS(is_text ? MCM_OK : MCM_ERROR_FORMAT,
                   mcm_model_decode(model, 4, 4, sample, count, pixels, IMAGE_BYTES));
            if (is_text) STATUS(MCM_ERROR_FORMAT, mcm_prompt_encode(model, &text, 1, NULL, &prompt));
            CHECK(prompt == NULL);
            mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
            mcm_session_options session = latent_options();
            generate.session = &session;
            STATUS(MCM_ERROR_FORMAT, mcm_generate(model, &generate, pixels, IMAGE_BYTES));
        }
        mcm_model_free(model);
    }
}

/* Configs, tokenizers and the index are read when the model is opened. */
static void latent_texts_that_are_damaged(void) {
    static const damaged_part all[] = {
        {STABLE_DIFFUSION, "model_index", {.from = "StableDiffusionPipeline", .to = "StableDiffusion3Pipeline"}},
        {STABLE_DIFFUSION, "model_index", {.from = "StableDiffusionPipeline", .to = "LDMPipeline"}},
        {STABLE_DIFFUSION, "model_index", {.from = "StableDiffusionPipeline", .to = "DDPMPipeline"}},
        {STABLE_DIFFUSION, "model_index", {.from = "AutoencoderKL", .to = "VQModel"}},
        {STABLE_DIFFUSION, "model_index", {.from = "\"CLIPTextModel\"", .to = "\"T5EncoderModel\""}},
        {STABLE_DIFFUSION, "model_index", {.from = "\"vae\":[\"diffusers\",\"AutoencoderKL\"],", .to = ""}},
        {STABLE_DIFFUSION, "model_index", {.from = "{", .to = "{\"surprise\":1,"}},
        {STABLE_DIFFUSION, "vae", {.from = "AutoencoderKL", .to = "AutoencoderTiny"}},
        {STABLE_DIFFUSION, "vae", {.from = "{", .to = "{\"surprise\":1,"}},
        {STABLE_DIFFUSION, "vae", {.from = "\"latent_channels\":4", .to = "\"latent_channels\":5"}},
        {STABLE_DIFFUSION, "vae", {.from = "\"latent_channels\":4", .to = "\"latent_channels\":-4"}},
        {STABLE_DIFFUSION, "vae", {.from = "[4,8]", .to = "[]"}},
        {STABLE_DIFFUSION, "vae", {.from = "{", .to = "{\"scaling_factor\":0,"}},
        {STABLE_DIFFUSION, "vae", {.from = "{", .to = "{\"scaling_factor\":1e400,"}},
        {STABLE_DIFFUSION, "text_encoder", {.from = "\"hidden_size\":8", .to = "\"hidden_size\":6"}},
        {STABLE_DIFFUSION, "text_encoder", {.from = "\"hidden_size\":8", .to = "\"hidden_size\":0"}},
        {STABLE_DIFFUSION, "text_encoder", {.from = "\"num_attention_heads\":2", .to = "\"num_attention_heads\":3"}},
        {STABLE_DIFFUSION, "text_encoder", {.from = "\"vocab_size\":54", .to = "\"vocab_size\":53"}},
        {STABLE_DIFFUSION,
         "text_encoder",
         {.from = "\"max_position_embeddings\":12", .to = "\"max_position_embeddings\":2"}},
        {STABLE_DIFFUSION, "text_encoder", {.from = "quick_gelu", .to = "surprise"}},
        {STABLE_DIFFUSION, "tokenizer", {.from = "\"a\":0", .to = "\"a\":1"}},
        {STABLE_DIFFUSION, "tokenizer", {.from = "\"a\":0", .to = "\"a\":-1"}},
        {STABLE_DIFFUSION, "tokenizer", {.from = "\"a\":0", .to = "\"a\":9223372036854775807"}},
        {STABLE_DIFFUSION, "tokenizer", {.from = "\"a\":0", .to = "\"a\":53999"}},
        {STABLE_DIFFUSION, "tokenizer", {.from = "<|endoftext|>", .to = "end"}},
        {STABLE_DIFFUSION, "unet", {.from = "\"cross_attention_dim\":8", .to = "\"cross_attention_dim\":16"}},
        {STABLE_DIFFUSION, "unet", {.from = "\"out_channels\":4", .to = "\"out_channels\":8"}},
        {STABLE_DIFFUSION, "unet", {.from = "\"in_channels\":4", .to = "\"in_channels\":5"}},
        {STABLE_DIFFUSION, "unet", {.from = "UNet2DConditionModel", .to = "UNet2DModel"}},
        {STABLE_DIFFUSION_XL, "unet", {.from = "\"addition_time_embed_dim\":4", .to = "\"addition_time_embed_dim\":0"}},
        {STABLE_DIFFUSION_XL,
         "unet",
         {.from = "\"projection_class_embeddings_input_dim\":30",
          .to = "\"projection_class_embeddings_input_dim\":31"}},
        {LATENT_DIFFUSION, "vqvae", {.from = "\"vq_embed_dim\":3", .to = "\"vq_embed_dim\":4"}},
        {LATENT_DIFFUSION, "vqvae", {.from = "VQModel", .to = "AutoencoderKL"}},
    };
    int opened = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int on_demand = 0; on_demand < 2; on_demand++) {
            latent_model description = {.kind = all[i].kind, .damaged = all[i].part, .damage = all[i].damage};
            mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
            mcm_model *model = NULL;
            options.on_demand = on_demand;
            mcm_status status = mcm_model_open(latent_model_write(&description, "texts"), &options, &model);
            if (status == MCM_OK) {
                printf("    opened, on demand %d: %s with %s\n", on_demand, all[i].part, all[i].damage.to);
                opened++;
            } else {
                STATUS(ANY_DATA, status);
            }
            mcm_model_free(model);
        }
    CHECK(opened == 0);
}

static void latent_files_that_are_missing_or_cut(void) {
    latent_files files = latent_model_files(&(latent_model){.kind = STABLE_DIFFUSION_XL});
    for (size_t i = 0; i < files.count; i++) {
        mcm_memory_file all[MOST_LATENT_FILES];
        size_t count = 0;
        mcm_model *model = NULL;
        for (size_t k = 0; k < files.count; k++)
            if (k != i) all[count++] = files.files[k];
        int may_be_missing = strstr(files.files[i].name, "tokenizer_config.json") != NULL;
        STATUS(may_be_missing ? MCM_OK : ANY_DATA, mcm_model_open_memory(all, count, NULL, &model));
        mcm_model_free(model);
        static const size_t sizes[] = {0, 1, 7, 9, 200};
        for (int s = 0; s < 7; s++) {
            model = NULL;
            all[count] = files.files[i];
            size_t size = all[count].size, cut = s < 5 ? sizes[s] : s == 5 ? size / 2 : size - 1;
            if (cut >= size) continue;
            all[count].size = cut;
            /* Merges may end anywhere. */
            mcm_status status = mcm_model_open_memory(all, count + 1, NULL, &model);
            if (strstr(all[count].name, "merges.txt") == NULL || status != MCM_OK) STATUS(ANY_DATA, status);
            mcm_model_free(model);
        }
    }
    free_latent_files(&files);
}

/* Random bytes of random files. */
static void latent_files_with_changed_bytes(void) {
    for (int kind = 0; kind < LATENT_KINDS; kind++) {
        latent_files files = latent_model_files(&(latent_model){.kind = (latent_kind)kind});
        uint32_t random = 1;
        for (int i = 0; i < 150; i++) {
            random = random * 1664525u + 1013904223u;
            const mcm_memory_file *file = &files.files[(random >> 10) % files.count];
            unsigned char *data = (unsigned char *)file->data;
            size_t reach = file->size < 4096 ? file->size : 4096; /* a safetensors file's header */
            random = random * 1664525u + 1013904223u;
            size_t at = (random >> 8) % reach;
            unsigned char was = data[at];
            data[at] = i % 2 ? (unsigned char)(was ^ 1u << i % 8) : (unsigned char)"0919-{}\"\\, \xff"[i / 2 % 12];
            mcm_model *model = NULL;
            mcm_status status = mcm_model_open_memory(files.files, files.count, NULL, &model);
            if (status == MCM_OK) {
                mcm_generate_options generate = MCM_GENERATE_OPTIONS_INIT;
                mcm_session_options session = latent_options();
                mcm_image image = picture(0), mask = half_mask();
                uint8_t pixels[IMAGE_BYTES];
                session.steps = 1;
                generate.session = &session;
                generate.prompt = "a cat, and two dogs";
                generate.images = &image;
                generate.masks = &mask;
                generate.image_count = generate.mask_count = 1;
                status = mcm_generate(model, &generate, pixels, IMAGE_BYTES);
                if (status != MCM_OK) STATUS(ANY_ERROR, status);
            } else {
                STATUS(ANY_ERROR, status);
            }
            mcm_model_free(model);
            data[at] = was;
        }
        free_latent_files(&files);
    }
}

/* Files that go away while parts are loaded when they are needed. */
static void files_that_go_away(void) {
    const char *folder = latent_model_write(&(latent_model){0}, "going");
    char path[4096];
    mcm_model_options options = MCM_MODEL_OPTIONS_INIT;
    mcm_model *model;
    options.on_demand = 1;
    OK(mcm_model_open(folder, &options, &model));
    mcm_session *session = latent_session(model, NULL, 1);
    OK(mcm_session_run(session, NULL, NULL));
    static const char *const names[] = {"vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        CHECK(unlink(path) == 0);
    }
    uint8_t pixels[IMAGE_BYTES];
    mcm_prompt *prompt = NULL;
    const char *text = "a cat";
    mcm_image image = picture(0);
    uint64_t seed = 1;
    UNCHANGED(MCM_ERROR_IO, session, mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, pixels, IMAGE_BYTES));
    UNCHANGED(MCM_ERROR_IO, session, mcm_session_decode(session, MCM_DECODE_PREVIEW, 0, pixels, 48));
    OK(mcm_session_set_image(session, &image, 1));
    UNCHANGED(MCM_ERROR_IO, session, mcm_session_seed(session, &seed, 1));
    STATUS(MCM_ERROR_IO, mcm_prompt_encode(model, &text, 1, NULL, &prompt));
    latent_model_write(&(latent_model){0}, "going");
    OK(mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, pixels, IMAGE_BYTES));
    OK(mcm_session_seed(session, &seed, 1));
    mcm_session_free(session);
    mcm_model_free(model);
}

const test latent_damage_tests[] = {
    {"latent_weights_that_are_damaged", latent_weights_that_are_damaged},
    {"latent_texts_that_are_damaged", latent_texts_that_are_damaged},
    {"latent_files_that_are_missing_or_cut", latent_files_that_are_missing_or_cut},
    {"latent_files_with_changed_bytes", latent_files_with_changed_bytes},
    {"files_that_go_away", files_that_go_away},
    {NULL, NULL},
};

/*
 * libmcm: controllable diffusion inside your own program.
 *
 * Loads a pretrained diffusion model in diffusers format, attaches multimodal conditioning modules (MCM; Ham et
 * al., SIGGRAPH 2023, arXiv 2302.12764) and lets the caller drive sampling at one of three levels:
 *
 *   1. mcm_generate          one call, with a progress callback that can cancel;
 *   2. mcm_session_*         create, seed, condition, step, inspect, edit, decode;
 *   3. mcm_model_predict,    the raw parts, for a loop of the caller's own.
 *      mcm_modulator_modulate,
 *      mcm_scheduler_step
 *
 * The three run the same arithmetic: for the same seed they give the same image, bit for bit, whatever the number
 * of threads and whatever else is in the batch.
 *
 * CONVENTIONS
 *
 * Status.     Every function that can fail returns an mcm_status, MCM_OK (0) on success. 1..99 mean that the caller
 *             misused the library, 100..199 that data or the environment is at fault, 200 that a callback
 *             cancelled. mcm_last_error() then holds one line that says what was found and what was expected.
 *             If a call fails, objects and output parameters are as they were before it; output *buffers* may hold
 *             partial data.
 * Ownership.  Handles returned through `out` belong to the caller and are released by mcm_*_free; freeing NULL does
 *             nothing, freeing twice is undefined. All other pointer arguments are borrowed for the duration of the
 *             call, unless the function says otherwise. A session keeps what it needs of its model and modulators
 *             alive, so these may be freed before it.
 * Threads.    Models, modulators, schedulers, data sets and banks are immutable: any number of threads may use one at
 *             the same time. A session, trainer or rng belongs to one thread at a time; different ones are
 *             independent. There is no global state that a caller can see or change. A child of fork may go on with
 *             what it inherits, unless another thread was in the process's first call to the library at that moment.
 * Structs.    Option and info structs begin with struct_size and grow only at the end. Initialise them with the
 *             macro MCM_..._INIT, or from other languages with the function mcm_..._init, which does the same and is
 *             told the size that the caller knows the struct by; then set fields. The library never writes, nor reads,
 *             beyond struct_size. The elements of an array of structs all have the same struct_size.
 * Tensors.    Samples and predictions are float32, NCHW, contiguous: (batch, channels, height, width). Their
 *             length is passed along as a count of floats and is checked.
 * Strings.    Valid UTF-8, zero-terminated; paths too.
 * Files.      A file must not shrink while a call opens it: it is mapped, and the system ends a process that reads
 *             beyond a mapped file's end.
 *
 * Everything here is since 0.1, unless it says otherwise.
 */
#ifndef MCM_H
#define MCM_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header; mcm_version has the library's. */
#define MCM_VERSION_MAJOR 0
#define MCM_VERSION_MINOR 1
#define MCM_VERSION_PATCH 0
/* One number to compare: major * 1000000 + minor * 1000 + patch. */
#define MCM_VERSION (MCM_VERSION_MAJOR * 1000000 + MCM_VERSION_MINOR * 1000 + MCM_VERSION_PATCH)

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------------------------
 * Status and errors
 * ------------------------------------------------------------------------------------------------------------- */

/* What became of a call: one of the numbers below. */
typedef int32_t mcm_status;

#define MCM_OK 0 /* the call did what it says */
/* Misuse by the caller. */
#define MCM_ERROR_INVALID_ARGUMENT 1 /* NULL, out of range, not finite, unknown enum value */
#define MCM_ERROR_STRUCT_SIZE 2      /* struct_size is not one that this library knows */
#define MCM_ERROR_SIZE 3             /* a count, buffer, image or sample is of the wrong size */
#define MCM_ERROR_STATE 4            /* not now: step before seed, step past the end, ... */
#define MCM_ERROR_INCOMPATIBLE 5     /* a module does not fit the model, a condition or its name the module */
/* Data or environment. */
#define MCM_ERROR_IO 100            /* a file cannot be opened, read or written */
#define MCM_ERROR_FORMAT 101        /* a file is damaged, or not what it should be */
#define MCM_ERROR_UNSUPPORTED 102   /* valid, but this library does not do it */
#define MCM_ERROR_OUT_OF_MEMORY 103 /* no memory for a tensor, the weights or an image, or more than the machine
                                       has. Without memory for small objects the process ends. */
#define MCM_ERROR_CPU 104           /* the CPU lacks x86-64-v3 (AVX2, FMA) */
/* A callback returned nonzero. */
#define MCM_CANCELLED 200

/* The message of the last call that failed on this thread: one line, "" if none did. Valid until the next failing
 * call on the same thread. */
const char *mcm_last_error(void);

/* The name of a status, e.g. "MCM_ERROR_IO"; "MCM_ERROR_UNKNOWN" for a number that is none. Static. */
const char *mcm_status_name(mcm_status status);

/* MCM_VERSION of the library at run time. */
uint32_t mcm_version(void);

/* The same as text, "0.1.0". Static. */
const char *mcm_version_string(void);

/* ---------------------------------------------------------------------------------------------------------------
 * Images
 * ------------------------------------------------------------------------------------------------------------- */

#define MCM_U8 1  /* uint8_t, 0..255 */
#define MCM_F32 2 /* float, [0, 1] for grey and RGB (mcm_model_encode: any finite value), the class index for labels */

/* A view of the caller's pixels: rows from top to bottom, channels interleaved. */
typedef struct mcm_image {
    uint32_t struct_size;
    int32_t dtype;     /* MCM_U8 (default) or MCM_F32 */
    const void *data;  /* first row; need not be aligned */
    uint32_t width;    /* pixels, 1..65536 */
    uint32_t height;   /* pixels, 1..65536 */
    uint32_t channels; /* 1 or 3 (4 for mcm_png_write only); default 1 */
    uint32_t reserved; /* 0 */
    size_t row_stride; /* bytes from row to row; 0 means rows without gaps */
} mcm_image;
#define MCM_IMAGE_INIT {sizeof(mcm_image), MCM_U8, NULL, 0, 0, 1, 0, 0}
/* Same as MCM_IMAGE_INIT; struct_size is the caller's sizeof(mcm_image). */
void mcm_image_init(mcm_image *image, uint32_t struct_size);

/* Reads the size of an 8-bit grey, RGB, RGBA or palette PNG: *width and *height in pixels, *channels 1, 3 or 4 (a
 * palette counts as 3 or 4). Each out pointer may be NULL. Errors: IO, FORMAT, UNSUPPORTED. */
mcm_status mcm_png_size(const char *path, uint32_t *width, uint32_t *height, uint32_t *channels);

/* Reads a PNG into pixels, width * height * channels bytes without gaps, as mcm_png_size gives them; `size` is
 * the buffer's length in bytes and must be exactly that. Errors: SIZE, IO, FORMAT, UNSUPPORTED. */
mcm_status mcm_png_read(const char *path, uint8_t *pixels, size_t size);

/* Writes an MCM_U8 image of 1, 3 or 4 channels as PNG. Errors: INVALID_ARGUMENT, STRUCT_SIZE; IO, after which the file
 * may be incomplete. */
mcm_status mcm_png_write(const char *path, const mcm_image *image);

/* ---------------------------------------------------------------------------------------------------------------
 * Random numbers
 * ------------------------------------------------------------------------------------------------------------- */

/* A normal generator whose stream equals torch.randn on the CPU: mcm_rng_create(seed) followed by draws equals
 * torch.Generator().manual_seed(seed) followed by torch.randn of the same sizes, bit for bit on an AVX2 machine. */
typedef struct mcm_rng mcm_rng;

/* Only the low 32 bits of seed matter, as in torch. Errors: INVALID_ARGUMENT, OUT_OF_MEMORY. */
mcm_status mcm_rng_create(uint64_t seed, mcm_rng **out);

/* Fills values[0..count-1] with one draw: two draws of 8 differ from one of 16, as in torch. */
mcm_status mcm_rng_normal(mcm_rng *rng, float *values, size_t count);

void mcm_rng_free(mcm_rng *rng);

/* ---------------------------------------------------------------------------------------------------------------
 * Models
 * ------------------------------------------------------------------------------------------------------------- */

/* A pretrained diffusion model: network, noise schedule and scheduler defaults; of a latent diffusion model also its
 * autoencoder, and of one that reads texts also their encoders. Immutable, shared by threads.
 *
 * A *sample* is what the network works on: pixels, or in a latent diffusion model latents, which are `scale` times
 * smaller than the image in each direction. Widths and heights are a sample's, where they do not say that they are an
 * image's. */
typedef struct mcm_model mcm_model;
/* What a model's text encoders make of one or more texts (diffusers' prompt_embeds), see Prompts. Immutable, shared by
 * threads; it may outlive its model. */
typedef struct mcm_prompt mcm_prompt;

/* How a model or a ControlNet is opened. */
typedef struct mcm_model_options {
    uint32_t struct_size;
    uint32_t threads; /* threads that one call may use, the caller's included; 0 (default): as many as the process
                         may use CPUs. Results do not depend on it. At most 256. */
    uint64_t cache_bytes; /* memory that the model may spend on transformed filters, beside its weights; 0 (default):
                             none, which is mostly fastest. Kept, a 3 x 3 convolution's filters need not be transformed
                             in each step, but four times its F32 weights (eight times F16) are read: measure
                             before you use it (docs/performance.md). Those that fit are kept, from the network's
                             beginning on. Results do not depend on it. */
    const char *variant;    /* of the weights' file names: "fp16" for *.fp16.safetensors; NULL (default): the plain
                               files, or those of fp16 or bf16 where there are no others */
    const char *tokenizer;  /* of a model in one file: folder of its tokenizer; NULL (default): CLIP's own */
    int32_t prediction_type; /* MCM_PREDICTION_*, before what the model's files say, or where they do not: one file of
                               Stable Diffusion 2 is taken for one that predicts v. 0 (default): as they say */
    int32_t int8_weights;   /* nonzero: large matrices become 8-bit integers with a scale per output channel, which
                               halves 16-bit weights and changes results (mcm_model_info.rounding_error) */
    int32_t on_demand;      /* nonzero: text encoders and autoencoder are loaded when they are needed and freed
                               afterwards, each time. The files must stay as they are. Results do not depend on it. */
    uint32_t reserved;      /* 0 */
} mcm_model_options;
#define MCM_MODEL_OPTIONS_INIT {sizeof(mcm_model_options), 0, 0, NULL, NULL, 0, 0, 0, 0}
void mcm_model_options_init(mcm_model_options *options, uint32_t struct_size);

/* Opens a diffusers model folder, whose model_index.json names DDPMPipeline, DDIMPipeline, LDMPipeline, or one of
 * StableDiffusion(XL)(Img2Img|Inpaint|ControlNet)Pipeline and LatentConsistencyModel(Img2Img)Pipeline; or a
 * .safetensors file in the layout of the programs by which Stable Diffusion 1.x, 2.x and XL and latent diffusion models
 * were trained. Tensors may be F32, F16 or BF16, in one file or in shards, and stay as they are. A folder may come
 * without text encoders. Safety checkers and the like are not run. `options` may be NULL.
 * Errors: IO, FORMAT (a missing, surplus or wrongly shaped tensor, a damaged file), UNSUPPORTED (a pipeline,
 * network or option that is not known; pickle files), INVALID_ARGUMENT (more threads than allowed, a cache larger
 * than the machine's memory), OUT_OF_MEMORY, CPU. */
mcm_status mcm_model_open(const char *path, const mcm_model_options *options, mcm_model **out);

/* One file of a model folder that lies in memory. This struct will not grow. */
typedef struct mcm_memory_file {
    const char *name; /* path inside the folder with '/' as separator, e.g. "unet/config.json" */
    const void *data; /* need not be aligned; borrowed for the duration of the call */
    size_t size;      /* bytes */
} mcm_memory_file;

/* mcm_model_open on files in memory instead of a folder, or on one file in memory. The files may be released
 * afterwards; on_demand must be 0. */
mcm_status mcm_model_open_memory(const mcm_memory_file *files, size_t file_count, const mcm_model_options *options,
                                 mcm_model **out);

/* What a network predicts: the noise, x_0, or v = sqrt(abar_t) noise - sqrt(1 - abar_t) x_0. */
#define MCM_PREDICTION_EPSILON 1
#define MCM_PREDICTION_SAMPLE 2
#define MCM_PREDICTION_V 3

/* What a model is. */
typedef struct mcm_model_info {
    uint32_t struct_size;
    int32_t prediction_type;      /* MCM_PREDICTION_* */
    uint32_t width, height;       /* the sample size that the model was trained at; if its config does not say, the
                                     smallest that the network takes */
    uint32_t channels;            /* of a sample */
    uint32_t prediction_channels; /* of the network's output: channels, or twice that with learned variance */
    uint32_t num_train_timesteps;
    uint32_t size_multiple;    /* width and height must be multiples of this */
    uint32_t class_input_size; /* floats per image that the network wants as class input: 0 none, 1 a class index or
                                  number, more: an embedding */
    uint32_t class_count;      /* number of classes if it has a class table, else 0 */
    uint64_t parameter_count;
    uint64_t memory_bytes; /* held by the weights */
    char fingerprint[24];  /* 16 hex digits, zero-terminated: identifies the network's weights (docs/format.md) */
    uint32_t scale;           /* pixels of an image per pixel of a sample, in each direction; 1 if samples are images */
    uint32_t image_channels;  /* of an image */
    uint32_t text_channels;   /* of the text's states that the network reads; 0 if it reads no text */
    uint32_t pooled_channels; /* of the pooled text that it reads too (Stable Diffusion XL), else 0 */
    uint32_t input_channels;  /* that the network reads: channels; in an inpainting model also a mask and the sample of
                                 the image where it stays, in this order, 2 * channels + 1 in all */
    uint32_t time_id_count;   /* numbers of mcm_session_set_time_ids per image: 6 or 5, else 0 */
    int32_t encodes_text;     /* nonzero if it has its text encoders */
    float rounding_error;     /* ||rounded - exact|| / ||exact|| of the network's weights with int8_weights, else 0 */
} mcm_model_info;
#define MCM_MODEL_INFO_INIT {sizeof(mcm_model_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}, 0, 0, 0, 0, 0, 0, 0, 0}
void mcm_model_info_init(mcm_model_info *info, uint32_t struct_size);

/* Fills *info; struct_size must be set. */
mcm_status mcm_model_get_info(const mcm_model *model, mcm_model_info *info);

/* Memory in bytes, and threads. */
typedef struct mcm_memory {
    uint32_t struct_size;
    uint32_t threads; /* that one call may use */
    uint64_t weights; /* parameters in the form in which they are used; 16-bit ones stay 16-bit. With on_demand: those
                         that are loaded now */
    uint64_t cache;   /* filters kept transformed (mcm_model_options.cache_bytes) */
    uint64_t arena;   /* activations. Of a model: the most that mcm_model_predict and mcm_modulator_modulate needed so
                         far, kept for their next call. Of a session: what its steps need, allocated in the first one
                         (and in the first in which a module works), and its samples and conditions. */
} mcm_memory;
#define MCM_MEMORY_INIT {sizeof(mcm_memory), 0, 0, 0, 0}
void mcm_memory_init(mcm_memory *memory, uint32_t struct_size);

/* What a model holds. A session's memory comes on top: mcm_session_get_memory. */
mcm_status mcm_model_get_memory(const mcm_model *model, mcm_memory *memory);

/* The network's prediction for a batch.
 *   sample        (batch, channels, height, width), count floats in all
 *   timesteps     `batch` floats; equal values are fine
 *   class_input   (batch, class_input_size), class_input_count floats; NULL and 0 for a model that takes none
 *   prediction    receives (batch, prediction_channels, height, width); prediction_count floats; may not overlap
 * Errors: INVALID_ARGUMENT, SIZE, OUT_OF_MEMORY. */
mcm_status mcm_model_predict(const mcm_model *model, uint32_t batch, uint32_t width, uint32_t height,
                             const float *sample, size_t count, const float *timesteps, const float *class_input,
                             size_t class_input_count, float *prediction, size_t prediction_count);

/* What a network may read beside samples and timesteps. */
typedef struct mcm_predict_options {
    uint32_t struct_size;
    uint32_t class_input_count; /* as in mcm_model_predict */
    const float *class_input;
    const mcm_prompt *prompt; /* of a network that reads a text: of 1 image or of the batch */
    const float *time_ids;    /* of Stable Diffusion XL: (batch, time_id_count), or NULL for those of a whole image */
    const float *timestep_cond; /* of a consistency model: its guidance embedding, timestep_cond_count floats;
                                   NULL: zeros */
    size_t timestep_cond_count;
} mcm_predict_options;
#define MCM_PREDICT_OPTIONS_INIT {sizeof(mcm_predict_options), 0, NULL, NULL, NULL, NULL, 0}
void mcm_predict_options_init(mcm_predict_options *options, uint32_t struct_size);

/* mcm_model_predict for a network that reads more.
 *   sample        (batch, input_channels, height, width), count floats in all
 * The rest is as there. Errors: also STATE (no prompt), INCOMPATIBLE (a prompt for another model). */
mcm_status mcm_model_predict_with(const mcm_model *model, uint32_t batch, uint32_t width, uint32_t height,
                                  const float *sample, size_t count, const float *timesteps,
                                  const mcm_predict_options *options, float *prediction, size_t prediction_count);

/* Images to samples: (batch, channels, height, width) as the model was trained on: in [-1, 1], or the means of their
 * latents. All images have the same size, multiples of `scale` * size_multiple, and image_channels channels, or one,
 * which then stands for all. Errors: INVALID_ARGUMENT, SIZE, OUT_OF_MEMORY; with on_demand also those of loading. */
mcm_status mcm_model_encode(const mcm_model *model, const mcm_image *images, uint32_t batch, float *sample,
                            size_t count);

/* One sample, (channels, height, width), `count` floats, to 8-bit pixels, rows without gaps, channels interleaved:
 * round(255 * clamp(x / 2 + 0.5, 0, 1)), where x is the sample or what the autoencoder makes of it; NaN becomes 0.
 * width and height are multiples of size_multiple. `size` = width * scale * height * scale * image_channels bytes.
 * Errors: INVALID_ARGUMENT, SIZE, OUT_OF_MEMORY; with on_demand also those of loading. */
mcm_status mcm_model_decode(const mcm_model *model, uint32_t width, uint32_t height, const float *sample,
                            size_t count, uint8_t *pixels, size_t size);

void mcm_model_free(mcm_model *model);

/* ---------------------------------------------------------------------------------------------------------------
 * Prompts
 * ------------------------------------------------------------------------------------------------------------- */

/* How texts are read. */
typedef struct mcm_prompt_options {
    uint32_t struct_size;
    uint32_t clip_skip; /* layers of the text encoders that are left out at their end, as in diffusers; default 0 */
    int32_t weights;    /* nonzero: brackets give parts of a text weights, as in the Stable Diffusion web UI: (a) 1.1
                           times, [a] 1/1.1 times, (a:1.3) 1.3 times, \( a bracket. 0 (default): brackets are text, as
                           in diffusers */
    int32_t chunks;     /* nonzero: a text of more than 75 tokens is read in chunks. 0 (default): its end is left out,
                           as in diffusers, and mcm_prompt_info says so */
} mcm_prompt_options;
#define MCM_PROMPT_OPTIONS_INIT {sizeof(mcm_prompt_options), 0, 0, 0}
void mcm_prompt_options_init(mcm_prompt_options *options, uint32_t struct_size);

/* Reads `count` texts, one for the whole batch or one per image. `options` may be NULL.
 * Errors: INVALID_ARGUMENT, SIZE (a text of more than 64 chunks), UNSUPPORTED (the model has no text encoder),
 * OUT_OF_MEMORY; with on_demand also those of loading. */
mcm_status mcm_prompt_encode(const mcm_model *model, const char *const *texts, uint32_t count,
                             const mcm_prompt_options *options, mcm_prompt **out);

/* A prompt from the caller's own numbers, which are copied.
 *   states   (count, tokens, channels)
 *   pooled   (count, pooled_channels), or NULL and 0 */
mcm_status mcm_prompt_create(uint32_t count, uint32_t tokens, uint32_t channels, const float *states,
                             size_t state_count, uint32_t pooled_channels, const float *pooled, size_t pooled_count,
                             mcm_prompt **out);

/* What a prompt holds. */
typedef struct mcm_prompt_info {
    uint32_t struct_size;
    uint32_t count;    /* texts */
    uint32_t tokens;   /* of each, start, end and padding included */
    uint32_t channels; /* of a token's state */
    uint32_t pooled_channels;
    int32_t truncated; /* nonzero if the end of a text was left out */
} mcm_prompt_info;
#define MCM_PROMPT_INFO_INIT {sizeof(mcm_prompt_info), 0, 0, 0, 0, 0}
void mcm_prompt_info_init(mcm_prompt_info *info, uint32_t struct_size);
mcm_status mcm_prompt_get_info(const mcm_prompt *prompt, mcm_prompt_info *info);

/* Copies (count, tokens, channels) and (count, pooled_channels) floats. */
mcm_status mcm_prompt_get_states(const mcm_prompt *prompt, float *states, size_t count);
mcm_status mcm_prompt_get_pooled(const mcm_prompt *prompt, float *pooled, size_t count);

void mcm_prompt_free(mcm_prompt *prompt);

/* ---------------------------------------------------------------------------------------------------------------
 * ControlNets
 * ------------------------------------------------------------------------------------------------------------- */

/* diffusers' ControlNetModel, which a session of a model that reads a text may follow beside modules. Immutable, shared
 * by threads. */
typedef struct mcm_controlnet mcm_controlnet;

/* Opens a folder with config.json and diffusion_pytorch_model.safetensors; of `options`, which may be NULL, threads,
 * variant and int8_weights matter. Errors: as mcm_model_open. */
mcm_status mcm_controlnet_open(const char *folder, const mcm_model_options *options, mcm_controlnet **out);

void mcm_controlnet_free(mcm_controlnet *controlnet);

/* ---------------------------------------------------------------------------------------------------------------
 * Modulators: multimodal conditioning modules
 * ------------------------------------------------------------------------------------------------------------- */

/* A module M turns the network's prediction e into e' = e * (scale_offset + g) + v, where (g, v) come from a small
 * UNet that reads the sample, e, the timestep and the conditions. Immutable, shared by threads. */
typedef struct mcm_modulator mcm_modulator;

/* Opens a module file (docs/format.md). Errors: IO, FORMAT, UNSUPPORTED, OUT_OF_MEMORY, CPU. */
mcm_status mcm_modulator_open(const char *path, mcm_modulator **out);

/* The same from memory; data may be released afterwards. */
mcm_status mcm_modulator_open_memory(const void *data, size_t size, mcm_modulator **out);

/* What a module is, and what it was trained on. */
typedef struct mcm_modulator_info {
    uint32_t struct_size;
    uint32_t modality_count;
    uint32_t prediction_channels;
    int32_t prediction_type; /* of the base that it was trained on, or 0 if the file does not say */
    uint64_t parameter_count;
    char base_fingerprint[24]; /* of the base that it was trained on, or "" */
} mcm_modulator_info;
#define MCM_MODULATOR_INFO_INIT {sizeof(mcm_modulator_info), 0, 0, 0, 0, {0}}
void mcm_modulator_info_init(mcm_modulator_info *info, uint32_t struct_size);
mcm_status mcm_modulator_get_info(const mcm_modulator *modulator, mcm_modulator_info *info);

/* How an image becomes planes. */
#define MCM_ENCODING_GREY 1    /* one plane, value in [0, 1]; of an RGB image its luminance (ITU-R BT.601, as Pillow's
                                  convert("L")) */
#define MCM_ENCODING_RGB 2     /* three planes, values in [0, 1]; a grey image stands for all three */
#define MCM_ENCODING_ONE_HOT 3 /* class index per pixel -> one plane per class */

/* How an image of another size becomes one of the sample's. */
#define MCM_RESIZE_NEAREST 1  /* the pixel under the centre of a target pixel */
#define MCM_RESIZE_AREA 2     /* the mean of the pixels under a target pixel */
#define MCM_RESIZE_BILINEAR 3 /* antialiased when shrinking */

/* One of the kinds of condition that a module follows. */
typedef struct mcm_modality_info {
    uint32_t struct_size;
    uint32_t channels; /* planes: 1, 3 or the number of classes */
    int32_t encoding;  /* MCM_ENCODING_* */
    int32_t resize;    /* MCM_RESIZE_*: used when an image is not of the sample's size */
    char name[64];
} mcm_modality_info;
#define MCM_MODALITY_INFO_INIT {sizeof(mcm_modality_info), 0, 0, 0, {0}}
void mcm_modality_info_init(mcm_modality_info *info, uint32_t struct_size);

/* index: 0 .. modality_count - 1. */
mcm_status mcm_modulator_get_modality(const mcm_modulator *modulator, uint32_t index, mcm_modality_info *info);

/* MCM_OK if the module fits the model, else MCM_ERROR_INCOMPATIBLE with the reason: another prediction type or
 * number of channels, another fingerprint, or a model that learns its variance: for those there are no modules. */
mcm_status mcm_modulator_check(const mcm_modulator *modulator, const mcm_model *model);

/* What to follow: the images of one modality. */
typedef struct mcm_condition {
    uint32_t struct_size;
    uint32_t image_count;    /* 1: the same for the whole batch; else the batch size */
    const char *modality;    /* e.g. "sketch" */
    const mcm_image *images; /* of any size; resized by the modality's rule */
} mcm_condition;
#define MCM_CONDITION_INIT {sizeof(mcm_condition), 1, NULL, NULL}
void mcm_condition_init(mcm_condition *condition, uint32_t struct_size);

/* The modulated prediction e' = e + weight * (M(x, e, t, conditions) - e), for a loop of the caller's own.
 *   model         whose prediction this is; channels and prediction type must fit (see mcm_modulator_check for the
 *                 fingerprint, which is not compared here)
 *   sample        (batch, channels, height, width)
 *   prediction    e, of the same shape
 *   timesteps     `batch` floats
 *   conditions    condition_count entries, one per modality; modalities that are not named are absent
 *   out           receives e', `count` floats; may be `prediction` itself
 * Errors: INVALID_ARGUMENT, SIZE, INCOMPATIBLE, OUT_OF_MEMORY. */
mcm_status mcm_modulator_modulate(const mcm_modulator *modulator, const mcm_model *model, uint32_t batch,
                                  uint32_t width, uint32_t height, const float *sample, const float *prediction,
                                  size_t count, const float *timesteps, const mcm_condition *conditions,
                                  uint32_t condition_count, float weight, float *out);

void mcm_modulator_free(mcm_modulator *modulator);

/* ---------------------------------------------------------------------------------------------------------------
 * Schedulers
 * ------------------------------------------------------------------------------------------------------------- */

/* diffusers' schedulers. Each class reads those options of scheduler/scheduler_config.json that it has, as diffusers'
 * from_config does, whichever class the file names. */
#define MCM_SCHEDULER_DEFAULT 0              /* the model's own */
#define MCM_SCHEDULER_DDPM 1                 /* DDPMScheduler */
#define MCM_SCHEDULER_DDIM 2                 /* DDIMScheduler */
#define MCM_SCHEDULER_PNDM 3                 /* PNDMScheduler */
#define MCM_SCHEDULER_LMS 4                  /* LMSDiscreteScheduler */
#define MCM_SCHEDULER_EULER 5                /* EulerDiscreteScheduler */
#define MCM_SCHEDULER_EULER_ANCESTRAL 6      /* EulerAncestralDiscreteScheduler */
#define MCM_SCHEDULER_HEUN 7                 /* HeunDiscreteScheduler */
#define MCM_SCHEDULER_DPM_SOLVER_MULTISTEP 8 /* DPMSolverMultistepScheduler */
#define MCM_SCHEDULER_UNIPC 9                /* UniPCMultistepScheduler */
#define MCM_SCHEDULER_LCM 10                 /* LCMScheduler */

/* The arithmetic between predictions, exactly as in diffusers: x_t and e to x_{t-1}. Knows no network, and keeps
 * nothing from step to step: noise and history are the caller's. One step is one evaluation of the network, so that
 * some runs have more steps than were asked for: Heun has 2 * steps - 1, PNDM steps + 9, or steps + 1 with
 * skip_prk_steps, Euler steps + 1 with continuous timesteps of log_linear sigmas. */
typedef struct mcm_scheduler mcm_scheduler;

/* kind MCM_SCHEDULER_*; steps 1..num_train_timesteps, 0 for the default of diffusers' pipelines (50; DDPM: 1000;
 * LCM: 4; at most num_train_timesteps); eta in [0, 1] is DDIM's noise share and must be 0 for others.
 * Errors: INVALID_ARGUMENT, UNSUPPORTED (the kind does not go with the model's options). */
mcm_status mcm_scheduler_create(const mcm_model *model, int32_t kind, uint32_t steps, float eta,
                                mcm_scheduler **out);

/* The same with options of the host's own: a JSON object of options by diffusers' names, which go before those of the
 * model's scheduler_config.json, e.g. {"use_karras_sigmas": true, "solver_order": 3}. NULL: none.
 * Errors: also FORMAT; UNSUPPORTED for an option or value that is not known. */
mcm_status mcm_scheduler_create_with_options(const mcm_model *model, int32_t kind, uint32_t steps, float eta,
                                             const char *options, mcm_scheduler **out);

/* What a loop of the caller's own must know about a run. */
typedef struct mcm_scheduler_info {
    uint32_t struct_size;
    uint32_t steps;         /* of the run: evaluations of the network */
    uint32_t history_count; /* buffers of the sample's size that a run keeps, see mcm_scheduler_step_with_history */
    float init_noise_sigma; /* x_T is this times a normal draw: 1, except where samples are kept as x_0 + sigma noise
                               (LMS, Euler, Heun) */
} mcm_scheduler_info;
#define MCM_SCHEDULER_INFO_INIT {sizeof(mcm_scheduler_info), 0, 0, 0.0f}
void mcm_scheduler_info_init(mcm_scheduler_info *info, uint32_t struct_size);
mcm_status mcm_scheduler_get_info(const mcm_scheduler *scheduler, mcm_scheduler_info *info);

/* What it must know about one step. */
typedef struct mcm_step_info {
    uint32_t struct_size;
    float timestep;      /* what the network and modules are told; a fraction with some spacings */
    float input_scale;   /* what the network and modules read is this times x_t */
    int32_t needs_noise; /* 1 if the step needs noise, else 0 */
} mcm_step_info;
#define MCM_STEP_INFO_INIT {sizeof(mcm_step_info), 0.0f, 0.0f, 0}
void mcm_step_info_init(mcm_step_info *info, uint32_t struct_size);
/* step: 0 .. steps - 1. */
mcm_status mcm_scheduler_get_step(const mcm_scheduler *scheduler, uint32_t step, mcm_step_info *info);

/* *count receives the number of steps; timesteps, if not NULL, receives them (capacity >= the number), rounded to whole
 * numbers: mcm_scheduler_get_step has what the network is told. */
mcm_status mcm_scheduler_get_timesteps(const mcm_scheduler *scheduler, int32_t *timesteps, uint32_t capacity,
                                       uint32_t *count);

/* *out = 1 if the step needs noise (a normal draw of the sample's size), else 0. step: 0 .. steps - 1. */
mcm_status mcm_scheduler_needs_noise(const mcm_scheduler *scheduler, uint32_t step, int32_t *out);

/* One step of a scheduler without history (history_count 0: DDPM, DDIM, Euler, Euler ancestral, LCM).
 *   batch         number of images in the buffers
 *   sample        x_t, `count` floats, count a multiple of batch; not scaled by input_scale
 *   prediction    the (modulated) prediction e, `prediction_count` floats: count, or 2 * count if the model learns
 *                 its variance (per image: prediction, then variance; only DDPM uses the variance)
 *   noise         a normal draw of `count` floats if the step needs one, else NULL or ignored
 *   previous      receives x_{t-1}; may be `sample`, and must not overlap prediction or noise
 *   x0            receives the predicted x_0 (clipped as the scheduler says), or NULL; overlaps no other buffer
 * Errors: INVALID_ARGUMENT, SIZE, OUT_OF_MEMORY. */
mcm_status mcm_scheduler_step(const mcm_scheduler *scheduler, uint32_t step, uint32_t batch, const float *sample,
                              size_t count, const float *prediction, size_t prediction_count, const float *noise,
                              float *previous, float *x0);

/* One step of any scheduler. Steps are taken in order, from 0.
 *   history       what the run keeps from step to step: allocated by the caller for the whole run, one for each run,
 *                 with anything in it before step 0. A step may be repeated until the next one is taken.
 *   history_count in floats: the info's history_count * count. NULL and 0 if that is 0. */
mcm_status mcm_scheduler_step_with_history(const mcm_scheduler *scheduler, uint32_t step, uint32_t batch,
                                           const float *sample, size_t count, const float *prediction,
                                           size_t prediction_count, const float *noise, float *history,
                                           size_t history_count, float *previous, float *x0);

/* x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, for a timestep in 0 .. num_train_timesteps - 1; for schedulers that
 * keep samples as x_0 + sigma noise (LMS, Euler, Heun), x_0 + sigma_t noise. */
mcm_status mcm_scheduler_add_noise(const mcm_scheduler *scheduler, int32_t timestep, const float *x0,
                                   const float *noise, size_t count, float *out);

void mcm_scheduler_free(mcm_scheduler *scheduler);

/* ---------------------------------------------------------------------------------------------------------------
 * Sessions
 * ------------------------------------------------------------------------------------------------------------- */

/* One run of sampling over a batch. */
typedef struct mcm_session mcm_session;

/* Where modules act on a model that reads a text. */
#define MCM_MODULATE_GUIDED 0      /* on the guided prediction: one call of a module per step */
#define MCM_MODULATE_CONDITIONAL 1 /* on the prediction with the prompt, before guidance */

/* What is sampled, and how. */
typedef struct mcm_session_options {
    uint32_t struct_size;
    uint32_t batch;         /* images, default 1 */
    uint32_t width, height; /* of an image; 0: the model's own. Multiples of scale * size_multiple */
    int32_t scheduler;      /* MCM_SCHEDULER_* */
    uint32_t steps;         /* 0: the default, see mcm_scheduler_create */
    float eta;              /* DDIM's noise share in [0, 1], default 0 */
    const char *scheduler_options; /* see mcm_scheduler_create_with_options; default NULL; not kept */
    double strength;        /* of a run that begins from an image: the share of the steps that are taken, in [0, 1];
                               less stays closer to the image. Default 1: all */
    float guidance_scale;   /* s in e = e_u + s (e_c - e_u), where e_c is predicted with the prompt and e_u with the
                               negative one; 1: e_c alone, half the work; 0 (default): that of diffusers' pipeline, 7.5,
                               5 for Stable Diffusion XL unless it is one for inpainting, 8.5 for consistency models.
                               Without effect where no text is read */
    float guidance_rescale; /* share of e_c's standard deviation that e gets back (Lin et al. 2023), in [0, 1];
                               default 0 */
    int32_t modulate;       /* MCM_MODULATE_*: where modules act */
    int32_t guidance_passes; /* 2: e_c and e_u are predicted one after the other; 1: together, with twice the
                                activations; 0 (default): together for images of at most 512 x 512 pixels in all.
                                Results do not depend on it. */
    uint32_t tile_above;    /* an autoencoder works in tiles, with less memory, on images of more pixels than a square
                               of this size; 0 (default): 768. Results depend on it by the rounding of what lies between
                               its layers: 64 dB and more (docs/performance.md). */
    uint32_t reserved;      /* 0 */
} mcm_session_options;
#define MCM_SESSION_OPTIONS_INIT {sizeof(mcm_session_options), 1, 0, 0, MCM_SCHEDULER_DEFAULT, 0, 0.0f, NULL, 1.0, \
    0.0f, 0.0f, MCM_MODULATE_GUIDED, 0, 0, 0}
void mcm_session_options_init(mcm_session_options *options, uint32_t struct_size);

/* `options` may be NULL. The session must be seeded before its first step. */
mcm_status mcm_session_create(const mcm_model *model, const mcm_session_options *options, mcm_session **out);

/* Starts a run, or starts over: draws x_T and goes to step 0; conditions and modulators stay.
 * seed_count 1: one generator draws for the whole batch; seed_count = batch: one generator per image, so that image
 * k is the same alone and in any batch. Both as diffusers' pipelines with torch.Generator(seed), except for inpainting
 * one image with several seeds: diffusers encodes it with the first seed for all. */
mcm_status mcm_session_seed(mcm_session *session, const uint64_t *seeds, uint32_t seed_count);

/* What a model that reads a text is told, and with guidance what it is led away from. `negative` NULL: an empty text,
 * or zeros in a Stable Diffusion XL that was trained so. Of 1 image or of the batch. The session keeps the prompts:
 * they may be freed. They may be changed between steps.
 * Errors: SIZE, INCOMPATIBLE (for another model), STATE (the model has no text encoder and `negative` is NULL). */
mcm_status mcm_session_set_prompt(mcm_session *session, const mcm_prompt *prompt, const mcm_prompt *negative);

/* An image to begin from, for the next mcm_session_seed: image_count 1, for the whole batch, or the batch size, all of
 * the session's image size, with image_channels channels or one; 0: none. Copied. With options.strength 1 and no mask
 * the run begins from as much noise as from none, and with the image's colours.
 * Errors: INVALID_ARGUMENT, SIZE, OUT_OF_MEMORY. */
mcm_status mcm_session_set_image(mcm_session *session, const mcm_image *images, uint32_t image_count);

/* What is to be painted in that image, for the next mcm_session_seed: from 1/2 on; below, the image stays. One channel,
 * of the session's image size, 1 or as many as the batch; 0: all of it. An inpainting model reads mask and image, for
 * others what stays is put back after each step, with its share of noise. Copied. */
mcm_status mcm_session_set_mask(mcm_session *session, const mcm_image *masks, uint32_t mask_count);

/* Stable Diffusion XL's original height and width, crop's top and left, target height and width; of its refiner the
 * first four and an aesthetic score: (batch, time_id_count) floats each, copied. Before this call: those of a whole
 * image of the session's size, score 6 and 2.5. */
mcm_status mcm_session_set_time_ids(mcm_session *session, const float *time_ids, const float *negative, size_t count);

/* Class input of a model that takes one: (batch, class_input_size) floats, copied. */
mcm_status mcm_session_set_class_input(mcm_session *session, const float *values, size_t count);

/* How strongly, and in which part of the run, a module or ControlNet acts. */
typedef struct mcm_attach_options {
    uint32_t struct_size;
    float weight;       /* w in e' = e + sum_i w_i (M_i(x, e, t, y_i) - e), default 1; any finite number */
    float begin, end;   /* active while begin <= step / steps < end, where step counts from 0; 0 <= begin <= end <= 1,
                           default 0 and 1 */
    int32_t other_base; /* nonzero: attach even if trained on a base with another fingerprint */
} mcm_attach_options;
#define MCM_ATTACH_OPTIONS_INIT {sizeof(mcm_attach_options), 1.0f, 0.0f, 1.0f, 0}
void mcm_attach_options_init(mcm_attach_options *options, uint32_t struct_size);

/* Attaches a module; several may be attached, also the same one twice. Modules that were trained each for itself
 * correct the same errors: at weights whose sum is 1 they follow together, at 1 each they overshoot (docs/results.md).
 * *out_id, which may be NULL, receives a number > 0 that names the attachment in the calls below; a session gives no
 * number twice. Allowed between steps. `options` may be NULL.
 * Errors: INCOMPATIBLE if the module does not fit the session's model. */
mcm_status mcm_session_attach(mcm_session *session, const mcm_modulator *modulator,
                              const mcm_attach_options *options, uint32_t *out_id);
mcm_status mcm_session_detach(mcm_session *session, uint32_t id);
/* Weight and window may be changed between steps. Weight 0 equals detached, bit for bit. */
mcm_status mcm_session_set_weight(mcm_session *session, uint32_t id, float weight);
mcm_status mcm_session_set_window(mcm_session *session, uint32_t id, float begin, float end);

/* Attaches a ControlNet; several may be attached. Weight, window and detaching are as with modules; weight is
 * diffusers' controlnet_conditioning_scale. diffusers' control_guidance_end is the window's end, but leaves out a step
 * that begins before it and goes on after it. other_base has no meaning.
 *   images   what it follows: RGB or grey, of the session's image size (times what the ControlNet's config says), 1 or
 *            as many as the batch. Copied
 *   guess    nonzero: diffusers' guess_mode
 * Errors: INCOMPATIBLE if it does not fit the session's model, SIZE. */
mcm_status mcm_session_attach_controlnet(mcm_session *session, const mcm_controlnet *controlnet,
                                         const mcm_image *images, uint32_t image_count, int32_t guess,
                                         const mcm_attach_options *options, uint32_t *out_id);

/* Sets (or replaces) the condition of one modality; the images are copied. */
mcm_status mcm_session_set_condition(mcm_session *session, uint32_t id, const mcm_condition *condition);
/* The same for the whole batch from an 8-bit PNG: grey for one-hot (pixel value = class index); else grey, RGB or a
 * palette, without alpha. */
mcm_status mcm_session_set_condition_png(mcm_session *session, uint32_t id, const char *modality, const char *path);
/* Makes a modality absent again; NULL means all of them. */
mcm_status mcm_session_clear_condition(mcm_session *session, uint32_t id, const char *modality);

/* One step: predict, modulate, scheduler step. MCM_ERROR_STATE before seeding and past the end; INVALID_ARGUMENT if the
 * result is not finite, since the sample, a condition or a weight is too large. */
mcm_status mcm_session_step(mcm_session *session);

/* Where a run is. */
typedef struct mcm_session_state {
    uint32_t struct_size;
    uint32_t step;      /* steps done; 0 after seeding */
    uint32_t steps;     /* of the whole run */
    int32_t timestep;   /* of the next step, rounded; -1 when done */
    uint32_t batch, channels, height, width;
    int32_t seeded;     /* nonzero after mcm_session_seed */
    uint32_t image_width, image_height, image_channels;
} mcm_session_state;
#define MCM_SESSION_STATE_INIT {sizeof(mcm_session_state), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
void mcm_session_state_init(mcm_session_state *state, uint32_t struct_size);
mcm_status mcm_session_get_state(const mcm_session *session, mcm_session_state *state);

/* What a session holds beside its model and modules: `weights` and `cache` are 0. */
mcm_status mcm_session_get_memory(const mcm_session *session, mcm_memory *memory);

/* Copies x_t, (batch, channels, height, width), count floats. */
mcm_status mcm_session_get_sample(const mcm_session *session, float *sample, size_t count);
/* Replaces x_t; values must be finite. */
mcm_status mcm_session_set_sample(mcm_session *session, const float *sample, size_t count);
/* Copies the x_0 that the last step predicted. MCM_ERROR_STATE before the first step. */
mcm_status mcm_session_get_x0(const mcm_session *session, float *x0, size_t count);

/* What mcm_session_decode makes an image of. */
#define MCM_DECODE_SAMPLE 0 /* x_t: the result, when done */
#define MCM_DECODE_X0 1     /* the predicted x_0 */
#define MCM_DECODE_PREVIEW 2 /* the predicted x_0 at once: of latents a linear map to colours, of the sample's size */

/* Image `index` of the batch as 8-bit pixels, image_width * image_height * image_channels bytes, rows without gaps; a
 * preview has width * height * image_channels. */
mcm_status mcm_session_decode(const mcm_session *session, int32_t what, uint32_t index, uint8_t *pixels,
                              size_t size);

/* Called after each step, with the number of steps done and of the whole run. It may read the session (state, x0,
 * decode) and change it as between steps, but neither step, run, seed nor free it. It must return:
 * no exception or longjmp may leave it. Nonzero cancels, after the last step too. */
typedef int32_t (*mcm_progress)(void *user, mcm_session *session, uint32_t step, uint32_t steps);

/* Steps to the end. If the callback cancels, MCM_CANCELLED is returned, the session stays at that step and can go
 * on. `callback` may be NULL. MCM_OK and no step if already done. */
mcm_status mcm_session_run(mcm_session *session, mcm_progress callback, void *user);

void mcm_session_free(mcm_session *session);

/* ---------------------------------------------------------------------------------------------------------------
 * One call
 * ------------------------------------------------------------------------------------------------------------- */

/* A module with its conditions, for mcm_generate. */
typedef struct mcm_attachment {
    uint32_t struct_size;
    uint32_t condition_count;
    const mcm_modulator *modulator;
    const mcm_condition *conditions;   /* one per modality */
    const mcm_attach_options *options; /* may be NULL */
} mcm_attachment;
#define MCM_ATTACHMENT_INIT {sizeof(mcm_attachment), 0, NULL, NULL, NULL}
void mcm_attachment_init(mcm_attachment *attachment, uint32_t struct_size);

/* All of a run, for mcm_generate. */
typedef struct mcm_generate_options {
    uint32_t struct_size;
    uint32_t seed_count;                /* 1 or the batch size, see mcm_session_seed */
    const uint64_t *seeds;              /* NULL with seed_count 0: seed 0 */
    const mcm_session_options *session; /* may be NULL */
    const mcm_attachment *attachments;
    size_t attachment_count;
    const float *class_input; /* see mcm_session_set_class_input; NULL if none */
    size_t class_input_count;
    mcm_progress callback; /* may be NULL; the session that it gets lives only as long as the call */
    void *user;
    const char *prompt;          /* for all images of a model that reads a text; NULL: the empty text */
    const char *negative_prompt; /* may be NULL, see mcm_session_set_prompt */
    const mcm_prompt_options *prompt_options; /* may be NULL; clip_skip is not applied to the negative prompt */
    const mcm_image *images; /* see mcm_session_set_image */
    const mcm_image *masks;  /* see mcm_session_set_mask */
    uint32_t image_count, mask_count;
} mcm_generate_options;
#define MCM_GENERATE_OPTIONS_INIT {sizeof(mcm_generate_options), 0, NULL, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, \
    NULL, NULL, NULL, NULL, 0, 0}
void mcm_generate_options_init(mcm_generate_options *options, uint32_t struct_size);

/* Samples a batch: seed, attach, condition, run, decode. `pixels` receives the images one after the other, `size` =
 * batch * image_height * image_width * image_channels bytes. `options` may be NULL. Errors: those of the session
 * functions, and MCM_CANCELLED. */
mcm_status mcm_generate(const mcm_model *model, const mcm_generate_options *options, uint8_t *pixels, size_t size);

/* ---------------------------------------------------------------------------------------------------------------
 * Training
 *
 * A module learns on a frozen model: an example x_0 and noise give x_t, the model predicts e from it, the module
 * turns e into e', and the squared error of e' is the loss, in the model's own prediction space. No gradient goes
 * through the model. Three levels:
 *
 *   1. mcm_trainer_train        draws examples from a data set until it is done;
 *   2. mcm_trainer_step         the caller's batches;
 *   3. mcm_trainer_accumulate,  gradients in a flat buffer, which the caller may average with those of other
 *      mcm_trainer_apply        processes, then the optimiser's step.
 *
 * The same seed gives the same weights, bit for bit, with any number of threads.
 * ------------------------------------------------------------------------------------------------------------- */

/* Examples in a file that is mapped and read as they are drawn. Immutable, shared by threads. */
typedef struct mcm_dataset mcm_dataset;

/* Opens a .safetensors file of a data set (docs/format.md): "images", U8 or F32 (examples, height, width, channels), or
 * "samples", F32 (examples, channels, height, width), in a model's sample space; the other tensors are conditions by
 * the names of their modalities, U8 or F32 (examples, height, width, channels), of any height and width: intensities,
 * or class indices in one channel. For models that read a text there may be encoded prompts: "prompt_embeds", F32 or
 * F16 (prompts, tokens, channels), for Stable Diffusion XL "pooled_prompt_embeds" (prompts, channels), and
 * "prompt_index", I32 (examples), which need not be there with one prompt for each example or for all. The file must
 * not change while the data set lives.
 * Errors: IO, FORMAT, UNSUPPORTED. */
mcm_status mcm_dataset_open(const char *path, mcm_dataset **out);

/* What a data set holds. */
typedef struct mcm_dataset_info {
    uint32_t struct_size;
    uint32_t width, height, channels; /* of an example */
    uint64_t count;                   /* examples */
    uint32_t modality_count;
    uint32_t reserved;
    char fingerprint[24]; /* 16 hex digits, zero-terminated: identifies the images */
} mcm_dataset_info;
#define MCM_DATASET_INFO_INIT {sizeof(mcm_dataset_info), 0, 0, 0, 0, 0, 0, {0}}
void mcm_dataset_info_init(mcm_dataset_info *info, uint32_t struct_size);
mcm_status mcm_dataset_get_info(const mcm_dataset *dataset, mcm_dataset_info *info);

/* Name and channels of the conditions with this index, 0 .. modality_count - 1; encoding and resize are 0. */
mcm_status mcm_dataset_get_modality(const mcm_dataset *dataset, uint32_t index, mcm_modality_info *info);

/* Called after each example with the number of those done. Nonzero cancels. */
typedef int32_t (*mcm_dataset_progress)(void *user, uint64_t done, uint64_t count);

/* Writes a data set of samples for a latent diffusion model: the means of the images' latents, encoded once. Conditions
 * and prompts are taken over. Written at once or not at all. `callback` may be NULL.
 * Errors: INCOMPATIBLE, SIZE, FORMAT, IO, OUT_OF_MEMORY, CANCELLED. */
mcm_status mcm_dataset_encode(const mcm_dataset *dataset, const mcm_model *model, const char *path,
                              mcm_dataset_progress callback, void *user);

void mcm_dataset_free(mcm_dataset *dataset);

/* A frozen model's predictions, recorded once: modules are trained from them without running the model again, nor
 * loading it. Immutable, shared by threads. */
typedef struct mcm_bank mcm_bank;

/* Which predictions are recorded. */
typedef struct mcm_bank_options {
    uint32_t struct_size;
    uint32_t batch;          /* records made at a time, 1..65536; default 16. They do not depend on it. */
    uint64_t count;          /* records; each image of the data set is in equally many, but for one */
    uint64_t seed;           /* of timesteps and noise; default 0 */
    uint32_t first_timestep; /* timesteps are drawn evenly from first_timestep .. end_timestep - 1; */
    uint32_t end_timestep;   /* 0 and 0 (default): from all */
} mcm_bank_options;
#define MCM_BANK_OPTIONS_INIT {sizeof(mcm_bank_options), 16, 0, 0, 0, 0}
void mcm_bank_options_init(mcm_bank_options *options, uint32_t struct_size);

/* Called after each batch with the number of records done. Nonzero cancels. */
typedef int32_t (*mcm_bank_progress)(void *user, uint64_t done, uint64_t count);

/* Records predictions into the file `path`, in half precision. They are collected in `path`.part (of a link: beside the
 * file that it leads to), which becomes `path` when it is complete: if that file is there, recording goes on where it
 * stopped, however it stopped. 2 * channels * height * width bytes per record, rounded up to a multiple of 8, and 24.
 * `callback` may be NULL.
 * Errors: INVALID_ARGUMENT, SIZE, STATE (path.part is a recording with other options; a prediction that half precision
 * does not hold), INCOMPATIBLE, UNSUPPORTED (as mcm_trainer_create), IO (a full disk: what is there stays), FORMAT,
 * OUT_OF_MEMORY, CANCELLED. */
mcm_status mcm_bank_record(const mcm_model *model, const mcm_dataset *dataset, const char *path,
                           const mcm_bank_options *options, mcm_bank_progress callback, void *user);

/* Opens a bank and checks every record. The file is mapped; it must not change while the bank lives.
 * Errors: IO, FORMAT (damaged, or cut short), UNSUPPORTED. */
mcm_status mcm_bank_open(const char *path, mcm_bank **out);

/* What a bank holds. */
typedef struct mcm_bank_info {
    uint32_t struct_size;
    uint32_t width, height, channels;
    uint32_t first_timestep, end_timestep; /* records are of first_timestep .. end_timestep - 1 */
    uint64_t count;
    char base_fingerprint[24];  /* of the model */
    char image_fingerprint[24]; /* of the data set's images */
} mcm_bank_info;
#define MCM_BANK_INFO_INIT {sizeof(mcm_bank_info), 0, 0, 0, 0, 0, 0, {0}, {0}}
void mcm_bank_info_init(mcm_bank_info *info, uint32_t struct_size);
mcm_status mcm_bank_get_info(const mcm_bank *bank, mcm_bank_info *info);

void mcm_bank_free(mcm_bank *bank);

/* A module being trained, with its optimiser. One thread at a time. It keeps alive what it needs of its model, and the
 * data set and the bank that it was last given. */
typedef struct mcm_trainer mcm_trainer;

/* What the squared error of a prediction counts, by the timestep. */
#define MCM_WEIGHTING_UNIFORM 1 /* the same everywhere */
#define MCM_WEIGHTING_MIN_SNR 2 /* as an error of x_0 that counts min(SNR, gamma) (Hang et al. 2023) */
#define MCM_WEIGHTING_NOISE 3   /* sqrt((1 - abar) / abar), clipped: high noise, where layout is decided, counts more */

/* How timesteps are drawn. */
#define MCM_TIMESTEPS_UNIFORM 1  /* evenly; errors are weighted */
#define MCM_TIMESTEPS_WEIGHTED 2 /* in proportion to the weighting; errors are not weighted then */

/* How a module is trained. */
typedef struct mcm_trainer_options {
    uint32_t struct_size;
    uint32_t warmup_steps;  /* in which the learning rate rises from 0, at most total_steps; default 200 */
    uint64_t total_steps;   /* by which it has fallen to 0 along a cosine, and after which no step can be taken; 0
                               (default): it stays */
    uint64_t seed;          /* of the first weights (its low 32 bits), of timesteps, noise, dropout and the order of
                               examples; default 0 */
    float learning_rate;    /* default 2e-3 */
    float weight_decay;     /* AdamW's, for kernels and matrices only; default 1e-4 */
    float beta1, beta2;     /* default 0.9, 0.999 */
    float epsilon;          /* default 1e-8 */
    float clip_norm;        /* the gradient is scaled down to this norm; default 1; 0: not at all */
    float ema_decay;        /* of the moving average of the weights, in step s at most (s + 1) / (s + 10); default
                               0.999; 0: none */
    int32_t weighting;      /* MCM_WEIGHTING_*; default NOISE */
    float min_snr_gamma;    /* default 5 */
    float noise_weight_low, noise_weight_high; /* default 0.3, 10 */
    int32_t timesteps;      /* MCM_TIMESTEPS_*; default UNIFORM */
    uint32_t first_timestep, end_timestep; /* drawn from first_timestep .. end_timestep - 1; 0, 0 (default): from all */
    uint32_t rank, world;   /* of several processes that share each step, which this is, of how many; default 0 of 1.
                               Each draws timesteps, noise and examples of its own, accumulates, and applies the mean
                               of all; it cannot take steps alone. */
    uint32_t dropout_count; /* numbers in `dropout`; 0 (default): 0.3 for each modality */
    const float *dropout;   /* how often a modality is withheld, for any subset to work later: one number for all
                               modalities, or one each in the config's order. Copied. */
    uint32_t threads;       /* as in mcm_model_options; only for a trainer without a model */
    uint32_t reserved;      /* 0 */
} mcm_trainer_options;
#define MCM_TRAINER_OPTIONS_INIT {sizeof(mcm_trainer_options), 200, 0, 0, 2e-3f, 1e-4f, 0.9f, 0.999f, 1e-8f, 1, \
    0.999f, MCM_WEIGHTING_NOISE, 5, 0.3f, 10, MCM_TIMESTEPS_UNIFORM, 0, 0, 0, 1, 0, NULL, 0, 0}
void mcm_trainer_options_init(mcm_trainer_options *options, uint32_t struct_size);

/* A trainer for a new module. What it is to be is said by `config`, JSON as in a module file (docs/format.md); "base"
 * is filled in. A module begins as one that changes nothing. With `model` NULL, `bank` stands for the model, and
 * examples can only be drawn from banks; else `bank` must be NULL. `options` may be NULL.
 * Errors: INVALID_ARGUMENT, INCOMPATIBLE, FORMAT (a config that cannot be built), UNSUPPORTED (a model with a class
 * input or a learned variance, an option of the config that is not known, more than 2^28 parameters), OUT_OF_MEMORY. */
mcm_status mcm_trainer_create(const mcm_model *model, const mcm_bank *bank, const char *config,
                              const mcm_trainer_options *options, mcm_trainer **out);

/* The same, beginning with the weights of a module file, whatever model of the same prediction type it was trained on.
 * Errors: those of create, and IO. */
mcm_status mcm_trainer_create_from(const mcm_model *model, const mcm_bank *bank, const char *path,
                                   const mcm_trainer_options *options, mcm_trainer **out);

/* What may change when a trainer goes on. */
typedef struct mcm_resume_options {
    uint32_t struct_size;
    uint32_t threads;     /* as in mcm_model_options; only for a trainer without a model */
    uint32_t rank, world; /* as in mcm_trainer_options, for one file to serve all processes; 0, 0 (default): as saved */
    uint64_t total_steps; /* to go on for longer; 0 (default): as saved */
    float learning_rate;  /* 0 (default): as saved */
    uint32_t reserved;    /* 0 */
} mcm_resume_options;
#define MCM_RESUME_OPTIONS_INIT {sizeof(mcm_resume_options), 0, 0, 0, 0, 0, 0}
void mcm_resume_options_init(mcm_resume_options *options, uint32_t struct_size);

/* Goes on from a file that mcm_trainer_save has written: the weights will be those of a trainer that never stopped, bit
 * for bit. `options` may be NULL. Errors: those of create_from, INCOMPATIBLE for another model, and STATE for gradients
 * that wait in the file of another rank. */
mcm_status mcm_trainer_resume(const mcm_model *model, const mcm_bank *bank, const char *path,
                              const mcm_resume_options *options, mcm_trainer **out);

/* Writes all of the trainer, at once or not at all: a process that ends meanwhile leaves the file that was there, and
 * perhaps an incomplete `path`.*.tmp. Errors: IO; STATE if what is to be saved is not finite. */
mcm_status mcm_trainer_save(const mcm_trainer *trainer, const char *path);

/* Examples: images in pixel space or samples, and their conditions. */
typedef struct mcm_batch {
    uint32_t struct_size;
    uint32_t count;              /* examples, at least 1 */
    const mcm_image *images;     /* `count` images of one size, with the model's image_channels; of a latent diffusion
                                    model they are encoded each time. Or NULL, and: */
    const float *samples;        /* (count, channels, height, width), finite, in the model's sample space */
    size_t sample_count;         /* floats in `samples`, all of them */
    uint32_t width, height;      /* of samples */
    const mcm_condition *conditions; /* one per modality that the examples have, each with `count` images */
    uint32_t condition_count;
    uint32_t reserved; /* 0 */
    const mcm_prompt *prompt; /* for a model that reads a text: of one example or of all; else NULL */
} mcm_batch;
#define MCM_BATCH_INIT {sizeof(mcm_batch), 0, NULL, NULL, 0, 0, 0, NULL, 0, 0, NULL}
void mcm_batch_init(mcm_batch *batch, uint32_t struct_size);

/* What was learned from a batch; losses are means over its examples. */
typedef struct mcm_train_report {
    uint32_t struct_size;
    float loss;             /* squared error of the module's prediction */
    float weighted_loss;    /* the same, weighted by timestep: what is made smaller */
    float base_loss;        /* squared error of the model's own prediction */
    float gradient_norm;    /* before clipping; 0 if no step was taken */
    float learning_rate;    /* of the step; 0 if none was taken */
    uint64_t step;          /* steps taken so far */
    uint64_t examples;      /* seen so far, by all processes of `world` */
    double base_seconds;    /* wall time of the model's prediction, */
    double module_seconds;  /* of the module's way forward and back, */
    double optimizer_seconds; /* and of the optimiser */
} mcm_train_report;
#define MCM_TRAIN_REPORT_INIT {sizeof(mcm_train_report), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
void mcm_train_report_init(mcm_train_report *report, uint32_t struct_size);

/* Accumulates a batch's gradients and takes a step; if either fails, neither has happened. `report` may be NULL.
 * Errors: INVALID_ARGUMENT, SIZE, INCOMPATIBLE, STATE (a loss, gradient or weight that is not finite, with the number
 * of the step; gradients that wait to be applied), OUT_OF_MEMORY. */
mcm_status mcm_trainer_step(mcm_trainer *trainer, const mcm_batch *batch, mcm_train_report *report);

/* Adds a batch's gradients to those accumulated. Errors: as mcm_trainer_step. */
mcm_status mcm_trainer_accumulate(mcm_trainer *trainer, const mcm_batch *batch, mcm_train_report *report);

/* Takes a step along the accumulated gradients, divided by the number of examples, and begins to accumulate anew. The
 * report has no losses. Errors: STATE (nothing is accumulated, it or its square is not finite, or all total_steps are
 * taken). */
mcm_status mcm_trainer_apply(mcm_trainer *trainer, mcm_train_report *report);

/* Forgets the accumulated gradients. Their examples stay counted as seen. */
mcm_status mcm_trainer_clear(mcm_trainer *trainer);

/* mcm_trainer_step and mcm_trainer_accumulate with the next `count` examples of a data set, in an order that follows
 * from the seed and that each epoch shuffles. With a bank, the examples are its records; it must have been recorded
 * from this trainer's model and for these images, of timesteps that the options allow. `bank` may be NULL.
 * Errors: as above, FORMAT, and INCOMPATIBLE for a data set that has none of the module's modalities. */
mcm_status mcm_trainer_step_dataset(mcm_trainer *trainer, const mcm_dataset *dataset, const mcm_bank *bank,
                                    uint32_t count, mcm_train_report *report);
mcm_status mcm_trainer_accumulate_dataset(mcm_trainer *trainer, const mcm_dataset *dataset, const mcm_bank *bank,
                                          uint32_t count, mcm_train_report *report);

/* The losses of a batch, or of the first `count` examples of a data set (or of a bank's records), without learning from
 * them. Timesteps are spread over their range, or a bank's; they and the noise are the same in each call; no condition
 * is withheld. averaged: as of mcm_trainer_get_modulator. Errors: as mcm_trainer_step and _step_dataset, but gradients
 * may wait. */
mcm_status mcm_trainer_evaluate(mcm_trainer *trainer, const mcm_batch *batch, int32_t averaged,
                                mcm_train_report *report);
mcm_status mcm_trainer_evaluate_dataset(mcm_trainer *trainer, const mcm_dataset *dataset, const mcm_bank *bank,
                                        uint32_t count, int32_t averaged, mcm_train_report *report);

/* The parameters, their gradients, and their moving average (NULL if there is none), `count` floats each, in one order.
 * The gradient is the sum over the accumulated examples: a mean over processes that accumulated equally many is one to
 * apply. The trainer's own memory, valid as long as it is; the caller may write to it between calls, but writing to one
 * changes no other. Each out pointer may be NULL. */
mcm_status mcm_trainer_get_buffers(mcm_trainer *trainer, float **parameters, float **gradients, float **ema,
                                   size_t *count);

/* Where one of the module's parameters lies in the buffers. */
typedef struct mcm_parameter_info {
    uint32_t struct_size;
    uint32_t rank;     /* dimensions, 1..4 */
    uint64_t offset;   /* of the first element, in floats */
    uint64_t count;    /* elements, row-major */
    uint64_t shape[4]; /* 0 beyond rank */
    char name[128];    /* the key in the module's file, e.g. "conv_in.weight" */
} mcm_parameter_info;
#define MCM_PARAMETER_INFO_INIT {sizeof(mcm_parameter_info), 0, 0, 0, {0}, {0}}
void mcm_parameter_info_init(mcm_parameter_info *info, uint32_t struct_size);
/* index: 0 .. mcm_trainer_state.tensor_count - 1. */
mcm_status mcm_trainer_get_parameter(const mcm_trainer *trainer, uint32_t index, mcm_parameter_info *info);

/* How far a trainer is. */
typedef struct mcm_trainer_state {
    uint32_t struct_size;
    uint32_t modality_count;
    uint64_t step;     /* steps taken */
    uint64_t examples; /* seen, by all processes of `world` */
    uint64_t pending;  /* examples whose gradients are accumulated here */
    uint64_t parameter_count;
    uint64_t total_steps;  /* of the options */
    uint32_t tensor_count; /* of the module */
    uint32_t reserved;
} mcm_trainer_state;
#define MCM_TRAINER_STATE_INIT {sizeof(mcm_trainer_state), 0, 0, 0, 0, 0, 0, 0, 0}
void mcm_trainer_state_init(mcm_trainer_state *state, uint32_t struct_size);
mcm_status mcm_trainer_get_state(const mcm_trainer *trainer, mcm_trainer_state *state);

/* What the module follows; index: 0 .. modality_count - 1. */
mcm_status mcm_trainer_get_modality(const mcm_trainer *trainer, uint32_t index, mcm_modality_info *info);

/* Which losses mcm_trainer_get_losses averages. */
#define MCM_LOSSES_TIMESTEP 1 /* of a tenth of the timesteps, index 0..9 */
#define MCM_LOSSES_GIVEN 2    /* of examples that had modality `index` */
#define MCM_LOSSES_WITHHELD 3 /* of those that did not */

/* Mean losses since the trainer was made, resumed or told to begin anew. */
typedef struct mcm_losses {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t count;   /* examples */
    double loss;      /* 0 if there are none */
    double base_loss; /* of the model's own prediction */
} mcm_losses;
#define MCM_LOSSES_INIT {sizeof(mcm_losses), 0, 0, 0, 0}
void mcm_losses_init(mcm_losses *losses, uint32_t struct_size);
mcm_status mcm_trainer_get_losses(const mcm_trainer *trainer, int32_t kind, uint32_t index, mcm_losses *losses);
mcm_status mcm_trainer_reset_losses(mcm_trainer *trainer);

/* The module as it is now, for sampling; `averaged` nonzero: with the moving average of its weights. The caller's to
 * free. Errors: STATE (a weight that is not finite), OUT_OF_MEMORY. */
mcm_status mcm_trainer_get_modulator(const mcm_trainer *trainer, int32_t averaged, mcm_modulator **out);

#define MCM_F16 3 /* IEEE half precision */

/* Writes the module's file, at once or not at all. dtype: MCM_F32 or MCM_F16. Errors: INVALID_ARGUMENT, STATE (a weight
 * that is not finite, or that F16 does not hold), IO. */
mcm_status mcm_trainer_write_modulator(const mcm_trainer *trainer, const char *path, int32_t averaged, int32_t dtype);

/* Called after each step. It may save the trainer, evaluate it, write or get its module, read its state, parameters and
 * losses, and reset those, nothing else. Nonzero cancels. */
typedef int32_t (*mcm_train_progress)(void *user, mcm_trainer *trainer, const mcm_train_report *report);

/* How mcm_trainer_train goes through a data set. */
typedef struct mcm_train_options {
    uint32_t struct_size;
    uint32_t batch;        /* examples accumulated at a time; default 64 */
    uint32_t accumulate;   /* batches per step; default 1 */
    uint32_t save_every;   /* steps between saves; 0: only at the end and when cancelled; default 1000 */
    uint64_t until_step;   /* trained until this number of steps is taken; 0 (default), and at most: total_steps */
    const char *save_path; /* where the trainer is saved, tried before the first step; NULL (default): nowhere */
} mcm_train_options;
#define MCM_TRAIN_OPTIONS_INIT {sizeof(mcm_train_options), 64, 1, 1000, 0, NULL}
void mcm_train_options_init(mcm_train_options *options, uint32_t struct_size);

/* Trains on a data set, and on a bank if it is not NULL. `options` and `callback` may be NULL. Errors: those of
 * mcm_trainer_step_dataset and mcm_trainer_save; INVALID_ARGUMENT (no end is set); CANCELLED. The trainer is then as
 * after the last step. */
mcm_status mcm_trainer_train(mcm_trainer *trainer, const mcm_dataset *dataset, const mcm_bank *bank,
                             const mcm_train_options *options, mcm_train_progress callback, void *user);

void mcm_trainer_free(mcm_trainer *trainer);

#ifdef __cplusplus
}
#endif

#endif /* MCM_H */

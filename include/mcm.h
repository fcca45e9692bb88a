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

typedef int32_t mcm_status;

#define MCM_OK 0
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

/* A pretrained diffusion model: network, noise schedule and scheduler defaults. Immutable, shared by threads. */
typedef struct mcm_model mcm_model;

typedef struct mcm_model_options {
    uint32_t struct_size;
    uint32_t threads; /* threads that one call may use, the caller's included; 0 (default): as many as the process
                         may use CPUs. Results do not depend on it. At most 256. */
    uint64_t cache_bytes; /* memory that the model may spend on transformed filters, beside its weights; 0 (default):
                             none, which is mostly fastest. Kept, a 3 x 3 convolution's filters need not be transformed
                             in each step, but four times its F32 weights (eight times F16) are read: measure
                             before you use it (docs/performance.md). Those that fit are kept, from the network's
                             beginning on. Results do not depend on it. */
} mcm_model_options;
#define MCM_MODEL_OPTIONS_INIT {sizeof(mcm_model_options), 0, 0}
void mcm_model_options_init(mcm_model_options *options, uint32_t struct_size);

/* Opens a diffusers model folder: model_index.json, unet/config.json, unet/diffusion_pytorch_model.safetensors (or
 * its sharded form with an index), scheduler/scheduler_config.json. The network is a UNet2DModel that works on
 * pixels. Tensors may be F32, F16 or BF16. `options` may be NULL.
 * Errors: IO, FORMAT (a missing, surplus or wrongly shaped tensor, a damaged file), UNSUPPORTED (a pipeline,
 * network or option that is not known; pickle files), INVALID_ARGUMENT (more threads than allowed, a cache larger
 * than the machine's memory), OUT_OF_MEMORY, CPU. */
mcm_status mcm_model_open(const char *folder, const mcm_model_options *options, mcm_model **out);

/* One file of a model folder that lies in memory. This struct will not grow. */
typedef struct mcm_memory_file {
    const char *name; /* path inside the folder with '/' as separator, e.g. "unet/config.json" */
    const void *data; /* need not be aligned; borrowed for the duration of the call */
    size_t size;      /* bytes */
} mcm_memory_file;

/* mcm_model_open on files in memory instead of a folder. The files may be released afterwards. */
mcm_status mcm_model_open_memory(const mcm_memory_file *files, size_t file_count, const mcm_model_options *options,
                                 mcm_model **out);

#define MCM_PREDICTION_EPSILON 1
#define MCM_PREDICTION_SAMPLE 2
#define MCM_PREDICTION_V 3

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
    char fingerprint[24];  /* 16 hex digits, zero-terminated: identifies the weights (docs/format.md) */
} mcm_model_info;
#define MCM_MODEL_INFO_INIT {sizeof(mcm_model_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}}
void mcm_model_info_init(mcm_model_info *info, uint32_t struct_size);

/* Fills *info; struct_size must be set. */
mcm_status mcm_model_get_info(const mcm_model *model, mcm_model_info *info);

/* Memory in bytes, and threads. */
typedef struct mcm_memory {
    uint32_t struct_size;
    uint32_t threads; /* that one call may use */
    uint64_t weights; /* parameters in the form in which they are used; 16-bit ones stay 16-bit */
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

/* Images to samples: (batch, channels, height, width) in [-1, 1], as the model was trained on. All images have the
 * same size and the model's number of channels. Errors: INVALID_ARGUMENT, SIZE. */
mcm_status mcm_model_encode(const mcm_model *model, const mcm_image *images, uint32_t batch, float *sample,
                            size_t count);

/* One sample, (channels, height, width), `count` floats, to 8-bit pixels, rows without gaps, channels interleaved:
 * round(255 * clamp(x / 2 + 0.5, 0, 1)); NaN becomes 0. `size` = width * height * channels bytes. */
mcm_status mcm_model_decode(const mcm_model *model, uint32_t width, uint32_t height, const float *sample,
                            size_t count, uint8_t *pixels, size_t size);

void mcm_model_free(mcm_model *model);

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

#define MCM_ENCODING_GREY 1    /* one plane, value in [0, 1] */
#define MCM_ENCODING_RGB 2     /* three planes, values in [0, 1] */
#define MCM_ENCODING_ONE_HOT 3 /* class index per pixel -> one plane per class */

#define MCM_RESIZE_NEAREST 1
#define MCM_RESIZE_AREA 2
#define MCM_RESIZE_BILINEAR 3

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

#define MCM_SCHEDULER_DEFAULT 0 /* the model's own */
#define MCM_SCHEDULER_DDPM 1
#define MCM_SCHEDULER_DDIM 2

/* The arithmetic between predictions, exactly as in diffusers: x_t and e to x_{t-1}. Knows no network. */
typedef struct mcm_scheduler mcm_scheduler;

/* kind MCM_SCHEDULER_*; steps 1..num_train_timesteps, 0 for the default (50; DDPM: 1000, as its pipeline; at
 * most num_train_timesteps); eta in
 * [0, 1] is DDIM's noise share and must be 0 for others. Errors: INVALID_ARGUMENT, UNSUPPORTED. */
mcm_status mcm_scheduler_create(const mcm_model *model, int32_t kind, uint32_t steps, float eta,
                                mcm_scheduler **out);

/* *count receives the number of steps; timesteps, if not NULL, receives them (capacity >= the number). */
mcm_status mcm_scheduler_get_timesteps(const mcm_scheduler *scheduler, int32_t *timesteps, uint32_t capacity,
                                       uint32_t *count);

/* *out = 1 if the step needs noise (a normal draw of the sample's size), else 0. step: 0 .. steps - 1. */
mcm_status mcm_scheduler_needs_noise(const mcm_scheduler *scheduler, uint32_t step, int32_t *out);

/* One step.
 *   batch         number of images in the buffers
 *   sample        x_t, `count` floats, count a multiple of batch
 *   prediction    the (modulated) prediction e, `prediction_count` floats: count, or 2 * count if the model learns
 *                 its variance (per image: prediction, then variance; DDIM does not use the variance)
 *   noise         a normal draw of `count` floats if the step needs one, else NULL or ignored
 *   previous      receives x_{t-1}; may be `sample`, and must not overlap prediction or noise
 *   x0            receives the predicted x_0 (clipped as the scheduler says), or NULL; overlaps no other buffer */
mcm_status mcm_scheduler_step(const mcm_scheduler *scheduler, uint32_t step, uint32_t batch, const float *sample,
                              size_t count, const float *prediction, size_t prediction_count, const float *noise,
                              float *previous, float *x0);

/* x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, for a timestep in 0 .. num_train_timesteps - 1. */
mcm_status mcm_scheduler_add_noise(const mcm_scheduler *scheduler, int32_t timestep, const float *x0,
                                   const float *noise, size_t count, float *out);

void mcm_scheduler_free(mcm_scheduler *scheduler);

/* ---------------------------------------------------------------------------------------------------------------
 * Sessions
 * ------------------------------------------------------------------------------------------------------------- */

/* One run of sampling over a batch. */
typedef struct mcm_session mcm_session;

typedef struct mcm_session_options {
    uint32_t struct_size;
    uint32_t batch;         /* images, default 1 */
    uint32_t width, height; /* of the sample; 0: the model's own. Multiples of size_multiple */
    int32_t scheduler;      /* MCM_SCHEDULER_* */
    uint32_t steps;         /* 0: the default, see mcm_scheduler_create */
    float eta;              /* DDIM's noise share in [0, 1], default 0 */
} mcm_session_options;
#define MCM_SESSION_OPTIONS_INIT {sizeof(mcm_session_options), 1, 0, 0, MCM_SCHEDULER_DEFAULT, 0, 0.0f}
void mcm_session_options_init(mcm_session_options *options, uint32_t struct_size);

/* `options` may be NULL. The session must be seeded before its first step. */
mcm_status mcm_session_create(const mcm_model *model, const mcm_session_options *options, mcm_session **out);

/* Starts a run, or starts over: draws x_T and goes to step 0; conditions and modulators stay.
 * seed_count 1: one generator draws for the whole batch; seed_count = batch: one generator per image, so that image
 * k is the same alone and in any batch. Both as diffusers' pipelines with torch.Generator(seed). */
mcm_status mcm_session_seed(mcm_session *session, const uint64_t *seeds, uint32_t seed_count);

/* Class input of a model that takes one: (batch, class_input_size) floats, copied. */
mcm_status mcm_session_set_class_input(mcm_session *session, const float *values, size_t count);

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

/* Sets (or replaces) the condition of one modality; the images are copied. */
mcm_status mcm_session_set_condition(mcm_session *session, uint32_t id, const mcm_condition *condition);
/* The same for the whole batch from an 8-bit PNG: grey for one-hot (pixel value = class index) and grey, grey or
 * RGB for RGB. */
mcm_status mcm_session_set_condition_png(mcm_session *session, uint32_t id, const char *modality, const char *path);
/* Makes a modality absent again; NULL means all of them. */
mcm_status mcm_session_clear_condition(mcm_session *session, uint32_t id, const char *modality);

/* One step: predict, modulate, scheduler step. MCM_ERROR_STATE before seeding and past the end; INVALID_ARGUMENT if the
 * result is not finite, since the sample, a condition or a weight is too large. */
mcm_status mcm_session_step(mcm_session *session);

typedef struct mcm_session_state {
    uint32_t struct_size;
    uint32_t step;      /* steps done; 0 after seeding */
    uint32_t steps;     /* of the whole run */
    int32_t timestep;   /* of the next step; -1 when done */
    uint32_t batch, channels, height, width;
    int32_t seeded;     /* nonzero after mcm_session_seed */
} mcm_session_state;
#define MCM_SESSION_STATE_INIT {sizeof(mcm_session_state), 0, 0, 0, 0, 0, 0, 0, 0}
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

#define MCM_DECODE_SAMPLE 0 /* x_t: the result, when done */
#define MCM_DECODE_X0 1     /* the predicted x_0: a preview */

/* Image `index` of the batch as 8-bit pixels, width * height * channels bytes, rows without gaps. */
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
} mcm_generate_options;
#define MCM_GENERATE_OPTIONS_INIT {sizeof(mcm_generate_options), 0, NULL, NULL, NULL, 0, NULL, 0, NULL, NULL}
void mcm_generate_options_init(mcm_generate_options *options, uint32_t struct_size);

/* Samples a batch: seed, attach, condition, run, decode. `pixels` receives the images one after the other, `size` =
 * batch * height * width * channels bytes. `options` may be NULL. Errors: those of the session functions, and
 * MCM_CANCELLED. */
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
 * or class indices in one channel. The file must not change while the data set lives.
 * Errors: IO, FORMAT, UNSUPPORTED. */
mcm_status mcm_dataset_open(const char *path, mcm_dataset **out);

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

void mcm_dataset_free(mcm_dataset *dataset);

/* A frozen model's predictions, recorded once: modules are trained from them without running the model again, nor
 * loading it. Immutable, shared by threads. */
typedef struct mcm_bank mcm_bank;

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
    const mcm_image *images;     /* `count` images of one size, with the model's channels; or NULL, and: */
    const float *samples;        /* (count, channels, height, width), finite, in the model's sample space */
    size_t sample_count;         /* floats in `samples`, all of them */
    uint32_t width, height;      /* of samples */
    const mcm_condition *conditions; /* one per modality that the examples have, each with `count` images */
    uint32_t condition_count;
    uint32_t reserved; /* 0 */
} mcm_batch;
#define MCM_BATCH_INIT {sizeof(mcm_batch), 0, NULL, NULL, 0, 0, 0, NULL, 0, 0}
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

typedef struct mcm_train_options {
    uint32_t struct_size;
    uint32_t batch;        /* examples accumulated at a time; default 64 */
    uint32_t accumulate;   /* batches per step; default 1 */
    uint32_t save_every;   /* steps between saves; 0: only at the end and when cancelled; default 1000 */
    uint64_t until_step;   /* trained until this number of steps is taken; 0 (default), and at most: total_steps */
    const char *save_path; /* where the trainer is saved; NULL (default): nowhere */
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

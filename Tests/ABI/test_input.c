/* Wrong sizes, wrong numbers, wrong names: an error of the right kind, and nothing changed. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "drawing.h"
#include "tiny.h"

static struct {
    mcm_model *model;
    mcm_modulator *module;
    mcm_session *session;
    uint32_t id; /* of the module in the session */
    mcm_condition conditions[TINY_CONDITIONS];
    float x[64], e[64], out[64], t;
    uint8_t pixels[64];
} ok;

static void open_all(void) {
    ok.model = tiny_model_open(&(tiny_model){0}, 1);
    ok.module = tiny_module_open(&(tiny_module){0});
    tiny_conditions(1, ok.conditions);
    drawing d = drawing_of(ok.model, MCM_SCHEDULER_DDIM, 3);
    d.modulator = ok.module;
    ok.session = open_session(&d, &ok.id);
    OK(mcm_session_step(ok.session));
}

static mcm_status modulate_by(const mcm_condition *condition) {
    return mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, ok.e, 64, &ok.t, condition, 1, 1, ok.out);
}

/* Checks, too, that the session is as it was: one step done, and it goes on. */
static void free_all(void) {
    mcm_session_state state = MCM_SESSION_STATE_INIT;
    OK(mcm_session_get_state(ok.session, &state));
    CHECK(state.step == 1 && state.steps == 3 && state.seeded);
    OK(mcm_session_run(ok.session, NULL, NULL));
    mcm_session_free(ok.session);
    mcm_modulator_free(ok.module);
    mcm_model_free(ok.model);
}

static void struct_sizes_of_options(void) {
    open_all();
    mcm_model *model;
    mcm_session *session;
    mcm_memory_file files[TINY_FILES];
    tiny_model_files(&(tiny_model){0}, files);
    mcm_model_options model_options = MCM_MODEL_OPTIONS_INIT;
    WRONG_SIZES(model_options.struct_size, mcm_model_open_memory(files, TINY_FILES, &model_options, &model));
    WRONG_SIZES(model_options.struct_size, mcm_model_open(path_in(fashion, "base"), &model_options, &model));
    free_files(files);
    mcm_session_options session_options = MCM_SESSION_OPTIONS_INIT;
    WRONG_SIZES(session_options.struct_size, mcm_session_create(ok.model, &session_options, &session));
    mcm_attach_options attach = MCM_ATTACH_OPTIONS_INIT;
    WRONG_SIZES(attach.struct_size, mcm_session_attach(ok.session, ok.module, &attach, NULL));

    mcm_attachment attachment = MCM_ATTACHMENT_INIT;
    attachment.modulator = ok.module;
    attachment.options = &attach;
    attachment.conditions = ok.conditions;
    attachment.condition_count = 1;
    session_options.steps = 1;
    mcm_generate_options options = MCM_GENERATE_OPTIONS_INIT;
    options.session = &session_options;
    options.attachments = &attachment;
    options.attachment_count = 1;
    WRONG_SIZES(options.struct_size, mcm_generate(ok.model, &options, ok.pixels, 64));
    WRONG_SIZES(session_options.struct_size, mcm_generate(ok.model, &options, ok.pixels, 64));
    WRONG_SIZES(attachment.struct_size, mcm_generate(ok.model, &options, ok.pixels, 64));
    WRONG_SIZES(attach.struct_size, mcm_generate(ok.model, &options, ok.pixels, 64));
    WRONG_SIZES(ok.conditions[0].struct_size, mcm_generate(ok.model, &options, ok.pixels, 64));
    OK(mcm_generate(ok.model, &options, ok.pixels, 64));
    free_all();
}

static void struct_sizes_of_infos(void) {
    open_all();
    mcm_model_info model = MCM_MODEL_INFO_INIT;
    mcm_modulator_info module = MCM_MODULATOR_INFO_INIT;
    mcm_modality_info modality = MCM_MODALITY_INFO_INIT;
    mcm_session_state state = MCM_SESSION_STATE_INIT;
    mcm_memory memory = MCM_MEMORY_INIT;
    WRONG_SIZES(model.struct_size, mcm_model_get_info(ok.model, &model));
    WRONG_SIZES(module.struct_size, mcm_modulator_get_info(ok.module, &module));
    WRONG_SIZES(modality.struct_size, mcm_modulator_get_modality(ok.module, 0, &modality));
    WRONG_SIZES(state.struct_size, mcm_session_get_state(ok.session, &state));
    WRONG_SIZES(memory.struct_size, mcm_model_get_memory(ok.model, &memory));
    WRONG_SIZES(memory.struct_size, mcm_session_get_memory(ok.session, &memory));
    /* Nothing was written. */
    CHECK(model.width == 0 && module.modality_count == 0 && modality.name[0] == '\0' && state.steps == 0);
    CHECK(memory.threads == 0 && memory.weights == 0 && memory.arena == 0);
    free_all();
}

static void struct_sizes_of_images_and_conditions(void) {
    open_all();
    mcm_condition *c = &ok.conditions[0];
    mcm_image image = c->images[0];
    WRONG_SIZES(image.struct_size, mcm_png_write(path_in(scratch, "size.png"), &image));
    WRONG_SIZES(image.struct_size, mcm_model_encode(ok.model, &image, 1, ok.x, 64));
    WRONG_SIZES(c->struct_size, mcm_session_set_condition(ok.session, ok.id, c));
    WRONG_SIZES(c->struct_size, modulate_by(c));
    c->images = &image;
    WRONG_SIZES(image.struct_size, mcm_session_set_condition(ok.session, ok.id, c));
    WRONG_SIZES(image.struct_size, modulate_by(c));
    free_all();
}

/* A struct_size at the very end of the accessible memory: it is looked at before anything behind it. */
static void structs_are_not_read_beyond_their_size(void) {
    enum { PAGE = 65536 };
    open_all();
    char *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && mprotect(memory + PAGE, PAGE, PROT_NONE) == 0);
    void *end = memory + PAGE - 8;
    *(uint32_t *)end = 4; /* of no struct */
    mcm_model *model;
    mcm_session *session;
    const char *path = path_in(scratch, "beyond.png");
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_model_open(path_in(fashion, "base"), end, &model));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_session_create(ok.model, end, &session));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_session_attach(ok.session, ok.module, end, NULL));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_session_set_condition(ok.session, ok.id, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_generate(ok.model, end, ok.pixels, 64));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_png_write(path, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_model_encode(ok.model, end, 1, ok.x, 64));
    STATUS(MCM_ERROR_STRUCT_SIZE, modulate_by(end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_model_get_info(ok.model, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_modulator_get_info(ok.module, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_modulator_get_modality(ok.module, 0, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_session_get_state(ok.session, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_model_get_memory(ok.model, end));
    STATUS(MCM_ERROR_STRUCT_SIZE, mcm_session_get_memory(ok.session, end));
    /* Model options of the first header, before cache_bytes. */
    static const uint32_t first[] = {8, 1};
    memcpy(end, first, sizeof first);
    OK(mcm_model_open(path_in(fashion, "base"), end, &model));
    mcm_model_free(model);
    munmap(memory, 2 * PAGE);
    free_all();
}

static void sizes_of_predict_and_modulate(void) {
    open_all();
    static const struct {
        uint32_t batch, width, height;
    } shapes[] = {{0, 8, 8},           {1, 0, 8},          {1, 8, 0},          {1, 7, 8},
                  {1, 8, 6},           {1, 0x80000000, 8}, {1, 8, 0x80000000}, {0x80000000, 8, 8},
                  {UINT32_MAX, 8, 8},  {1, UINT32_MAX, 1}, {1, 1, UINT32_MAX}, {UINT32_MAX, UINT32_MAX, UINT32_MAX},
                  {0x80000000, 0x80000000, 4}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        uint32_t n = shapes[i].batch, w = shapes[i].width, h = shapes[i].height;
        MISUSE(mcm_model_predict(ok.model, n, w, h, ok.x, 64, &ok.t, NULL, 0, ok.out, 64));
        MISUSE(mcm_modulator_modulate(ok.module, ok.model, n, w, h, ok.x, ok.e, 64, &ok.t, NULL, 0, 1, ok.out));
        if (n == 1) MISUSE(mcm_model_decode(ok.model, w, h, ok.x, 64, ok.pixels, 64));
    }
    static const size_t counts[] = {0, 1, 63, 65, 128, SIZE_MAX, SIZE_MAX / 4 + 65};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        size_t n = counts[i];
        STATUS(MCM_ERROR_SIZE, mcm_model_predict(ok.model, 1, 8, 8, ok.x, n, &ok.t, NULL, 0, ok.out, 64));
        STATUS(MCM_ERROR_SIZE, mcm_model_predict(ok.model, 1, 8, 8, ok.x, 64, &ok.t, NULL, 0, ok.out, n));
        STATUS(MCM_ERROR_SIZE,
               mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, ok.e, n, &ok.t, NULL, 0, 1, ok.out));
        STATUS(MCM_ERROR_SIZE, mcm_model_decode(ok.model, 8, 8, ok.x, n, ok.pixels, 64));
        STATUS(MCM_ERROR_SIZE, mcm_model_decode(ok.model, 8, 8, ok.x, 64, ok.pixels, n));
        STATUS(MCM_ERROR_SIZE, mcm_model_encode(ok.model, ok.conditions[0].images, 1, ok.x, n));
        STATUS(MCM_ERROR_SIZE, mcm_session_get_sample(ok.session, ok.x, n));
        STATUS(MCM_ERROR_SIZE, mcm_session_set_sample(ok.session, ok.x, n));
        STATUS(MCM_ERROR_SIZE, mcm_session_get_x0(ok.session, ok.x, n));
        STATUS(MCM_ERROR_SIZE, mcm_session_decode(ok.session, MCM_DECODE_SAMPLE, 0, ok.pixels, n));
        STATUS(MCM_ERROR_SIZE, mcm_generate(ok.model, NULL, ok.pixels, n));
    }
    MISUSE(mcm_model_encode(ok.model, ok.conditions[0].images, 0, ok.x, 64));
    MISUSE(mcm_model_encode(ok.model, ok.conditions[0].images, UINT32_MAX, ok.x, 64));
    MISUSE(mcm_model_encode(ok.model, ok.conditions[2].images, 1, ok.x, 64)); /* three channels, not one */
    free_all();
}

static void sizes_of_rng_and_scheduler(void) {
    open_all();
    mcm_rng *rng;
    mcm_scheduler *s;
    OK(mcm_rng_create(1, &rng));
    MISUSE(mcm_rng_normal(rng, ok.x, SIZE_MAX));
    MISUSE(mcm_rng_normal(rng, ok.x, SIZE_MAX / 4 + 1));
    OK(mcm_scheduler_create(ok.model, MCM_SCHEDULER_DDIM, 3, 0, &s));
    MISUSE(mcm_scheduler_step(s, 3, 1, ok.x, 64, ok.e, 64, NULL, ok.out, NULL));
    MISUSE(mcm_scheduler_step(s, UINT32_MAX, 1, ok.x, 64, ok.e, 64, NULL, ok.out, NULL));
    MISUSE(mcm_scheduler_step(s, 0, 0, ok.x, 64, ok.e, 64, NULL, ok.out, NULL));
    MISUSE(mcm_scheduler_step(s, 0, 3, ok.x, 64, ok.e, 64, NULL, ok.out, NULL)); /* 64 is no multiple of 3 */
    MISUSE(mcm_scheduler_step(s, 0, UINT32_MAX, ok.x, 64, ok.e, 64, NULL, ok.out, NULL));
    STATUS(MCM_ERROR_SIZE, mcm_scheduler_step(s, 0, 1, ok.x, 64, ok.e, 63, NULL, ok.out, NULL));
    STATUS(MCM_ERROR_SIZE, mcm_scheduler_step(s, 0, 1, ok.x, 64, ok.e, SIZE_MAX, NULL, ok.out, NULL));
    MISUSE(mcm_scheduler_step(s, 0, 1, ok.x, SIZE_MAX, ok.e, SIZE_MAX, NULL, ok.out, NULL));
    MISUSE(mcm_scheduler_step(s, 0, 1, ok.x, 0, ok.e, 0, NULL, ok.out, NULL));
    MISUSE(mcm_scheduler_add_noise(s, 0, ok.x, ok.e, SIZE_MAX, ok.out));
    float x0[64];
    INVALID(mcm_scheduler_step(s, 0, 1, ok.x, 64, ok.e, 64, NULL, ok.out, ok.x));
    INVALID(mcm_scheduler_step(s, 0, 1, ok.x, 64, ok.e, 64, NULL, ok.out, ok.e));
    INVALID(mcm_scheduler_step(s, 0, 1, ok.x, 64, ok.e, 64, NULL, ok.out, ok.out));
    INVALID(mcm_scheduler_step(s, 0, 1, ok.x, 64, ok.e, 64, NULL, ok.e, x0));
    OK(mcm_scheduler_step(s, 0, 1, ok.x, 64, ok.e, 64, NULL, ok.out, x0));
    mcm_scheduler_free(s);
    mcm_rng_free(rng);
    free_all();
}

static void session_options(void) {
    open_all();
    mcm_session *session = NULL;
    mcm_scheduler *scheduler = NULL;
    static const struct {
        uint32_t batch, width, height;
        int32_t kind;
        uint32_t steps;
        float eta;
    } bad[] = {
        {0, 0, 0, 0, 0, 0},
        {1, 7, 8, 0, 0, 0}, {1, 8, 9, 0, 0, 0}, /* no multiples of two */
        {1, 0, 0, 11, 0, 0}, {1, 0, 0, -1, 0, 0}, {1, 0, 0, INT32_MAX, 0, 0},
        {1, 0, 0, MCM_SCHEDULER_DDIM, 1001, 0}, {1, 0, 0, MCM_SCHEDULER_DDPM, UINT32_MAX, 0},
        {1, 0, 0, MCM_SCHEDULER_DDIM, 10, -0.1f}, {1, 0, 0, MCM_SCHEDULER_DDIM, 10, 1.1f},
        {1, 0, 0, MCM_SCHEDULER_DDIM, 10, NAN}, {1, 0, 0, MCM_SCHEDULER_DDIM, 10, INFINITY},
        {1, 0, 0, MCM_SCHEDULER_DDPM, 10, 0.5f}, /* eta is DDIM's */
        {1, 0, 0, MCM_SCHEDULER_EULER, 10, 0.5f}, {1, 0, 0, MCM_SCHEDULER_EULER, 1001, 0},
        {1, 0, 0, MCM_SCHEDULER_PNDM, 3, 0}, {1, 0, 0, MCM_SCHEDULER_LCM, 51, 0},
        {1, 0, 0, MCM_SCHEDULER_UNIPC, 1000, 0}, /* no two of its steps may begin at the same timestep */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mcm_session_options options = MCM_SESSION_OPTIONS_INIT;
        options.batch = bad[i].batch;
        options.width = bad[i].width;
        options.height = bad[i].height;
        options.scheduler = bad[i].kind;
        options.steps = bad[i].steps;
        options.eta = bad[i].eta;
        MISUSE(mcm_session_create(ok.model, &options, &session));
        CHECK(session == NULL);
        if (bad[i].batch == 1 && bad[i].width == 0) {
            MISUSE(mcm_scheduler_create(ok.model, bad[i].kind, bad[i].steps, bad[i].eta, &scheduler));
            CHECK(scheduler == NULL);
        }
    }
    /* Not misuse, but more than any machine has. */
    static const struct {
        uint32_t batch, width, height;
    } huge[] = {{UINT32_MAX, 0, 0},      {0x80000000, 0, 0},          {1, 0x80000000, 0x80000000},
                {1, 0x80000000, 8},      {1, 8, 0xfffffffe},          {UINT32_MAX, 0xfffffffe, 0xfffffffe},
                {65536, 65536, 65536}};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        mcm_session_options options = MCM_SESSION_OPTIONS_INIT;
        options.batch = huge[i].batch;
        options.width = huge[i].width;
        options.height = huge[i].height;
        FAILS(mcm_session_create(ok.model, &options, &session));
        CHECK(session == NULL);
    }
    free_all();
}

static void numbers_that_are_not_finite(void) {
    open_all();
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        float b = bad[i], x[64] = {0};
        x[63] = b;
        INVALID(mcm_model_predict(ok.model, 1, 8, 8, x, 64, &ok.t, NULL, 0, ok.out, 64));
        INVALID(mcm_model_predict(ok.model, 1, 8, 8, ok.x, 64, &b, NULL, 0, ok.out, 64));
        INVALID(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, x, ok.e, 64, &ok.t, NULL, 0, 1, ok.out));
        INVALID(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, x, 64, &ok.t, NULL, 0, 1, ok.out));
        INVALID(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, ok.e, 64, &b, NULL, 0, 1, ok.out));
        INVALID(mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, ok.x, ok.e, 64, &ok.t, NULL, 0, b, ok.out));
        INVALID(mcm_session_set_sample(ok.session, x, 64));
        INVALID(mcm_session_set_weight(ok.session, ok.id, b));
        INVALID(mcm_session_set_window(ok.session, ok.id, b, 1));
        INVALID(mcm_session_set_window(ok.session, ok.id, 0, b));
        mcm_attach_options attach = MCM_ATTACH_OPTIONS_INIT;
        attach.weight = b;
        INVALID(mcm_session_attach(ok.session, ok.module, &attach, NULL));
        attach.weight = 1;
        attach.begin = b;
        INVALID(mcm_session_attach(ok.session, ok.module, &attach, NULL));
        attach.begin = 0;
        attach.end = b;
        INVALID(mcm_session_attach(ok.session, ok.module, &attach, NULL));
        mcm_image image = ok.conditions[0].images[0];
        image.dtype = MCM_F32;
        image.data = x;
        mcm_condition c = ok.conditions[0];
        c.images = &image;
        INVALID(mcm_session_set_condition(ok.session, ok.id, &c));
        INVALID(modulate_by(&c));
        INVALID(mcm_model_encode(ok.model, &image, 1, ok.out, 64));
        c.modality = "labels";
        MISUSE(mcm_session_set_condition(ok.session, ok.id, &c)); /* or no index of a class */
    }
    free_all();
}

/* Values that are finite but absurd may give what they give; they do not crash. */
static void extreme_numbers(void) {
    open_all();
    static const float extreme[] = {3.4e38f, -3.4e38f, 1e-45f, -1e9f, 1e20f};
    for (size_t i = 0; i < sizeof extreme / sizeof *extreme; i++) {
        float x[64], t = extreme[i];
        for (int k = 0; k < 64; k++) x[k] = extreme[i];
        mcm_model_predict(ok.model, 1, 8, 8, x, 64, &t, NULL, 0, ok.out, 64);
        mcm_modulator_modulate(ok.module, ok.model, 1, 8, 8, x, x, 64, &t, NULL, 0, extreme[i], ok.out);
        mcm_session *session;
        drawing d = drawing_of(ok.model, MCM_SCHEDULER_DDPM, 3);
        d.modulator = ok.module;
        uint32_t id;
        session = open_session(&d, &id);
        OK(mcm_session_set_sample(session, x, 64));
        OK(mcm_session_set_weight(session, id, extreme[i]));
        mcm_session_run(session, NULL, NULL);
        mcm_session_decode(session, MCM_DECODE_SAMPLE, 0, ok.pixels, 64);
        mcm_session_free(session);
    }
    free_all();
}

static void images_that_are_not(void) {
    open_all();
    static const float zeros[8 * 8 + 1];
    const uint8_t *bytes = (const uint8_t *)zeros;
    mcm_condition c = ok.conditions[0];
    mcm_image sound = c.images[0], image;
    c.images = &image;
    static const struct {
        int32_t dtype;
        uint32_t width, height, channels, reserved;
        size_t stride;
    } bad[] = {
        {0, 8, 8, 1, 0, 0},          {3, 8, 8, 1, 0, 0},          {-1, 8, 8, 1, 0, 0},
        {MCM_U8, 0, 8, 1, 0, 0},     {MCM_U8, 8, 0, 1, 0, 0},     {MCM_U8, 65537, 8, 1, 0, 0},
        {MCM_U8, 8, 0x80000000, 1, 0, 0}, {MCM_U8, UINT32_MAX, UINT32_MAX, 1, 0, 0},
        {MCM_U8, 8, 8, 0, 0, 0},     {MCM_U8, 8, 8, 2, 0, 0},     {MCM_U8, 8, 8, 4, 0, 0},
        {MCM_U8, 8, 8, 5, 0, 0},     {MCM_U8, 8, 8, UINT32_MAX, 0, 0},
        {MCM_U8, 8, 8, 1, 1, 0},     {MCM_U8, 8, 8, 1, 0, 7},     {MCM_F32, 8, 8, 1, 0, 31},
        {MCM_U8, 8, 8, 1, 0, SIZE_MAX}, {MCM_U8, 8, 8, 1, 0, SIZE_MAX / 4},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        image = sound;
        image.data = bytes;
        image.dtype = bad[i].dtype;
        image.width = bad[i].width;
        image.height = bad[i].height;
        image.channels = bad[i].channels;
        image.reserved = bad[i].reserved;
        image.row_stride = bad[i].stride;
        MISUSE(mcm_session_set_condition(ok.session, ok.id, &c));
        MISUSE(modulate_by(&c));
        MISUSE(mcm_model_encode(ok.model, &image, 1, ok.x, 64));
    }
    image = sound;
    image.dtype = MCM_F32;
    image.data = bytes + 1; /* not aligned to a float: whatever it gives, it does not crash */
    mcm_session_set_condition(ok.session, ok.id, &c);
    mcm_model_encode(ok.model, &image, 1, ok.x, 64);
    free_all();
}

static void conditions_that_do_not_fit(void) {
    open_all();
    mcm_condition c = ok.conditions[0];
    c.modality = "depth";
    MISUSE(mcm_session_set_condition(ok.session, ok.id, &c));
    MESSAGE("depth");
    MISUSE(modulate_by(&c));
    c.modality = "";
    MISUSE(mcm_session_set_condition(ok.session, ok.id, &c));
    c.modality = "\xff\xfe not UTF-8";
    MISUSE(mcm_session_set_condition(ok.session, ok.id, &c));
    static char long_name[100000];
    memset(long_name, 'x', sizeof long_name - 1);
    c.modality = long_name;
    MISUSE(mcm_session_set_condition(ok.session, ok.id, &c));
    c.modality = "line\nfeed";
    MISUSE(mcm_session_set_condition(ok.session, ok.id, &c));

    c = ok.conditions[0];
    static const uint32_t counts[] = {0, 2, 0x80000000, UINT32_MAX};
    for (int i = 0; i < 4; i++) {
        c.image_count = counts[i];
        MISUSE(mcm_session_set_condition(ok.session, ok.id, &c));
        MISUSE(modulate_by(&c));
    }
    c = ok.conditions[2];
    c.modality = "labels"; /* colours for labels */
    MISUSE(mcm_session_set_condition(ok.session, ok.id, &c));
    free_all();
}

static void labels_out_of_range(void) {
    open_all();
    mcm_condition c = ok.conditions[1];
    mcm_image image = c.images[0];
    uint8_t labels[64] = {0};
    float values[64] = {0};
    c.images = &image;
    image.data = labels;
    labels[40] = TINY_CLASSES - 1;
    OK(mcm_session_set_condition(ok.session, ok.id, &c));
    labels[40] = TINY_CLASSES;
    MISUSE(mcm_session_set_condition(ok.session, ok.id, &c));
    MISUSE(modulate_by(&c));
    image.dtype = MCM_F32;
    image.data = values;
    static const float wrong[] = {TINY_CLASSES, -1, 0.5f, 1e30f, -1e30f};
    for (int i = 0; i < 5; i++) {
        values[40] = wrong[i];
        MISUSE(mcm_session_set_condition(ok.session, ok.id, &c));
    }
    /* In a file it is the file that is wrong. */
    image.dtype = MCM_U8;
    image.data = labels;
    const char *path = path_in(scratch, "labels.png");
    OK(mcm_png_write(path, &image));
    FAILS(mcm_session_set_condition_png(ok.session, ok.id, "labels", path));
    MESSAGE("labels.png");
    free_all();
}

static void names_of_nothing(void) {
    open_all();
    static const uint32_t offsets[] = {1, 1000, 0x7fffffff};
    for (int i = 0; i < 4; i++) {
        uint32_t id = i == 3 ? 0 : ok.id + offsets[i];
        INVALID(mcm_session_detach(ok.session, id));
        INVALID(mcm_session_set_weight(ok.session, id, 1));
        INVALID(mcm_session_set_window(ok.session, id, 0, 1));
        INVALID(mcm_session_set_condition(ok.session, id, &ok.conditions[0]));
        INVALID(mcm_session_set_condition_png(ok.session, id, "sketch", path_in(fashion, "conditions/00_sketch.png")));
        INVALID(mcm_session_clear_condition(ok.session, id, NULL));
    }
    MISUSE(mcm_session_clear_condition(ok.session, ok.id, "depth"));
    OK(mcm_session_clear_condition(ok.session, ok.id, "sketch")); /* absent as it is */
    mcm_modality_info modality = MCM_MODALITY_INFO_INIT;
    INVALID(mcm_modulator_get_modality(ok.module, 3, &modality));
    INVALID(mcm_modulator_get_modality(ok.module, UINT32_MAX, &modality));
    MISUSE(mcm_session_decode(ok.session, MCM_DECODE_SAMPLE, 1, ok.pixels, 64));
    MISUSE(mcm_session_decode(ok.session, MCM_DECODE_SAMPLE, UINT32_MAX, ok.pixels, 64));
    INVALID(mcm_session_decode(ok.session, 3, 0, ok.pixels, 64));
    INVALID(mcm_session_decode(ok.session, -1, 0, ok.pixels, 64));
    free_all();
}

/* A step whose result is not finite fails, and leaves the session as it was. */
static void a_sample_that_overflows(void) {
    open_all();
    mcm_session *session;
    float huge[64], x[64];
    uint64_t seed = 1;
    for (int i = 0; i < 64; i++) huge[i] = i % 2 ? 3e38f : -3e38f;
    OK(mcm_session_create(ok.model, NULL, &session));
    OK(mcm_session_seed(session, &seed, 1));
    OK(mcm_session_set_sample(session, huge, 64));
    INVALID(mcm_session_step(session));
    mcm_session_state state = MCM_SESSION_STATE_INIT;
    OK(mcm_session_get_state(session, &state));
    CHECK(state.step == 0);
    OK(mcm_session_get_sample(session, x, 64));
    SAME(x, huge, sizeof x);
    mcm_session_free(session);
    free_all();
}

static void seeds_and_class_input(void) {
    open_all();
    uint64_t seeds[4] = {0};
    MISUSE(mcm_session_seed(ok.session, seeds, 0));
    MISUSE(mcm_session_seed(ok.session, seeds, 2));
    MISUSE(mcm_session_seed(ok.session, seeds, UINT32_MAX));
    MISUSE(mcm_session_set_class_input(ok.session, ok.x, 1)); /* this model takes none */
    MISUSE(mcm_model_predict(ok.model, 1, 8, 8, ok.x, 64, &ok.t, ok.e, 1, ok.out, 64));

    mcm_model *model = tiny_model_open(&(tiny_model){.classes = 5}, 1);
    mcm_session *session;
    OK(mcm_session_create(model, NULL, &session));
    float c[2] = {4, 0};
    OK(mcm_session_set_class_input(session, c, 1));
    STATUS(MCM_ERROR_SIZE, mcm_session_set_class_input(session, c, 0));
    STATUS(MCM_ERROR_SIZE, mcm_session_set_class_input(session, c, 2));
    STATUS(MCM_ERROR_SIZE, mcm_session_set_class_input(session, c, SIZE_MAX));
    OK(mcm_model_predict(model, 1, 8, 8, ok.x, 64, &ok.t, c, 1, ok.out, 64));
    static const float wrong[] = {5, -1, 0.5f, 1e30f, NAN, INFINITY};
    for (int i = 0; i < 6; i++) {
        c[0] = wrong[i];
        INVALID(mcm_session_set_class_input(session, c, 1));
        INVALID(mcm_model_predict(model, 1, 8, 8, ok.x, 64, &ok.t, c, 1, ok.out, 64));
    }
    MISUSE(mcm_model_predict(model, 1, 8, 8, ok.x, 64, &ok.t, NULL, 0, ok.out, 64));
    MISUSE(mcm_model_predict(model, 1, 8, 8, ok.x, 64, &ok.t, NULL, 1, ok.out, 64));
    c[0] = 1;
    STATUS(MCM_ERROR_SIZE, mcm_model_predict(model, 1, 8, 8, ok.x, 64, &ok.t, c, 2, ok.out, 64));
    STATUS(MCM_ERROR_SIZE, mcm_model_predict(model, 1, 8, 8, ok.x, 64, &ok.t, c, SIZE_MAX, ok.out, 64));
    mcm_session_free(session);
    OK(mcm_session_create(model, NULL, &session));
    OK(mcm_session_seed(session, seeds, 1));
    MISUSE(mcm_session_step(session)); /* the class is not known yet */
    c[0] = 2;
    OK(mcm_session_set_class_input(session, c, 1));
    OK(mcm_session_step(session));
    mcm_session_free(session);
    mcm_model_free(model);
    free_all();
}

const test input_tests[] = {
    {"struct_sizes_of_options", struct_sizes_of_options},
    {"struct_sizes_of_infos", struct_sizes_of_infos},
    {"struct_sizes_of_images_and_conditions", struct_sizes_of_images_and_conditions},
    {"structs_are_not_read_beyond_their_size", structs_are_not_read_beyond_their_size},
    {"sizes_of_predict_and_modulate", sizes_of_predict_and_modulate},
    {"sizes_of_rng_and_scheduler", sizes_of_rng_and_scheduler},
    {"session_options", session_options},
    {"numbers_that_are_not_finite", numbers_that_are_not_finite},
    {"extreme_numbers", extreme_numbers},
    {"images_that_are_not", images_that_are_not},
    {"conditions_that_do_not_fit", conditions_that_do_not_fit},
    {"labels_out_of_range", labels_out_of_range},
    {"names_of_nothing", names_of_nothing},
    {"a_sample_that_overflows", a_sample_that_overflows},
    {"seeds_and_class_input", seeds_and_class_input},
    {NULL, NULL},
};

/* Training of modules: what is learned, and what is told of it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "drawing.h"
#include "training.h"

/* --- Learning --- */

enum { ON_IMAGES, ON_SAMPLES, ON_DATASET, ON_BANK, ON_BANK_ALONE, KINDS };

static mcm_trainer *trainer_on(int kind) {
    return new_trainer(kind == ON_BANK_ALONE ? NULL : model, kind == ON_BANK_ALONE ? bank : NULL, NULL);
}

/* Examples number `first` .. of the caller's, or the next ones of the data set. */
static void step_on(int kind, mcm_trainer *trainer, uint32_t first, uint32_t count, mcm_train_report *report) {
    tiny_batch b;
    if (kind == ON_IMAGES) OK(mcm_trainer_step(trainer, images_of(&b, first, count), report));
    if (kind == ON_SAMPLES) OK(mcm_trainer_step(trainer, samples_of(&b, first, count), report));
    const mcm_bank *of = kind > ON_DATASET ? bank : NULL;
    if (kind >= ON_DATASET) OK(mcm_trainer_step_dataset(trainer, dataset, of, count, report));
}

static void training_lowers_the_loss(void) {
    enum { TRAINED = 240, MEAN_OF = 40 };
    open_sources(1);
    for (int kind = 0; kind < KINDS; kind++) {
        double first = 0, last = 0, base = 0;
        mcm_trainer *trainer = trainer_on(kind);
        for (uint32_t i = 0; i < TRAINED; i++) {
            mcm_train_report report = MCM_TRAIN_REPORT_INIT;
            step_on(kind, trainer, i % 3 * 4, 4, &report);
            CHECK(report.step == i + 1 && report.examples == 4 * (i + 1));
            CHECK(isfinite(report.loss) && isfinite(report.weighted_loss) && report.gradient_norm > 0);
            CHECK(report.learning_rate == 5e-3f);
            CHECK(report.base_seconds >= 0 && report.module_seconds > 0 && report.optimizer_seconds > 0);
            if (i == 0) CHECK(report.loss == report.base_loss); /* a module begins as one that changes nothing */
            if (i < MEAN_OF) first += report.weighted_loss;
            if (i >= TRAINED - MEAN_OF) last += report.weighted_loss;
            if (i >= TRAINED - MEAN_OF) base += report.base_loss - report.loss;
        }
        if (!(last < 0.8 * first && base > 0)) printf("    kind %d: loss %g -> %g\n", kind, first, last);
        CHECK(last < 0.8 * first && base > 0);
        mcm_trainer_free(trainer);
    }
    free_sources();
}

/* The same examples either way. */
static void training_on_images_is_training_on_samples(void) {
    open_sources(1);
    mcm_trainer *a = trainer_on(ON_IMAGES), *b = trainer_on(ON_SAMPLES);
    for (uint32_t i = 0; i < 3; i++) {
        step_on(ON_IMAGES, a, 4 * i, 4, NULL);
        step_on(ON_SAMPLES, b, 4 * i, 4, NULL);
    }
    float *first, *second;
    size_t count;
    OK(mcm_trainer_get_buffers(a, &first, NULL, NULL, &count));
    OK(mcm_trainer_get_buffers(b, &second, NULL, NULL, NULL));
    for (size_t i = 0; i < count; i++) CHECK(fabsf(first[i] - second[i]) < 1e-3f);
    mcm_trainer_free(a);
    mcm_trainer_free(b);
    free_sources();
}

static void training_info_of_data_and_banks(void) {
    open_sources(1);
    mcm_dataset_info data = MCM_DATASET_INFO_INIT;
    mcm_bank_info info = MCM_BANK_INFO_INIT;
    mcm_model_info base = MCM_MODEL_INFO_INIT;
    OK(mcm_dataset_get_info(dataset, &data));
    static const char *const names[] = {"labels", "photo", "sketch"};
    static const uint32_t channels[] = {1, 3, 1};
    CHECK(data.modality_count == 3);
    for (uint32_t i = 0; i < 3; i++) {
        mcm_modality_info modality = MCM_MODALITY_INFO_INIT;
        OK(mcm_dataset_get_modality(dataset, i, &modality));
        CHECK(strcmp(modality.name, names[i]) == 0 && modality.channels == channels[i]);
        INVALID(mcm_dataset_get_modality(dataset, 3 + i, &modality));
    }
    OK(mcm_bank_get_info(bank, &info));
    OK(mcm_model_get_info(model, &base));
    CHECK(data.width == SIDE && data.height == SIDE && data.channels == 1 && data.count == EXAMPLES);
    CHECK(data.modality_count == CONDITIONS && strlen(data.fingerprint) == 16);
    CHECK(info.width == SIDE && info.height == SIDE && info.channels == 1 && info.count == RECORDS);
    CHECK(strcmp(info.base_fingerprint, base.fingerprint) == 0);
    CHECK(strcmp(info.image_fingerprint, data.fingerprint) == 0);
    bytes file = read_file(path_in(scratch, "bank"));
    size_t records = RECORDS * (2 * SIDE * SIDE + 24);
    CHECK(file.size > records && file.size < records + 8192);
    CHECK(!file_exists(path_in(scratch, "bank.part")));
    free(file.data);
    free_sources();
}

static void training_state_and_losses(void) {
    open_sources(1);
    mcm_trainer *trainer = trainer_on(ON_IMAGES);
    mcm_train_report report = MCM_TRAIN_REPORT_INIT;
    tiny_batch b;
    float *parameters, *gradients;
    size_t count;
    mcm_trainer_state state = state_of_trainer(trainer);
    OK(mcm_trainer_get_buffers(trainer, &parameters, &gradients, NULL, &count));
    CHECK(state.modality_count == CONDITIONS && state.tensor_count > 20);
    CHECK(state.step == 0 && state.examples == 0 && state.pending == 0);
    CHECK(state.parameter_count == count && count > 1000);
    double sum = 0;
    for (uint32_t i = 0; i < 3; i++) {
        OK(mcm_trainer_accumulate(trainer, images_of(&b, 4 * i, 4), &report));
        CHECK(report.step == 0 && report.examples == 4 * (i + 1));
        sum += report.loss * 4;
    }
    state = state_of_trainer(trainer);
    CHECK(state.step == 0 && state.examples == 12 && state.pending == 12);

    double of_timesteps = 0;
    uint64_t seen = 0, given = 0;
    for (uint32_t i = 0; i < 10; i++) {
        mcm_losses losses = MCM_LOSSES_INIT;
        OK(mcm_trainer_get_losses(trainer, MCM_LOSSES_TIMESTEP, i, &losses));
        CHECK(losses.count > 0 || (losses.loss == 0 && losses.base_loss == 0));
        CHECK(losses.loss == losses.base_loss);
        seen += losses.count;
        of_timesteps += losses.loss * (double)losses.count;
    }
    CHECK(seen == 12 && fabs(of_timesteps - sum) < 1e-4 * sum);
    for (uint32_t m = 0; m < CONDITIONS; m++) {
        mcm_losses with = MCM_LOSSES_INIT, without = MCM_LOSSES_INIT;
        OK(mcm_trainer_get_losses(trainer, MCM_LOSSES_GIVEN, m, &with));
        OK(mcm_trainer_get_losses(trainer, MCM_LOSSES_WITHHELD, m, &without));
        CHECK(with.count + without.count == 12);
        given += with.count;
    }
    CHECK(given > 12 && given < 36); /* 0.3 are withheld */
    OK(mcm_trainer_apply(trainer, &report));
    CHECK(report.step == 1 && report.gradient_norm > 0);
    CHECK(state_of_trainer(trainer).pending == 0 && state_of_trainer(trainer).step == 1);
    for (size_t i = 0; i < count; i++) CHECK(gradients[i] == 0);
    OK(mcm_trainer_accumulate(trainer, images_of(&b, 0, 2), NULL));
    OK(mcm_trainer_clear(trainer));
    CHECK(state_of_trainer(trainer).pending == 0);
    for (size_t i = 0; i < count; i++) CHECK(gradients[i] == 0);
    OK(mcm_trainer_reset_losses(trainer));
    mcm_losses none = MCM_LOSSES_INIT;
    for (uint32_t i = 0; i < 10; i++) {
        OK(mcm_trainer_get_losses(trainer, MCM_LOSSES_TIMESTEP, i, &none));
        CHECK(none.count == 0 && none.loss == 0 && none.base_loss == 0);
    }
    mcm_trainer_free(trainer);
    free_sources();
}

/* Losses without learning: the same every time, with all conditions, and nothing else changes. */
static void training_is_evaluated(void) {
    open_sources(2);
    mcm_trainer *trainer = trainer_on(ON_IMAGES);
    mcm_train_report report = MCM_TRAIN_REPORT_INIT, again = MCM_TRAIN_REPORT_INIT, averaged = MCM_TRAIN_REPORT_INIT;
    tiny_batch b, other;
    OK(mcm_trainer_evaluate(trainer, images_of(&b, 0, 8), 0, &report));
    CHECK(report.loss > 0 && fabsf(report.loss - report.base_loss) < 1e-6f && report.weighted_loss > 0);
    CHECK(report.step == 0 && report.examples == 0);
    for (int i = 0; i < 30; i++) OK(mcm_trainer_step(trainer, images_of(&b, 0, 8), NULL));
    OK(mcm_trainer_accumulate(trainer, images_of(&other, 8, 4), NULL));

    trainer_view before = view_of_trainer(trainer);
    float untrained = report.loss, base = report.base_loss;
    OK(mcm_trainer_evaluate(trainer, images_of(&b, 0, 8), 0, &report));
    OK(mcm_trainer_evaluate(trainer, images_of(&b, 0, 8), 0, &again));
    OK(mcm_trainer_evaluate(trainer, images_of(&b, 0, 8), 1, &averaged));
    CHECK(report.loss < untrained && report.base_loss == base);
    CHECK(again.loss == report.loss && again.weighted_loss == report.weighted_loss);
    CHECK(averaged.loss != report.loss && averaged.base_loss == base && averaged.loss < untrained);
    OK(mcm_trainer_evaluate_dataset(trainer, dataset, NULL, 8, 0, &again));
    CHECK(again.loss == report.loss); /* its first examples are these */
    OK(mcm_trainer_evaluate_dataset(trainer, dataset, bank, RECORDS, 0, &again));
    CHECK(again.loss > 0 && again.loss < again.base_loss);
    FAILS(mcm_trainer_evaluate_dataset(trainer, dataset, bank, RECORDS + 1, 0, &again));
    INVALID(mcm_trainer_evaluate_dataset(trainer, dataset, NULL, EXAMPLES + 1, 0, NULL));
    INVALID(mcm_trainer_evaluate_dataset(trainer, dataset, NULL, 0, 0, NULL));
    INVALID(mcm_trainer_evaluate_dataset(trainer, NULL, NULL, 4, 0, NULL));
    INVALID(mcm_trainer_evaluate(trainer, NULL, 0, NULL));
    INVALID(mcm_trainer_evaluate(NULL, &b.batch, 0, NULL));
    INVALID(mcm_trainer_evaluate_dataset(NULL, dataset, NULL, 4, 0, NULL));
    check_unchanged(__FILE__, __LINE__, trainer, &before);
    mcm_trainer_free(trainer);
    free_sources();
}

/* The moving average is a buffer too; what is written to it is what the averaged module is. */
static void training_averages_are_the_callers_to_change(void) {
    open_sources(1);
    mcm_trainer *trainer = trainer_on(ON_IMAGES);
    mcm_trainer_options options = quick_options();
    float *parameters, *ema;
    size_t count;
    tiny_batch b;
    for (int i = 0; i < 5; i++) OK(mcm_trainer_step(trainer, images_of(&b, 0, 8), NULL));
    OK(mcm_trainer_get_buffers(trainer, &parameters, NULL, &ema, &count));
    CHECK(memcmp(parameters, ema, count * sizeof(float)) != 0);
    bytes files[2];
    memcpy(ema, parameters, count * sizeof(float));
    for (int averaged = 0; averaged < 2; averaged++) {
        OK(mcm_trainer_write_modulator(trainer, path_in(scratch, "written"), averaged, MCM_F32));
        files[averaged] = read_file(path_in(scratch, "written"));
    }
    CHECK(same_bytes(&files[0], &files[1]));
    free(files[0].data);
    free(files[1].data);
    ema[3] = NAN;
    OK(mcm_trainer_write_modulator(trainer, path_in(scratch, "written"), 0, MCM_F32));
    STATUS(MCM_ERROR_STATE, mcm_trainer_write_modulator(trainer, path_in(scratch, "written"), 1, MCM_F32));
    STATUS(MCM_ERROR_STATE, mcm_trainer_save(trainer, path_in(scratch, "saved")));
    MESSAGE("ema");
    mcm_trainer_free(trainer);

    options.ema_decay = 0;
    trainer = new_trainer(model, NULL, &options);
    OK(mcm_trainer_get_buffers(trainer, NULL, NULL, &ema, NULL));
    CHECK(ema == NULL);
    static const char *const names[] = {"sketch", "labels", "photo"};
    static const int32_t encodings[] = {MCM_ENCODING_GREY, MCM_ENCODING_ONE_HOT, MCM_ENCODING_RGB};
    mcm_modality_info modality = MCM_MODALITY_INFO_INIT;
    for (uint32_t i = 0; i < CONDITIONS; i++) {
        OK(mcm_trainer_get_modality(trainer, i, &modality));
        CHECK(strcmp(modality.name, names[i]) == 0 && modality.encoding == encodings[i]);
    }
    INVALID(mcm_trainer_get_modality(trainer, CONDITIONS, &modality));
    INVALID(mcm_trainer_get_modality(trainer, 0, NULL));
    INVALID(mcm_trainer_get_modality(NULL, 0, &modality));
    mcm_trainer_free(trainer);
    free_sources();
}

/* The parameters lie one after the other, by the names and shapes of the module's file. */
static void training_parameters_have_names(void) {
    open_sources(1);
    mcm_trainer *trainer = trainer_on(ON_IMAGES);
    mcm_trainer_state state = state_of_trainer(trainer);
    mcm_parameter_info info = MCM_PARAMETER_INFO_INIT;
    float *values;
    uint64_t end = 0;
    int seen = 0;
    step_on(ON_IMAGES, trainer, 0, 4, NULL);
    OK(mcm_trainer_get_buffers(trainer, &values, NULL, NULL, NULL));
    char path[4096];
    snprintf(path, sizeof path, "%s", path_in(scratch, "named"));
    OK(mcm_trainer_write_modulator(trainer, path, 0, MCM_F32));
    bytes file = read_file(path);
    size_t data = header_end(&file);
    file.data[data - 1] = 0; /* as text; a space is lost, or the last brace */
    for (uint32_t i = 0; i < state.tensor_count; i++) {
        OK(mcm_trainer_get_parameter(trainer, i, &info));
        uint64_t product = 1;
        for (uint32_t k = 0; k < 4; k++) {
            if (k < info.rank) product *= info.shape[k];
            CHECK(k < info.rank ? info.shape[k] > 0 : info.shape[k] == 0);
        }
        CHECK(info.offset == end && info.count == product && info.rank >= 1 && info.rank <= 4);
        end += info.count;
        char quoted[160];
        snprintf(quoted, sizeof quoted, "\"%s\":{", info.name);
        const char *entry = strstr((char *)file.data + 8, quoted), *offsets = entry ? strstr(entry, "offsets") : NULL;
        unsigned long long begin = 0, last = 0;
        CHECK(offsets && sscanf(offsets, "offsets\":[%llu,%llu]", &begin, &last) == 2 && last - begin == 4 * product);
        SAME(file.data + data + begin, values + info.offset, last - begin);
        seen += strcmp(info.name, "conv_in.weight") == 0 || strcmp(info.name, "conv_out.bias") == 0;
    }
    CHECK(end == state.parameter_count && seen == 2);
    static const uint32_t beyond[] = {0, 1, 1000};
    mcm_parameter_info before = info;
    for (int i = 0; i < 3; i++) INVALID(mcm_trainer_get_parameter(trainer, state.tensor_count + beyond[i], &info));
    INVALID(mcm_trainer_get_parameter(trainer, UINT32_MAX, &info));
    SAME(&before, &info, sizeof info);
    free(file.data);
    mcm_trainer_free(trainer);
    free_sources();
}

/* --- The module --- */

static void sample_with(const mcm_modulator *module, float sample[SIDE * SIDE]) {
    static mcm_condition conditions[TINY_CONDITIONS];
    uint8_t pixels[SIDE * SIDE];
    tiny_conditions(1, conditions);
    drawing d = drawing_of(model, MCM_SCHEDULER_DDIM, 4);
    d.modulator = module;
    d.conditions = conditions;
    d.condition_count = TINY_CONDITIONS;
    draw_session(&d, pixels, sample);
}

static void training_gives_a_module(void) {
    open_sources(1);
    float plain[64], at_first[64], trained[64], averaged[64], from_file[64], from_half[64];
    mcm_trainer *trainer = trainer_on(ON_IMAGES);
    mcm_modulator *module, *other;
    sample_with(NULL, plain);
    OK(mcm_trainer_get_modulator(trainer, 0, &module));
    sample_with(module, at_first);
    SAME(plain, at_first, sizeof plain);
    mcm_modulator_free(module);
    for (uint32_t i = 0; i < 30; i++) step_on(ON_IMAGES, trainer, 0, 4, NULL);

    OK(mcm_trainer_get_modulator(trainer, 0, &module));
    OK(mcm_trainer_get_modulator(trainer, 1, &other));
    OK(mcm_modulator_check(module, model));
    mcm_modulator_info info = MCM_MODULATOR_INFO_INIT;
    OK(mcm_modulator_get_info(module, &info));
    CHECK(info.modality_count == CONDITIONS && info.prediction_type == MCM_PREDICTION_EPSILON);
    CHECK(info.parameter_count == state_of_trainer(trainer).parameter_count && info.base_fingerprint[0]);
    sample_with(module, trained);
    sample_with(other, averaged);
    mcm_modulator_free(other);
    CHECK(memcmp(plain, trained, sizeof plain) != 0 && memcmp(averaged, trained, sizeof plain) != 0);

    const char *path = path_in(scratch, "module");
    static const int32_t types[] = {MCM_F32, MCM_F16};
    for (int average = 0; average < 2; average++)
        for (int k = 0; k < 2; k++) {
            OK(mcm_trainer_write_modulator(trainer, path, average, types[k]));
            OK(mcm_modulator_open(path, &other));
            OK(mcm_modulator_check(other, model));
            sample_with(other, k ? from_half : from_file);
            mcm_modulator_free(other);
            float *expected = average ? averaged : trained, difference = 0;
            if (k == 0) SAME(from_file, expected, sizeof from_file);
            for (int i = 0; k == 1 && i < 64; i++) difference = fmaxf(difference, fabsf(from_half[i] - expected[i]));
            CHECK(difference < 0.05f);
        }

    /* A module that was taken stays what it is, and outlives its trainer. */
    step_on(ON_IMAGES, trainer, 0, 4, NULL);
    OK(mcm_trainer_write_modulator(trainer, path, 0, MCM_F32));
    mcm_trainer_free(trainer);
    sample_with(module, from_file);
    SAME(from_file, trained, sizeof trained);
    mcm_modulator_free(module);

    /* Begun with the weights of the file. */
    float *parameters;
    mcm_trainer *next;
    OK(mcm_trainer_create_from(model, NULL, path, NULL, &next));
    CHECK(state_of_trainer(next).step == 0);
    OK(mcm_trainer_get_modulator(next, 1, &module));
    OK(mcm_modulator_open(path, &other));
    sample_with(module, from_file);
    sample_with(other, trained);
    SAME(from_file, trained, sizeof trained);
    OK(mcm_trainer_get_buffers(next, &parameters, NULL, NULL, NULL));
    parameters[0] = 70000; /* beyond half precision */
    STATUS(MCM_ERROR_STATE, mcm_trainer_write_modulator(next, path, 0, MCM_F16));
    OK(mcm_trainer_write_modulator(next, path, 1, MCM_F16));
    mcm_modulator_free(module);
    mcm_modulator_free(other);
    mcm_trainer_free(next);
    free_sources();
}

/* --- The loop --- */

typedef struct watch {
    uint64_t begun, calls, cancel_at;
    const char *path;
} watch;

static int32_t watch_training(void *user, mcm_trainer *trainer, const mcm_train_report *report) {
    watch *w = user;
    CHECK(w->begun + ++w->calls == report->step && report->struct_size == sizeof *report);
    CHECK(state_of_trainer(trainer).step == report->step && state_of_trainer(trainer).pending == 0);
    /* Saved after each third step, once the callback has been told of it. */
    if (w->path && report->step % 3 == 1 && report->step > 1) {
        mcm_trainer *earlier;
        OK(mcm_trainer_resume(model, NULL, w->path, NULL, &earlier));
        CHECK(state_of_trainer(earlier).step == report->step - 1);
        mcm_trainer_free(earlier);
    }
    return report->step == w->cancel_at;
}

static void training_loop(void) {
    open_sources(1);
    mcm_trainer *trainer = trainer_on(ON_DATASET), *by_hand = trainer_on(ON_DATASET), *loaded;
    mcm_train_options options = MCM_TRAIN_OPTIONS_INIT;
    const char *path = path_in(scratch, "every");
    watch w = {.path = path, .cancel_at = 20};
    options.batch = 3;
    options.accumulate = 2;
    options.until_step = 30;
    options.save_every = 3;
    options.save_path = path;
    STATUS(MCM_CANCELLED, mcm_trainer_train(trainer, dataset, NULL, &options, watch_training, &w));
    CHECK(w.calls == 20 && state_of_trainer(trainer).step == 20 && state_of_trainer(trainer).examples == 120);
    OK(mcm_trainer_resume(model, NULL, path, NULL, &loaded)); /* saved when cancelled */
    CHECK(state_of_trainer(loaded).step == 20);
    w = (watch){.begun = 20};
    OK(mcm_trainer_train(loaded, dataset, NULL, &options, watch_training, &w));
    CHECK(w.calls == 10 && state_of_trainer(loaded).step == 30);
    OK(mcm_trainer_train(loaded, dataset, NULL, &options, watch_training, &w)); /* is done */
    CHECK(w.calls == 10);
    for (int i = 0; i < 30; i++) {
        for (int k = 0; k < 2; k++) OK(mcm_trainer_accumulate_dataset(by_hand, dataset, NULL, 3, NULL));
        OK(mcm_trainer_apply(by_hand, NULL));
    }
    check_same_and_free(loaded, by_hand);
    OK(mcm_trainer_resume(model, NULL, path, NULL, &loaded));
    CHECK(state_of_trainer(loaded).step == 30);
    mcm_trainer_free(loaded);
    mcm_trainer_free(trainer);

    mcm_trainer_options with_end = quick_options();
    with_end.total_steps = 5;
    trainer = new_trainer(NULL, bank, &with_end);
    OK(mcm_trainer_train(trainer, dataset, bank, NULL, NULL, NULL));
    CHECK(state_of_trainer(trainer).step == 5 && state_of_trainer(trainer).examples == 5 * 64);
    mcm_trainer_free(trainer);
    trainer = trainer_on(ON_BANK);
    INVALID(mcm_trainer_train(trainer, dataset, bank, NULL, NULL, NULL)); /* no end is set */
    mcm_trainer_free(trainer);
    free_sources();
}

/* While a trainer runs, what is not named in the header is refused. */
static int32_t meddle(void *user, mcm_trainer *trainer, const mcm_train_report *report) {
    tiny_batch b;
    mcm_modulator *module;
    const char *path = path_in(scratch, "meddled");
    (void)user, (void)report;
    const mcm_batch *batch = images_of(&b, 0, 2);
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_step(trainer, batch, NULL));
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_accumulate(trainer, batch, NULL));
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_apply(trainer, NULL));
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_clear(trainer));
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_step_dataset(trainer, dataset, NULL, 2, NULL));
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_accumulate_dataset(trainer, dataset, NULL, 2, NULL));
    REFUSED(MCM_ERROR_STATE, trainer, mcm_trainer_train(trainer, dataset, NULL, NULL, NULL, NULL));
    OK(mcm_trainer_get_modulator(trainer, 1, &module));
    mcm_modulator_free(module);
    OK(mcm_trainer_write_modulator(trainer, path, 0, MCM_F16));
    OK(mcm_trainer_save(trainer, path));
    return 0;
}

static void training_is_not_disturbed_by_its_callback(void) {
    open_sources(1);
    mcm_trainer *trainer = trainer_on(ON_DATASET), *quiet = trainer_on(ON_DATASET);
    mcm_train_options options = MCM_TRAIN_OPTIONS_INIT;
    options.batch = 4;
    options.until_step = 4;
    OK(mcm_trainer_train(trainer, dataset, NULL, &options, meddle, NULL));
    OK(mcm_trainer_train(quiet, dataset, NULL, &options, NULL, NULL));
    step_on(ON_IMAGES, trainer, 0, 4, NULL);
    step_on(ON_IMAGES, quiet, 0, 4, NULL);
    check_same_and_free(trainer, quiet);
    free_sources();
}

const test training_tests[] = {
    {"training_lowers_the_loss", training_lowers_the_loss},
    {"training_on_images_is_training_on_samples", training_on_images_is_training_on_samples},
    {"training_info_of_data_and_banks", training_info_of_data_and_banks},
    {"training_state_and_losses", training_state_and_losses},
    {"training_is_evaluated", training_is_evaluated},
    {"training_averages_are_the_callers_to_change", training_averages_are_the_callers_to_change},
    {"training_parameters_have_names", training_parameters_have_names},
    {"training_gives_a_module", training_gives_a_module},
    {"training_loop", training_loop},
    {"training_is_not_disturbed_by_its_callback", training_is_not_disturbed_by_its_callback},
    {NULL, NULL},
};

/// Models and prompts.
#ifndef MCM_MODEL_HPP
#define MCM_MODEL_HPP

#include "handle.hpp"
#include "image.hpp"

MCM_CPP_BEGIN

class Prompt;

/// What a model predicts.
enum class Prediction : int32_t {
    as_configured = 0,
    epsilon = MCM_PREDICTION_EPSILON,
    sample = MCM_PREDICTION_SAMPLE,
    v = MCM_PREDICTION_V
};

/// See mcm_model_options.
struct ModelOptions {
    uint32_t threads = 0;     ///< that one call may use; 0: as many as the process may use CPUs
    uint64_t cache_bytes = 0; ///< memory for transformed filters
    optional_text variant = {}; ///< of the weights' file names, e.g. "fp16"
    optional_text tokenizer = {}; ///< of a model in one file: folder of its tokenizer
    Prediction prediction_type = Prediction::as_configured;
    bool int8_weights = false; ///< large matrices become 8-bit integers; changes results
    bool on_demand = false;    ///< text encoders and autoencoder are loaded when they are needed

    /// Valid as long as this is.
    operator mcm_model_options() const noexcept {
        return {sizeof(mcm_model_options), threads, cache_bytes, detail::c_str(variant), detail::c_str(tokenizer),
                static_cast<int32_t>(prediction_type), int8_weights, on_demand, 0};
    }
};

/// What a network reads beside samples and timesteps, see mcm_predict_options.
struct PredictOptions {
    span<const float> class_input = {};   ///< (batch, class_input_size)
    const Prompt *prompt = nullptr;       ///< of a network that reads a text: of 1 image or of the batch
    span<const float> time_ids = {};      ///< of Stable Diffusion XL: (batch, time_id_count); {}: of a whole image
    span<const float> timestep_cond = {}; ///< of a consistency model: its guidance embedding; {}: zeros
};

using ModelInfo = mcm_model_info;
using Memory = mcm_memory;
/// One file of a model folder that lies in memory: {name, data, size}.
using MemoryFile = mcm_memory_file;

/// A pretrained diffusion model in diffusers' format. Immutable: any number of threads may use one at the same time.
class Model : public Handle<mcm_model, mcm_model_free> {
  public:
    using Handle::Handle;

    /// Opens a model folder or a .safetensors file. Errors: io, format, unsupported, invalid_argument, out_of_memory,
    /// cpu.
    static returns<Model> open(cstring path, const ModelOptions &options = {}) {
        const mcm_model_options c = options;
        return detail::make<Model>([&](mcm_model **out) { return mcm_model_open(path, &c, out); });
    }
    /// The same from files in memory, which may be released afterwards.
    static returns<Model> open_memory(span<const MemoryFile> files, const ModelOptions &options = {}) {
        const mcm_model_options c = options;
        return detail::make<Model>(
            [&](mcm_model **out) { return mcm_model_open_memory(files.data(), files.size(), &c, out); });
    }

    /// Sizes, channels, parameters, fingerprint.
    returns<ModelInfo> info() const { return detail::query(mcm_model_info_init, mcm_model_get_info, get()); }
    /// What it holds, in bytes, and its threads.
    returns<Memory> memory() const { return detail::query(mcm_memory_init, mcm_model_get_memory, get()); }

    /// The network's prediction for a batch of as many samples as timesteps.
    ///   sample      (batch, input_channels, height, width); size is a sample's
    ///   timesteps   (batch)
    ///   prediction  receives (batch, prediction_channels, height, width); may not overlap
    /// Errors: invalid_argument, size, state (no prompt), incompatible (a prompt for another model), out_of_memory.
    returns<void> predict_into(span<float> prediction, Size size, span<const float> sample,
                               span<const float> timesteps, const PredictOptions &options = {}) const {
        return detail::finish(predict_values(prediction, size, sample, timesteps, options));
    }
    /// The same into a new vector.
    returns<std::vector<float>> predict(Size size, span<const float> sample, span<const float> timesteps,
                                        const PredictOptions &options = {}) const {
        ModelInfo info = detail::filled(mcm_model_info_init);
        detail::Outcome outcome = mcm_model_get_info(get(), &info);
        const size_t pixels = detail::product({timesteps.size(), size.height, size.width});
        if (outcome) outcome = detail::check_size("sample", sample.size(), {pixels, info.input_channels});
        std::vector<float> prediction;
        if (outcome) prediction.resize(pixels * info.prediction_channels);
        if (outcome) outcome = predict_values(prediction, size, sample, timesteps, options);
        return detail::finish(outcome, std::move(prediction));
    }

    /// Images of one size to samples: (batch, channels, height, width) in [-1, 1], or the means of their latents.
    /// Errors: invalid_argument, size, out_of_memory.
    returns<std::vector<float>> encode(const Images &images) const {
        ModelInfo info = detail::filled(mcm_model_info_init);
        detail::Outcome outcome = mcm_model_get_info(get(), &info);
        std::vector<float> sample;
        if (outcome && images.size() > 0) {
            const ImageView &first = *images.data();
            sample.resize(size_t(images.size()) * info.channels * (first.height / info.scale) *
                          (first.width / info.scale));
        }
        if (outcome) outcome = mcm_model_encode(get(), images.data(), images.size(), sample.data(), sample.size());
        return detail::finish(outcome, std::move(sample));
    }
    /// The same into the caller's memory.
    returns<void> encode_into(span<float> sample, const Images &images) const {
        return detail::finish(mcm_model_encode(get(), images.data(), images.size(), sample.data(), sample.size()));
    }

    /// One sample, (channels, height, width), to an image of scale * size with image_channels channels. Errors:
    /// invalid_argument, size, out_of_memory.
    returns<Image> decode(Size size, span<const float> sample) const {
        ModelInfo info = detail::filled(mcm_model_info_init);
        detail::Outcome outcome = mcm_model_get_info(get(), &info);
        if (outcome) outcome = detail::check_size("sample", sample.size(), {info.channels, size.height, size.width});
        Image image;
        if (outcome) outcome = detail::allocate(image, size.width * info.scale, size.height * info.scale,
                                                    info.image_channels);
        if (outcome)
            outcome = mcm_model_decode(get(), size.width, size.height, sample.data(), sample.size(), image.data(),
                                       image.size());
        return detail::finish(outcome, std::move(image));
    }

  private:
    inline detail::Outcome predict_values(span<float> prediction, Size size, span<const float> sample,
                                          span<const float> timesteps, const PredictOptions &options) const;
};

/// See mcm_prompt_options.
struct PromptOptions {
    uint32_t clip_skip = 0; ///< layers of the text encoders that are left out at their end
    bool weights = false;   ///< brackets give parts of a text weights: (a), [a], (a:1.3)
    bool chunks = false;    ///< a text of more than 75 tokens is read in chunks, not cut

    operator mcm_prompt_options() const noexcept {
        return {sizeof(mcm_prompt_options), clip_skip, weights, chunks};
    }
};

using PromptInfo = mcm_prompt_info;

/// What a model's text encoders make of one or more texts. Immutable, shared by threads; may outlive its model.
class Prompt : public Handle<mcm_prompt, mcm_prompt_free> {
  public:
    using Handle::Handle;

    /// Reads one text for the whole batch, or one per image. Errors: invalid_argument, size, unsupported (the model has
    /// no text encoder), out_of_memory.
    static returns<Prompt> encode(const Model &model, span<const cstring> texts, const PromptOptions &options = {}) {
        const mcm_prompt_options c = options;
        const std::vector<const char *> pointers(texts.begin(), texts.end());
        return detail::make<Prompt>([&](mcm_prompt **out) {
            return mcm_prompt_encode(model.get(), pointers.data(), detail::count32(pointers.size()), &c, out);
        });
    }
    static returns<Prompt> encode(const Model &model, cstring text, const PromptOptions &options = {}) {
        return encode(model, span<const cstring>(&text, 1), options);
    }
    static returns<Prompt> encode(const Model &model, const std::vector<std::string> &texts,
                                  const PromptOptions &options = {}) {
        const std::vector<cstring> views(texts.begin(), texts.end());
        return encode(model, span<const cstring>(views), options);
    }

    /// From the caller's own numbers, which are copied.
    ///   states  (count, tokens, channels)
    ///   pooled  (count, pooled_channels), or {} with pooled_channels 0
    static returns<Prompt> create(uint32_t count, uint32_t tokens, uint32_t channels, span<const float> states,
                                  uint32_t pooled_channels = 0, span<const float> pooled = {}) {
        return detail::make<Prompt>([&](mcm_prompt **out) {
            return mcm_prompt_create(count, tokens, channels, states.data(), states.size(), pooled_channels,
                                     pooled.data(), pooled.size(), out);
        });
    }

    /// Numbers of texts, tokens and channels; whether a text's end was left out.
    returns<PromptInfo> info() const { return detail::query(mcm_prompt_info_init, mcm_prompt_get_info, get()); }
    /// (count, tokens, channels)
    returns<std::vector<float>> states() const {
        PromptInfo info = detail::filled(mcm_prompt_info_init);
        detail::Outcome outcome = mcm_prompt_get_info(get(), &info);
        std::vector<float> values(size_t(info.count) * info.tokens * info.channels);
        if (outcome) outcome = mcm_prompt_get_states(get(), values.data(), values.size());
        return detail::finish(outcome, std::move(values));
    }
    /// (count, pooled_channels); empty if there is none.
    returns<std::vector<float>> pooled() const {
        PromptInfo info = detail::filled(mcm_prompt_info_init);
        detail::Outcome outcome = mcm_prompt_get_info(get(), &info);
        std::vector<float> values(size_t(info.count) * info.pooled_channels);
        if (outcome && !values.empty()) outcome = mcm_prompt_get_pooled(get(), values.data(), values.size());
        return detail::finish(outcome, std::move(values));
    }
};

detail::Outcome Model::predict_values(span<float> prediction, Size size, span<const float> sample,
                                      span<const float> timesteps, const PredictOptions &options) const {
    const uint32_t batch = detail::count32(timesteps.size());
    if (!options.time_ids.empty()) { // which the C function takes without a count
        ModelInfo info = detail::filled(mcm_model_info_init);
        detail::Outcome outcome = mcm_model_get_info(get(), &info);
        if (outcome) outcome = detail::check_size("time_ids", options.time_ids.size(), {batch, info.time_id_count});
        if (!outcome) return outcome;
    }
    mcm_predict_options c = detail::filled(mcm_predict_options_init);
    c.class_input = options.class_input.data();
    c.class_input_count = detail::count32(options.class_input.size());
    c.prompt = detail::get(options.prompt);
    c.time_ids = options.time_ids.data();
    c.timestep_cond = options.timestep_cond.data();
    c.timestep_cond_count = options.timestep_cond.size();
    return mcm_model_predict_with(get(), batch, size.width, size.height, sample.data(), sample.size(),
                                  timesteps.data(), &c, prediction.data(), prediction.size());
}

MCM_CPP_END

#endif

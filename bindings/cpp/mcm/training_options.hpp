/// How a module is trained.
#ifndef MCM_TRAINING_OPTIONS_HPP
#define MCM_TRAINING_OPTIONS_HPP

#include "modulator.hpp"

MCM_CPP_BEGIN

/// What the squared error of a prediction counts, by the timestep.
enum class Weighting : int32_t {
    uniform = MCM_WEIGHTING_UNIFORM,
    min_snr = MCM_WEIGHTING_MIN_SNR,
    noise = MCM_WEIGHTING_NOISE
};

/// How timesteps are drawn.
enum class Timesteps : int32_t { uniform = MCM_TIMESTEPS_UNIFORM, weighted = MCM_TIMESTEPS_WEIGHTED };

/// See mcm_trainer_options.
struct TrainerOptions {
    uint32_t warmup_steps = 200; ///< in which the learning rate rises from 0
    uint64_t total_steps = 0;    ///< by which it has fallen to 0; 0: it stays
    uint64_t seed = 0;
    float learning_rate = 2e-3f;
    float weight_decay = 1e-4f;
    float beta1 = 0.9f, beta2 = 0.999f;
    float epsilon = 1e-8f;
    float clip_norm = 1;      ///< 0: not at all
    float ema_decay = 0.999f; ///< of the moving average of the weights; 0: none
    Weighting weighting = Weighting::noise;
    float min_snr_gamma = 5;
    float noise_weight_low = 0.3f, noise_weight_high = 10;
    Timesteps timesteps = Timesteps::uniform;
    uint32_t first_timestep = 0, end_timestep = 0; ///< 0 and 0: from all
    uint32_t rank = 0, world = 1;                  ///< of several processes that share each step
    std::vector<float> dropout = {}; ///< how often a modality is withheld: one for all, or one each; {}: 0.3
    uint32_t threads = 0;            ///< only for a trainer without a model

    /// Valid as long as this is.
    operator mcm_trainer_options() const noexcept {
        return {sizeof(mcm_trainer_options), warmup_steps, total_steps, seed, learning_rate, weight_decay, beta1, beta2,
                epsilon, clip_norm, ema_decay, static_cast<int32_t>(weighting), min_snr_gamma, noise_weight_low,
                noise_weight_high, static_cast<int32_t>(timesteps), first_timestep, end_timestep, rank, world,
                detail::count32(dropout.size()), dropout.data(), threads, 0};
    }
};

/// See mcm_resume_options; 0 mostly stands for "as saved".
struct ResumeOptions {
    uint32_t threads = 0;
    uint32_t rank = 0, world = 0;
    uint64_t total_steps = 0;
    float learning_rate = 0;

    operator mcm_resume_options() const noexcept {
        return {sizeof(mcm_resume_options), threads, rank, world, total_steps, learning_rate, 0};
    }
};

/// See mcm_train_options.
struct TrainOptions {
    uint32_t batch = 64;        ///< examples accumulated at a time
    uint32_t accumulate = 1;    ///< batches per step
    uint32_t save_every = 1000; ///< steps; 0: only at the end and when cancelled
    uint64_t until_step = 0;    ///< 0, and at most: total_steps
    optional_text save_path = {}; ///< {}: nowhere

    /// Valid as long as this is.
    operator mcm_train_options() const noexcept {
        return {sizeof(mcm_train_options), batch, accumulate, save_every, until_step, detail::c_str(save_path)};
    }
};

/// Examples: images, or samples in the model's sample space, and their conditions.
struct Batch {
    Images images = {};                      ///< of one size, one per example; or {}, and:
    uint32_t count = 0;                      ///< examples in `samples`
    Size size = {0, 0};                      ///< of samples
    span<const float> samples = {};          ///< (count, channels, height, width)
    std::vector<Condition> conditions = {};  ///< one per modality, each with an image per example
    const Prompt *prompt = nullptr;          ///< for a model that reads a text: of one example or of all
};

MCM_CPP_END

#endif

/// Schedulers and random numbers, for loops of the caller's own.
#ifndef MCM_SCHEDULER_HPP
#define MCM_SCHEDULER_HPP

#include "model.hpp"

MCM_CPP_BEGIN

/// diffusers' schedulers.
enum class SchedulerKind : int32_t {
    model_default = MCM_SCHEDULER_DEFAULT, ///< the model's own
    ddpm = MCM_SCHEDULER_DDPM,
    ddim = MCM_SCHEDULER_DDIM,
    pndm = MCM_SCHEDULER_PNDM,
    lms = MCM_SCHEDULER_LMS,
    euler = MCM_SCHEDULER_EULER,
    euler_ancestral = MCM_SCHEDULER_EULER_ANCESTRAL,
    heun = MCM_SCHEDULER_HEUN,
    dpm_solver_multistep = MCM_SCHEDULER_DPM_SOLVER_MULTISTEP,
    unipc = MCM_SCHEDULER_UNIPC,
    lcm = MCM_SCHEDULER_LCM,
};

/// The buffers of one step, all of `sample`'s size where nothing else is said.
struct SchedulerStep {
    uint32_t batch = 1;
    span<const float> sample = {};     ///< x_t, not scaled by input_scale
    span<const float> prediction = {}; ///< e; twice the size if the model learns its variance
    span<const float> noise = {}; ///< a normal draw, if the step needs one
    span<float> history = {};     ///< info().history_count times the size, kept by the caller through the run
    span<float> previous = {};         ///< receives x_{t-1}; may be `sample`
    span<float> x0 = {};          ///< receives the predicted x_0, or {}
};

using SchedulerInfo = mcm_scheduler_info;
using StepInfo = mcm_step_info;

/// The arithmetic between predictions. Immutable, shared by threads: what a run keeps is the caller's.
class Scheduler : public Handle<mcm_scheduler, mcm_scheduler_free> {
  public:
    using Handle::Handle;

    /// steps 0: the default of diffusers' pipelines; eta: DDIM's noise share; options: JSON by diffusers' names, e.g.
    /// {"use_karras_sigmas": true}, or nullptr. Errors: invalid_argument, unsupported, format.
    static returns<Scheduler> create(const Model &model, SchedulerKind kind = SchedulerKind::model_default,
                                     uint32_t steps = 0, float eta = 0, cstring options = nullptr) {
        return detail::make<Scheduler>([&](mcm_scheduler **out) {
            return mcm_scheduler_create_with_options(model.get(), static_cast<int32_t>(kind), steps, eta, options, out);
        });
    }

    /// Steps of the run, history buffers, and what x_T is times a normal draw.
    returns<SchedulerInfo> info() const {
        return detail::query(mcm_scheduler_info_init, mcm_scheduler_get_info, get());
    }
    /// What a loop must know about step 0 .. info().steps - 1.
    returns<StepInfo> step_info(uint32_t step) const {
        return detail::query(mcm_step_info_init, mcm_scheduler_get_step, get(), step);
    }
    /// Of all steps, rounded.
    returns<std::vector<int32_t>> timesteps() const {
        uint32_t count = 0;
        detail::Outcome outcome = mcm_scheduler_get_timesteps(get(), nullptr, 0, &count);
        std::vector<int32_t> values(count);
        if (outcome) outcome = mcm_scheduler_get_timesteps(get(), values.data(), count, &count);
        return detail::finish(outcome, std::move(values));
    }
    returns<bool> needs_noise(uint32_t step) const {
        int32_t value = 0;
        detail::Outcome outcome = mcm_scheduler_needs_noise(get(), step, &value);
        return detail::finish(outcome, value != 0);
    }

    /// One step; steps are taken in order, from 0. Errors: invalid_argument, size, out_of_memory.
    returns<void> step(uint32_t step, const SchedulerStep &buffers) const {
        const SchedulerStep &b = buffers;
        const size_t count = b.sample.size();
        detail::Outcome outcome = detail::check_size("previous", b.previous.size(), {count});
        if (outcome && !b.noise.empty()) outcome = detail::check_size("noise", b.noise.size(), {count});
        if (outcome && !b.x0.empty()) outcome = detail::check_size("x0", b.x0.size(), {count});
        if (outcome)
            outcome = mcm_scheduler_step_with_history(
                get(), step, b.batch, b.sample.data(), count, b.prediction.data(), b.prediction.size(), b.noise.data(),
                b.history.empty() ? nullptr : b.history.data(), b.history.size(), b.previous.data(), b.x0.data());
        return detail::finish(outcome);
    }

    /// x_t from x_0 and noise of its size, into `out` of that size; timestep: 0 .. num_train_timesteps - 1.
    returns<void> add_noise(int32_t timestep, span<const float> x0, span<const float> noise, span<float> out) const {
        detail::Outcome outcome = detail::check_size("noise", noise.size(), {x0.size()});
        if (outcome) outcome = detail::check_size("out", out.size(), {x0.size()});
        if (outcome)
            outcome = mcm_scheduler_add_noise(get(), timestep, x0.data(), noise.data(), x0.size(), out.data());
        return detail::finish(outcome);
    }
};

/// A normal generator whose stream equals torch.randn's on the CPU. One thread at a time.
class Rng : public Handle<mcm_rng, mcm_rng_free> {
  public:
    using Handle::Handle;

    /// Only the low 32 bits of seed matter. Errors: out_of_memory.
    static returns<Rng> create(uint64_t seed) {
        return detail::make<Rng>([&](mcm_rng **out) { return mcm_rng_create(seed, out); });
    }
    /// One draw; two draws of 8 differ from one of 16, as in torch.
    returns<void> normal_into(span<float> values) {
        return detail::finish(mcm_rng_normal(get(), values.data(), values.size()));
    }
    returns<std::vector<float>> normal(size_t count) {
        std::vector<float> values(count);
        detail::Outcome outcome = mcm_rng_normal(get(), values.data(), count);
        return detail::finish(outcome, std::move(values));
    }
};

MCM_CPP_END

#endif

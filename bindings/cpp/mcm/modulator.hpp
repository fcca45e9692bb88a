/// Modulators (multimodal conditioning modules) and ControlNets.
#ifndef MCM_MODULATOR_HPP
#define MCM_MODULATOR_HPP

#include "model.hpp"

MCM_CPP_BEGIN

using ModulatorInfo = mcm_modulator_info;
/// A modality's name, channels, encoding (MCM_ENCODING_*) and resizing (MCM_RESIZE_*).
using ModalityInfo = mcm_modality_info;

/// A module that makes a model follow conditions. Immutable, shared by threads.
class Modulator : public Handle<mcm_modulator, mcm_modulator_free> {
  public:
    using Handle::Handle;

    /// Opens a module file. Errors: io, format, unsupported, out_of_memory, cpu.
    static returns<Modulator> open(cstring path) {
        return detail::make<Modulator>([&](mcm_modulator **out) { return mcm_modulator_open(path, out); });
    }
    /// The same from `size` bytes in memory, which may be released afterwards.
    static returns<Modulator> open_memory(const void *data, size_t size) {
        return detail::make<Modulator>([&](mcm_modulator **out) { return mcm_modulator_open_memory(data, size, out); });
    }

    returns<ModulatorInfo> info() const {
        return detail::query(mcm_modulator_info_init, mcm_modulator_get_info, get());
    }
    /// index: 0 .. info().modality_count - 1
    returns<ModalityInfo> modality(uint32_t index) const {
        return detail::query(mcm_modality_info_init, mcm_modulator_get_modality, get(), index);
    }
    /// Errors: incompatible, with the reason, if the module does not fit the model.
    returns<void> check(const Model &model) const {
        return detail::finish(mcm_modulator_check(get(), model.get()));
    }

    /// The modulated prediction e' = e + weight * (M(x, e, t, conditions) - e), for a loop of the caller's own.
    ///   sample      (batch, channels, height, width)
    ///   prediction  e, of the same shape
    ///   timesteps   (batch)
    ///   conditions  one per modality; those that are not named are absent
    ///   out         receives e'; may be `prediction` itself
    /// Errors: invalid_argument, size, incompatible, out_of_memory.
    returns<void> modulate_into(span<float> out, const Model &model, Size size, span<const float> sample,
                                span<const float> prediction, span<const float> timesteps,
                                const std::vector<Condition> &conditions, float weight = 1) const {
        return detail::finish(modulate_values(out, model, size, sample, prediction, timesteps, conditions, weight));
    }
    /// The same into a new vector.
    returns<std::vector<float>> modulate(const Model &model, Size size, span<const float> sample,
                                         span<const float> prediction, span<const float> timesteps,
                                         const std::vector<Condition> &conditions, float weight = 1) const {
        std::vector<float> out(prediction.size());
        detail::Outcome outcome =
            modulate_values(out, model, size, sample, prediction, timesteps, conditions, weight);
        return detail::finish(outcome, std::move(out));
    }

  private:
    detail::Outcome modulate_values(span<float> out, const Model &model, Size size, span<const float> sample,
                                    span<const float> prediction, span<const float> timesteps,
                                    const std::vector<Condition> &conditions, float weight) const {
        detail::Outcome outcome = detail::check_size("prediction", prediction.size(), {sample.size()});
        if (outcome) outcome = detail::check_size("out", out.size(), {sample.size()});
        if (!outcome) return outcome;
        const std::vector<mcm_condition> c = detail::c_conditions(conditions);
        return mcm_modulator_modulate(get(), model.get(), detail::count32(timesteps.size()), size.width, size.height,
                                      sample.data(), prediction.data(), sample.size(), timesteps.data(), c.data(),
                                      detail::count32(c.size()), weight, out.data());
    }
};

/// diffusers' ControlNetModel. Immutable, shared by threads.
class ControlNet : public Handle<mcm_controlnet, mcm_controlnet_free> {
  public:
    using Handle::Handle;

    /// Of the options, threads, variant and int8_weights matter. Errors: as Model::open.
    static returns<ControlNet> open(cstring folder, const ModelOptions &options = {}) {
        const mcm_model_options c = options;
        return detail::make<ControlNet>([&](mcm_controlnet **out) { return mcm_controlnet_open(folder, &c, out); });
    }
};

MCM_CPP_END

#endif

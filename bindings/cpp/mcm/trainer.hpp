/// Training of modules on a frozen model.
#ifndef MCM_TRAINER_HPP
#define MCM_TRAINER_HPP

#include "dataset.hpp"
#include "training_options.hpp"

MCM_CPP_BEGIN

using TrainReport = mcm_train_report;
using TrainerState = mcm_trainer_state;
using ParameterInfo = mcm_parameter_info;
using Losses = mcm_losses;

enum class LossKind : int32_t {
    timestep = MCM_LOSSES_TIMESTEP, ///< of a tenth of the timesteps, index 0..9
    given = MCM_LOSSES_GIVEN,       ///< of examples that had modality `index`
    withheld = MCM_LOSSES_WITHHELD  ///< of those that did not
};

/// Numbers in a module's file.
enum class Precision : int32_t { f32 = MCM_F32, f16 = MCM_F16 };

/// What a trainer's predictions come from: a model, or a bank that was recorded from one.
class Source {
  public:
    Source(const Model &of) noexcept : model(of.get()) {}
    Source(const Bank &of) noexcept : bank(of.get()) {}

    const mcm_model *model = nullptr;
    const mcm_bank *bank = nullptr;
};

/// All of a module's parameters, their gradients, and their moving average (empty if there is none) in one order; the
/// trainer's own memory, valid as long as it is. The caller may write to it between calls.
struct TrainerBuffers {
    span<float> parameters, gradients, ema;
};

/// A module being trained, with its optimiser. One thread at a time. It keeps alive what it needs of its model, data
/// set and bank.
///
/// Functions that learn: errors invalid_argument, size, incompatible, state (a number that is not finite; gradients
/// that wait to be applied; all steps are taken), format, out_of_memory; then nothing has happened.
class Trainer : public Handle<mcm_trainer, mcm_trainer_free> {
  public:
    using Handle::Handle;

    /// For a new module, described by `config`: JSON as in a module file. Errors: invalid_argument, incompatible,
    /// format, unsupported, out_of_memory.
    static returns<Trainer> create(Source source, cstring config, const TrainerOptions &options = {}) {
        const mcm_trainer_options c = options;
        return detail::make<Trainer>([&](mcm_trainer **out) {
            return mcm_trainer_create(source.model, source.bank, config, &c, out);
        });
    }
    /// The same, beginning with the weights of a module file. Errors: also io.
    static returns<Trainer> create_from(Source source, cstring path, const TrainerOptions &options = {}) {
        const mcm_trainer_options c = options;
        return detail::make<Trainer>([&](mcm_trainer **out) {
            return mcm_trainer_create_from(source.model, source.bank, path, &c, out);
        });
    }
    /// Goes on from a file that save() has written. Errors: those of create_from, and state.
    static returns<Trainer> resume(Source source, cstring path, const ResumeOptions &options = {}) {
        const mcm_resume_options c = options;
        return detail::make<Trainer>([&](mcm_trainer **out) {
            return mcm_trainer_resume(source.model, source.bank, path, &c, out);
        });
    }
    /// Writes all of the trainer, at once or not at all. Errors: io, state.
    returns<void> save(cstring path) const { return detail::finish(mcm_trainer_save(get(), path)); }

    /// Accumulates a batch's gradients and takes a step.
    returns<TrainReport> step(const Batch &batch) {
        return on(batch, [&](const mcm_batch *c, TrainReport *report) { return mcm_trainer_step(get(), c, report); });
    }
    /// Adds a batch's gradients to those accumulated.
    returns<TrainReport> accumulate(const Batch &batch) {
        return on(batch,
                  [&](const mcm_batch *c, TrainReport *report) { return mcm_trainer_accumulate(get(), c, report); });
    }
    /// The losses of a batch, without learning; averaged: of the moving average.
    returns<TrainReport> evaluate(const Batch &batch, bool averaged = false) {
        return on(batch, [&](const mcm_batch *c, TrainReport *report) {
            return mcm_trainer_evaluate(get(), c, averaged, report);
        });
    }
    /// The three with the next `count` examples of a data set, or the first for evaluate(); with a bank its records.
    returns<TrainReport> step(const Dataset &dataset, uint32_t count, const Bank *bank = nullptr) {
        return report([&](TrainReport *report) {
            return mcm_trainer_step_dataset(get(), dataset.get(), detail::get(bank), count, report);
        });
    }
    returns<TrainReport> accumulate(const Dataset &dataset, uint32_t count, const Bank *bank = nullptr) {
        return report([&](TrainReport *report) {
            return mcm_trainer_accumulate_dataset(get(), dataset.get(), detail::get(bank), count, report);
        });
    }
    returns<TrainReport> evaluate(const Dataset &dataset, uint32_t count, const Bank *bank = nullptr,
                                  bool averaged = false) {
        return report([&](TrainReport *report) {
            return mcm_trainer_evaluate_dataset(get(), dataset.get(), detail::get(bank), count, averaged, report);
        });
    }
    /// Takes a step along the accumulated gradients. Errors: state.
    returns<TrainReport> apply() {
        return report([&](TrainReport *report) { return mcm_trainer_apply(get(), report); });
    }
    /// Forgets the accumulated gradients.
    returns<void> clear() { return detail::finish(mcm_trainer_clear(get())); }

    /// Trains on a data set, with a bank on its records. After each step callback(Trainer &, const TrainReport &) is
    /// called, which returns nothing or Progress; it may save, evaluate, write or get the module, read state,
    /// parameters and losses, and reset those, nothing else. Errors: also io, invalid_argument (no end is set),
    /// cancelled; the trainer is then as after the last step.
    template <class Call, class = std::enable_if_t<std::is_invocable_v<Call &, Trainer &, const TrainReport &>>>
    returns<void> train(const Dataset &dataset, const TrainOptions &options, Call &&callback,
                        const Bank *bank = nullptr) {
        const mcm_train_options c = options;
        auto call = [&](mcm_trainer *, const TrainReport *report) { return callback(*this, *report); };
        detail::Callback<decltype(call)> carried(call);
        auto enter = decltype(carried)::template enter<mcm_trainer *, const TrainReport *>;
        return detail::finish(carried.finish(
            mcm_trainer_train(get(), dataset.get(), detail::get(bank), &c, enter, &carried)));
    }
    returns<void> train(const Dataset &dataset, const TrainOptions &options = {}, const Bank *bank = nullptr) {
        const mcm_train_options c = options;
        return detail::finish(mcm_trainer_train(get(), dataset.get(), detail::get(bank), &c, nullptr, nullptr));
    }

    returns<TrainerBuffers> buffers() {
        float *parameters = nullptr, *gradients = nullptr, *ema = nullptr;
        size_t count = 0;
        detail::Outcome outcome = mcm_trainer_get_buffers(get(), &parameters, &gradients, &ema, &count);
        return detail::finish(outcome, TrainerBuffers{{parameters, count}, {gradients, count}, {ema, ema ? count : 0}});
    }
    /// Where one of the module's tensors lies in the buffers; index: 0 .. state().tensor_count - 1
    returns<ParameterInfo> parameter(uint32_t index) const {
        return detail::query(mcm_parameter_info_init, mcm_trainer_get_parameter, get(), index);
    }
    returns<TrainerState> state() const {
        return detail::query(mcm_trainer_state_init, mcm_trainer_get_state, get());
    }
    /// What the module follows; index: 0 .. state().modality_count - 1
    returns<ModalityInfo> modality(uint32_t index) const {
        return detail::query(mcm_modality_info_init, mcm_trainer_get_modality, get(), index);
    }
    /// Mean losses since the trainer was made, resumed or told to begin anew.
    returns<Losses> losses(LossKind kind, uint32_t index) const {
        Losses losses = detail::filled(mcm_losses_init);
        detail::Outcome outcome = mcm_trainer_get_losses(get(), static_cast<int32_t>(kind), index, &losses);
        return detail::finish(outcome, losses);
    }
    returns<void> reset_losses() { return detail::finish(mcm_trainer_reset_losses(get())); }

    /// The module as it is now; averaged: with the moving average of its weights. Errors: state, out_of_memory.
    returns<Modulator> modulator(bool averaged = true) const {
        return detail::make<Modulator>(
            [&](mcm_modulator **out) { return mcm_trainer_get_modulator(get(), averaged, out); });
    }
    /// Writes the module's file, at once or not at all. Errors: invalid_argument, state, io.
    returns<void> write_modulator(cstring path, bool averaged = true, Precision precision = Precision::f32) const {
        return detail::finish(
            mcm_trainer_write_modulator(get(), path, averaged, static_cast<int32_t>(precision)));
    }

  private:
    template <class Call> static returns<TrainReport> report(Call call) {
        TrainReport report = detail::filled(mcm_train_report_init);
        detail::Outcome outcome = call(&report);
        return detail::finish(outcome, report);
    }
    template <class Call> static returns<TrainReport> on(const Batch &batch, Call call) {
        const std::vector<mcm_condition> conditions = detail::c_conditions(batch.conditions);
        mcm_batch c = detail::filled(mcm_batch_init);
        c.count = batch.images.data() ? batch.images.size() : batch.count;
        c.images = batch.images.data();
        c.samples = batch.samples.data();
        c.sample_count = batch.samples.size();
        c.width = batch.size.width;
        c.height = batch.size.height;
        c.conditions = conditions.data();
        c.condition_count = detail::count32(conditions.size());
        c.prompt = detail::get(batch.prompt);
        return report([&](TrainReport *report) { return call(&c, report); });
    }
};

MCM_CPP_END

#endif

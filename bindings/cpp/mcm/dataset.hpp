/// What modules are trained from: data sets, and banks of recorded predictions.
#ifndef MCM_DATASET_HPP
#define MCM_DATASET_HPP

#include "modulator.hpp"

MCM_CPP_BEGIN

using DatasetInfo = mcm_dataset_info;
using BankInfo = mcm_bank_info;

namespace detail {

/// The callback of a call that counts what is done.
template <class Call> auto counting(Call &callback) {
    auto call = [&callback](uint64_t done, uint64_t of) { return callback(done, of); };
    return Callback<decltype(call)>(call);
}

} // namespace detail

/// Examples in a .safetensors file, which must not change while the data set lives. Immutable, shared by threads.
class Dataset : public Handle<mcm_dataset, mcm_dataset_free> {
  public:
    using Handle::Handle;

    /// Errors: io, format, unsupported.
    static returns<Dataset> open(cstring path) {
        return detail::make<Dataset>([&](mcm_dataset **out) { return mcm_dataset_open(path, out); });
    }
    returns<DatasetInfo> info() const { return detail::query(mcm_dataset_info_init, mcm_dataset_get_info, get()); }
    /// Name and channels of the conditions; index: 0 .. info().modality_count - 1
    returns<ModalityInfo> modality(uint32_t index) const {
        return detail::query(mcm_modality_info_init, mcm_dataset_get_modality, get(), index);
    }

    /// Writes a data set of samples for a latent diffusion model, at once or not at all. Errors: incompatible, size,
    /// format, io, out_of_memory.
    returns<void> encode(const Model &model, cstring path) const {
        return detail::finish(mcm_dataset_encode(get(), model.get(), path, nullptr, nullptr));
    }
    /// The same with callback(uint64_t done, uint64_t of) after each example. Errors: also cancelled.
    template <class Call> returns<void> encode(const Model &model, cstring path, Call &&callback) const {
        auto carried = detail::counting(callback);
        auto enter = decltype(carried)::template enter<uint64_t, uint64_t>;
        return detail::finish(carried.finish(mcm_dataset_encode(get(), model.get(), path, enter, &carried)));
    }
};

/// See mcm_bank_options.
struct BankOptions {
    uint32_t batch = 16; ///< records made at a time
    uint64_t count = 0;  ///< records
    uint64_t seed = 0;
    uint32_t first_timestep = 0, end_timestep = 0; ///< 0 and 0: from all

    operator mcm_bank_options() const noexcept {
        return {sizeof(mcm_bank_options), batch, count, seed, first_timestep, end_timestep};
    }
};

/// A model's predictions, recorded once. The file must not change while the bank lives. Immutable, shared by threads.
class Bank : public Handle<mcm_bank, mcm_bank_free> {
  public:
    using Handle::Handle;

    /// Errors: io, format, unsupported.
    static returns<Bank> open(cstring path) {
        return detail::make<Bank>([&](mcm_bank **out) { return mcm_bank_open(path, out); });
    }
    returns<BankInfo> info() const { return detail::query(mcm_bank_info_init, mcm_bank_get_info, get()); }

    /// Records predictions into the file `path`; goes on where a recording with the same options stopped. Errors:
    /// invalid_argument, size, state, incompatible, unsupported, io, format, out_of_memory.
    static returns<void> record(const Model &model, const Dataset &dataset, cstring path, const BankOptions &options) {
        const mcm_bank_options c = options;
        return detail::finish(mcm_bank_record(model.get(), dataset.get(), path, &c, nullptr, nullptr));
    }
    /// The same with callback(uint64_t done, uint64_t of) after each batch. Errors: also cancelled.
    template <class Call>
    static returns<void> record(const Model &model, const Dataset &dataset, cstring path, const BankOptions &options,
                                Call &&callback) {
        const mcm_bank_options c = options;
        auto carried = detail::counting(callback);
        auto enter = decltype(carried)::template enter<uint64_t, uint64_t>;
        return detail::finish(carried.finish(mcm_bank_record(model.get(), dataset.get(), path, &c, enter, &carried)));
    }
};

MCM_CPP_END

#endif

/// Sampling, step by step.
#ifndef MCM_SESSION_HPP
#define MCM_SESSION_HPP

#include "modulator.hpp"
#include "scheduler.hpp"

MCM_CPP_BEGIN

/// Where modules act in a model that is guided by a prompt.
enum class Modulate : int32_t { guided = MCM_MODULATE_GUIDED, conditional = MCM_MODULATE_CONDITIONAL };

/// See mcm_session_options.
struct SessionOptions {
    uint32_t batch = 1;                ///< images
    uint32_t width = 0, height = 0;    ///< of an image; 0: the model's own
    SchedulerKind scheduler = SchedulerKind::model_default;
    uint32_t steps = 0;                ///< 0: the default of diffusers' pipelines
    float eta = 0;                     ///< DDIM's noise share
    optional_text scheduler_options = {}; ///< JSON by diffusers' names
    double strength = 1;               ///< of a run that begins from an image: the share of the steps that are taken
    float guidance_scale = 0;          ///< 0: that of diffusers' pipeline; 1: no guidance
    float guidance_rescale = 0;
    Modulate modulate = Modulate::guided;
    int32_t guidance_passes = 0; ///< 1: together, 2: one after the other, 0: as memory suggests
    uint32_t tile_above = 0;     ///< side of the image from which on an autoencoder works in tiles; 0: 768

    /// Valid as long as this is.
    operator mcm_session_options() const noexcept {
        return {sizeof(mcm_session_options), batch, width, height, static_cast<int32_t>(scheduler), steps, eta,
                detail::c_str(scheduler_options), strength, guidance_scale, guidance_rescale,
                static_cast<int32_t>(modulate), guidance_passes, tile_above, 0};
    }
};

/// See mcm_attach_options.
struct AttachOptions {
    float weight = 1;
    float begin = 0, end = 1; ///< active while begin <= step / steps < end
    bool other_base = false;  ///< attach even if trained on a base with another fingerprint

    operator mcm_attach_options() const noexcept {
        return {sizeof(mcm_attach_options), weight, begin, end, other_base};
    }
};

/// What is decoded: x_t, which is the result when the session is done; the predicted x_0; or x_0 at once, of a sample's
/// size.
enum class Decode : int32_t { sample = MCM_DECODE_SAMPLE, x0 = MCM_DECODE_X0, preview = MCM_DECODE_PREVIEW };

/// Names an attachment in its session.
enum class AttachmentId : uint32_t {};

using SessionState = mcm_session_state;

class Step;
class StepIterator;

/// One run of sampling over a batch; a range of its steps:
///
///     for (auto step : session) show(step.preview());
///
/// The loop takes the steps that are left. One thread at a time. It keeps what it needs of its model, modules and
/// prompts alive: these may be freed before it.
class Session : public Handle<mcm_session, mcm_session_free> {
  public:
    using Handle::Handle;

    /// Errors: invalid_argument, unsupported, format, out_of_memory.
    static returns<Session> create(const Model &model, const SessionOptions &options = {}) {
        const mcm_session_options c = options;
        return detail::make<Session>([&](mcm_session **out) { return mcm_session_create(model.get(), &c, out); });
    }

    /// Starts a run, or starts over. One seed: one generator draws for the whole batch; as many as images: one
    /// generator per image.
    returns<void> seed(uint64_t seed) { return detail::finish(mcm_session_seed(get(), &seed, 1)); }
    returns<void> seed(span<const uint64_t> seeds) {
        return detail::finish(mcm_session_seed(get(), seeds.data(), detail::count32(seeds.size())));
    }

    /// What a model that reads a text is told, and is led away from; nullptr: the empty text. Errors: size,
    /// incompatible, state.
    returns<void> set_prompt(const Prompt &prompt, const Prompt *negative = nullptr) {
        return detail::finish(mcm_session_set_prompt(get(), prompt.get(), detail::get(negative)));
    }
    /// Images to begin from, for the next seed(), and what is to be painted in them: copied; {}: none. Errors:
    /// invalid_argument, size, out_of_memory.
    returns<void> set_image(const Images &images) {
        return detail::finish(mcm_session_set_image(get(), images.data(), images.size()));
    }
    returns<void> set_mask(const Images &masks) {
        return detail::finish(mcm_session_set_mask(get(), masks.data(), masks.size()));
    }
    /// Of Stable Diffusion XL: (batch, time_id_count) each; copied.
    returns<void> set_time_ids(span<const float> time_ids, span<const float> negative) {
        detail::Outcome outcome = detail::check_size("negative", negative.size(), {time_ids.size()});
        if (outcome) outcome = mcm_session_set_time_ids(get(), time_ids.data(), negative.data(), time_ids.size());
        return detail::finish(outcome);
    }
    /// Of a model that takes one: (batch, class_input_size); copied.
    returns<void> set_class_input(span<const float> values) {
        return detail::finish(mcm_session_set_class_input(get(), values.data(), values.size()));
    }

    /// Attaches a module; several may be attached. Errors: incompatible if it does not fit the model.
    returns<AttachmentId> attach(const Modulator &modulator, const AttachOptions &options = {}) {
        const mcm_attach_options c = options;
        uint32_t id = 0;
        detail::Outcome outcome = mcm_session_attach(get(), modulator.get(), &c, &id);
        return detail::finish(outcome, AttachmentId(id));
    }
    /// Attaches a ControlNet, which follows images of the session's image size: one, or one per image of the batch;
    /// copied. guess: diffusers' guess_mode. Errors: incompatible, size.
    returns<AttachmentId> attach(const ControlNet &controlnet, const Images &images, bool guess = false,
                                 const AttachOptions &options = {}) {
        const mcm_attach_options c = options;
        uint32_t id = 0;
        detail::Outcome outcome = mcm_session_attach_controlnet(get(), controlnet.get(), images.data(), images.size(),
                                                                guess, &c, &id);
        return detail::finish(outcome, AttachmentId(id));
    }
    returns<void> detach(AttachmentId id) { return detail::finish(mcm_session_detach(get(), uint32_t(id))); }
    /// Both may be called between steps.
    returns<void> set_weight(AttachmentId id, float weight) {
        return detail::finish(mcm_session_set_weight(get(), uint32_t(id), weight));
    }
    returns<void> set_window(AttachmentId id, float begin, float end) {
        return detail::finish(mcm_session_set_window(get(), uint32_t(id), begin, end));
    }

    /// Sets or replaces the condition of one modality; images of any size, one or one per image; copied.
    returns<void> set_condition(AttachmentId id, const Condition &condition) {
        const mcm_condition c = detail::c_condition(condition);
        return detail::finish(mcm_session_set_condition(get(), uint32_t(id), &c));
    }
    /// The same for the whole batch from an 8-bit PNG.
    returns<void> set_condition_png(AttachmentId id, cstring modality, cstring path) {
        return detail::finish(mcm_session_set_condition_png(get(), uint32_t(id), modality, path));
    }
    /// Makes a modality absent again; nullptr: all of them.
    returns<void> clear_condition(AttachmentId id, cstring modality = nullptr) {
        return detail::finish(mcm_session_clear_condition(get(), uint32_t(id), modality));
    }

    /// One step. Errors: state before seeding and past the end; invalid_argument if the result is not finite.
    returns<void> step() { return detail::finish(mcm_session_step(get())); }

    /// Steps to the end. After each step the callback is called: callback(Session &, uint32_t done, uint32_t of), which
    /// returns nothing or Progress. It may read and change the session as between steps, but neither step, run, seed,
    /// move nor destroy it. What it throws ends the run and is thrown from here. Errors: cancelled; the session can go
    /// on after it.
    template <class Call> returns<void> run(Call &&callback) {
        auto call = [&](mcm_session *, uint32_t done, uint32_t of) { return callback(*this, done, of); };
        detail::Callback<decltype(call)> carried(call);
        auto enter = decltype(carried)::template enter<mcm_session *, uint32_t, uint32_t>;
        return detail::finish(carried.finish(mcm_session_run(get(), enter, &carried)));
    }
    returns<void> run() { return detail::finish(mcm_session_run(get(), nullptr, nullptr)); }

    /// Steps done and of the whole run, the next timestep, and all sizes.
    returns<SessionState> state() const {
        return detail::query(mcm_session_state_init, mcm_session_get_state, get());
    }
    returns<Memory> memory() const { return detail::query(mcm_memory_init, mcm_session_get_memory, get()); }

    /// x_t: (batch, channels, height, width).
    returns<std::vector<float>> sample() const { return values(mcm_session_get_sample); }
    /// The same into the caller's memory.
    returns<void> sample_into(span<float> values) const {
        return detail::finish(mcm_session_get_sample(get(), values.data(), values.size()));
    }
    /// Replaces x_t; values must be finite.
    returns<void> set_sample(span<const float> values) {
        return detail::finish(mcm_session_set_sample(get(), values.data(), values.size()));
    }
    /// The x_0 that the last step predicted, of the same shape. Errors: state before the first step.
    returns<std::vector<float>> x0() const { return values(mcm_session_get_x0); }
    returns<void> x0_into(span<float> values) const {
        return detail::finish(mcm_session_get_x0(get(), values.data(), values.size()));
    }

    /// Image `index` of the batch: (image_height, image_width, image_channels); a preview (height, width,
    /// image_channels). Errors: state, invalid_argument, out_of_memory.
    returns<Image> decode(Decode what = Decode::sample, uint32_t index = 0) const {
        SessionState state = detail::filled(mcm_session_state_init);
        detail::Outcome outcome = mcm_session_get_state(get(), &state);
        const bool small = what == Decode::preview;
        Image image;
        if (outcome)
            outcome = detail::allocate(image, small ? state.width : state.image_width,
                                       small ? state.height : state.image_height, state.image_channels);
        if (outcome)
            outcome = mcm_session_decode(get(), static_cast<int32_t>(what), index, image.data(), image.size());
        return detail::finish(outcome, std::move(image));
    }
    returns<Image> preview(uint32_t index = 0) const { return decode(Decode::preview, index); }

    /// Takes the first step that is left; a session that is done has none.
    StepIterator begin();
    StepIterator end() noexcept;

  private:
    returns<std::vector<float>> values(mcm_status (*read)(const mcm_session *, float *, size_t)) const {
        SessionState state = detail::filled(mcm_session_state_init);
        detail::Outcome outcome = mcm_session_get_state(get(), &state);
        std::vector<float> values(size_t(state.batch) * state.channels * state.height * state.width);
        if (outcome) outcome = read(get(), values.data(), values.size());
        return detail::finish(outcome, std::move(values));
    }
};

/// A step that its session has just taken. What it shows is the session's, until that goes on; then it is an error,
/// state. It does not outlive its session, nor the run: after another seed() it shows that run's step of its number.
class Step {
  public:
    /// 0 .. count() - 1
    uint32_t index() const noexcept { return before_.step; }
    /// Steps of the whole run.
    uint32_t count() const noexcept { return before_.steps; }
    /// That the network was told, rounded.
    int32_t timestep() const noexcept { return before_.timestep; }

    /// What the step led to, and the x_0 that it predicted: (batch, channels, height, width).
    returns<std::vector<float>> x() const {
        return current<std::vector<float>>([](const Session &session) { return session.sample(); });
    }
    returns<std::vector<float>> x0() const {
        return current<std::vector<float>>([](const Session &session) { return session.x0(); });
    }
    /// The predicted x_0 of an image of the batch, at once or as an image.
    returns<Image> preview(uint32_t index = 0) const {
        return current<Image>([=](const Session &session) { return session.preview(index); });
    }
    returns<Image> image(uint32_t index = 0) const {
        return current<Image>([=](const Session &session) { return session.decode(Decode::x0, index); });
    }

  private:
    friend class StepIterator;
    Step(mcm_session *session, const SessionState &before) noexcept : session_(session), before_(before) {}
    template <class T, class Read> returns<T> current(Read read) const {
        SessionState now = detail::filled(mcm_session_state_init);
        detail::Outcome outcome = mcm_session_get_state(session_, &now);
        const uint32_t number = before_.step + 1;
        if (outcome && now.step != number)
            outcome = error(Status::state, "step " + std::to_string(number) + " has passed, " +
                                               std::to_string(now.step) + " are done");
        if (!outcome) return detail::finish(outcome, T());
        return read(Session(session_, Ownership::borrowed));
    }

    mcm_session *session_;
    SessionState before_;
};

/// Single pass. With exceptions, a step that fails throws from begin() or ++; without, it is yielded as a result that
/// is not ok(), and the range ends after it.
class StepIterator {
  public:
    using iterator_category = std::input_iterator_tag;
    using value_type = returns<Step>;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type *;
    using reference = const value_type &;

    StepIterator() noexcept = default;
    explicit StepIterator(mcm_session *session) : session_(session) { advance(); }

    reference operator*() const { return *step_; }
    pointer operator->() const { return &*step_; }
    StepIterator &operator++() {
        if (detail::failed(*step_)) step_.reset();
        else advance();
        return *this;
    }
    void operator++(int) { ++*this; }
    /// Iterators are equal if both are at the end.
    friend bool operator==(const StepIterator &a, const StepIterator &b) noexcept {
        return a.step_.has_value() == b.step_.has_value();
    }
    friend bool operator!=(const StepIterator &a, const StepIterator &b) noexcept { return !(a == b); }

  private:
    void advance() {
        step_.reset();
        SessionState before = detail::filled(mcm_session_state_init);
        detail::Outcome outcome = mcm_session_get_state(session_, &before);
        if (outcome && before.seeded && before.step == before.steps) return;
        if (outcome) outcome = mcm_session_step(session_);
        step_.emplace(detail::finish(outcome, Step(session_, before)));
    }

    mcm_session *session_ = nullptr;
    std::optional<returns<Step>> step_;
};

inline StepIterator Session::begin() { return StepIterator(get()); }
inline StepIterator Session::end() noexcept { return StepIterator(); }

MCM_CPP_END

#endif

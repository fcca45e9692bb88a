/// Sampling in one call.
#ifndef MCM_GENERATE_HPP
#define MCM_GENERATE_HPP

#include <algorithm>

#include "session.hpp"

MCM_CPP_BEGIN

/// A module with its conditions.
struct Attachment {
    const Modulator *modulator = nullptr;
    std::vector<Condition> conditions = {};
    AttachOptions options = {};
};

/// See mcm_generate_options.
struct GenerateOptions {
    SessionOptions session = {};
    std::vector<uint64_t> seeds = {}; ///< one, or one per image; {}: seed 0
    std::vector<Attachment> attachments = {};
    std::vector<float> class_input = {}; ///< (batch, class_input_size), see Session::set_class_input
    optional_text prompt = {}; ///< for all images of a model that reads a text
    optional_text negative_prompt = {};
    PromptOptions prompt_options = {};
    Images images = {}; ///< see Session::set_image
    Images masks = {};  ///< see Session::set_mask
};

namespace detail {

inline returns<std::vector<Image>> generate(const Model &model, const GenerateOptions &options, mcm_progress enter,
                                            void *user, mcm_status (*after)(void *, mcm_status)) {
    using Pictures = std::vector<Image>;
    const mcm_session_options session = options.session;
    const mcm_prompt_options prompt = options.prompt_options;
    const size_t count = options.attachments.size();
    std::vector<std::vector<mcm_condition>> conditions(count);
    std::vector<mcm_attach_options> attach(count);
    std::vector<mcm_attachment> attachments(count);
    for (size_t i = 0; i < count; i++) {
        conditions[i] = c_conditions(options.attachments[i].conditions);
        attach[i] = options.attachments[i].options;
        attachments[i] = {sizeof(mcm_attachment), count32(conditions[i].size()), get(options.attachments[i].modulator),
                          conditions[i].data(), &attach[i]};
    }
    mcm_generate_options c = filled(mcm_generate_options_init);
    c.seed_count = count32(options.seeds.size());
    c.seeds = options.seeds.data();
    c.session = &session;
    c.attachments = attachments.data();
    c.attachment_count = count;
    c.class_input = options.class_input.data();
    c.class_input_count = options.class_input.size();
    c.callback = enter;
    c.user = user;
    c.prompt = c_str(options.prompt);
    c.negative_prompt = c_str(options.negative_prompt);
    c.prompt_options = &prompt;
    c.images = options.images.data();
    c.image_count = options.images.size();
    c.masks = options.masks.data();
    c.mask_count = options.masks.size();

    ModelInfo info = filled(mcm_model_info_init);
    Outcome outcome = mcm_model_get_info(model.get(), &info);
    if (!outcome) return finish(outcome, Pictures());
    // The library writes all images into one piece of memory, which is not larger than a program can ask for.
    const uint32_t width = session.width ? session.width : info.width * info.scale;
    const uint32_t height = session.height ? session.height : info.height * info.scale;
    const size_t size = product({width, height, info.image_channels});
    const size_t all = product({session.batch, size});
    std::unique_ptr<uint8_t[]> pixels(all <= PTRDIFF_MAX ? new (std::nothrow) uint8_t[all + 1] : nullptr);
    mcm_status status = mcm_generate(model.get(), &c, pixels.get(), pixels ? all : 0);
    outcome = after ? after(user, status) : status;
    Pictures pictures;
    for (uint32_t i = 0; outcome && i < session.batch; i++) {
        Image image;
        outcome = allocate(image, width, height, info.image_channels);
        if (outcome) std::copy_n(pixels.get() + i * size, size, image.data());
        pictures.push_back(std::move(image));
    }
    return finish(outcome, std::move(pictures));
}

} // namespace detail

/// Samples a batch: seed, attach, condition, run, decode. Returns one image per image of the batch. Errors: those of
/// the session's functions.
inline returns<std::vector<Image>> generate(const Model &model, const GenerateOptions &options = {}) {
    return detail::generate(model, options, nullptr, nullptr, nullptr);
}
/// The same with a callback after each step, see Session::run; the session that it gets lives only as long as the call.
/// Errors: also cancelled.
template <class Call>
returns<std::vector<Image>> generate(const Model &model, const GenerateOptions &options, Call &&callback) {
    auto call = [&](mcm_session *handle, uint32_t done, uint32_t of) {
        Session session(handle, Ownership::borrowed);
        return callback(session, done, of);
    };
    using Carried = detail::Callback<decltype(call)>;
    Carried carried(call);
    return detail::generate(model, options, Carried::template enter<mcm_session *, uint32_t, uint32_t>, &carried,
                            [](void *user, mcm_status status) { return static_cast<Carried *>(user)->finish(status); });
}

MCM_CPP_END

#endif

/// Images: owned pixels, views of the caller's, PNG.
#ifndef MCM_IMAGE_HPP
#define MCM_IMAGE_HPP

#include <memory>
#include <new>
#include <vector>

#include "error.hpp"
#include "span.hpp"
#include "version.hpp"

MCM_CPP_BEGIN

/// A view of pixels: rows from top to bottom, channels interleaved, with or without gaps between the rows. Made by
/// view(), from an Image, or by hand as described in mcm.h.
using ImageView = mcm_image;

namespace detail {

inline returns<ImageView> view(const void *data, size_t count, size_t element, int32_t dtype, uint32_t width,
                               uint32_t height, uint32_t channels, size_t row_stride) {
    size_t row = product({width, channels, element}), stride = row_stride ? row_stride : row;
    size_t before = height ? product({stride, height - 1}) : 0;
    size_t expected = before > SIZE_MAX - row ? SIZE_MAX : before + row;
    Outcome outcome = MCM_OK;
    if (stride < row) outcome = wrong_size("view: bytes from row to row", stride, row);
    else if (product({count, element}) < expected) outcome = wrong_size("view: pixels", count, expected / element);
    ImageView image = MCM_IMAGE_INIT;
    image.dtype = dtype;
    image.data = data;
    image.width = width;
    image.height = height;
    image.channels = channels;
    image.row_stride = row_stride;
    return finish(outcome, image);
}

} // namespace detail

/// A view of 8-bit pixels, (height, width, channels) values 0..255, or as labels the class indices. row_stride: bytes
/// from row to row; 0: rows without gaps. Errors: size, if `pixels` is shorter.
inline returns<ImageView> view(span<const uint8_t> pixels, uint32_t width, uint32_t height, uint32_t channels = 1,
                               size_t row_stride = 0) {
    return detail::view(pixels.data(), pixels.size(), 1, MCM_U8, width, height, channels, row_stride);
}
/// The same for floats in [0, 1].
inline returns<ImageView> view(span<const float> pixels, uint32_t width, uint32_t height, uint32_t channels = 1,
                               size_t row_stride = 0) {
    return detail::view(pixels.data(), pixels.size(), sizeof(float), MCM_F32, width, height, channels, row_stride);
}

/// Writes 8-bit pixels of 1, 3 or 4 channels. Errors: invalid_argument, io.
inline returns<void> write_png(cstring path, const ImageView &image) {
    detail::Outcome outcome = detail::check_version();
    if (outcome) outcome = mcm_png_write(path, &image);
    return detail::finish(outcome);
}

class Image;
namespace detail {
Outcome allocate(Image &image, uint32_t width, uint32_t height, uint32_t channels);
}

/// 8-bit pixels, (height, width, channels) without gaps, in memory of its own. Move-only.
class Image {
  public:
    Image() noexcept = default;

    /// Pixels that are not set yet. Errors: out_of_memory.
    static returns<Image> create(uint32_t width, uint32_t height, uint32_t channels = 1) {
        Image image;
        detail::Outcome outcome = detail::allocate(image, width, height, channels);
        return detail::finish(outcome, std::move(image));
    }

    /// Reads an 8-bit PNG: 1, 3 or 4 channels. Errors: io, format, unsupported, out_of_memory.
    static returns<Image> read(cstring path) {
        Image image;
        uint32_t width = 0, height = 0, channels = 0;
        detail::Outcome outcome = detail::check_version();
        if (outcome) outcome = mcm_png_size(path, &width, &height, &channels);
        if (outcome) outcome = detail::allocate(image, width, height, channels);
        if (outcome) outcome = mcm_png_read(path, image.data(), image.size());
        return detail::finish(outcome, std::move(image));
    }

    returns<void> write(cstring path) const { return write_png(path, *this); }

    uint32_t width() const noexcept { return width_; }
    uint32_t height() const noexcept { return height_; }
    uint32_t channels() const noexcept { return channels_; }
    uint8_t *data() noexcept { return pixels_.get(); }
    const uint8_t *data() const noexcept { return pixels_.get(); }
    /// Bytes; 0 if there is no image.
    size_t size() const noexcept { return pixels_ ? detail::product({width_, height_, channels_}) : 0; }
    uint8_t *begin() noexcept { return data(); }
    uint8_t *end() noexcept { return data() + size(); }
    const uint8_t *begin() const noexcept { return data(); }
    const uint8_t *end() const noexcept { return data() + size(); }

    /// Valid as long as the image is.
    operator ImageView() const noexcept {
        ImageView image = MCM_IMAGE_INIT;
        image.data = data();
        image.width = width_;
        image.height = height_;
        image.channels = channels_;
        return image;
    }

  private:
    friend detail::Outcome detail::allocate(Image &, uint32_t, uint32_t, uint32_t);

    std::unique_ptr<uint8_t[]> pixels_;
    uint32_t width_ = 0, height_ = 0, channels_ = 0;
};

/// Not cleared, and without an exception: a file that lies about its size costs nothing.
inline detail::Outcome detail::allocate(Image &image, uint32_t width, uint32_t height, uint32_t channels) {
    const size_t size = product({width, height, channels});
    if (size <= PTRDIFF_MAX) image.pixels_.reset(new (std::nothrow) uint8_t[size ? size : 1]);
    if (!image.pixels_)
        return error(Status::out_of_memory, "no memory for an image of " + std::to_string(width) + " x " +
                                                std::to_string(height) + " x " + std::to_string(channels));
    image.width_ = width;
    image.height_ = height;
    image.channels_ = channels;
    return MCM_OK;
}

/// Images as a parameter: one for the whole batch, or one each; {} for none. Made from an Image, an ImageView or a
/// container of either. It views what it is made from, and keeps an Image, or a std::vector of them, that is moved into
/// it.
class Images {
    template <class R> using element_of = decltype(*std::begin(std::declval<const R &>()));
    // A temporary container would take its images with it. One that is copied like a pointer is a view of them.
    template <class R>
    static constexpr bool lasts = std::is_lvalue_reference_v<R> ||
        !std::is_base_of_v<Image, std::decay_t<element_of<R>>> || std::is_trivially_copyable_v<R>;

  public:
    Images() = default;
    Images(const ImageView &image) : views_{image} {}
    Images(const Image &image) : views_{ImageView(image)} {}
    Images(Image &&image) { keep(std::move(image)); }
    Images(std::vector<Image> &&images) {
        for (Image &image : images) keep(std::move(image));
    }
    template <class R, class = std::enable_if_t<std::is_convertible_v<element_of<R>, ImageView>>,
              class = std::enable_if_t<lasts<R>>>
    Images(R &&images) : views_(std::begin(images), std::end(images)) {}

    /// NULL if there are none.
    const ImageView *data() const noexcept { return views_.empty() ? nullptr : views_.data(); }
    uint32_t size() const noexcept { return detail::count32(views_.size()); }

  private:
    void keep(Image &&image) {
        kept_.push_back(std::make_shared<Image>(std::move(image)));
        views_.push_back(*kept_.back());
    }

    std::vector<std::shared_ptr<const Image>> kept_;
    std::vector<ImageView> views_;
};

/// What to follow: the images of one modality, e.g. "sketch"; one for the whole batch, or one each.
struct Condition {
    std::string modality;
    Images images;
};

namespace detail {

/// Valid as long as the conditions are.
inline mcm_condition c_condition(const Condition &condition) noexcept {
    mcm_condition value = filled(mcm_condition_init);
    value.modality = condition.modality.c_str();
    value.images = condition.images.data();
    value.image_count = condition.images.size();
    return value;
}
inline std::vector<mcm_condition> c_conditions(const std::vector<Condition> &conditions) {
    std::vector<mcm_condition> values;
    for (const Condition &condition : conditions) values.push_back(c_condition(condition));
    return values;
}

} // namespace detail

MCM_CPP_END

#endif

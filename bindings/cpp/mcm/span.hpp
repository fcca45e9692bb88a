/// Views of the caller's memory, and texts.
#ifndef MCM_SPAN_HPP
#define MCM_SPAN_HPP

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <type_traits>

#include "config.hpp"

MCM_CPP_BEGIN

/// A view of contiguous values, as C++20's std::span: made from an array, a std::vector, std::array, std::span,
/// {pointer, count}, or where numbers are read from a list of them, {0, 8}. It owns nothing.
template <class T> class span {
    template <class C>
    using element_of = std::remove_pointer_t<decltype(std::data(std::declval<std::remove_reference_t<C> &>()))>;

  public:
    using value_type = std::remove_cv_t<T>;

    constexpr span() noexcept = default;
    constexpr span(T *data, size_t size) noexcept : data_(data), size_(size) {}
    /// Valid to the end of the call that it is an argument of.
    template <class N = T, class = std::enable_if_t<std::is_const_v<N> && std::is_arithmetic_v<N>>>
    constexpr span(std::initializer_list<value_type> numbers) noexcept
        : data_(std::data(numbers)), size_(numbers.size()) {}
    template <class C, class = std::enable_if_t<!std::is_same_v<std::decay_t<C>, span> &&
                                                std::is_convertible_v<element_of<C> (*)[], T (*)[]>>>
    constexpr span(C &&container) noexcept : data_(std::data(container)), size_(std::size(container)) {}

    constexpr T *data() const noexcept { return data_; }
    constexpr size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](size_t index) const { return data_[index]; }

  private:
    T *data_ = nullptr;
    size_t size_ = 0;
};

/// A zero-terminated UTF-8 text as a parameter: a literal, a std::string, or on POSIX a std::filesystem::path. Where
/// one may be left out, nullptr stands for none. It ends at its first zero byte, and owns nothing.
class cstring {
  public:
    constexpr cstring(const char *text = nullptr) noexcept : text_(text) {}
    template <class S, class = std::enable_if_t<
                           std::is_convertible_v<decltype(std::declval<const S &>().c_str()), const char *>>>
    cstring(const S &text) noexcept : text_(text.c_str()) {}
    constexpr operator const char *() const noexcept { return text_; }

  private:
    const char *text_;
};

/// A text in an option struct, which keeps it: nothing, or as std::string.
using optional_text = std::optional<std::string>;

/// Width and height of a sample (see mcm.h), in pixels.
struct Size {
    uint32_t width, height;
};

namespace detail {

/// SIZE_MAX if it is too large, so that what is compared with it differs.
inline size_t product(std::initializer_list<size_t> factors) noexcept {
    size_t value = 1;
    for (size_t factor : factors) {
        if (factor != 0 && value > SIZE_MAX / factor) value = SIZE_MAX;
        else value *= factor;
    }
    return value;
}

/// A count as the C functions take it; one that is too large stays too large.
constexpr uint32_t count32(size_t count) noexcept {
    return count > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(count);
}

/// NULL for none.
inline const char *c_str(const optional_text &value) noexcept { return value ? value->c_str() : nullptr; }

/// A C struct with the library's defaults.
template <class C> C filled(void (*init)(C *, uint32_t)) noexcept {
    C value;
    init(&value, sizeof value);
    return value;
}

} // namespace detail

MCM_CPP_END

#endif

/// Errors: exceptions, or mcm::result<T> with MCM_NO_EXCEPTIONS.
#ifndef MCM_ERROR_HPP
#define MCM_ERROR_HPP

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

#include "span.hpp"

MCM_CPP_BEGIN

/// What went wrong, see mcm.h. 1..99: the caller misused the library; 100..199: data or the environment is at fault.
enum class Status : mcm_status {
    ok = MCM_OK,
    invalid_argument = MCM_ERROR_INVALID_ARGUMENT,
    struct_size = MCM_ERROR_STRUCT_SIZE,
    size = MCM_ERROR_SIZE,
    state = MCM_ERROR_STATE,
    incompatible = MCM_ERROR_INCOMPATIBLE,
    io = MCM_ERROR_IO,
    format = MCM_ERROR_FORMAT,
    unsupported = MCM_ERROR_UNSUPPORTED,
    out_of_memory = MCM_ERROR_OUT_OF_MEMORY,
    cpu = MCM_ERROR_CPU,
    cancelled = MCM_CANCELLED,
};

/// "MCM_ERROR_IO" and the like.
inline const char *name(Status status) noexcept { return mcm_status_name(static_cast<mcm_status>(status)); }
constexpr bool is_misuse(Status status) noexcept {
    return static_cast<mcm_status>(status) > 0 && static_cast<mcm_status>(status) < 100;
}
constexpr bool is_environment(Status status) noexcept {
    return static_cast<mcm_status>(status) >= 100 && static_cast<mcm_status>(status) < 200;
}

/// Base of all exceptions of the library; what() is its message, one line that says what was found and what was
/// expected. With MCM_NO_EXCEPTIONS the error of a result.
class error : public std::runtime_error {
  public:
    error(Status status, const std::string &message) : std::runtime_error(message), status_(status) {}
    Status status() const noexcept { return status_; }

  private:
    Status status_;
};

/// The caller misused the library: a mistake in the program, mostly.
class misuse_error : public error { using error::error; };
/// A file, memory or the machine is at fault.
class environment_error : public error { using error::error; };
/// A callback cancelled.
class cancelled_error : public error { using error::error; };

namespace detail {

#ifdef __cpp_exceptions
[[noreturn]] inline void raise(const error &failure) {
    if (is_misuse(failure.status())) throw misuse_error(failure.status(), failure.what());
    if (failure.status() == Status::cancelled) throw cancelled_error(failure.status(), failure.what());
    throw environment_error(failure.status(), failure.what());
}
#else
[[noreturn]] inline void raise(const error &failure) {
    std::fprintf(stderr, "mcm: the value of a failed result was taken: %s\n", failure.what());
    std::abort();
}
#endif

} // namespace detail

/// A value or an error, as std::expected has it. Taking the value of an error throws it, or without exceptions ends the
/// program with its message.
template <class T> class [[nodiscard]] result {
  public:
    using value_type = T;

    result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    result(mcm::error failure) : state_(std::in_place_index<1>, std::move(failure)) {}

    bool ok() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return ok(); }
    Status status() const noexcept { return ok() ? Status::ok : std::get_if<1>(&state_)->status(); }

    T &value() & { return check(), *std::get_if<0>(&state_); }
    const T &value() const & { return check(), *std::get_if<0>(&state_); }
    T &&value() && { return check(), std::move(*std::get_if<0>(&state_)); }
    template <class U> T value_or(U &&other) && { return ok() ? std::move(**this) : T(std::forward<U>(other)); }

    T &operator*() & { return value(); }
    const T &operator*() const & { return value(); }
    T &&operator*() && { return std::move(*this).value(); }
    T *operator->() { return &value(); }
    const T *operator->() const { return &value(); }

    /// Of a result that is not ok(); "" otherwise.
    mcm::error error() const { return ok() ? mcm::error(Status::ok, "") : *std::get_if<1>(&state_); }

  private:
    void check() const {
        if (!ok()) detail::raise(*std::get_if<1>(&state_));
    }
    std::variant<T, mcm::error> state_;
};

template <> class [[nodiscard]] result<void> {
  public:
    using value_type = void;

    result() = default;
    result(mcm::error failure) : failure_(std::move(failure)) {}

    bool ok() const noexcept { return !failure_; }
    explicit operator bool() const noexcept { return ok(); }
    Status status() const noexcept { return ok() ? Status::ok : failure_->status(); }
    void value() const {
        if (!ok()) detail::raise(*failure_);
    }
    /// Of a result that is not ok(); "" otherwise.
    mcm::error error() const { return ok() ? mcm::error(Status::ok, "") : *failure_; }

  private:
    std::optional<mcm::error> failure_;
};

/// What a function that can fail returns: T, or result<T> with MCM_NO_EXCEPTIONS.
#ifdef MCM_NO_EXCEPTIONS
template <class T> using returns = result<T>;
#else
template <class T> using returns = T;
#endif

namespace detail {

/// Success, or an error of the library or of this header. The library's message is taken at once.
struct Outcome {
    Outcome(mcm_status status) {
        if (status != MCM_OK) failure.emplace(Status(status), mcm_last_error());
    }
    Outcome(error e) : failure(std::move(e)) {}
    explicit operator bool() const noexcept { return !failure; }

    std::optional<error> failure;
};

/// The only place where the two styles part: every function that can fail ends in finish().
#ifdef MCM_NO_EXCEPTIONS
inline returns<void> finish(const Outcome &outcome) {
    return outcome ? returns<void>() : returns<void>(*outcome.failure);
}
template <class T> returns<T> finish(const Outcome &outcome, T value) {
    return outcome ? returns<T>(std::move(value)) : returns<T>(*outcome.failure);
}
template <class T> bool failed(const result<T> &value) { return !value.ok(); }
#else
inline void finish(const Outcome &outcome) {
    if (!outcome) raise(*outcome.failure);
}
template <class T> T finish(const Outcome &outcome, T value) {
    if (!outcome) raise(*outcome.failure);
    return value;
}
template <class T> constexpr bool failed(const T &) { return false; }
#endif

inline error wrong_size(const char *what, size_t found, size_t expected) {
    return error(Status::size,
                 std::string(what) + ": " + std::to_string(found) + " values, expected " + std::to_string(expected));
}
/// For buffers that the C functions take without a count, or that are to be allocated by another's size.
inline Outcome check_size(const char *what, size_t found, std::initializer_list<size_t> dimensions) {
    const size_t expected = product(dimensions);
    return found == expected ? Outcome(MCM_OK) : Outcome(wrong_size(what, found, expected));
}

} // namespace detail

MCM_CPP_END

#endif

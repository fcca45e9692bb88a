/// What all types that own an object of the library have in common, and calls back from it.
#ifndef MCM_HANDLE_HPP
#define MCM_HANDLE_HPP

#include <exception>
#include <memory>

#include "error.hpp"
#include "span.hpp"
#include "version.hpp"

MCM_CPP_BEGIN

enum class Ownership { owned, borrowed };

/// Owns an object of the C API and frees it. Move-only; an object that was moved from, or made without arguments, holds
/// nothing, and what is called on it fails with Status::invalid_argument.
template <class C, void (*Free)(C *)> class Handle {
  public:
    Handle() noexcept = default;
    /// For use with the C API: takes `handle` over, or with `borrowed` leaves it to its owner.
    explicit Handle(C *handle, Ownership ownership = Ownership::owned) noexcept : handle_(handle, {ownership}) {}

    C *get() noexcept { return handle_.get(); }
    const C *get() const noexcept { return handle_.get(); }
    /// The caller owns the object afterwards (unless it was borrowed).
    [[nodiscard]] C *release() noexcept { return handle_.release(); }
    explicit operator bool() const noexcept { return handle_ != nullptr; }

  private:
    struct Deleter {
        Ownership ownership = Ownership::owned;
        void operator()(C *handle) const noexcept {
            if (ownership == Ownership::owned) Free(handle);
        }
    };
    std::unique_ptr<C, Deleter> handle_;
};

/// What a callback may return; one that returns nothing never cancels.
enum class Progress : int32_t { proceed = 0, cancel = 1 };

namespace detail {

/// NULL for none.
template <class H> auto get(const H *object) noexcept { return object ? object->get() : nullptr; }

/// The object that `create` writes to its argument. All objects are made here, so that none is of another version.
template <class Object, class Create> returns<Object> make(Create create) {
    decltype(std::declval<Object &>().get()) handle = nullptr;
    Outcome outcome = check_version();
    if (outcome) outcome = create(&handle);
    return finish(outcome, Object(handle));
}

/// A struct that the C API fills.
template <class C, class H>
returns<C> query(void (*init)(C *, uint32_t), mcm_status (*read)(const H *, C *), const H *handle) {
    C value = filled(init);
    Outcome outcome = read(handle, &value);
    return finish(outcome, value);
}
template <class C, class H>
returns<C> query(void (*init)(C *, uint32_t), mcm_status (*read)(const H *, uint32_t, C *), const H *handle,
                 uint32_t index) {
    C value = filled(init);
    Outcome outcome = read(handle, index, &value);
    return finish(outcome, value);
}

/// Carries a callable through the C API: `enter` is the C callback, `this` its user pointer. An exception waits until
/// the library has returned.
template <class Call> class Callback {
  public:
    explicit Callback(Call call) : call_(std::move(call)) {}

    template <class... Arguments> static int32_t enter(void *user, Arguments... arguments) noexcept {
        Callback &self = *static_cast<Callback *>(user);
#ifdef __cpp_exceptions
        try {
            return self.run(arguments...);
        } catch (...) {
            self.thrown_ = std::current_exception();
            return 1;
        }
#else
        return self.run(arguments...);
#endif
    }

    /// Throws what the callable threw, else passes the library's status on.
    mcm_status finish(mcm_status status) {
#ifdef __cpp_exceptions
        if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
#endif
        return status;
    }

  private:
    template <class... Arguments> int32_t run(Arguments... arguments) {
        using Result = std::invoke_result_t<Call &, Arguments...>;
        static_assert(std::is_void_v<Result> || std::is_same_v<Result, Progress>,
                      "a callback returns nothing or mcm::Progress");
        if constexpr (std::is_void_v<Result>) return call_(arguments...), 0;
        else return static_cast<int32_t>(call_(arguments...));
    }

    Call call_;
#ifdef __cpp_exceptions
    std::exception_ptr thrown_;
#endif
};

} // namespace detail

MCM_CPP_END

#endif

/// libmcm for C++17: controllable diffusion inside your own program. Header-only, over the C API in mcm.h, where all is
/// described in full; link with libmcm (pkg-config mcm, or find_package(mcm) and mcm::cpp).
///
///     auto model = mcm::Model::open("fashion/base");
///     auto session = mcm::Session::create(model, {.scheduler = mcm::SchedulerKind::ddim, .steps = 25}); // C++20
///     session.seed(1);
///     for (auto step : session) show(step.preview());
///     session.decode().write("out.png");
///
/// Errors.     Functions that can fail throw mcm::error: misuse_error, environment_error or cancelled_error, with
///             status() and a message of one line. With MCM_NO_EXCEPTIONS defined before this header (in each file, or
///             by the compiler's -fno-exceptions), they return mcm::result<T> instead, which cannot be overlooked.
///             returns<T> below is T or result<T>. After an error, objects are as they were. Where memory for
///             the standard containers is short, they throw std::bad_alloc. With a library of another version than this
///             header no object can be made: Status::unsupported.
/// Ownership.  Types own what they name, are move-only, and free it when they go. A moved-from object may be assigned
///             to or destroyed; other calls on it fail with Status::invalid_argument. Views (span, cstring, ImageView,
///             Images, Condition) own nothing, except an Image that is moved into Images; texts in option structs are
///             kept by them. Parameters are borrowed for the duration of the call.
/// Threads.    Model, Prompt, ControlNet, Modulator, Scheduler, Dataset and Bank are immutable: any number of threads
///             may use one at the same time. Session, Rng and Trainer belong to one thread at a time.
/// Callbacks.  Any callable; it returns nothing, or mcm::Progress::cancel to stop. An exception that leaves it stops
///             the call too, and leaves the call when the library has returned.
/// Tensors.    float32, NCHW, contiguous; all views have a size, which is checked.
#ifndef MCM_HPP
#define MCM_HPP

#include "mcm/generate.hpp"
#include "mcm/trainer.hpp"

#endif

/// Which of the two styles of errors this file is compiled in.
#ifndef MCM_CONFIG_HPP
#define MCM_CONFIG_HPP

#include <mcm.h>

#if !defined(__cplusplus) || __cplusplus < 201703L
#error "mcm.hpp needs C++17 or later (-std=c++17)"
#endif

// Define MCM_NO_EXCEPTIONS before mcm.hpp is included, and functions that can fail return mcm::result<T> instead of
// throwing. A compiler without exceptions has no choice.
#if !defined(MCM_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define MCM_NO_EXCEPTIONS
#endif

// The styles are different types to the linker: files of one program may differ. Results are two styles, since a
// callback that may throw is compiled into other code than one that cannot.
#if !defined(MCM_NO_EXCEPTIONS)
#define MCM_CPP_BEGIN namespace mcm { inline namespace exceptions {
#elif defined(__cpp_exceptions)
#define MCM_CPP_BEGIN namespace mcm { inline namespace results {
#else
#define MCM_CPP_BEGIN namespace mcm { inline namespace results_only {
#endif
#define MCM_CPP_END } }

#endif

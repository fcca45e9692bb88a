/// The version of the library that runs.
#ifndef MCM_VERSION_HPP
#define MCM_VERSION_HPP

#include <string>

#include "error.hpp"

MCM_CPP_BEGIN

/// Of the library at run time: MCM_VERSION, and as text "0.1.0".
inline uint32_t version() noexcept { return mcm_version(); }
inline const char *version_string() noexcept { return mcm_version_string(); }

namespace detail {

/// The library must have this header's major version, and its minor version too while that is 0. A newer minor version
/// only adds; an older one may lack what this header calls.
constexpr bool fits(uint32_t found, uint32_t ours) noexcept {
    const uint32_t major = ours / 1000000, minor = ours / 1000;
    return found / 1000000 == major && (major == 0 ? found / 1000 == minor : found / 1000 >= minor);
}

inline Outcome check_version() {
    const uint32_t found = version();
    if (fits(found, MCM_VERSION)) return MCM_OK;
    const auto text = [](uint32_t of) { return std::to_string(of / 1000000) + "." + std::to_string(of / 1000 % 1000); };
    return error(Status::unsupported, "libmcm " + text(found) + " was loaded, expected " + text(MCM_VERSION) +
                                          (MCM_VERSION / 1000000 == 0 ? "" : " or a later one of that major version"));
}

} // namespace detail

MCM_CPP_END

#endif

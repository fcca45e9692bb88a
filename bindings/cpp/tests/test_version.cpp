// A library of another version than the header: no object can be made.
#include "check.hpp"

extern "C" uint32_t mcm_version(void) { return 2003004; }

static_assert(mcm::detail::fits(1000, 1000) && mcm::detail::fits(1009, 1000) && mcm::detail::fits(1000, 1009),
              "before 1.0, patches fit");
static_assert(!mcm::detail::fits(2000, 1000) && !mcm::detail::fits(0, 1000) && !mcm::detail::fits(1001000, 1000),
              "before 1.0, minor versions differ");
static_assert(mcm::detail::fits(1003000, 1002005) && mcm::detail::fits(1002000, 1002005),
              "from 1.0 on, later ones fit");
static_assert(!mcm::detail::fits(1001009, 1002000) && !mcm::detail::fits(2002000, 1002000),
              "from 1.0 on, earlier ones and other major versions do not");

int main() {
    const std::string expected = "libmcm 2.3 was loaded, expected " + std::to_string(MCM_VERSION_MAJOR) + ".";
    ENVIRONMENT(unsupported, expected.c_str(), mcm::Model::open("nowhere"));
    ENVIRONMENT(unsupported, expected.c_str(), mcm::Rng::create(1));
    ENVIRONMENT(unsupported, expected.c_str(), mcm::Image::read("nowhere"));
    ENVIRONMENT(unsupported, expected.c_str(), mcm::write_png("nowhere", {}));
    std::printf("another version: %d checks failed\n", failures);
    return failures > 0;
}

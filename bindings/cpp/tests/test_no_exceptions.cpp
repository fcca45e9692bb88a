// A file without exceptions in a program whose others have them.
#include "fixtures.hpp"

static void count(mcm::Session &session, uint32_t done, uint32_t) { CHECK(session.state().value().step == done); }

// test_results.cpp has a callback of this type too, which throws.
TEST(files_without_exceptions_may_be_linked_with_others) {
    auto session = mcm::Session::create(tiny(), {});
    CHECK(session.ok() && session->seed(1).ok() && session->run(count).ok());
}

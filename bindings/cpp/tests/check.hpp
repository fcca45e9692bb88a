// Checks, and a runner that runs what was registered.
#pragma once

#include <cstdio>
#include <cstring>
#include <mcm.hpp>
#include <string>

struct Test {
    const char *name;
    void (*run)();
    const Test *next;
};
inline const Test *tests = nullptr;
inline int failures = 0;

inline void failed(const char *file, int line, const std::string &what) {
    std::printf("%s:%d: %s\n", file, line, what.c_str());
    failures++;
}

#define TEST(name)                                                     \
    static void name();                                                \
    static const Test name##_test = {#name, name, tests};              \
    [[maybe_unused]] static const bool name##_added = (tests = &name##_test, true); \
    static void name()

#define CHECK(...) ((__VA_ARGS__) ? (void)0 : failed(__FILE__, __LINE__, #__VA_ARGS__))

// The error is of this status, and its message one line that contains `part`.
inline void check_error(const char *file, int line, const mcm::error &e, mcm::Status status, const char *part) {
    const std::string message = e.what();
    if (e.status() != status) failed(file, line, std::string("status ") + mcm::name(e.status()) + ": " + message);
    if (message.empty() || message.find('\n') != std::string::npos) failed(file, line, "not one line: " + message);
    if (message.find(part) == std::string::npos) failed(file, line, "no '" + std::string(part) + "' in: " + message);
}

// The expression throws mcm::TYPE with Status::STATUS.
#define THROWS(type, status, part, ...)                                               \
    try {                                                                             \
        (void)(__VA_ARGS__);                                                          \
        failed(__FILE__, __LINE__, "nothing was thrown: " #__VA_ARGS__);              \
    } catch (const mcm::type &e) {                                                    \
        check_error(__FILE__, __LINE__, e, mcm::Status::status, part);                \
    }
#define MISUSE(status, part, ...) THROWS(misuse_error, status, part, __VA_ARGS__)
#define ENVIRONMENT(status, part, ...) THROWS(environment_error, status, part, __VA_ARGS__)

// The result is an error with Status::STATUS.
#define FAILS(status, part, ...)                                                                          \
    do {                                                                                                  \
        auto result_ = (__VA_ARGS__);                                                                     \
        CHECK(!result_.ok() && !result_);                                                                 \
        check_error(__FILE__, __LINE__, result_.error(), mcm::Status::status, part);                      \
    } while (0)

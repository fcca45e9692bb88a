// The other style: results instead of exceptions, also in a program whose other files have exceptions.
#ifndef MCM_NO_EXCEPTIONS
#define MCM_NO_EXCEPTIONS
#endif
#include <csignal>
#include <cstdlib>

#include <sys/wait.h>
#include <unistd.h>

#include "fixtures.hpp"

static mcm::Session ready(uint64_t seed = 7) {
    const mcm::Model model = tiny();
    mcm::SessionOptions options;
    options.scheduler = mcm::SchedulerKind::ddim;
    options.steps = 5;
    auto session = mcm::Session::create(model, options);
    CHECK(session.ok());
    CHECK(session->seed(seed).ok());
    return std::move(*session);
}

TEST(values_and_errors) {
    static_assert(std::is_same_v<mcm::returns<int>, mcm::result<int>>);
    auto none = mcm::Model::open(in_scratch("nowhere"));
    FAILS(io, "nowhere", std::move(none));
    const auto image = mcm::Image::create(3, 2);
    CHECK(image && image->width() == 3 && (*image).height() == 2 && image.value().size() == 6);
    CHECK(image.status() == mcm::Status::ok && image.error().status() == mcm::Status::ok);
    CHECK(mcm::Image::read(in_scratch("nowhere")).status() == mcm::Status::io);
    CHECK(mcm::Image::read(in_scratch("nowhere")).value_or(mcm::Image()).size() == 0);
    FAILS(size, "24 values", mcm::view(std::vector<uint8_t>(24), 5, 5));
    FAILS(out_of_memory, "", mcm::Image::create(UINT32_MAX, UINT32_MAX, UINT32_MAX));
    mcm::result<void> fine;
    CHECK(fine.ok() && fine.error().status() == mcm::Status::ok);
    fine.value();
}

TEST(steps_are_results) {
    auto session = ready();
    uint32_t count = 0;
    for (auto step : session) {
        CHECK(step.ok() && step->index() == count++);
        CHECK(step->preview()->size() == 64 && step->x()->size() == 64);
    }
    CHECK(count == 5);
    FAILS(state, "", session.step());
    // One that fails is the last: this one was not seeded.
    auto unseeded = mcm::Session::create(tiny());
    count = 0;
    for (auto step : *unseeded) {
        FAILS(state, "seed", step);
        count++;
    }
    CHECK(count == 1);
    mcm::Session nothing;
    for (auto step : nothing) FAILS(invalid_argument, "session", step);
    FAILS(invalid_argument, "session", nothing.state());
}

TEST(callbacks_cancel) {
    auto session = ready();
    FAILS(cancelled, "", session.run([](mcm::Session &, uint32_t done, uint32_t) {
        return done == 2 ? mcm::Progress::cancel : mcm::Progress::proceed;
    }));
    CHECK(session.state()->step == 2 && session.run().ok());
    const mcm::Model model = tiny();
    mcm::GenerateOptions options;
    options.session.steps = 3;
    options.session.scheduler = mcm::SchedulerKind::ddim;
    CHECK(mcm::generate(model, options)->size() == 1);
    FAILS(cancelled, "", mcm::generate(model, options, [](mcm::Session &, uint32_t, uint32_t) {
        return mcm::Progress::cancel;
    }));
#ifdef __cpp_exceptions
    session = ready();
    const auto thrower = [](mcm::Session &, uint32_t, uint32_t) { throw 6; };
    void (*const callback)(mcm::Session &, uint32_t, uint32_t) = thrower; // of a type as in test_no_exceptions.cpp
    try {
        (void)session.run(callback);
        CHECK(false);
    } catch (int value) {
        CHECK(value == 6);
    }
#endif
}

TEST(training_returns_results) {
    const mcm::Model model = tiny();
    const mcm::Dataset dataset(new_dataset("dataset"));
    auto trainer = mcm::Trainer::create(model, tiny_config);
    CHECK(trainer && trainer->step(dataset, 4)->step == 1);
    FAILS(state, "", trainer->apply());
    FAILS(format, "", mcm::Trainer::create(model, "{"));
    FAILS(size, "", model.predict({8, 8}, std::vector<float>(3), std::vector<float>(1)));
    CHECK(trainer->buffers()->parameters.size() == trainer->state()->parameter_count);
}

// A value that is not there: an exception where there are any, else the program ends and says why.
TEST(taking_the_value_of_an_error) {
#ifdef __cpp_exceptions
    THROWS(environment_error, io, "nowhere", mcm::Model::open(in_scratch("nowhere")).value());
    THROWS(misuse_error, invalid_argument, "session", mcm::Session().seed(1).value());
#else
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        std::freopen("/dev/null", "w", stderr);
        std::signal(SIGABRT, SIG_DFL);
        (void)*mcm::Model::open(in_scratch("nowhere"));
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#endif
}

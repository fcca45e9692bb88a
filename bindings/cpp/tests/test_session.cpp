// Sessions, generate, loops of the caller's own.
#include "fixtures.hpp"

static mcm::SessionOptions ddpm(uint32_t steps = 6) {
    mcm::SessionOptions options;
    options.scheduler = mcm::SchedulerKind::ddpm;
    options.steps = steps;
    return options;
}

static std::vector<mcm::Condition> some_conditions() {
    std::vector<mcm::Condition> list;
    for (const char *name : {"sketch", "labels"}) {
        auto image = mcm::Image::create(8, 8);
        for (size_t i = 0; i < image.size(); i++) image.data()[i] = uint8_t(i % 3);
        list.push_back({name, std::move(image)});
    }
    return list;
}

static mcm::Session ready() {
    auto session = mcm::Session::create(tiny(), ddpm());
    const auto id = session.attach(tiny_modulator());
    for (const auto &condition : some_conditions()) session.set_condition(id, condition);
    session.seed(7);
    return session;
}

static std::vector<float> expected() {
    auto session = ready();
    session.run();
    return session.sample();
}

TEST(a_session_is_a_range_of_steps) {
    auto session = ready();
    uint32_t count = 0;
    int32_t last = 1000;
    for (auto step : session) {
        CHECK(step.index() == count++ && step.count() == 6 && step.timestep() < last);
        last = step.timestep();
        CHECK(step.x() == session.sample() && step.x0() == session.x0());
        const auto preview = step.preview(), image = step.image();
        CHECK(preview.width() == 8 && preview.height() == 8 && preview.channels() == 1 && image.size() == 64);
    }
    CHECK(count == 6 && last == 0 && session.sample() == expected());
    for (auto step : session) CHECK(step.index() == 99); // none is left
    session.seed(7);
    for (auto &&step : session) count += step.count() > 0;
    CHECK(count == 12 && session.sample() == expected());
}

TEST(loops_may_be_left_and_changed) {
    auto session = ready();
    for (auto step : session)
        if (step.index() == 2) break;
    CHECK(session.state().step == 3);
    // The session may be moved between its steps.
    auto it = session.begin();
    mcm::Session other = std::move(session);
    uint32_t rest = 0;
    for (; it != other.end(); ++it) CHECK(it->index() == 3 + rest++);
    CHECK(rest == 3 && other.sample() == expected());

    auto edited = ready();
    for (auto step : edited)
        if (step.index() == 3) {
            auto x = step.x();
            for (float &value : x) value *= 0.5f;
            edited.set_sample(x);
        }
    CHECK(edited.sample() != expected());
}

TEST(a_step_that_is_kept_ends_with_its_turn) {
    auto session = ready();
    auto it = session.begin();
    const mcm::Step first = *it;
    CHECK(first.x() == session.sample());
    ++it;
    MISUSE(state, "step 1 has passed, 2 are done", first.x());
    MISUSE(state, "step 1 has passed, 2 are done", first.image());
    CHECK(it->x0() == session.x0() && first.index() == 0);
    session.seed(7);
    MISUSE(state, "step 2 has passed, 0 are done", it->preview());
}

TEST(run_calls_back) {
    auto session = ready();
    uint32_t calls = 0;
    session.run([&](mcm::Session &same, uint32_t done, uint32_t of) {
        CHECK(&same == &session && done == ++calls && of == 6);
    });
    CHECK(calls == 6 && session.sample() == expected());
    session.run(); // nothing is left
    MISUSE(state, "step", session.step());

    session.seed(7);
    auto cancel = [](mcm::Session &, uint32_t done, uint32_t) {
        return done == 2 ? mcm::Progress::cancel : mcm::Progress::proceed;
    };
    THROWS(cancelled_error, cancelled, "", session.run(cancel));
    CHECK(session.state().step == 2);
    session.run(cancel); // goes on, and is not cancelled again
    CHECK(session.sample() == expected());
}

struct Private {
    int value;
};

TEST(callbacks_throw) {
    auto session = ready();
    try {
        session.run([](mcm::Session &, uint32_t done, uint32_t) {
            if (done == 3) throw Private{42};
        });
        CHECK(false);
    } catch (const Private &e) {
        CHECK(e.value == 42);
    }
    CHECK(session.state().step == 3);
    // The library's own errors, too.
    const auto decode = [](mcm::Session &s, uint32_t, uint32_t) { s.decode(mcm::Decode::x0, 9); };
    MISUSE(invalid_argument, "", session.run(decode));
    session.run();
    CHECK(session.sample() == expected());
}

TEST(move_only_callables) {
    auto session = ready();
    auto count = std::make_unique<int>(0);
    session.run([held = std::move(count)](mcm::Session &, uint32_t, uint32_t) { ++*held; });
    struct Counter {
        int calls = 0;
        void operator()(const mcm::Session &, uint32_t, uint32_t) { calls++; }
    } counter;
    session.seed(1);
    session.run(counter);
    CHECK(counter.calls == 6);
}

TEST(generate_is_the_same) {
    const auto model = tiny();
    const auto modulator = tiny_modulator();
    mcm::GenerateOptions options;
    options.session = ddpm();
    options.session.batch = 2;
    options.seeds = {7, 9};
    options.attachments = {{&modulator, some_conditions(), {}}};
    const auto images = mcm::generate(model, options);
    auto session = ready();
    session.run();
    const auto alone = session.decode();
    CHECK(images.size() == 2 && std::equal(alone.begin(), alone.end(), images[0].begin(), images[0].end()));
    CHECK(!std::equal(alone.begin(), alone.end(), images[1].begin(), images[1].end()));

    uint32_t calls = 0;
    const auto again = mcm::generate(model, options, [&](mcm::Session &of, uint32_t done, uint32_t) {
        calls += of.state().step == done;
        auto stolen = std::move(of); // is not freed by its thief
    });
    CHECK(calls == 6 && std::equal(alone.begin(), alone.end(), again[0].begin(), again[0].end()));
    THROWS(cancelled_error, cancelled, "", mcm::generate(model, options, [](mcm::Session &, uint32_t, uint32_t) {
        return mcm::Progress::cancel;
    }));
    try {
        (void)mcm::generate(model, options, [](mcm::Session &, uint32_t, uint32_t) { throw Private{1}; });
        CHECK(false);
    } catch (const Private &) {
    }
    options.seeds = {1, 2, 3};
    MISUSE(size, "seeds", mcm::generate(model, options));
    options.seeds = {};
    options.session.width = UINT32_MAX, options.session.height = UINT32_MAX, options.session.batch = UINT32_MAX;
    MISUSE(size, "4294967295", mcm::generate(model, options));
    options.session = ddpm();
    options.attachments[0].modulator = nullptr;
    MISUSE(invalid_argument, "modulator", mcm::generate(model, options));
}

static std::vector<float> own_loop(mcm::SchedulerKind kind) {
    const auto model = tiny();
    const auto modulator = tiny_modulator();
    const auto scheduler = mcm::Scheduler::create(model, kind, 6);
    auto rng = mcm::Rng::create(7);
    const auto run = scheduler.info();
    const auto timesteps = scheduler.timesteps();
    CHECK(timesteps.size() == run.steps);
    std::vector<float> x = rng.normal(64), input(64), history(64 * run.history_count), noise(64), x0(64);
    for (float &value : x) value *= run.init_noise_sigma;
    for (uint32_t i = 0; i < run.steps; i++) {
        const auto step = scheduler.step_info(i);
        for (size_t k = 0; k < 64; k++) input[k] = x[k] * step.input_scale;
        const mcm::span<const float> timestep = {&step.timestep, 1};
        std::vector<float> e(64);
        model.predict_into(e, {8, 8}, input, timestep);
        CHECK(e == model.predict({8, 8}, input, timestep));
        modulator.modulate_into(e, model, {8, 8}, input, e, timestep, some_conditions());
        mcm::SchedulerStep buffers;
        buffers.sample = x, buffers.prediction = e, buffers.history = history, buffers.previous = x, buffers.x0 = x0;
        CHECK(scheduler.needs_noise(i) == (step.needs_noise != 0));
        if (step.needs_noise) rng.normal_into(noise), buffers.noise = noise;
        scheduler.step(i, buffers);
    }
    return x;
}

TEST(own_loops_are_the_same) {
    CHECK(own_loop(mcm::SchedulerKind::ddpm) == expected());
    for (auto kind : {mcm::SchedulerKind::heun, mcm::SchedulerKind::unipc, mcm::SchedulerKind::euler_ancestral}) {
        auto options = ddpm();
        options.scheduler = kind;
        auto session = mcm::Session::create(tiny(), options);
        const auto id = session.attach(tiny_modulator());
        for (const auto &condition : some_conditions()) session.set_condition(id, condition);
        session.seed(7);
        session.run();
        CHECK(session.sample() == own_loop(kind));
    }
}

TEST(attachments_change) {
    auto session = ready();
    const auto modulator = tiny_modulator();
    mcm::AttachOptions options;
    options.weight = 0.5f;
    const auto second = session.attach(modulator, options);
    session.set_weight(second, 0.25f);
    session.set_window(second, 0, 0.5f);
    session.set_condition(second, {"sketch", mcm::Image::create(8, 8)});
    session.set_condition_png(second, "sketch", std::string(fashion) + "/conditions/00_sketch.png");
    session.clear_condition(second, "sketch");
    session.clear_condition(second);
    session.detach(second);
    session.run();
    CHECK(session.sample() == expected());
    MISUSE(invalid_argument, "", session.detach(second));
    MISUSE(invalid_argument, "", session.set_weight(mcm::AttachmentId(77), 1));
}

TEST(bad_sessions) {
    auto session = mcm::Session::create(tiny(), ddpm());
    MISUSE(state, "seed", session.step());
    try {
        for (auto step : session) CHECK(step.index() == 99);
        CHECK(false);
    } catch (const mcm::misuse_error &e) {
        CHECK(e.status() == mcm::Status::state);
    }
    MISUSE(size, "0 seeds", session.seed(mcm::span<const uint64_t>()));
    session.seed(1);
    MISUSE(state, "", session.x0());
    std::vector<float> wrong(63);
    MISUSE(size, "63", session.sample_into(wrong));
    MISUSE(size, "63", session.set_sample(wrong));
    const auto id = session.attach(tiny_modulator());
    MISUSE(incompatible, "hat", session.set_condition(id, {"hat", mcm::Image::create(8, 8)}));
    MISUSE(invalid_argument, "image_count is 0", session.set_condition(id, {"sketch", {}}));
    ENVIRONMENT(io, "no.png", session.set_condition_png(id, "sketch", in_scratch("no.png")));
    MISUSE(size, "2 values, expected 3",
           session.set_time_ids(std::vector<float>(3), std::vector<float>(2)));
    MISUSE(invalid_argument, "", session.decode(mcm::Decode::sample, 5));
    auto options = ddpm();
    options.scheduler_options = "{\"no\": 1}";
    ENVIRONMENT(unsupported, "no", mcm::Session::create(tiny(), options));
    options = ddpm(5000);
    MISUSE(invalid_argument, "steps", mcm::Session::create(tiny(), options));
    CHECK(session.memory().arena > 0);
}

TEST(bad_parts) {
    const auto model = tiny();
    const auto modulator = tiny_modulator();
    const auto scheduler = mcm::Scheduler::create(model, mcm::SchedulerKind::ddpm, 6);
    std::vector<float> x(64), small(63), one(1);
    MISUSE(size, "sample: 63 values, expected 64", model.predict({8, 8}, small, one));
    MISUSE(size, "", model.predict_into(small, {8, 8}, x, one));
    MISUSE(size, "0 samples", model.predict({8, 8}, {}, {}));
    MISUSE(size, "expected", model.predict({UINT32_MAX, UINT32_MAX}, x, one));
    MISUSE(size, "prediction: 63", modulator.modulate(model, {8, 8}, x, small, one, {}));
    MISUSE(size, "out: 63", modulator.modulate_into(small, model, {8, 8}, x, x, one, {}));
    mcm::SchedulerStep step;
    step.sample = x, step.prediction = x, step.previous = small, step.noise = x;
    MISUSE(size, "previous: 63 values, expected 64", scheduler.step(0, step));
    step.previous = x, step.noise = small;
    MISUSE(size, "noise: 63", scheduler.step(0, step));
    step.noise = {};
    MISUSE(invalid_argument, "noise", scheduler.step(0, step));
    step.noise = x, step.x0 = small;
    MISUSE(size, "x0: 63", scheduler.step(0, step));
    step.x0 = {};
    MISUSE(invalid_argument, "step", scheduler.step(6, step));
    MISUSE(invalid_argument, "", scheduler.step_info(6));
    MISUSE(size, "noise: 63", scheduler.add_noise(3, x, small, x));
    MISUSE(size, "out: 63", scheduler.add_noise(3, x, x, small));
    scheduler.add_noise(3, x, x, x);
    MISUSE(invalid_argument, "eta", mcm::Scheduler::create(model, mcm::SchedulerKind::ddpm, 6, 0.5f));
    MISUSE(invalid_argument, "", mcm::Scheduler::create(model, mcm::SchedulerKind(99)));
    MISUSE(size, "sample: 63", model.decode({8, 8}, small));
    CHECK(model.decode({8, 8}, x).size() == 64);
    const auto image = mcm::Image::create(8, 8);
    auto samples = model.encode({image});
    CHECK(samples.size() == 64);
    model.encode_into(samples, image);
    MISUSE(size, "", model.encode_into(small, image));
    MISUSE(invalid_argument, "", model.encode({}));
}

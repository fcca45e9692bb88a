// Models, modulators, prompts, ControlNets; objects that hold nothing.
#include <cstdlib>
#include <thread>

#include "fixtures.hpp"

TEST(models_open) {
    const std::string folder = fashion;
    mcm::ModelOptions options;
    options.threads = 1;
    const auto model = mcm::Model::open(folder + "/base", options);
    CHECK(model.info().width == 28 && model.info().parameter_count > 0 && model.memory().threads == 1);
    const auto modulator = mcm::Modulator::open(folder + "/module.mcm.safetensors");
    modulator.check(model);
    CHECK(modulator.info().modality_count == 2 && modulator.modality(0).channels > 0);
    MISUSE(invalid_argument, "", modulator.modality(2));
    MISUSE(incompatible, "", modulator.check(tiny()));
    const auto latent_one = latent();
    MISUSE(incompatible, "", modulator.check(latent_one));
}

TEST(models_open_from_memory) {
    mcm_memory_file files[TINY_MODEL_FILES];
    new_tiny_files(files);
    const auto model = mcm::Model::open_memory(files);
    CHECK(std::string(model.info().fingerprint) == tiny().info().fingerprint);
    ENVIRONMENT(io, "missing", mcm::Model::open_memory({files, 2}));
    ENVIRONMENT(io, "missing", mcm::Model::open_memory({}));
    for (auto &file : files) std::free(const_cast<void *>(file.data));
    const auto file = new_tiny_modulator_file();
    CHECK(mcm::Modulator::open_memory(file.data, file.size).info().modality_count == 3);
    ENVIRONMENT(format, "", mcm::Modulator::open_memory(file.data, file.size / 2));
    std::free(const_cast<void *>(file.data));
}

TEST(bad_models) {
    ENVIRONMENT(io, "nowhere", mcm::Model::open(in_scratch("nowhere")));
    MISUSE(invalid_argument, "path", mcm::Model::open(nullptr));
    ENVIRONMENT(io, "nowhere", mcm::Modulator::open(in_scratch("nowhere")));
    ENVIRONMENT(io, "nowhere", mcm::ControlNet::open(in_scratch("nowhere")));
    mcm::ModelOptions options;
    options.threads = 100000;
    MISUSE(invalid_argument, "threads", mcm::Model::open(std::string(fashion) + "/base", options));
    const std::string path = in_scratch("text");
    write_file(path.c_str(), "hello", 5);
    THROWS(environment_error, format, "text", mcm::Modulator::open(path));
    // Caught as any of its bases.
    try {
        (void)mcm::Model::open(in_scratch("nowhere"));
    } catch (const std::runtime_error &e) {
        CHECK(std::string(e.what()).find("nowhere") != std::string::npos);
    }
}

// Nothing that a moved-from object is asked ends the program.
TEST(objects_that_hold_nothing) {
    auto model = tiny();
    const mcm::Model taken = std::move(model);
    CHECK(!model && taken && taken.info().width == 8);
    std::vector<float> x(64), one(1);
    MISUSE(invalid_argument, "model", model.info());
    MISUSE(invalid_argument, "model", model.memory());
    MISUSE(invalid_argument, "model", model.predict({8, 8}, x, one));
    MISUSE(invalid_argument, "model", model.predict_into(x, {8, 8}, x, one));
    MISUSE(invalid_argument, "model", model.encode(mcm::Image::create(8, 8)));
    MISUSE(invalid_argument, "model", model.decode({8, 8}, x));
    MISUSE(invalid_argument, "model", mcm::Session::create(model));
    MISUSE(invalid_argument, "model", mcm::Scheduler::create(model));
    MISUSE(invalid_argument, "model", mcm::Prompt::encode(model, "a"));
    MISUSE(invalid_argument, "model", mcm::generate(model));
    MISUSE(invalid_argument, "", mcm::Trainer::create(model, "{}"));

    mcm::Session session;
    MISUSE(invalid_argument, "session", session.seed(1));
    MISUSE(invalid_argument, "session", session.step());
    MISUSE(invalid_argument, "session", session.run());
    MISUSE(invalid_argument, "session", session.run([](mcm::Session &, uint32_t, uint32_t) {}));
    MISUSE(invalid_argument, "session", session.state());
    MISUSE(invalid_argument, "session", session.memory());
    MISUSE(invalid_argument, "session", session.sample());
    MISUSE(invalid_argument, "session", session.x0());
    MISUSE(invalid_argument, "session", session.decode());
    MISUSE(invalid_argument, "session", session.begin());
    MISUSE(invalid_argument, "session", session.attach(tiny_modulator()));
    MISUSE(invalid_argument, "session", session.set_image({}));
    auto live = mcm::Session::create(taken);
    MISUSE(invalid_argument, "modulator", live.attach(mcm::Modulator()));
    MISUSE(invalid_argument, "controlnet", live.attach(mcm::ControlNet(), mcm::Image::create(8, 8)));
    MISUSE(invalid_argument, "prompt", live.set_prompt(mcm::Prompt()));

    MISUSE(invalid_argument, "modulator", mcm::Modulator().info());
    MISUSE(invalid_argument, "modulator", mcm::Modulator().check(taken));
    MISUSE(invalid_argument, "scheduler", mcm::Scheduler().info());
    MISUSE(invalid_argument, "scheduler", mcm::Scheduler().timesteps());
    MISUSE(invalid_argument, "rng", mcm::Rng().normal(3));
    MISUSE(invalid_argument, "prompt", mcm::Prompt().states());
    MISUSE(invalid_argument, "dataset", mcm::Dataset().info());
    MISUSE(invalid_argument, "bank", mcm::Bank().info());
    MISUSE(invalid_argument, "trainer", mcm::Trainer().state());
    MISUSE(invalid_argument, "trainer", mcm::Trainer().buffers());
    MISUSE(invalid_argument, "trainer", mcm::Trainer().apply());
    MISUSE(invalid_argument, "trainer", mcm::Trainer().modulator());
}

TEST(handles_go_to_c_and_back) {
    auto model = tiny();
    mcm_model *raw = model.release();
    CHECK(raw && !model && model.get() == nullptr);
    {
        const mcm::Model borrowed(raw, mcm::Ownership::borrowed);
        CHECK(borrowed.info().width == 8);
    }
    model = mcm::Model(raw);
    CHECK(model.info().width == 8);
    auto &self = model;
    model = std::move(self); // holds on to it, or to nothing; frees it once
    model = tiny();          // the first one is freed
    CHECK(model);
    static_assert(!std::is_copy_constructible_v<mcm::Session> && std::is_nothrow_move_constructible_v<mcm::Session>);
}

TEST(errors_are_of_their_thread) {
    std::thread other([] { ENVIRONMENT(io, "there", mcm::Model::open("/there")); });
    ENVIRONMENT(io, "here", mcm::Model::open("/here"));
    other.join();
}

TEST(one_model_for_several_threads) {
    const auto model = tiny();
    const auto modulator = tiny_modulator();
    std::vector<float> samples[3];
    std::vector<std::thread> threads;
    for (auto &sample : samples)
        threads.emplace_back([&] {
            mcm::SessionOptions options;
            options.steps = 4;
            auto session = mcm::Session::create(model, options);
            session.attach(modulator);
            session.seed(5);
            session.run();
            sample = session.sample();
        });
    for (auto &thread : threads) thread.join();
    CHECK(samples[0].size() == 64 && samples[0] == samples[1] && samples[1] == samples[2]);
}

TEST(random_numbers) {
    auto a = mcm::Rng::create(5), b = mcm::Rng::create(5);
    const auto first = a.normal(16);
    std::vector<float> second(16);
    b.normal_into(second);
    CHECK(first == second && a.normal(0).empty());
}

TEST(prompts) {
    const auto model = latent();
    const auto cat = mcm::Prompt::encode(model, "a cat");
    const auto info = cat.info();
    CHECK(info.count == 1 && cat.states().size() == size_t(info.tokens) * info.channels && cat.pooled().empty());
    const auto same = mcm::Prompt::create(1, info.tokens, info.channels, cat.states());
    CHECK(same.states() == cat.states());
    const std::vector<std::string> texts = {"a cat", "a dog"};
    CHECK(mcm::Prompt::encode(model, texts).info().count == 2);
    const mcm::cstring literals[] = {"a", "b", "c"};
    mcm::PromptOptions options;
    options.clip_skip = 1, options.weights = true, options.chunks = true;
    CHECK(mcm::Prompt::encode(model, literals, options).info().count == 3);
    MISUSE(invalid_argument, "", mcm::Prompt::encode(model, nullptr));
    MISUSE(size, "no prompt", mcm::Prompt::encode(model, std::vector<std::string>()));
    MISUSE(size, "", mcm::Prompt::create(1, 2, 3, std::vector<float>(5)));
    ENVIRONMENT(unsupported, "text", mcm::Prompt::encode(tiny(), "a"));

    auto session = mcm::Session::create(model, [] { mcm::SessionOptions o; o.steps = 3; return o; }());
    session.set_prompt(cat, &same);
    session.seed(1);
    for (auto step : session) CHECK(step.preview().width() == 4 && step.image().width() == 8);
    const auto image = session.decode();

    mcm::GenerateOptions generate;
    generate.session.steps = 3;
    generate.seeds = {1};
    generate.prompt = "a cat", generate.negative_prompt = "a cat";
    const auto images = mcm::generate(model, generate);
    CHECK(images.size() == 1 && images[0].channels() == 3);
    CHECK(std::equal(image.begin(), image.end(), images[0].begin(), images[0].end()));
    // The network's prediction, by hand.
    std::vector<float> x(64), t(1, 5.0f);
    mcm::PredictOptions reads;
    MISUSE(state, "prompt", model.predict({4, 4}, x, t, reads));
    reads.prompt = &cat;
    CHECK(model.predict({4, 4}, x, t, reads).size() == 64);
    CHECK(model.decode({4, 4}, x).size() == 8 * 8 * 3);
    CHECK(model.encode(picture(1)).size() == 64);
}

TEST(sizes_of_xl) {
    const auto model = latent(SDXL);
    const auto prompt = mcm::Prompt::encode(model, "a");
    CHECK(prompt.pooled().size() == prompt.info().pooled_channels && !prompt.pooled().empty());
    const uint32_t count = model.info().time_id_count;
    std::vector<float> x(64), t(1, 5.0f), ids(count, 8.0f), wrong(count - 1);
    mcm::PredictOptions reads;
    reads.prompt = &prompt;
    reads.time_ids = ids;
    CHECK(model.predict({4, 4}, x, t, reads).size() == 64);
    reads.time_ids = wrong;
    MISUSE(size, "time_ids: 5 values, expected 6", model.predict({4, 4}, x, t, reads));
    auto session = mcm::Session::create(model);
    session.set_time_ids(ids, ids);
    MISUSE(size, "", session.set_time_ids(wrong, wrong));
}

TEST(controlnets_and_inpainting) {
    const auto model = latent();
    const auto controlnet = mcm::ControlNet::open(new_controlnet_folder());
    mcm::SessionOptions options;
    options.steps = 4;
    options.strength = 0.5;
    auto session = mcm::Session::create(model, options);
    session.set_prompt(mcm::Prompt::encode(model, "a"));
    mcm::AttachOptions half;
    half.weight = 0.5f;
    const auto id = session.attach(controlnet, picture(2), true, half);
    session.set_image(picture(1));
    session.set_mask(half_mask());
    session.seed(3);
    CHECK(session.state().steps == 2);
    session.run();
    session.set_weight(id, 1);
    session.detach(id);
    session.set_mask({});
    session.set_image({});
    MISUSE(size, "", session.set_image(mcm::Image::create(3, 3, 3)));
    MISUSE(incompatible, "", mcm::Session::create(tiny()).attach(controlnet, picture(2)));
    auto classified = mcm::Session::create(mcm::Model(new_tiny_model(3)));
    classified.set_class_input(std::vector<float>{1});
    MISUSE(size, "", classified.set_class_input(std::vector<float>{1, 2}));
}

// Level 3: the sampling loop is the program's own; libmcm supplies its parts.
//
//   own_loop [folder of the fashion example] [out.png] [seed]
#include <cstdio>
#include <cstdlib>
#include <mcm.hpp>
#include <string>

static void run(const std::string &folder, const char *out, uint64_t seed) {
    auto model = mcm::Model::open(folder + "/base");
    auto module = mcm::Modulator::open(folder + "/module.mcm.safetensors");
    module.check(model);
    auto scheduler = mcm::Scheduler::create(model, mcm::SchedulerKind::ddim, 25);
    auto rng = mcm::Rng::create(seed);

    const std::vector<mcm::Condition> conditions = {
        {"sketch", mcm::Image::read(folder + "/conditions/00_sketch.png")},
        {"segmentation", mcm::Image::read(folder + "/conditions/00_segmentation.png")}};

    const auto info = model.info();
    const mcm::Size size = {info.width, info.height};
    const size_t count = size_t(size.width) * size.height * info.channels;

    // What follows serves every scheduler.
    const auto schedule = scheduler.info();
    std::vector<float> x = rng.normal(count), input(count), history(schedule.history_count * count);
    for (float &value : x) value *= schedule.init_noise_sigma; // x_T
    for (uint32_t i = 0; i < schedule.steps; i++) {
        const auto step = scheduler.step_info(i);
        for (size_t k = 0; k < count; k++) input[k] = x[k] * step.input_scale;
        const mcm::span<const float> timestep = {&step.timestep, 1};
        auto e = model.predict(size, input, timestep);
        e = module.modulate(model, size, input, e, timestep, conditions);
        mcm::SchedulerStep buffers;
        buffers.sample = x;
        buffers.prediction = e;
        std::vector<float> noise;
        if (step.needs_noise) noise = rng.normal(count);
        buffers.noise = noise;
        buffers.history = history;
        buffers.previous = x;
        scheduler.step(i, buffers);
        std::printf("own loop: step %u of %u, timestep %g\n", i + 1, schedule.steps, step.timestep);
    }

    auto image = model.decode(size, x);
    image.write(out);
    std::printf("wrote %s: %ux%u, seed %llu\n", out, image.width(), image.height(), (unsigned long long)seed);
}

int main(int argc, char **argv) {
    try {
        run(argc > 1 ? argv[1] : "../fashion", argc > 2 ? argv[2] : "own_loop.png",
            argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1);
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
}

// Level 2: a session is a range of steps; the program looks at each, and may change the session between them.
//
//   session [folder of the fashion example] [out.png] [seed]
#include <cstdio>
#include <cstdlib>
#include <mcm.hpp>
#include <string>

// What the network takes the result to be, in characters, every other row.
static void print(const mcm::Image &image) {
    for (uint32_t y = 0; y < image.height(); y += 2) {
        for (uint32_t x = 0; x < image.width(); x++)
            std::putchar(" .:-=+*#%@"[image.data()[(y * image.width() + x) * image.channels()] * 10 / 256]);
        std::putchar('\n');
    }
}

static void run(const std::string &folder, const char *out, uint64_t seed) {
    auto model = mcm::Model::open(folder + "/base");
    auto module = mcm::Modulator::open(folder + "/module.mcm.safetensors");

    mcm::SessionOptions options;
    options.scheduler = mcm::SchedulerKind::ddim;
    options.steps = 25;
    auto session = mcm::Session::create(model, options);
    session.seed(seed);

    auto id = session.attach(module);
    for (std::string name : {"sketch", "segmentation"})
        session.set_condition(id, {name, mcm::Image::read(folder + "/conditions/00_" + name + ".png")});

    for (auto step : session) {
        if (step.index() % 8 != 0) continue;
        std::printf("step %u of %u, timestep %d:\n", step.index() + 1, step.count(), step.timestep());
        print(step.preview());
    }

    auto image = session.decode();
    image.write(out);
    std::printf("wrote %s: %ux%u, seed %llu\n", out, image.width(), image.height(), (unsigned long long)seed);
}

int main(int argc, char **argv) {
    try {
        run(argc > 1 ? argv[1] : "../fashion", argc > 2 ? argv[2] : "session.png",
            argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1);
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
}

// Data sets, banks and trainers.
#include "fixtures.hpp"

static const uint64_t records = 40;

// The same throughout a test.
struct Sources {
    mcm::Model model = tiny();
    mcm::Dataset dataset{new_dataset("dataset")};
    std::string path = new_bank_file(model.get(), dataset.get(), "bank", records);
    mcm::Bank bank = mcm::Bank::open(path);
};

static mcm::TrainerOptions quick() {
    mcm::TrainerOptions options;
    options.warmup_steps = 0;
    options.learning_rate = 5e-3f;
    options.seed = 11;
    return options;
}

static mcm::Batch some_batch(uint32_t count = 2) {
    mcm::Batch batch;
    const auto images = [&](uint32_t channels) {
        std::vector<mcm::Image> list;
        for (uint32_t k = 0; k < count; k++) {
            list.push_back(mcm::Image::create(8, 8, channels));
            std::fill(list[k].begin(), list[k].end(), uint8_t(k + 1));
        }
        return list;
    };
    batch.images = images(1);
    batch.conditions = {{"sketch", images(1)}, {"photo", images(3)}};
    return batch;
}

TEST(data_sets_and_banks) {
    Sources s;
    CHECK(s.dataset.info().count == DATASET_EXAMPLES && s.dataset.info().modality_count == 3);
    CHECK(std::string(s.dataset.modality(0).name) == "labels");
    MISUSE(invalid_argument, "", s.dataset.modality(3));
    CHECK(s.bank.info().count == records);
    CHECK(std::string(s.bank.info().base_fingerprint) == s.model.info().fingerprint);
    ENVIRONMENT(io, "nowhere", mcm::Dataset::open(in_scratch("nowhere")));
    ENVIRONMENT(io, "nowhere", mcm::Bank::open(in_scratch("nowhere")));

    mcm::BankOptions options;
    options.count = records, options.seed = 5;
    uint64_t last = 0;
    const std::string path = in_scratch("recorded");
    mcm::Bank::record(s.model, s.dataset, path, options, [&](uint64_t done, uint64_t of) {
        CHECK(of == records && done > last);
        last = done;
    });
    CHECK(last == records && mcm::Bank::open(path).info().count == records);
    mcm::Bank::record(s.model, s.dataset, in_scratch("again"), options);
    const auto cancel = [](uint64_t, uint64_t) { return mcm::Progress::cancel; };
    const std::string other = in_scratch("cancelled");
    THROWS(cancelled_error, cancelled, "", mcm::Bank::record(s.model, s.dataset, other, options, cancel));
    try {
        mcm::Bank::record(s.model, s.dataset, in_scratch("thrown"), options, [](uint64_t, uint64_t) { throw 3; });
        CHECK(false);
    } catch (int value) {
        CHECK(value == 3);
    }
    ENVIRONMENT(io, "no/such", mcm::Bank::record(s.model, s.dataset, in_scratch("no/such"), options));
    options.count = 0;
    MISUSE(invalid_argument, "0 records", mcm::Bank::record(s.model, s.dataset, in_scratch("none"), options));
    s.dataset.encode(s.model, in_scratch("encoded"));
    CHECK(mcm::Dataset::open(in_scratch("encoded")).info().count == DATASET_EXAMPLES);
    MISUSE(incompatible, "", s.dataset.encode(latent(), in_scratch("encoded"), cancel));
}

TEST(data_sets_are_encoded) {
    write_colours("colours");
    const auto dataset = mcm::Dataset::open(in_scratch("colours"));
    const auto model = latent(LDM);
    uint64_t calls = 0;
    dataset.encode(model, in_scratch("latents"), [&](uint64_t, uint64_t of) { calls += of == 8; });
    CHECK(calls == 8 && mcm::Dataset::open(in_scratch("latents")).info().width == 4);
    try {
        dataset.encode(model, in_scratch("other"), [](uint64_t, uint64_t) { throw 4; });
        CHECK(false);
    } catch (int value) {
        CHECK(value == 4);
    }
}

TEST(trainers_step) {
    Sources s;
    auto options = quick();
    options.dropout = {0.1f, 0.2f, 0.3f};
    auto trainer = mcm::Trainer::create(s.model, tiny_config, options);
    const auto batch = some_batch();
    const float before = trainer.evaluate(batch).loss;
    const auto report = trainer.step(batch);
    CHECK(report.step == 1 && report.examples == 2 && report.loss > 0 && before > 0);
    trainer.accumulate(batch);
    CHECK(trainer.state().pending == 2);
    trainer.clear();
    MISUSE(state, "accumulate", trainer.apply());
    trainer.accumulate(s.dataset, 4);
    CHECK(trainer.apply().step == 2);
    CHECK(trainer.step(s.dataset, 4).step == 3 && trainer.step(s.dataset, 4, &s.bank).step == 4);
    CHECK(trainer.evaluate(s.dataset, 4).loss > 0 && trainer.evaluate(s.dataset, 4, &s.bank, true).loss > 0);
    CHECK(trainer.losses(mcm::LossKind::given, 0).count > 0);
    trainer.reset_losses();
    CHECK(trainer.losses(mcm::LossKind::timestep, 3).count == 0);
    CHECK(std::string(trainer.modality(0).name) == "sketch");

    const auto buffers = trainer.buffers();
    const auto state = trainer.state();
    CHECK(buffers.parameters.size() == state.parameter_count && buffers.ema.size() == state.parameter_count);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < state.tensor_count; i++) sum += trainer.parameter(i).count;
    CHECK(sum == state.parameter_count);
    buffers.parameters[0] = 0.5f;
    CHECK(trainer.buffers().parameters[0] == 0.5f);
    options.ema_decay = 0;
    CHECK(mcm::Trainer::create(s.bank, tiny_config, options).buffers().ema.empty());

    // Samples instead of images.
    std::vector<float> values(128, 0.25f);
    mcm::Batch samples = some_batch();
    samples.images = {};
    samples.samples = values, samples.count = 2, samples.size = {8, 8};
    CHECK(trainer.step(samples).step == 5);
    samples.count = 3;
    MISUSE(size, "", trainer.step(samples));
    mcm::Batch uneven = some_batch();
    uneven.conditions[0].images = mcm::Images(mcm::Image::create(8, 8));
    MISUSE(size, "", trainer.step(uneven));
    MISUSE(size, "count is 0", trainer.step(mcm::Batch()));
}

TEST(trainers_save_and_go_on) {
    Sources s;
    auto trainer = mcm::Trainer::create(s.bank, tiny_config, quick());
    trainer.step(s.dataset, 4, &s.bank);
    const std::string path = in_scratch("trainer"), module = in_scratch("module");
    trainer.save(path);
    auto again = mcm::Trainer::resume(s.bank, path);
    CHECK(again.state().step == 1);
    CHECK(again.step(s.dataset, 4, &s.bank).loss == trainer.step(s.dataset, 4, &s.bank).loss);
    trainer.write_modulator(module);
    mcm::Modulator::open(module).check(s.model);
    trainer.write_modulator(in_scratch("half"), false, mcm::Precision::f16);
    CHECK(trainer.modulator().info().modality_count == 3 && trainer.modulator(false));
    CHECK(mcm::Trainer::create_from(s.model, module, quick()).state().step == 0);
    ENVIRONMENT(io, "no/such", trainer.save(in_scratch("no/such")));
    ENVIRONMENT(io, "no/such", trainer.write_modulator(in_scratch("no/such")));
    ENVIRONMENT(io, "no/such", s.dataset.encode(s.model, in_scratch("no/such")));
    mcm::TrainOptions options;
    options.save_path = in_scratch("no/such");
    options.until_step = 9;
    ENVIRONMENT(io, "no/such", trainer.train(s.dataset, options, &s.bank)); // before the first step
    CHECK(trainer.state().step == 2);
    ENVIRONMENT(io, "nowhere", mcm::Trainer::resume(s.model, in_scratch("nowhere")));
    ENVIRONMENT(format, "", mcm::Trainer::create(s.model, "{"));
    MISUSE(invalid_argument, "", mcm::Trainer::create(s.model, nullptr));
}

TEST(trainers_train) {
    Sources s;
    auto options = quick();
    options.total_steps = 6;
    auto trainer = mcm::Trainer::create(s.model, tiny_config, options);
    mcm::TrainOptions train;
    train.batch = 4;
    train.save_path = in_scratch("train"); // which the options keep
    const auto stop = [](mcm::Trainer &of, const mcm::TrainReport &report) {
        CHECK(of.state().step == report.step);
        return report.step == 2 ? mcm::Progress::cancel : mcm::Progress::proceed;
    };
    THROWS(cancelled_error, cancelled, "", trainer.train(s.dataset, train, stop));
    CHECK(trainer.state().step == 2 && mcm::Trainer::resume(s.model, *train.save_path).state().step == 2);
    try {
        trainer.train(s.dataset, train, [](mcm::Trainer &, const mcm::TrainReport &) { throw 5; }, &s.bank);
        CHECK(false);
    } catch (int value) {
        CHECK(value == 5 && trainer.state().step == 3);
    }
    trainer.train(s.dataset, train);
    CHECK(trainer.state().step == 6);
    auto recorded = mcm::Trainer::create(s.bank, tiny_config, options);
    MISUSE(state, "bank", recorded.train(s.dataset, train));
    recorded.train(s.dataset, train, &s.bank);
    CHECK(recorded.state().step == 6);
    auto endless = mcm::Trainer::create(s.model, tiny_config, quick());
    MISUSE(invalid_argument, "", endless.train(s.dataset));
}

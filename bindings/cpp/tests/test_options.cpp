// Options: their defaults and each of their fields arrive in the C structs.
#include "fixtures.hpp"

template <class C> static bool same(const C &a, const C &b) { return std::memcmp(&a, &b, sizeof(C)) == 0; }

#define SAME_DEFAULTS(Type, c_type)                  \
    do {                                             \
        const c_type made = mcm::Type();             \
        c_type expected;                             \
        c_type##_init(&expected, sizeof expected);   \
        CHECK(same(made, expected));                 \
    } while (0)

TEST(defaults_are_the_librarys) {
    SAME_DEFAULTS(ModelOptions, mcm_model_options);
    SAME_DEFAULTS(PromptOptions, mcm_prompt_options);
    SAME_DEFAULTS(AttachOptions, mcm_attach_options);
    SAME_DEFAULTS(BankOptions, mcm_bank_options);
    SAME_DEFAULTS(ResumeOptions, mcm_resume_options);
    SAME_DEFAULTS(TrainOptions, mcm_train_options);
}

#define SAME(field) CHECK(made.field == expected.field)

// Structs with gaps between their fields.
TEST(defaults_of_longer_structs) {
    {
        const mcm_session_options made = mcm::SessionOptions();
        const mcm_session_options expected = MCM_SESSION_OPTIONS_INIT;
        SAME(struct_size), SAME(batch), SAME(width), SAME(height), SAME(scheduler), SAME(steps), SAME(eta);
        SAME(scheduler_options), SAME(strength), SAME(guidance_scale), SAME(guidance_rescale), SAME(modulate);
        SAME(guidance_passes), SAME(tile_above), SAME(reserved);
    }
    const mcm_trainer_options made = mcm::TrainerOptions();
    const mcm_trainer_options expected = MCM_TRAINER_OPTIONS_INIT;
    SAME(struct_size), SAME(warmup_steps), SAME(total_steps), SAME(seed), SAME(learning_rate), SAME(weight_decay);
    SAME(beta1), SAME(beta2), SAME(epsilon), SAME(clip_norm), SAME(ema_decay), SAME(weighting), SAME(min_snr_gamma);
    SAME(noise_weight_low), SAME(noise_weight_high), SAME(timesteps), SAME(first_timestep), SAME(end_timestep);
    SAME(rank), SAME(world), SAME(dropout_count), SAME(dropout), SAME(threads), SAME(reserved);
}

TEST(each_field_arrives) {
    mcm::ModelOptions model;
    model.threads = 1, model.cache_bytes = 2, model.variant = "fp16", model.tokenizer = "folder";
    model.prediction_type = mcm::Prediction::v, model.int8_weights = true, model.on_demand = true;
    const mcm_model_options m = model;
    CHECK(m.threads == 1 && m.cache_bytes == 2 && !std::strcmp(m.variant, "fp16"));
    CHECK(!std::strcmp(m.tokenizer, "folder") && m.prediction_type == MCM_PREDICTION_V);
    CHECK(m.int8_weights == 1 && m.on_demand == 1);

    mcm::PromptOptions prompt;
    prompt.clip_skip = 1, prompt.chunks = true;
    mcm_prompt_options p = prompt;
    CHECK(p.clip_skip == 1 && !p.weights && p.chunks);
    prompt.chunks = false, prompt.weights = true, p = prompt;
    CHECK(p.weights && !p.chunks);

    mcm::SessionOptions session;
    session.batch = 2, session.width = 3, session.height = 4, session.scheduler = mcm::SchedulerKind::lcm;
    session.steps = 5, session.eta = 6, session.scheduler_options = "{}", session.strength = 7;
    session.guidance_scale = 8, session.guidance_rescale = 9, session.modulate = mcm::Modulate::conditional;
    session.guidance_passes = 10, session.tile_above = 11;
    const mcm_session_options s = session;
    CHECK(s.batch == 2 && s.width == 3 && s.height == 4 && s.scheduler == MCM_SCHEDULER_LCM && s.steps == 5);
    CHECK(s.eta == 6 && !std::strcmp(s.scheduler_options, "{}") && s.strength == 7 && s.guidance_scale == 8);
    CHECK(s.guidance_rescale == 9 && s.modulate == MCM_MODULATE_CONDITIONAL && s.guidance_passes == 10);
    CHECK(s.tile_above == 11);

    mcm::AttachOptions attach;
    attach.weight = 2, attach.begin = 3, attach.end = 4, attach.other_base = true;
    const mcm_attach_options a = attach;
    CHECK(a.weight == 2 && a.begin == 3 && a.end == 4 && a.other_base == 1);

    mcm::BankOptions bank_options;
    bank_options.batch = 1, bank_options.count = 2, bank_options.seed = 3;
    bank_options.first_timestep = 4, bank_options.end_timestep = 5;
    const mcm_bank_options b = bank_options;
    CHECK(b.batch == 1 && b.count == 2 && b.seed == 3 && b.first_timestep == 4 && b.end_timestep == 5);

    mcm::ResumeOptions resume;
    resume.threads = 1, resume.rank = 2, resume.world = 3, resume.total_steps = 4, resume.learning_rate = 5;
    const mcm_resume_options r = resume;
    CHECK(r.threads == 1 && r.rank == 2 && r.world == 3 && r.total_steps == 4 && r.learning_rate == 5);

    mcm::TrainOptions train;
    train.batch = 1, train.accumulate = 2, train.save_every = 3, train.until_step = 4, train.save_path = "path";
    const mcm_train_options t = train;
    CHECK(t.batch == 1 && t.accumulate == 2 && t.save_every == 3 && t.until_step == 4);
    CHECK(!std::strcmp(t.save_path, "path"));
}

TEST(each_field_of_training_arrives) {
    mcm::TrainerOptions o;
    o.warmup_steps = 1, o.total_steps = 2, o.seed = 3, o.learning_rate = 4, o.weight_decay = 5, o.beta1 = 6;
    o.beta2 = 7, o.epsilon = 8, o.clip_norm = 9, o.ema_decay = 10, o.weighting = mcm::Weighting::min_snr;
    o.min_snr_gamma = 11, o.noise_weight_low = 12, o.noise_weight_high = 13, o.timesteps = mcm::Timesteps::weighted;
    o.first_timestep = 14, o.end_timestep = 15, o.rank = 16, o.world = 17, o.dropout = {0.5f, 0.25f}, o.threads = 18;
    const mcm_trainer_options c = o;
    CHECK(c.warmup_steps == 1 && c.total_steps == 2 && c.seed == 3 && c.learning_rate == 4 && c.weight_decay == 5);
    CHECK(c.beta1 == 6 && c.beta2 == 7 && c.epsilon == 8 && c.clip_norm == 9 && c.ema_decay == 10);
    CHECK(c.weighting == MCM_WEIGHTING_MIN_SNR && c.min_snr_gamma == 11 && c.noise_weight_low == 12);
    CHECK(c.noise_weight_high == 13 && c.timesteps == MCM_TIMESTEPS_WEIGHTED && c.first_timestep == 14);
    CHECK(c.end_timestep == 15 && c.rank == 16 && c.world == 17 && c.threads == 18);
    CHECK(c.dropout_count == 2 && c.dropout[1] == 0.25f);
}

TEST(versions_and_names) {
    CHECK(mcm::version() == MCM_VERSION && std::string(mcm::version_string()) ==
          std::to_string(MCM_VERSION_MAJOR) + "." + std::to_string(MCM_VERSION_MINOR) + "." +
              std::to_string(MCM_VERSION_PATCH));
    CHECK(std::string(mcm::name(mcm::Status::io)) == "MCM_ERROR_IO");
    CHECK(mcm::is_misuse(mcm::Status::state) && !mcm::is_misuse(mcm::Status::ok) && !mcm::is_misuse(mcm::Status::io));
    CHECK(mcm::is_environment(mcm::Status::cpu) && !mcm::is_environment(mcm::Status::cancelled));
}

#if __cplusplus >= 202002L
TEST(designated_initialisers) {
    const mcm_session_options s =
        mcm::SessionOptions{.scheduler = mcm::SchedulerKind::ddim, .steps = 25, .guidance_scale = 3};
    CHECK(s.batch == 1 && s.scheduler == MCM_SCHEDULER_DDIM && s.steps == 25 && s.strength == 1);
    const auto model = tiny();
    auto session = mcm::Session::create(model, {.scheduler = mcm::SchedulerKind::ddim, .steps = 2});
    session.seed(1);
    session.run();
    const auto scheduler = mcm::Scheduler::create(model, mcm::SchedulerKind::ddim, 2);
    std::vector<float> x = mcm::Rng::create(1).normal(64);
    for (uint32_t i = 0; i < 2; i++) {
        const auto step = scheduler.step_info(i);
        const auto e = model.predict({.width = 8, .height = 8}, x, {&step.timestep, 1});
        scheduler.step(i, {.sample = x, .prediction = e, .previous = x});
    }
    CHECK(session.sample() == x);
    CHECK(mcm::generate(model, {.session = {.steps = 2}, .seeds = {1}}).size() == 1);
}
#endif

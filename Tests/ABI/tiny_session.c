#include "tiny_session.h"

#include "check.h"

mcm_model *model;
mcm_modulator *module;
mcm_condition conditions[TINY_CONDITIONS];

void open_parts(void) {
    model = tiny_model_open(&(tiny_model){0}, 1);
    module = tiny_module_open(&(tiny_module){0});
    tiny_conditions(1, conditions);
}

void free_parts(void) {
    mcm_modulator_free(module);
    mcm_model_free(model);
}

mcm_session *new_session(int with_module, uint32_t *id) {
    drawing d = drawing_of(model, MCM_SCHEDULER_DDPM, STEPS);
    if (with_module) d.modulator = module;
    d.conditions = conditions;
    d.condition_count = TINY_CONDITIONS;
    return open_session(&d, id);
}

mcm_session_state state_of(const mcm_session *session) {
    mcm_session_state state = MCM_SESSION_STATE_INIT;
    OK(mcm_session_get_state(session, &state));
    return state;
}

void finish(mcm_session *session, float sample[64]) {
    OK(mcm_session_run(session, NULL, NULL));
    OK(mcm_session_get_sample(session, sample, 64));
    mcm_session_free(session);
}

void expected(int with_module, float sample[64]) {
    finish(new_session(with_module, NULL), sample);
}

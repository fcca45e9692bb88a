#include "latent_session.h"

#include <string.h>

#include "check.h"

mcm_session_options latent_options(void) {
    mcm_session_options options = MCM_SESSION_OPTIONS_INIT;
    options.scheduler = MCM_SCHEDULER_DDIM;
    options.steps = LATENT_STEPS;
    return options;
}

mcm_session *latent_session(const mcm_model *model, const mcm_session_options *options, int begin) {
    mcm_session_options plain = latent_options();
    mcm_session *session;
    uint64_t seed = 7;
    OK(mcm_session_create(model, options ? options : &plain, &session));
    if (model_info(model).encodes_text) {
        mcm_prompt *prompt = encoded(model, "a cat");
        OK(mcm_session_set_prompt(session, prompt, NULL));
        mcm_prompt_free(prompt); /* the session keeps it */
    }
    if (begin) OK(mcm_session_seed(session, &seed, 1));
    return session;
}

latent_view latent_view_of(const mcm_session *session) {
    latent_view view;
    memset(&view, 0, sizeof view); /* padding, too */
    mcm_session_state_init(&view.state, sizeof view.state);
    OK(mcm_session_get_state(session, &view.state));
    size_t count = (size_t)view.state.batch * view.state.channels * view.state.height * view.state.width;
    CHECK(count <= MOST_LATENT_FLOATS);
    if (view.state.seeded) OK(mcm_session_get_sample(session, view.x, count));
    view.x0_status = mcm_session_get_x0(session, view.x0, count);
    return view;
}

latent_view latent_end(mcm_session *session) {
    OK(mcm_session_run(session, NULL, NULL));
    latent_view view = latent_view_of(session);
    mcm_session_free(session);
    return view;
}

int same_view(const latent_view *a, const latent_view *b) { return memcmp(a, b, sizeof *a) == 0; }

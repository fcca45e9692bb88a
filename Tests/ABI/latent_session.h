/* Sessions on tiny latent models. */
#ifndef LATENT_SESSION_H
#define LATENT_SESSION_H

#include "latent.h"

enum { LATENT_STEPS = 4, MOST_LATENT_FLOATS = 3 * 4 * LATENT_SIDE * LATENT_SIDE };

/* DDIM of LATENT_STEPS steps, batch 1. */
mcm_session_options latent_options(void);
/* Created with the prompt "a cat" where one is read, and seeded with 7, but not if `begin` is 0. */
mcm_session *latent_session(const mcm_model *model, const mcm_session_options *options, int begin);

/* All that can be seen of a session. */
typedef struct latent_view {
    mcm_session_state state;
    float x[MOST_LATENT_FLOATS], x0[MOST_LATENT_FLOATS];
    mcm_status x0_status;
} latent_view;
latent_view latent_view_of(const mcm_session *session);
/* Runs to the end and frees the session. */
latent_view latent_end(mcm_session *session);
int same_view(const latent_view *a, const latent_view *b);

/* The call fails as expected, and what can be seen of the session is as it was. */
#define UNCHANGED(expected, session, call)                \
    do {                                                  \
        latent_view before_ = latent_view_of(session);    \
        STATUS(expected, call);                           \
        latent_view after_ = latent_view_of(session);     \
        CHECK(same_view(&before_, &after_));              \
    } while (0)

#endif

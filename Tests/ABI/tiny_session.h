/* A session on a tiny model, with or without a tiny module, and what most tests do with one. */
#ifndef TINY_SESSION_H
#define TINY_SESSION_H

#include "drawing.h"
#include "tiny.h"

enum { STEPS = 6 };

/* Valid between open_parts and free_parts. */
extern mcm_model *model;
extern mcm_modulator *module;
extern mcm_condition conditions[TINY_CONDITIONS];
void open_parts(void);
void free_parts(void);

/* DDPM with seed 0: it draws noise at every step, so that a run shows if any draw is lost. */
mcm_session *new_session(int with_module, uint32_t *id);
mcm_session_state state_of(const mcm_session *session);
/* Runs to the end, copies x_0 and frees the session. */
void finish(mcm_session *session, float sample[64]);
/* x_0 of an undisturbed run. */
void expected(int with_module, float sample[64]);

#endif

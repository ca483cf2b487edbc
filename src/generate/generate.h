/* Generation: sample, report, append, until something ends it. */
#ifndef PX_GENERATE_GENERATE_H
#define PX_GENERATE_GENERATE_H

#include "generate/session.h"

/* See phlox_session_generate(). */
phlox_status px_generate(phlox_session *session, const phlox_generate_options *options,
                         phlox_piece_fn *piece, void *user, phlox_generate_result *result,
                         phlox_error *error);

#endif

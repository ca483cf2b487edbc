/*
 * A runtime of the tests: ONNX Runtime GenAI's interface over a model that is a hash. The logits behind a token
 * are a function of all tokens up to it and of the longrope factors that each was computed with, so that a token
 * that is missing, masked, doubled, or computed in a step that was too short, shows.
 *
 * Options of the session switch its faults, as --ort-config session.fake.KEY=VALUE gives them:
 *   device=CUDA       what it says that the model runs on
 *   create=SENTENCE   creating a model throws
 *   append_fails=N    the Nth call that appends throws, after it has changed the state
 *   vanishes=N        from the Nth such call on everything throws
 *   no_append=1       tokens are only appended to an empty generator (DirectML)
 *   no_rewind=1       nothing can be cut off
 *   last_only=1       the graph gives logits of a step's last token only
 *   half=1            the graph's logits are float16
 *   nan_at=ID         the logits behind this id are NaN
 */
#ifndef PX_TESTS_DEVICE_FAKE_ORT_H
#define PX_TESTS_DEVICE_FAKE_ORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As the member longrope-su of the family has them. */
enum { FAKE_VOCAB = 128, FAKE_CONTEXT = 128, FAKE_ORIGINAL = 32, FAKE_PAD = 120, FAKE_EOS = 120 };

static inline uint64_t fake_hash(uint64_t state, int32_t id, bool is_long)
{
    state = (state ^ ((uint64_t)id * 2 + is_long + 1)) * UINT64_C(0x9E3779B97F4A7C15);
    return state ^ state >> 29;
}

/* Exact as float16. */
static inline float fake_logit(uint64_t state, int32_t id)
{
    return (float)((int)(fake_hash(state, id, false) >> 54) - 512) / 64;
}

#endif

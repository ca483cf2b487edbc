/*
 * What the tests and the runtime that they play know of each other. The environment variable
 * FAKE_OPENVINO says what goes wrong, as words separated by commas; FAKE_OPENVINO_DIR is a directory in
 * which the library notes what it is asked for.
 *
 *   old            the version is 2022.3
 *   2025           the version is 2025.2, in which steps of the NPU cannot go back
 *   no-core        a core does not start
 *   numbers        element types have the numbers of version 2023.0
 *   npu            there is an NPU; npu=NAME: whose driver is NAME
 *   compile        compiling fails
 *   no-memory      likewise, for want of memory
 *   no-chunks      likewise when the plugin is to keep what it computed of prompts
 *   no-reuse       likewise, since it does not know the property
 *   meet           compiling waits until another process compiles too, and both write one file
 *   infer=N        the N-th call of all requests since the compile fails
 *   gone=N         likewise, and the unit is not there from then on
 *   nan=N          its logits are not finite
 *   short          the logits have another size
 */
#ifndef PX_TESTS_DEVICE_FAKE_OPENVINO_H
#define PX_TESTS_DEVICE_FAKE_OPENVINO_H

#include <stddef.h>
#include <stdint.h>

enum { FAKE_VOCAB = 128 };

/* The model: a hash of the visible tokens and their positions, in order, and from it the logits. */
static inline uint32_t fake_hash(uint32_t hash, int64_t id, int64_t position)
{
    return (hash ^ (uint32_t)(id * 131 + position)) * 16777619u + 1;
}

static inline float fake_logit(uint32_t hash, size_t v)
{
    return (float)((hash >> 8 ^ (uint32_t)v * 2654435761u) % 1000u) / 100.0f;
}

#endif

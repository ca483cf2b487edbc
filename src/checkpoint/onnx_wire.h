/*
 * The wire format of protocol buffers: a message is a run of fields, each a number, a kind, and a
 * varint, four or eight bytes, or a run of bytes that may be a message again. Nothing is copied.
 */
#ifndef PX_CHECKPOINT_ONNX_WIRE_H
#define PX_CHECKPOINT_ONNX_WIRE_H

#include "base/memory.h"

/* What is left of a message. */
typedef struct px_wire {
    const uint8_t *at, *end;
} px_wire;

typedef enum px_wire_kind {
    PX_WIRE_VARINT = 0,
    PX_WIRE_64 = 1,
    PX_WIRE_BYTES = 2,
    PX_WIRE_32 = 5,
} px_wire_kind;

typedef struct px_wire_field {
    uint32_t number;
    px_wire_kind kind;
    uint64_t value; /* of a varint, or of four or eight bytes (little endian) */
    px_wire bytes;
} px_wire_field;

typedef enum px_wire_result { PX_WIRE_END, PX_WIRE_FIELD, PX_WIRE_BROKEN } px_wire_result;

/* The next field. Broken are a varint of more than 64 bits, a length beyond the message, field number 0
 * and the kinds of groups, which are not in use any more. */
px_wire_result px_wire_next(px_wire *wire, px_wire_field *out);

/* The next value of a packed list of varints; false at its end and where it is broken, which leaves
 * wire->at before wire->end. */
bool px_wire_varint(px_wire *wire, uint64_t *out);

#endif

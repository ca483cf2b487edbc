#include "checkpoint/onnx_wire.h"

bool px_wire_varint(px_wire *wire, uint64_t *out)
{
    const uint8_t *at = wire->at;
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && at < wire->end; shift += 7) {
        const uint8_t byte = *at++;
        if (shift == 63 && byte > 1) return false; /* the tenth byte holds the last bit */
        value |= (uint64_t)(byte & 127) << shift;
        if (byte & 128) continue;
        wire->at = at;
        *out = value;
        return true;
    }
    return false;
}

static bool fixed(px_wire *wire, size_t size, uint64_t *out)
{
    if ((size_t)(wire->end - wire->at) < size) return false;
    *out = 0;
    for (size_t i = 0; i < size; i++) *out |= (uint64_t)wire->at[i] << 8 * i;
    wire->at += size;
    return true;
}

static bool bytes(px_wire *wire, px_wire *out)
{
    uint64_t size;
    if (!px_wire_varint(wire, &size) || size > (uint64_t)(wire->end - wire->at)) return false;
    *out = (px_wire){wire->at, wire->at + size};
    wire->at += size;
    return true;
}

px_wire_result px_wire_next(px_wire *wire, px_wire_field *out)
{
    if (wire->at == wire->end) return PX_WIRE_END;
    uint64_t key;
    if (!px_wire_varint(wire, &key) || key >> 3 == 0 || key >> 3 > INT32_MAX) return PX_WIRE_BROKEN;
    *out = (px_wire_field){.number = (uint32_t)(key >> 3), .kind = (px_wire_kind)(key & 7)};
    bool whole = false;
    switch (key & 7) {
    case PX_WIRE_VARINT: whole = px_wire_varint(wire, &out->value); break;
    case PX_WIRE_64: whole = fixed(wire, 8, &out->value); break;
    case PX_WIRE_BYTES: whole = bytes(wire, &out->bytes); break;
    case PX_WIRE_32: whole = fixed(wire, 4, &out->value); break;
    default: break;
    }
    return whole ? PX_WIRE_FIELD : PX_WIRE_BROKEN;
}

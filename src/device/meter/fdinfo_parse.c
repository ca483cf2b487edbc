#include "device/meter/fdinfo.h"

#include "base/memory.h"

#include <string.h>

/* A piece of the text. */
struct span {
    const char *text;
    size_t size;
};

static bool starts_with(struct span *span, const char *prefix)
{
    const size_t length = strlen(prefix);
    if (span->size < length || memcmp(span->text, prefix, length) != 0) return false;
    span->text += length;
    span->size -= length;
    return true;
}

static bool ends_with(struct span span, const char *suffix)
{
    const size_t length = strlen(suffix);
    return span.size >= length && memcmp(span.text + span.size - length, suffix, length) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span span)
{
    while (span.size && is_blank(*span.text)) span.text++, span.size--;
    while (span.size && is_blank(span.text[span.size - 1])) span.size--;
    return span;
}

/* Takes a decimal number from the beginning; false when there is none or it is too large. */
static bool take_number(struct span *span, uint64_t *out)
{
    uint64_t value = 0;
    size_t used = 0;
    for (; used < span->size && span->text[used] >= '0' && span->text[used] <= '9'; used++) {
        const uint64_t digit = (uint64_t)(span->text[used] - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    if (!used) return false;
    *out = value;
    span->text += used;
    span->size -= used;
    *span = trim(*span);
    return true;
}

static bool is_word(struct span span, const char *word)
{
    return span.size == strlen(word) && memcmp(span.text, word, span.size) == 0;
}

static bool take_bytes(struct span span, uint64_t *out)
{
    uint64_t value, unit = 1;
    if (!take_number(&span, &value)) return false;
    if (is_word(span, "KiB") || is_word(span, "kB")) unit = 1024;
    else if (is_word(span, "MiB")) unit = 1024 * 1024;
    else if (span.size) return false;
    if (value > UINT64_MAX / unit) return false;
    *out = value * unit;
    return true;
}

/* A name that does not fit is none. */
static bool copy_name(struct span span, char name[PX_FDINFO_NAME])
{
    if (!span.size || span.size >= PX_FDINFO_NAME || memchr(span.text, 0, span.size)) return false;
    memcpy(name, span.text, span.size);
    name[span.size] = 0;
    return true;
}

static px_fdinfo_engine *engine_of(px_fdinfo_client *client, struct span name)
{
    char text[PX_FDINFO_NAME];
    if (!copy_name(name, text)) return NULL;
    for (size_t i = 0; i < client->engine_count; i++)
        if (strcmp(client->engines[i].name, text) == 0) return &client->engines[i];
    if (client->engine_count == PX_FDINFO_ENGINES) return NULL;
    px_fdinfo_engine *const engine = &client->engines[client->engine_count++];
    *engine = (px_fdinfo_engine){.capacity = 1};
    memcpy(engine->name, text, sizeof text);
    return engine;
}

static void add_capacity(px_fdinfo_client *client, struct span name, struct span value)
{
    uint64_t capacity;
    px_fdinfo_engine *const engine = engine_of(client, name);
    if (engine && take_number(&value, &capacity) && capacity) engine->capacity = capacity;
}

static void add_busy(px_fdinfo_client *client, struct span name, struct span value)
{
    px_fdinfo_engine *const engine = engine_of(client, name);
    uint64_t busy;
    if (!engine || !take_number(&value, &busy) || !is_word(value, "ns")) return;
    engine->busy = busy;
    engine->has_busy = true;
}

static void add_cycles(px_fdinfo_client *client, struct span name, struct span value, bool is_total)
{
    px_fdinfo_engine *const engine = engine_of(client, name);
    uint64_t cycles;
    if (!engine || !take_number(&value, &cycles)) return;
    *(is_total ? &engine->total : &engine->cycles) = cycles;
    *(is_total ? &engine->has_total : &engine->has_cycles) = true;
}

/* Of several keys that tell of a region that of the highest rank counts: resident is what takes memory,
 * "memory" is its older name, total is also what was never touched. */
static void add_region(px_fdinfo_client *client, struct span name, struct span value, int rank)
{
    char text[PX_FDINFO_NAME];
    uint64_t bytes;
    size_t i = 0;
    if (!copy_name(name, text) || !take_bytes(value, &bytes)) return;
    while (i < client->region_count && strcmp(client->regions[i].name, text) != 0) i++;
    if (i == PX_FDINFO_REGIONS) return;
    px_fdinfo_region *const region = &client->regions[i];
    if (i == client->region_count) {
        *region = (px_fdinfo_region){.rank = 0};
        memcpy(region->name, text, sizeof text);
        client->region_count++;
    }
    if (rank <= region->rank) return;
    region->bytes = bytes;
    region->rank = rank;
}

/* amdxdna's own keys, such as "amdxdna_accel_driver-internal-alloc". */
static void add_allocation(px_fdinfo_client *client, struct span key, struct span value)
{
    if (starts_with(&key, "amdxdna_accel_driver-") && ends_with(key, "-alloc"))
        add_region(client, key, value, 1);
}

static void add_line(px_fdinfo_client *client, struct span key, struct span value)
{
    if (!starts_with(&key, "drm-")) {
        add_allocation(client, key, value);
    } else if (is_word(key, "driver")) {
        copy_name(value, client->driver);
    } else if (is_word(key, "pdev")) {
        copy_name(value, client->pci);
    } else if (is_word(key, "client-id")) {
        client->has_id = take_number(&value, &client->id);
    } else if (starts_with(&key, "engine-capacity-")) {
        add_capacity(client, key, value);
    } else if (starts_with(&key, "engine-")) {
        add_busy(client, key, value);
    } else if (starts_with(&key, "total-cycles-")) {
        add_cycles(client, key, value, true);
    } else if (starts_with(&key, "cycles-")) {
        add_cycles(client, key, value, false);
    } else if (starts_with(&key, "resident-")) {
        add_region(client, key, value, 3);
    } else if (starts_with(&key, "memory-")) {
        add_region(client, key, value, 2);
    } else if (starts_with(&key, "total-")) {
        add_region(client, key, value, 1);
    }
}

bool px_fdinfo_parse(const char *text, size_t length, px_fdinfo_client *out)
{
    *out = (px_fdinfo_client){.has_id = false};
    while (length) {
        const char *const end = memchr(text, '\n', length);
        if (!end) break;
        const size_t size = (size_t)(end - text);
        const char *const colon = memchr(text, ':', size);
        if (colon) {
            const size_t key = (size_t)(colon - text);
            add_line(out, trim((struct span){text, key}), trim((struct span){colon + 1, size - key - 1}));
        }
        text = end + 1;
        length -= size + 1;
    }
    return out->driver[0] && out->has_id;
}

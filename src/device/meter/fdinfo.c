#include "device/meter/fdinfo.h"

#include "base/memory.h"
#include "base/os.h"
#include "device/meter/meter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FILES = 1024, MOST_CLIENTS = 512, MOST_DEVICES = 16, FILE_BYTES = 16384 };

struct file {
    long pid, descriptor;
};

/* A client as it was at the last sample. */
struct client {
    char pci[PX_FDINFO_NAME];
    uint64_t id;
    px_fdinfo_engine engines[PX_FDINFO_ENGINES];
    size_t engine_count;
    unsigned round; /* of the sample that saw it last */
};

struct engine_use {
    char name[PX_FDINFO_NAME];
    double share;
};

struct device {
    char pci[PX_FDINFO_NAME];
    struct engine_use engines[PX_FDINFO_ENGINES];
    size_t engine_count;
    bool has_clients, has_engines;
    double local, system;
};

struct px_fdinfo {
    char root[PX_METER_PATH];
    int64_t pid;
    struct file files[MOST_FILES];
    size_t file_count;
    struct client clients[MOST_CLIENTS];
    size_t client_count;
    struct device devices[MOST_DEVICES];
    size_t device_count;
    double scanned, sampled;
    bool has_sample;
    unsigned round;
    char text[FILE_BYTES];
    px_fdinfo_client parsed;
};

/* ---- which files there are ----------------------------------------------------------------- */

struct scan {
    px_fdinfo *fdinfo;
    long pid;
};

static bool is_number(const char *name, long *out)
{
    if (!name[0] || strlen(name) > 9 || name[strspn(name, "0123456789")]) return false;
    *out = strtol(name, NULL, 10);
    return true;
}

static bool visit_descriptor(void *user, const char *name)
{
    const struct scan *const scan = user;
    px_fdinfo *const fdinfo = scan->fdinfo;
    char target[64];
    long descriptor;
    if (!is_number(name, &descriptor)) return true;
    const px_meter_path path = px_meter_join("%s/proc/%ld/fd/%s", fdinfo->root, scan->pid, name);
    if (!px_read_link(path.text, target, sizeof target) ||
        (strncmp(target, "/dev/dri/", 9) != 0 && strncmp(target, "/dev/accel/", 11) != 0))
        return true;
    fdinfo->files[fdinfo->file_count++] = (struct file){scan->pid, descriptor};
    return fdinfo->file_count < MOST_FILES;
}

static bool visit_process(void *user, const char *name)
{
    struct scan *const scan = user;
    if (!is_number(name, &scan->pid)) return true;
    const px_meter_path path = px_meter_join("%s/proc/%s/fd", scan->fdinfo->root, name);
    px_list_names(path.text, visit_descriptor, scan);
    return scan->fdinfo->file_count < MOST_FILES;
}

static void find_files(px_fdinfo *fdinfo)
{
    struct scan scan = {.fdinfo = fdinfo};
    fdinfo->file_count = 0;
    if (fdinfo->pid) {
        char name[24];
        snprintf(name, sizeof name, "%lld", (long long)fdinfo->pid);
        visit_process(&scan, name);
    } else {
        const px_meter_path path = px_meter_join("%s/proc", fdinfo->root);
        px_list_names(path.text, visit_process, &scan);
    }
}

/* ---- what they say ------------------------------------------------------------------------- */

static struct device *device_of(px_fdinfo *fdinfo, const char *pci)
{
    for (size_t i = 0; i < fdinfo->device_count; i++)
        if (strcmp(fdinfo->devices[i].pci, pci) == 0) return &fdinfo->devices[i];
    if (fdinfo->device_count == MOST_DEVICES) return NULL;
    struct device *const device = &fdinfo->devices[fdinfo->device_count++];
    *device = (struct device){.local = (double)NAN, .system = (double)NAN};
    snprintf(device->pci, sizeof device->pci, "%s", pci);
    return device;
}

static struct client *client_of(px_fdinfo *fdinfo, const px_fdinfo_client *parsed, bool *is_new)
{
    *is_new = false;
    for (size_t i = 0; i < fdinfo->client_count; i++)
        if (fdinfo->clients[i].id == parsed->id && strcmp(fdinfo->clients[i].pci, parsed->pci) == 0)
            return &fdinfo->clients[i];
    if (fdinfo->client_count == MOST_CLIENTS) return NULL;
    *is_new = true;
    struct client *const client = &fdinfo->clients[fdinfo->client_count++];
    *client = (struct client){.id = parsed->id, .round = fdinfo->round - 1};
    memcpy(client->pci, parsed->pci, sizeof client->pci);
    return client;
}

static void add_share(struct device *device, const char *name, double share)
{
    size_t i = 0;
    while (i < device->engine_count && strcmp(device->engines[i].name, name) != 0) i++;
    if (i == PX_FDINFO_ENGINES) return;
    if (i == device->engine_count) {
        memcpy(device->engines[i].name, name, PX_FDINFO_NAME);
        device->engines[i].share = 0;
        device->engine_count++;
    }
    device->engines[i].share += share;
}

static const px_fdinfo_engine *engine_before(const struct client *client, const char *name)
{
    for (size_t i = 0; i < client->engine_count; i++)
        if (strcmp(client->engines[i].name, name) == 0) return &client->engines[i];
    return NULL;
}

/* The share of the time that the engine has worked for this client; NAN when a counter went backwards. */
static double share_of(const px_fdinfo_engine *before, const px_fdinfo_engine *now, double seconds)
{
    const double capacity = (double)now->capacity;
    if (now->has_busy && before->has_busy)
        return now->busy >= before->busy && seconds > 0
                   ? (double)(now->busy - before->busy) * 1e-9 / seconds / capacity
                   : (double)NAN;
    if (!now->has_cycles || !now->has_total || !before->has_cycles || !before->has_total ||
        now->cycles < before->cycles || now->total < before->total)
        return (double)NAN;
    const double passed = (double)(now->total - before->total);
    return passed > 0 ? (double)(now->cycles - before->cycles) / passed / capacity : 0;
}

static void add_engines(struct device *device, const struct client *client,
                        const px_fdinfo_client *parsed, bool is_new, double seconds)
{
    for (size_t i = 0; i < parsed->engine_count; i++) {
        const px_fdinfo_engine *const now = &parsed->engines[i];
        if (!now->has_busy && !(now->has_cycles && now->has_total)) continue;
        device->has_engines = true;
        const px_fdinfo_engine *const before = is_new ? NULL : engine_before(client, now->name);
        const double share = before ? share_of(before, now, seconds) : (double)NAN;
        if (!isnan(share)) add_share(device, now->name, share);
    }
}

static void add_bytes(double *sum, uint64_t bytes)
{
    *sum = (isnan(*sum) ? 0 : *sum) + (double)bytes;
}

/* i915 calls memory of its own local0, xe vram0, amdgpu vram. */
static void add_memory(struct device *device, const px_fdinfo_client *parsed)
{
    for (size_t i = 0; i < parsed->region_count; i++) {
        const px_fdinfo_region *const region = &parsed->regions[i];
        const bool is_local =
            strncmp(region->name, "vram", 4) == 0 || strncmp(region->name, "local", 5) == 0;
        add_bytes(is_local ? &device->local : &device->system, region->bytes);
    }
}

static void add_client(px_fdinfo *fdinfo, double seconds)
{
    const px_fdinfo_client *const parsed = &fdinfo->parsed;
    bool is_new;
    struct device *const device = device_of(fdinfo, parsed->pci);
    struct client *const client = client_of(fdinfo, parsed, &is_new);
    if (!device || !client || client->round == fdinfo->round) return; /* another file of the same client */
    client->round = fdinfo->round;
    device->has_clients = true;
    add_engines(device, client, parsed, is_new, seconds);
    add_memory(device, parsed);
    memcpy(client->engines, parsed->engines, sizeof client->engines);
    client->engine_count = parsed->engine_count;
}

/* ---- sampling ------------------------------------------------------------------------------ */

static void forget_the_gone(px_fdinfo *fdinfo)
{
    size_t kept = 0;
    for (size_t i = 0; i < fdinfo->client_count; i++)
        if (fdinfo->clients[i].round == fdinfo->round) fdinfo->clients[kept++] = fdinfo->clients[i];
    fdinfo->client_count = kept;
}

void px_fdinfo_sample(px_fdinfo *fdinfo, double now)
{
    const double interval = fdinfo->pid ? 1 : 5;
    if (!fdinfo->has_sample || now - fdinfo->scanned >= interval) {
        find_files(fdinfo);
        fdinfo->scanned = now;
    }
    for (size_t i = 0; i < fdinfo->device_count; i++) {
        struct device *const device = &fdinfo->devices[i];
        device->has_clients = false;
        device->engine_count = 0;
        device->local = device->system = (double)NAN;
    }
    fdinfo->round++;
    for (size_t i = 0; i < fdinfo->file_count; i++) {
        const struct file file = fdinfo->files[i];
        const px_meter_path path =
            px_meter_join("%s/proc/%ld/fdinfo/%ld", fdinfo->root, file.pid, file.descriptor);
        size_t length;
        if (px_read_text(path.text, fdinfo->text, sizeof fdinfo->text, &length, NULL) == PHLOX_OK &&
            px_fdinfo_parse(fdinfo->text, length, &fdinfo->parsed))
            add_client(fdinfo, now - fdinfo->sampled);
    }
    forget_the_gone(fdinfo);
    fdinfo->sampled = now;
    fdinfo->has_sample = true;
}

px_fdinfo_use px_fdinfo_of(const px_fdinfo *fdinfo, const char *pci)
{
    px_fdinfo_use use = {.is_one_process = fdinfo->pid != 0, .utilisation = (double)NAN,
                         .local = (double)NAN, .system = (double)NAN};
    for (size_t i = 0; i < fdinfo->device_count; i++) {
        const struct device *const device = &fdinfo->devices[i];
        if (strcmp(device->pci, pci) != 0) continue;
        use.has_clients = device->has_clients;
        use.local = device->local;
        use.system = device->system;
        /* Without a client the engines rest. With one of which nothing is known yet, nothing is. */
        if (device->has_engines && (device->engine_count || !device->has_clients)) use.utilisation = 0;
        for (size_t e = 0; e < device->engine_count; e++)
            use.utilisation = PX_MAX(use.utilisation, device->engines[e].share);
    }
    return use;
}

phlox_status px_fdinfo_open(const char *root, int64_t pid, px_fdinfo **out, phlox_error *error)
{
    if (strlen(root) >= PX_METER_PATH)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "%.60s...: the path is too long", root);
    px_fdinfo *const fdinfo = px_calloc(1, sizeof *fdinfo);
    if (!fdinfo) return px_fail_memory(error, sizeof *fdinfo);
    memcpy(fdinfo->root, root, strlen(root));
    fdinfo->pid = pid;
    *out = fdinfo;
    return PHLOX_OK;
}

void px_fdinfo_close(px_fdinfo *fdinfo)
{
    free(fdinfo);
}

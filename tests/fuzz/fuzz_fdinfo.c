/* The text of /proc/PID/fdinfo. Whatever it is, what is read has names that end, counts within the tables,
 * and is the same when a newline and lines without meaning stand before it. */
#include "device/meter/fdinfo.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const char name[PX_FDINFO_NAME])
{
    if (!memchr(name, 0, PX_FDINFO_NAME)) abort();
}

static void check(const px_fdinfo_client *client)
{
    check_name(client->driver);
    check_name(client->pci);
    if (client->engine_count > PX_FDINFO_ENGINES || client->region_count > PX_FDINFO_REGIONS) abort();
    for (size_t i = 0; i < client->engine_count; i++) {
        check_name(client->engines[i].name);
        if (!client->engines[i].name[0] || !client->engines[i].capacity) abort();
    }
    for (size_t i = 0; i < client->region_count; i++) {
        check_name(client->regions[i].name);
        if (!client->regions[i].name[0] || !client->regions[i].rank) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char before[] = "\npos:\t0\n";
    px_fdinfo_client client, again;
    const bool good = px_fdinfo_parse((const char *)data, size, &client);
    check(&client);
    if (good && !client.driver[0]) abort();
    char *const longer = malloc(sizeof before - 1 + size);
    if (!longer) return 0;
    memcpy(longer, before, sizeof before - 1);
    if (size) memcpy(longer + sizeof before - 1, data, size);
    if (px_fdinfo_parse(longer, sizeof before - 1 + size, &again) != good ||
        again.engine_count != client.engine_count || again.region_count != client.region_count ||
        again.id != client.id || strcmp(again.pci, client.pci) != 0)
        abort();
    free(longer);
    return 0;
}

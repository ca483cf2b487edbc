#include "device/meter/meter.h"

#include "base/memory.h"
#include "base/os.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

px_meter_path px_meter_join(const char *format, ...)
{
    px_meter_path path;
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(path.text, sizeof path.text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof path.text) path.text[0] = 0;
    return path;
}

/* Cuts the text behind its first line, and blanks at the line's end. */
static void keep_line(char *text)
{
    size_t length = strcspn(text, "\n");
    while (length && isspace((unsigned char)text[length - 1])) length--;
    text[length] = 0;
}

bool px_meter_count(const char *path, uint64_t *out, px_meter_unit *unit)
{
    char text[40], *end;
    size_t length;
    phlox_error error;
    const phlox_status status = px_read_text(path, text, sizeof text, &length, &error);
    if (status != PHLOX_OK) {
        if (unit && status != PHLOX_ERROR_NOT_FOUND) px_meter_say(unit, "%s", error.message);
        return false;
    }
    keep_line(text);
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || text[0] < '0' || text[0] > '9' || length == sizeof text - 1) {
        if (unit) px_meter_say(unit, "%s: \"%.20s\" is no number", path, text);
        return false;
    }
    *out = value;
    return true;
}

double px_meter_number(const char *path, double scale, px_meter_unit *unit)
{
    uint64_t value;
    return px_meter_count(path, &value, unit) ? (double)value * scale : (double)NAN;
}

bool px_meter_line(const char *path, char *line, size_t size)
{
    char text[256];
    size_t length;
    if (px_read_text(path, text, sizeof text, &length, NULL) != PHLOX_OK) return false;
    keep_line(text);
    if (strlen(text) >= size) return false;
    memcpy(line, text, strlen(text) + 1);
    return true;
}

double px_meter_advance(px_meter_counter *counter, bool known, uint64_t now)
{
    const bool grows = known && counter->is_known && now >= counter->last;
    const double growth = grows ? (double)(now - counter->last) : (double)NAN;
    *counter = (px_meter_counter){.last = now, .is_known = known};
    return growth;
}

/* ---- devices ------------------------------------------------------------------------------- */

struct search {
    const char *const *drivers;
    px_meter_device *devices;
    size_t count;
};

/* The value of KEY= in the lines of a uevent, cut to `size`. */
static bool read_key(const char *text, const char *key, char *out, size_t size)
{
    const size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) != 0) continue;
        const size_t value = strcspn(line + length, "\n");
        if (value >= size) return false;
        memcpy(out, line + length, value);
        out[value] = 0;
        return true;
    }
    return false;
}

static bool is_wanted(const char *const *drivers, const char *driver)
{
    for (; *drivers; drivers++)
        if (strcmp(*drivers, driver) == 0) return true;
    return false;
}

/* `path` is that of a card or, as card0-HDMI-A-1, of one of its plugs, which has no driver. */
static bool visit_card(void *user, const char *path)
{
    struct search *const search = user;
    px_meter_device *const device = &search->devices[search->count];
    char text[1024];
    size_t length;
    *device = (px_meter_device){.driver = ""};
    const px_meter_path card = px_meter_join("%s", path), directory = px_meter_join("%s/device", path);
    const px_meter_path uevent = px_meter_join("%s/uevent", directory.text);
    if (px_read_text(uevent.text, text, sizeof text, &length, NULL) != PHLOX_OK ||
        !read_key(text, "DRIVER=", device->driver, sizeof device->driver) ||
        !is_wanted(search->drivers, device->driver))
        return true;
    memcpy(device->card, card.text, sizeof card.text);
    memcpy(device->directory, directory.text, sizeof directory.text);
    read_key(text, "PCI_SLOT_NAME=", device->pci, sizeof device->pci);
    read_key(text, "PCI_ID=", device->ids, sizeof device->ids);
    for (char *c = device->ids; *c; c++) *c = (char)tolower((unsigned char)*c);
    return ++search->count < PX_METER_DEVICES;
}

size_t px_meter_find(const char *root, const char *class, const char *const *drivers,
                     px_meter_device devices[PX_METER_DEVICES])
{
    struct search search = {.drivers = drivers, .devices = devices};
    const px_meter_path pattern = px_meter_join("%s/sys/class/%s/%s[0-9]*", root, class,
                                                strcmp(class, "drm") == 0 ? "card" : class);
    px_glob(pattern.text, visit_card, &search);
    return search.count;
}

void px_meter_name(px_meter_unit *unit, const char *vendor, const char *what,
                   const px_meter_device *device)
{
    phlox_unit_reading *const r = &unit->reading;
    snprintf(r->vendor, sizeof r->vendor, "%s", vendor);
    snprintf(r->driver, sizeof r->driver, "%s", device->driver);
    snprintf(r->pci, sizeof r->pci, "%s", device->pci);
    snprintf(r->full_name, sizeof r->full_name, "%s %s%s%s%s", vendor, what,
             device->ids[0] ? " (" : "", device->ids, device->ids[0] ? ")" : "");
}

bool px_meter_asleep(px_meter_unit *unit, const char *device_directory)
{
    char state[16];
    const px_meter_path path = px_meter_join("%s/power_state", device_directory);
    const bool asleep = px_meter_line(path.text, state, sizeof state) &&
                        (strcmp(state, "D3hot") == 0 || strcmp(state, "D3cold") == 0);
    unit->reading.is_asleep = asleep;
    if (asleep) unit->reading.utilisation = 0;
    return asleep;
}

struct hwmon_search {
    const char *file;
    px_meter_path found;
};

/* The file is not read: that may wake the device. */
static bool visit_hwmon(void *user, const char *path)
{
    struct hwmon_search *const search = user;
    const px_meter_path file = px_meter_join("%s/%s", path, search->file);
    if (!px_is_file(file.text)) return true;
    search->found = px_meter_join("%s", path);
    return false;
}

px_meter_path px_meter_hwmon(const char *device_directory, const char *file)
{
    struct hwmon_search search = {.file = file};
    const px_meter_path pattern = px_meter_join("%s/hwmon/hwmon[0-9]*", device_directory);
    px_glob(pattern.text, visit_hwmon, &search);
    return search.found;
}

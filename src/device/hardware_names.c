/* Names of PCI devices: from the system's pci.ids, else from the ids that phlox knows. */
#include "device/hardware.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- pci.ids ------------------------------------------------------------------------------- */

/* Whether a line begins with four hexadecimal digits of `id`, behind `tabs` tabs. */
static bool has_id(const char *line, size_t size, size_t tabs, uint32_t id)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%04" PRIx32, id & 0xffff);
    if (size < tabs + 4 || (size > tabs + 4 && line[tabs + 4] != ' ')) return false;
    for (size_t i = 0; i < tabs; i++)
        if (line[i] != '\t') return false;
    return memcmp(line + tabs, digits, 4) == 0;
}

static bool copy_name(const char *line, size_t size, size_t begin, char *out, size_t room)
{
    while (begin < size && line[begin] == ' ') begin++;
    while (size > begin && strchr(" \r", line[size - 1])) size--;
    const size_t length = PX_MIN(size - begin, room - 1);
    memcpy(out, line + begin, length);
    out[length] = 0;
    px_make_printable(out);
    return out[0];
}

/* Vendors stand at the beginning of a line, devices behind a tab below them. */
bool px_pci_name(phlox_text ids, uint32_t vendor, uint32_t device, char *out, size_t size)
{
    bool is_inside = false;
    for (size_t at = 0; at < ids.size;) {
        const char *const line = ids.data + at;
        const char *const end = memchr(line, '\n', ids.size - at);
        const size_t length = end ? (size_t)(end - line) : ids.size - at;
        at += length + 1;
        if (!length || *line == '#') continue;
        if (*line != '\t') {
            if (is_inside) return false;
            is_inside = has_id(line, length, 0, vendor);
        } else if (is_inside && has_id(line, length, 1, device)) {
            return copy_name(line, length, 5, out, size);
        }
    }
    return false;
}

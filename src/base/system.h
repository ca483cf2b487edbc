/*
 * What the operating system says about the machine: its own name and kernel, what it runs in, memory and
 * power. Everything is read below a root directory, "" for this machine, so that a recorded tree of
 * /proc and /sys can stand in for one. What cannot be read is empty or 0; nothing here fails.
 */
#ifndef PX_BASE_SYSTEM_H
#define PX_BASE_SYSTEM_H

#include "base/memory.h"

enum { PX_PATH_SIZE = 1024 };

/* Joins the root and a formatted path that begins with "/"; false when it does not fit. */
bool px_root_path(char out[PX_PATH_SIZE], const char *root, const char *format, ...) PX_PRINTF(3, 4);

/* The first line of a file, without blanks around it, cut to `size` bytes with a NUL, valid UTF-8 without
 * control characters; "" and false when there is none. */
bool px_root_line(const char *root, char *out, size_t size, const char *format, ...) PX_PRINTF(4, 5);
/* The number, decimal or with 0x, that the file begins with. */
bool px_root_number(const char *root, uint64_t *out, const char *format, ...) PX_PRINTF(3, 4);
/* The last part of the target of a symbolic link: "intel_vpu" of ".../drivers/intel_vpu". */
bool px_root_link(const char *root, char *out, size_t size, const char *format, ...) PX_PRINTF(4, 5);
bool px_root_exists(const char *root, const char *format, ...) PX_PRINTF(2, 3);

/* Copies what stands behind `key` at the beginning of a line, without quotes and blanks around it, cut and printable
 * as a line is; "" and false when no line has it. */
bool px_find_value(const char *text, const char *key, char *out, size_t size);

/* Makes a text printable in place: what is no UTF-8, or controls the terminal, becomes '?'. */
void px_make_printable(char *text);

/* ---- the system ---------------------------------------------------------------------------- */

typedef struct px_system {
    char name[96];      /* "Debian GNU/Linux 12 (bookworm)" */
    char id[32];        /* "debian"; with those it is like: " ubuntu debian " */
    char like[96];
    char kernel[96];    /* release: "6.8.0-45-generic" */
    int major, minor;   /* of the kernel; 0: unknown */
    bool is_wsl;
    char container[32]; /* "docker", "podman", ...; "" outside of one */
    char machine[96];   /* "LENOVO 21KC"; "" when it is not known */
    bool is_virtual;    /* a virtual machine */
} px_system;

void px_system_read(const char *root, px_system *out);
/* Whether the kernel is this version or a newer one; true when its version is not known. */
bool px_system_has_kernel(const px_system *system, int major, int minor);

/* ---- memory -------------------------------------------------------------------------------- */

typedef struct px_system_memory {
    uint64_t total, available, swap_total, swap_free; /* bytes */
    uint64_t group_limit; /* of the control groups around this process; 0: none */
    char huge_pages[16];  /* transparent ones: "always", "madvise", "never" */
    uint64_t lockable;    /* bytes that this process may lock; UINT64_MAX: all */
} px_system_memory;

void px_system_memory_read(const char *root, px_system_memory *out);

/* ---- power --------------------------------------------------------------------------------- */

typedef enum px_power_source {
    PX_POWER_UNKNOWN, /* the machine tells of no supply, as desktops and servers do */
    PX_POWER_MAINS,
    PX_POWER_BATTERY
} px_power_source;

typedef struct px_power {
    px_power_source source;
    double percent;      /* that the batteries together hold; below 0: there is none */
    char profile[32];    /* of the platform: "balanced"; "" when it has none */
    char governor[32];   /* of the first processor: "powersave" */
    char preference[32]; /* energy_performance_preference likewise */
} px_power;

void px_power_read(const char *root, px_power *out);

#endif

/*
 * The units of the machine as the operating system shows them, without any runtime: the processor, GPUs and
 * NPUs on the PCI bus or built into the chip, their kernel drivers, nodes and permissions; and which of
 * phlox's devices could drive each of them, and if it cannot, what is missing and the command that mends it.
 *
 * Everything is read below a root directory ("" for this machine), so that a recorded tree can stand in for
 * one. What the system does not tell is empty or 0.
 */
#ifndef PX_DEVICE_HARDWARE_H
#define PX_DEVICE_HARDWARE_H

#include "base/os.h"
#include "base/system.h"
#include "device/device.h"

/* ---- units --------------------------------------------------------------------------------- */

typedef enum px_vendor {
    PX_VENDOR_OTHER,
    PX_VENDOR_INTEL,
    PX_VENDOR_AMD,
    PX_VENDOR_NVIDIA,
    PX_VENDOR_QUALCOMM,
    PX_VENDOR_MICROSOFT /* the GPU of the host of WSL */
} px_vendor;

typedef struct px_hardware {
    px_unit_kind kind;
    px_vendor vendor;
    char vendor_name[48];     /* "Intel" */
    char name[128];           /* "Meteor Lake-P [Intel Arc Graphics]", or vendor and ids */
    char generation[32];      /* of an NPU: "Meteor Lake", "XDNA 2"; else "" */
    uint32_t vendor_id, device_id; /* 0: not on the PCI bus */
    char pci[16];             /* "0000:00:0b.0" */
    char driver[32];          /* of the kernel, when it has taken the unit: "intel_vpu" */
    char driver_version[64];  /* "550.54.14"; for what comes with the kernel, its release */
    char firmware[64];
    char node[32];            /* "/dev/accel/accel0"; "": the driver has made none */
    bool has_node;            /* and it is there */
    bool may_open;            /* by the user; true where there is no node */
    char group[32];           /* that owns the node, its number when it has no name */
    bool group_may_open;      /* and is a group for users, not root's */
    bool joins_group;         /* the user is in that group, but not yet in this session */
    uint64_t memory;          /* bytes of its own; of the CPU, the machine's */
    bool memory_is_window;    /* only as much as the bus shows: there may be more */
    uint64_t shared_memory;   /* bytes of the machine's that it can use as well */
    bool is_integrated;       /* works in the machine's memory */
    bool is_old;              /* an NPU of a generation that no runtime runs language models on */
    /* The CPU. */
    int32_t cores, threads, numa_nodes;
    uint64_t features;        /* PHLOX_CPU_* */
} px_hardware;

enum { PX_MOST_HARDWARE = 24 };

typedef struct px_hardware_list {
    const char *root;
    px_system system;
    px_hardware units[PX_MOST_HARDWARE]; /* the CPU, GPUs, NPUs; each in the order of its addresses */
    size_t count;
} px_hardware_list;

/* `user` NULL: this process, with access lists; else these ids alone decide who may open what. */
void px_hardware_find(const char *root, const px_user *user, px_hardware_list *out);

/* The name of a PCI device in the text of a pci.ids file; false when it is not there. */
bool px_pci_name(phlox_text ids, uint32_t vendor, uint32_t device, char *out, size_t size);

/* ---- verdicts ------------------------------------------------------------------------------ */

/* What is known of the runtime of one of phlox's devices. */
typedef struct px_runtime_seen {
    const char *name;    /* of the px_device: "openvino" */
    const char *title;   /* for people: "OpenVINO" */
    const char *runtime; /* for phlox runtime add; NULL: it needs none */
    bool is_installed;
    bool is_given;       /* its library was named by the user */
    char own[64];        /* its name for phlox runtime rm; "": it does not lie in phlox's folder */
    bool was_asked;      /* it was opened, and `status` says how that went */
    bool has_hung;       /* and has not answered */
    phlox_status status;
    char message[512];
    char library[1024];
    px_units units;      /* when that went well */
} px_runtime_seen;

typedef struct px_problem {
    char reason[400], remedy[400]; /* a sentence; a command, or what else to do */
} px_problem;

enum { PX_MOST_WAYS = 4, PX_MOST_PROBLEMS = 4 };

/* One way to drive a unit. */
typedef struct px_way {
    const char *title;  /* "OpenVINO" */
    char device[48];    /* as --device takes it: "openvino:GPU.0"; "" where phlox has no such device */
    bool is_installed;  /* its runtime */
    bool is_listed;     /* and that shows this unit */
    bool is_usable;
    px_problem problems[PX_MOST_PROBLEMS]; /* what keeps it from being usable */
    size_t problem_count;
} px_way;

/* The ways to drive a unit of the list, the best first. Returns how many there are. */
size_t px_hardware_judge(const px_hardware_list *list, size_t unit, const px_runtime_seen *runtimes,
                         size_t runtime_count, px_way ways[PX_MOST_WAYS]);

/* Whether the tree has the library of a runtime ("openvino", "onnxruntime-genai") in the system's places. */
bool px_hardware_has_runtime(const char *root, const char *runtime);

/* What is worth knowing of a unit besides: "" for most. */
void px_hardware_note(const px_hardware_list *list, size_t unit, char *out, size_t size);

/* ---- between the files of this family ------------------------------------------------------ */

typedef enum px_lack {
    PX_LACK_NOTHING,
    PX_LACK_SUPPORT,      /* phlox has no device for it */
    PX_LACK_WINDOWS,      /* works on Windows only */
    PX_LACK_GENERATION,   /* the unit is too old */
    PX_LACK_KERNEL,       /* the kernel is older than the driver */
    PX_LACK_MODULE,       /* the driver is not loaded */
    PX_LACK_FIRMWARE,     /* the driver is loaded, its firmware is not there */
    PX_LACK_DRIVER,       /* the driver is loaded but has not taken the unit */
    PX_LACK_OTHER_DRIVER, /* another driver has */
    PX_LACK_RESERVED,     /* one that drives nothing has, for virtual machines */
    PX_LACK_NODE,         /* the node in /dev is not there */
    PX_LACK_RULE,         /* nobody but root may open it */
    PX_LACK_PERMISSION,
    PX_LACK_LOGIN,        /* permitted from the next login on */
    PX_LACK_LIBRARY,      /* the vendor's library in user space */
    PX_LACK_BUILD,        /* this build of phlox has no such device */
    PX_LACK_RUNTIME,      /* not installed */
    PX_LACK_ANSWER,       /* installed, but does not answer */
    PX_LACK_GIVEN,        /* the library that was named does not open */
    PX_LACK_START,        /* installed by phlox, but does not open */
    PX_LACK_START_OTHER,  /* installed by others, but does not open */
    PX_LACK_LISTED,       /* opens, but does not show the unit */
    PX_LACK_FIRST         /* drives another unit of the kind unless an option names this one */
} px_lack;

/* The kernel's driver for a unit, from which version of Linux on; NULL when none is known. */
const char *px_hardware_driver(const px_hardware *unit, int *major, int *minor);
/* How many units of its kind and vendor stand before it. */
size_t px_hardware_place(const px_hardware_list *list, const px_hardware *unit);
/* What is missing between the unit and user space. */
px_lack px_hardware_lack(const px_hardware_list *list, const px_hardware *unit);
/* Why a runtime does not work whose `status` is an error. */
px_lack px_hardware_start_lack(const px_runtime_seen *seen);
/* Whether the vendor's library in user space is there. */
bool px_hardware_has_library(const px_hardware_list *list, const px_hardware *unit);
/* Says what is missing and what mends that, from the table of sentences. `title` and `package` are of the way;
 * `message` is the runtime's, where it has one. */
void px_hardware_explain(const px_hardware_list *list, const px_hardware *unit, px_lack lack,
                         const char *title, const char *package, const char *message, px_problem *out);

#endif

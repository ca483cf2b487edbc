/*
 * phlox devices: the units of a machine, the runtimes that drive them, which to take, and what they are doing.
 * The rules of phlox.h hold here as well.
 */
#ifndef PHLOX_DEVICES_H
#define PHLOX_DEVICES_H

#include <phlox/tools.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- runtimes ------------------------------------------------------------------------------ */

/* An installed runtime of others that phlox can drive. Strings live as long as the call of the visitor. */
typedef struct phlox_runtime {
    const char *name;    /* "openvino", "onnxruntime-genai" */
    const char *package; /* "openvino", "onnxruntime-genai-cuda"; "" when nothing tells */
    const char *version; /* "2026.4.1"; "" when nothing tells */
    const char *origin;  /* where it was found: "phlox's folder", "active Python environment" */
    const char *library; /* its path */
    const char *onnxruntime, *onnxruntime_version; /* of the ONNX Runtime with it; "": none */
    uint64_t bytes;      /* of one in phlox's folder, which can be removed; else 0 */
    bool is_used;        /* phlox takes this one unless it is told another */
} phlox_runtime;

typedef bool phlox_runtime_fn(void *user, const phlox_runtime *runtime);

/* Calls `visit` for every installed runtime called `name` (NULL: of every name), the one that phlox takes
 * first, until it returns false. Nothing is opened or run. */
PHLOX_API phlox_status phlox_runtime_list(const char *name, phlox_runtime_fn *visit, void *user,
                                          phlox_error *error);

typedef struct phlox_runtime_options {
    size_t struct_size;    /* set by the initialiser */
    const char *version;   /* NULL: the newest final one that this machine can load */
    const char *index_url; /* of a Python package index; NULL: $PIP_INDEX_URL or https://pypi.org/simple */
    bool offline;          /* no connection is made: only an index of files (file:///) is read */
    phlox_progress_fn *progress; /* may be NULL */
    void *progress_user;
} phlox_runtime_options;

PHLOX_API void phlox_runtime_options_init(phlox_runtime_options *options);

typedef struct phlox_runtime_result {
    char version[64];
    char directory[1024];
    uint64_t downloaded, installed; /* bytes */
    bool was_there;                 /* already; then nothing was downloaded */
} phlox_runtime_result;

/* Installs "openvino", "onnxruntime-genai" or "onnxruntime-genai-cuda", also as "openvino==2026.4.1", into
 * phlox's folder: the wheels of the package index are downloaded, their SHA-256 is checked, and their
 * libraries are unpacked. The version appears when it is complete. `options` may be NULL. */
PHLOX_API phlox_status phlox_runtime_add(const char *name, const phlox_runtime_options *options,
                                         phlox_runtime_result *result, phlox_error *error);
/* Removes the version "NAME==VERSION", or all of "NAME", from phlox's folder; *removed counts them. */
PHLOX_API phlox_status phlox_runtime_remove(const char *name, size_t *removed, phlox_error *error);

/* ---- units of the machine ------------------------------------------------------------------ */

typedef enum phlox_unit_kind { PHLOX_UNIT_CPU, PHLOX_UNIT_GPU, PHLOX_UNIT_NPU } phlox_unit_kind;

typedef struct phlox_problem {
    const char *reason; /* a sentence: what is missing */
    const char *remedy; /* the command that mends it, or what else to do */
} phlox_problem;

/* One way to run a model on a unit. */
typedef struct phlox_unit_runtime {
    const char *title;  /* "OpenVINO", "native engine" */
    const char *device; /* as --device takes it: "openvino:NPU"; "" where phlox has no such device */
    bool is_installed;  /* its runtime is on this machine */
    bool is_listed;     /* the runtime was opened and shows the unit */
    bool is_usable;
    const phlox_problem *problems; /* what keeps it from being usable; each is to be mended */
    size_t problem_count;
} phlox_unit_runtime;

/* A unit as the system shows it. What is not known is "" or 0. */
typedef struct phlox_unit {
    phlox_unit_kind kind;
    const char *device;     /* as --device takes it, by the best way that is usable; "" when none is */
    const char *vendor;     /* "Intel" */
    const char *name;       /* "Meteor Lake NPU" */
    const char *generation; /* of an NPU: "Meteor Lake", "XDNA 2" */
    const char *pci;        /* "0000:00:0b.0" */
    const char *driver;     /* of the kernel: "intel_vpu" */
    const char *driver_version, *firmware;
    const char *node;       /* "/dev/accel/accel0" */
    const char *note;       /* a sentence that is worth knowing besides */
    bool may_open;          /* the node, by this user */
    bool is_integrated;     /* works in the machine's memory */
    uint64_t memory;        /* bytes of its own; of the CPU, the machine's */
    bool memory_is_least;   /* that is what the bus shows of it; there may be more */
    uint64_t shared_memory; /* bytes of the machine's that it can use as well */
    int32_t cores, threads, numa_nodes; /* of a CPU */
    uint64_t cpu_features;  /* PHLOX_CPU_* */
    const phlox_unit_runtime *runtimes;
    size_t runtime_count;
} phlox_unit;

typedef bool phlox_unit_fn(void *user, const phlox_unit *unit);

/*
 * Calls `visit` for the CPU, each GPU and each NPU until it returns false. `root`: where /sys, /proc and
 * /dev are, NULL for this machine, whose runtimes are opened and asked as well, each for half a minute at
 * most. Of `options` (may be NULL) those count that say where libraries are.
 */
PHLOX_API phlox_status phlox_devices_list(const char *root, const phlox_model_options *options,
                                          phlox_unit_fn *visit, void *user, phlox_error *error);

typedef enum phlox_power_source {
    PHLOX_POWER_UNKNOWN, /* nothing tells of a supply, as on desktops and servers */
    PHLOX_POWER_MAINS,
    PHLOX_POWER_BATTERY
} phlox_power_source;

typedef struct phlox_power {
    phlox_power_source source;
    double percent;      /* that the batteries together hold; below 0 when there is none */
    char profile[32];    /* of the platform: "balanced"; "" when it has none */
    char governor[32], preference[32]; /* of the first processor: "powersave", "balance_performance" */
} phlox_power;

/* `root` as above. */
PHLOX_API void phlox_power_state(const char *root, phlox_power *out);

typedef enum phlox_verdict {
    PHLOX_VERDICT_OK,
    PHLOX_VERDICT_NOTE,    /* phlox runs, but something could be better */
    PHLOX_VERDICT_PROBLEM  /* something that was asked for, or phlox itself, does not work */
} phlox_verdict;

/* One line of a report: what was looked at, what was found. */
typedef struct phlox_check {
    const char *section, *name; /* "memory", "available" */
    const char *value;          /* home directories as ~, no passwords: to be shown to others */
    const char *remedy;         /* what to do; "" where there is nothing to do */
    const char *source;         /* of an option's value: "default" or "given"; else "" */
    phlox_verdict verdict;
    bool is_fatal;              /* nothing runs before this is mended */
} phlox_check;

typedef bool phlox_check_fn(void *user, const phlox_check *check);

/* Everything that a report of a defect needs: version, system, processor, memory, power, runtimes, units,
 * cache, environment, and every option in force. `root` and `options` as above. */
PHLOX_API phlox_status phlox_doctor(const char *root, const phlox_model_options *options,
                                    phlox_check_fn *visit, void *user, phlox_error *error);

/* ---- devices that are right, and how fast ------------------------------------------------- */

/* What became of trying a device: a small model whose answer is known runs on it, and then one with two layers as large
 * as Phi-3-mini's, to measure. */
typedef struct phlox_trial {
    const char *device;  /* "openvino:NPU", as phlox_model_options.device takes it */
    const char *kind;    /* "CPU", "GPU", "NPU" */
    const char *name;    /* "Intel(R) AI Boost"; "" when that is not known */
    const char *runtime; /* "OpenVINO 2026.4.1", or the instruction set of the native engine */
    bool is_right;
    double kl;           /* largest Kullback-Leibler divergence from the known answer, nats */
    double difference;   /* largest of the logits */
    /* Of a decode step: seconds that a layer of any size takes, bytes of int4 weights read a second; of a prompt: weights
     * times tokens a second; 0: not measured. */
    double layer_seconds, read_rate, prompt_rate;
    double watts;        /* of the processor packages while it decoded; 0: not measurable */
    const char *problem; /* why it cannot be used, and what mends that; "" when it can */
} phlox_trial;

/* Return false to stop. */
typedef bool phlox_trial_fn(void *user, const phlox_trial *trial);

/* Tries `device`, or, when it is NULL, every unit that phlox can drive on this machine, and calls `visit` for each. Of
 * `options` (NULL: defaults) those count that say how devices are driven. What was measured of all is kept in the cache,
 * where device "auto" finds it. A device that fails is a trial with a problem, no error. */
PHLOX_API phlox_status phlox_verify(const char *device, const phlox_model_options *options,
                                    phlox_trial_fn *visit, void *user, phlox_error *error);

/* What a model would do on a device of this machine in some format. */
typedef struct phlox_advice {
    const char *device, *name; /* as in phlox_trial */
    const char *weights;       /* "int4 sym g128, embedding and lm_head int8" */
    const char *option;        /* what asks for them: "int8"; "" for what is so by default */
    double prefill, decode;    /* tokens a second, from what the trial measured */
    double joules;             /* of a decoded token; 0: not measurable */
    uint64_t memory;           /* bytes, with `context` tokens cached */
    bool fits;                 /* in the memory that is free now */
    bool is_best;              /* what auto would take, in the default format */
    const char *problem;       /* the device's; "" when it can be used. Then the numbers are 0 */
} phlox_advice;

typedef bool phlox_advice_fn(void *user, const phlox_advice *advice);

/* Says for each device and weight format what to expect of the model at `path` (NULL: the built-in one) with `context`
 * tokens (0: 4096, or what the model has), best first; *reason, of `size` bytes, is why the best is the best. */
PHLOX_API phlox_status phlox_advise(const char *path, const phlox_model_options *options,
                                    int32_t context, phlox_advice_fn *visit, void *user, char *reason,
                                    size_t size, phlox_error *error);

/* ---- watching ------------------------------------------------------------------------------ */

/* Whose work a utilisation counts. */
typedef enum phlox_unit_scope {
    PHLOX_SCOPE_MACHINE, /* everything that runs on the unit */
    PHLOX_SCOPE_USER,    /* the processes that this user may look at: for root all, else the user's own */
    PHLOX_SCOPE_PROCESS  /* the process that the meter was opened for */
} phlox_unit_scope;

/* A unit between the last two samples. Every number that cannot be had is NAN, never 0. */
typedef struct phlox_unit_reading {
    phlox_unit_kind kind;
    phlox_unit_scope scope; /* of utilisation; where that is not the machine, of memory_used too */
    char name[16];       /* "CPU"; "GPU.0", "GPU.1" in the order of their addresses; "NPU" */
    char full_name[96];  /* "Intel Core Ultra 7 155H", "Intel NPU (8086:7d1d)" */
    char vendor[16];     /* "Intel", "AMD", "NVIDIA"; "" for a CPU */
    char pci[16];        /* "0000:00:02.0"; "" for a CPU */
    char driver[24];     /* of the kernel: "xe"; "" for a CPU */
    bool is_asleep;      /* switched off by power management: utilisation is 0, and nothing else is asked
                            of it because that would wake it */
    bool energy_in_cpu;  /* watts and joules are inside those of the CPU, which are of the whole package */
    double utilisation;  /* 0 to 1; of the engine (compute, copy, video) that was busiest */
    double clock, max_clock;           /* Hz; for a CPU the mean of the cores, and the fastest one's */
    double memory_used, memory_total;  /* bytes */
    double watts, joules;              /* mean between the samples; since the meter was opened */
    double celsius;
    double busy_seconds, measured_seconds; /* since the meter was opened: the integral of utilisation, and
                                              the time over which it was known */
    char absent[224];    /* why something is missing, in a sentence; "" where there is nothing to say */
} phlox_unit_reading;

enum { PHLOX_MOST_UNITS = 16 };

typedef struct phlox_meter phlox_meter;

/*
 * Finds what this machine can measure of its CPU, GPUs and NPUs, and takes the first sample. `root` is
 * where /proc and /sys are, NULL for this machine; `pid` is the process whose work counts where a GPU or
 * NPU only tells by process, 0 for all that may be looked at. Sources that are not there are left out. A
 * meter belongs to one thread at a time. Opening may take long where a driver's library has to start.
 */
PHLOX_API phlox_status phlox_meter_open(const char *root, int64_t pid, phlox_meter **out,
                                        phlox_error *error);
/* Takes a sample and returns what was between it and the one before, in an array of *count that lives
 * until the next call on the meter: the CPU, GPUs, NPUs. An Intel NPU is read once a second at most, as
 * its driver asks for. */
PHLOX_API const phlox_unit_reading *phlox_meter_sample(phlox_meter *meter, size_t *count);
/* Utilisation of each hardware thread of the CPU between the last two samples, 0 to 1 or NAN; lives until
 * the next call on the meter. */
PHLOX_API const float *phlox_meter_cores(const phlox_meter *meter, size_t *count);
PHLOX_API void phlox_meter_close(phlox_meter **meter);

/* What the units did over a span of time. */
typedef struct phlox_usage_report {
    double seconds;
    size_t count;
    /* utilisation, clock and watts are means over the span, joules is what was used in it, and memory_used
     * the most of it; the rest is as it was at the end. */
    phlox_unit_reading units[PHLOX_MOST_UNITS];
    /* The sum over units whose energy is known and is not in another's; NAN where there is none. With watts
     * the mean. */
    double joules, watts;
    char measured[96]; /* the units in that sum: "CPU, GPU.1"; "" */
} phlox_usage_report;

typedef struct phlox_usage phlox_usage;

/* Begins a span, in which a thread takes ten samples a second. The meter is not to be used otherwise until
 * phlox_usage_end(); with NULL one is opened for this process. */
PHLOX_API phlox_status phlox_usage_begin(phlox_meter *meter, phlox_usage **out, phlox_error *error);
/* Ends it and frees it. `report` may be NULL. */
PHLOX_API void phlox_usage_end(phlox_usage **usage, phlox_usage_report *report);

#ifdef __cplusplus
}
#endif
#endif

/* What the files of the ONNX Runtime device know of an opened model and of a sequence. */
#ifndef PX_DEVICE_ORT_MODEL_H
#define PX_DEVICE_ORT_MODEL_H

#include "device/ort_provider.h"
#include "engine/exported.h"

struct px_device_model {
    const px_checkpoint *checkpoint;
    px_ort_api api;
    px_ort_provider provider;
    px_exported exported;  /* the directory that the runtime reads */
    char device[48];       /* "ort:cuda", for messages */
    OgaModel *model;
    px_monitor *steps;     /* held by who calls the runtime, which is not made for threads */
    px_device_info info;
    /* Of genai_config.json. */
    char logits[64];       /* name of the output */
    px_ids eos;            /* ids that end a text for the runtime's search */
    bool lacks_eos;        /* there is none: it is given the first one of the vocabulary */
    size_t context_length; /* the most that a generator can be made for */
    bool lacks_window;     /* it is the model's window, which the provider does not have */
    bool shares_buffer;    /* keys and values of max_length tokens are allocated at once */
    /* Found out when it was opened. */
    size_t least_capacity; /* tokens that a generator is made for */
    bool continues, rewinds; /* tokens may be appended behind others, and taken off again */
    bool last_only;        /* the graph gives logits of a step's last token */
    float *choice;         /* [vocab] for making the runtime choose a token; NULL where it is not needed */
};

struct px_sequence {
    px_device_model *model;
    px_ids ids;              /* all of it */
    OgaGenerator *generator; /* NULL: none, or its state is not known any more */
    size_t filled;           /* the first so many ids are in the generator */
    size_t capacity;         /* tokens that it was made for */
    size_t expected;         /* tokens that it is about to have */
    bool is_long;            /* longrope: of what is filled */
};

phlox_status px_ort_sequence_create(px_device_model *model, px_sequence **out, phlox_error *error);
void px_ort_sequence_free(px_sequence *sequence);
phlox_status px_ort_forward(px_device_model *model, const px_batch_item *items, size_t count,
                            phlox_error *error);
void px_ort_reserve(px_sequence *sequence, size_t length);
size_t px_ort_truncate(px_sequence *sequence, size_t length);
uint64_t px_ort_sequence_bytes(const px_sequence *sequence);

/* Runs two tokens through a new model and takes from what comes out what its graph gives and can. */
phlox_status px_ort_probe(px_device_model *model, phlox_error *error);

#endif

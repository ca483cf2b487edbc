/* Logits out of a generator of ONNX Runtime GenAI: of the type and shape that are meant, widened, finite. */
#ifndef PX_DEVICE_ORT_LOGITS_H
#define PX_DEVICE_ORT_LOGITS_H

#include "device/ort_model.h"

/* Of the last step, which was `count` tokens: of its tokens from `first` to `end`. out: [end - first, vocab] */
phlox_status px_ort_logits(const px_device_model *model, OgaGenerator *generator, size_t count, size_t first,
                           size_t end, float *out, phlox_error *error);

/* Of the last token, which the runtime computes now if it has not. out: [vocab]; NULL: only that */
phlox_status px_ort_last_logits(const px_device_model *model, OgaGenerator *generator, float *out,
                                phlox_error *error);

/* How many rows the graph gave in the last step, and the bytes of a logit in its own type. */
phlox_status px_ort_logits_of_step(const px_device_model *model, OgaGenerator *generator, int64_t *rows,
                                   size_t *bytes, phlox_error *error);

#endif

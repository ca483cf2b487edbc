/* What readers and writers of ONNX models share. */
#ifndef PX_CHECKPOINT_ONNX_TYPES_H
#define PX_CHECKPOINT_ONNX_TYPES_H

/* TensorProto.DataType, as far as weights have it. */
typedef enum px_onnx_type {
    PX_ONNX_FLOAT = 1,
    PX_ONNX_UINT8 = 2,
    PX_ONNX_INT8 = 3,
    PX_ONNX_INT32 = 6,
    PX_ONNX_INT64 = 7,
    PX_ONNX_FLOAT16 = 10,
    PX_ONNX_BFLOAT16 = 16,
    PX_ONNX_UINT4 = 21,
    PX_ONNX_INT4 = 22,
} px_onnx_type;

#endif

"""Small networks in the words of exporters other than torch's, node for node as those write them: tf2onnx, Paddle2ONNX, MXNet, Darknet, Caffe.

Usage: python built.py NAME FILE     NETWORKS: what makes each, by name.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, HALF, INT64, INT32, UINT8 = (
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8)


class Builder:
    def __init__(self, opset, **inputs):
        """inputs: shapes by name."""
        self.random = np.random.default_rng(0)
        self.opset, self.nodes, self.constants, self.count = opset, [], [], 0
        self.inputs = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()]

    def name(self, of):
        self.count += 1
        return f"{of}_{self.count}"

    def op(self, op_type, *inputs, outputs=1, **attributes):
        """The name of its result, or names of several. Arrays and lists of inputs become constants."""
        given = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        made = [self.name(op_type) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op_type, given, made, name=made[0], **attributes))
        return made[0] if outputs == 1 else made

    def constant(self, value):
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.constants.append(numpy_helper.from_array(array, self.name("const")))
        return self.constants[-1].name

    def weight(self, *shape):
        fan = max(1, int(np.prod(shape[1:])))
        return (self.random.standard_normal(shape) * np.sqrt(2 / fan)).astype(np.float32)

    def vector(self, size, low=-0.3, high=0.3):
        return self.random.uniform(low, high, size).astype(np.float32)

    def norm(self, x, channels, epsilon=1e-3):
        return self.op("BatchNormalization", x, self.vector(channels, 0.5, 1.5), self.vector(channels), self.vector(channels),
                       self.vector(channels, 0.5, 2), epsilon=epsilon)

    def model(self, *outputs, rank=None):
        """rank: of the outputs whose shapes cannot be inferred."""
        results = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "built", self.inputs, results, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
        for value, told in zip(model.graph.output, inferred):
            value.CopyFrom(told)
            if not value.type.tensor_type.HasField("shape"):
                value.CopyFrom(helper.make_tensor_value_info(value.name, FLOAT, [None] * rank))
        return model


# --- tf2onnx: images of channels last; SAME padding, computed where sizes are fixed, as auto_pad where they are open ---

def to_planes(b, x):
    return b.op("Transpose", x, perm=[0, 3, 1, 2])


def to_pixels(b, x):
    return b.op("Transpose", x, perm=[0, 2, 3, 1])


def keras_conv(b, x, inputs, outputs, kernel=3, stride=1, depthwise=False, fixed=True, act="relu6", bias=True):
    groups = inputs if depthwise else 1
    side = (kernel - 1) // 2 if stride == 1 else (kernel - 2) // 2  # of an even size
    pads = {"pads": [side, side, kernel - stride - side, kernel - stride - side]} if kernel > 1 and stride in (1, 2) else {}
    how = pads if fixed else {"auto_pad": "SAME_UPPER"}
    weight = b.weight(outputs, inputs // groups, kernel, kernel)
    x = b.op("Conv", x, weight, *([b.vector(outputs)] if bias else []), strides=[stride] * 2, kernel_shape=[kernel] * 2, group=groups,
             **how)
    if act == "relu6":
        return b.op("Clip", x, np.float32(0), np.float32(6))
    if act == "hard_swish":
        gate = b.op("Clip", b.op("Add", x, np.float32(3)), np.float32(0), np.float32(6))
        return b.op("Mul", x, b.op("Mul", gate, np.float32(1 / 6)))
    if act == "swish":
        return b.op("Mul", x, b.op("Sigmoid", x))
    return b.op("Relu", x) if act == "relu" else x


def keras_gate(b, x, channels):
    y = b.op("ReduceMean", to_pixels(b, x), axes=[1, 2], keepdims=1)  # channels last
    y = keras_conv(b, to_planes(b, y), channels, 8, 1, act="relu")
    y = keras_conv(b, y, 8, channels, 1, act=None)
    y = b.op("Clip", b.op("Add", y, np.float32(3)), np.float32(0), np.float32(6))
    return b.op("Mul", x, b.op("Mul", y, np.float32(1 / 6)))


def keras_mobilenet(fixed=True):
    """Like MobileNetV3 of Keras: rescaled pixels, gates, a dense head on channels last."""
    b = Builder(13, input_1=["unk__1", 96 if fixed else "unk__2", 96 if fixed else "unk__3", 3])
    x = b.op("Add", b.op("Mul", "input_1", np.float32(1 / 127.5)), np.float32(-1))
    x = keras_conv(b, to_planes(b, x), 3, 16, 3, 2, fixed=fixed, act="hard_swish")
    for inputs, outputs, stride in ((16, 24, 2), (24, 24, 1), (24, 40, 2)):
        y = keras_conv(b, x, inputs, inputs * 2, 1)
        y = keras_conv(b, y, inputs * 2, inputs * 2, 5, stride, True, fixed)
        y = keras_conv(b, keras_gate(b, y, inputs * 2), inputs * 2, outputs, 1, act=None)
        x = b.op("Add", y, x) if stride == 1 else y
    x = b.op("Squeeze", b.op("GlobalAveragePool", x), [2, 3])
    x = b.op("Add", b.op("MatMul", x, b.weight(40, 10)), b.vector(10))
    return b.model(b.op("Softmax", x, axis=1))


def keras_unet():
    """Like U-Nets of Keras, of open sizes: transposed convolutions whose results are cut to computed sizes, Resize on channels last."""
    b = Builder(13, image=["unk__1", "unk__2", "unk__3", 3])
    x = keras_conv(b, to_planes(b, "image"), 3, 8, fixed=False, act="relu")
    x = keras_conv(b, b.norm(x, 8), 8, 8, fixed=False, act="relu")
    y = b.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")
    y = keras_conv(b, y, 8, 16, fixed=False, act="relu")
    z = b.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")
    z = keras_conv(b, z, 16, 16, fixed=False, act="relu")
    # Conv2DTranspose of SAME padding: the sizes twice the input's, by Shape, Slice, Mul and Concat of channels last.
    size = b.op("Cast", b.op("Shape", to_pixels(b, z)), to=INT32)
    height, width = (b.op("Mul", b.op("Squeeze", b.op("Slice", size, [i], [i + 1], [0]), [0]), np.int32(2)) for i in (1, 2))
    parts = [b.op("Unsqueeze", b.op("Cast", each, to=INT64), [0]) for each in (height, width)]
    up = b.op("ConvTranspose", z, b.weight(16, 16, 3, 3), strides=[2, 2], kernel_shape=[3, 3], pads=[0, 0, 0, 0])
    up = b.op("Slice", up, [0, 0], b.op("Concat", *parts, axis=0), [2, 3])
    y = keras_conv(b, b.op("Concat", up, y, axis=1), 32, 8, fixed=False, act="relu")
    # UpSampling2D: sizes again, as floats in between.
    size = b.op("Slice", b.op("Shape", to_pixels(b, y)), [1], [3], [0])
    scaled = b.op("Cast", b.op("Mul", b.op("Cast", size, to=FLOAT), np.float32([2, 2])), to=INT64)
    sizes = b.op("Concat", b.op("Slice", b.op("Shape", y), [0], [2], [0]), scaled, axis=0)
    y = b.op("Resize", y, "", "", sizes, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    y = keras_conv(b, b.op("Concat", y, x, axis=1), 16, 2, 1, fixed=False, act=None)
    return b.model(b.op("Sigmoid", to_pixels(b, y)))


def keras_detector():
    """Like SSD of TensorFlow: bytes of channels last, heads flattened by computed shapes, boxes decoded beside fixed anchors."""
    b = Builder(13, serving_default_input=[1, 96, 96, 3])
    b.inputs[0].type.tensor_type.elem_type = UINT8
    x = b.op("Sub", b.op("Cast", "serving_default_input", to=FLOAT), np.float32([123.7, 116.3, 103.5]))
    x = b.op("Div", x, np.float32([58.4, 57.1, 57.4]))
    x = keras_conv(b, to_planes(b, x), 3, 16, 3, 2)
    x = keras_conv(b, keras_conv(b, x, 16, 16, 3, 2, True), 16, 24, 1)
    fine = keras_conv(b, keras_conv(b, x, 24, 24, 3, 2, True), 24, 32, 1)
    coarse = keras_conv(b, keras_conv(b, fine, 32, 32, 3, 2, True), 32, 32, 1)
    found = []
    for outputs in (4, 6):
        rows = []
        for level in (fine, coarse):
            y = to_pixels(b, keras_conv(b, level, 32, 3 * outputs, 3, act=None))
            batch = b.op("Slice", b.op("Shape", y), [0], [1], [0])
            rows.append(b.op("Reshape", y, b.op("Concat", batch, [-1], [outputs], axis=0)))
        found.append(b.op("Concat", *rows, axis=1))
    boxes, scores = found
    anchors = b.random.uniform(0.1, 0.9, (1, 3 * (12 * 12 + 6 * 6), 4)).astype(np.float32)
    y, x, h, w = b.op("Split", boxes, [1, 1, 1, 1], outputs=4, axis=2)
    centre = [b.op("Add", b.op("Mul", b.op("Div", each, np.float32(10)), anchors[..., 2 + i:3 + i]), anchors[..., i:i + 1])
              for i, each in enumerate((y, x))]
    half = [b.op("Mul", b.op("Mul", b.op("Exp", b.op("Div", each, np.float32(5))), anchors[..., 2 + i:3 + i]), np.float32(0.5))
            for i, each in enumerate((h, w))]
    corners = [b.op(op, centre[i], half[i]) for op in ("Sub", "Add") for i in (0, 1)]
    boxes = b.op("Min", b.op("Max", b.op("Concat", *corners, axis=2), np.float32(0)), np.float32(1))
    return b.model(boxes, b.op("Sigmoid", scores), rank=3)


def keras_transformer():
    """Like small transformers of Keras: patches, layer normalization and GELU by their parts, attention by Einsum, all on channels last."""
    b = Builder(13, image=["unk__1", 64, 64, 3])
    x = to_pixels(b, keras_conv(b, to_planes(b, "image"), 3, 32, 8, 8, act=None))
    x = b.op("Add", b.op("Reshape", x, [-1, 64, 32]), b.weight(1, 64, 32))

    def layer_norm(x):
        mean = b.op("ReduceMean", x, axes=[2], keepdims=1)
        away = b.op("Sub", x, mean)
        variance = b.op("ReduceMean", b.op("Mul", away, away), axes=[2], keepdims=1)
        scale = b.op("Mul", b.op("Reciprocal", b.op("Sqrt", b.op("Add", variance, np.float32(1e-6)))), b.vector(32, 0.5, 1.5))
        return b.op("Add", b.op("Mul", x, scale), b.op("Sub", b.vector(32), b.op("Mul", mean, scale)))

    y = layer_norm(x)
    query, key, value = (b.op("Add", b.op("Einsum", y, b.weight(32, 4, 8), equation="abc,cde->abde"), b.weight(4, 8)) for _ in range(3))
    query = b.op("Mul", query, np.float32(8**-0.5))
    share = b.op("Softmax", b.op("Einsum", key, query, equation="aecd,abcd->acbe"), axis=3)
    y = b.op("Einsum", share, value, equation="acbe,aecd->abcd")
    x = b.op("Add", b.op("Einsum", y, b.weight(4, 8, 32), equation="abcd,cde->abe"), x)
    y = b.op("Add", b.op("MatMul", layer_norm(x), b.weight(32, 64)), b.vector(64))
    gate = b.op("Add", b.op("Erf", b.op("Mul", y, np.float32(2**-0.5))), np.float32(1))
    y = b.op("Mul", b.op("Mul", np.float32(0.5), y), gate)
    x = b.op("Add", b.op("Add", b.op("MatMul", y, b.weight(64, 32)), b.vector(32)), x)
    return b.model(b.op("MatMul", b.op("ReduceMean", layer_norm(x), axes=[1], keepdims=0), b.weight(32, 10)))


# --- Paddle2ONNX: everything open, shapes by Shape, Slice and Concat, hard functions by their parts ---

OPEN = "p2o.DynamicDimension.{}"
NOTHING = (np.zeros(0, np.float32), np.zeros(0, np.float32))  # region and scales of a Resize that goes by sizes


def paddle_conv(b, x, inputs, outputs, kernel=3, stride=1, groups=1, act="hard_swish"):
    strides = [stride, stride] if isinstance(stride, int) else list(stride)
    x = b.op("Conv", x, b.weight(outputs, inputs // groups, kernel, kernel), dilations=[1, 1], group=groups, kernel_shape=[kernel] * 2,
             pads=[kernel // 2] * 4, strides=strides)
    x = b.norm(x, outputs, 1e-5)
    if act == "hard_swish":
        y = b.op("Clip", b.op("Add", x, np.float32([3])), np.float32(0), np.float32(6))
        return b.op("Div", b.op("Mul", x, y), np.float32([6]))
    return b.op("Relu", x) if act == "relu" else x


def paddle_gate(b, x, channels):
    y = b.op("GlobalAveragePool", x)
    y = b.op("Conv", y, b.weight(8, channels, 1, 1), kernel_shape=[1, 1])
    y = b.op("Relu", b.op("Add", y, b.op("Reshape", b.vector(8), [1, 8, 1, 1])))
    y = b.op("Add", b.op("Conv", y, b.weight(channels, 8, 1, 1), kernel_shape=[1, 1]), b.op("Reshape", b.vector(channels), [1, -1, 1, 1]))
    return b.op("Mul", x, b.op("HardSigmoid", y, alpha=0.2, beta=0.5))


def paddle_block(b, x, inputs, outputs, stride=1, kernel=3):
    x = paddle_conv(b, x, inputs, inputs, kernel, stride, inputs)
    return paddle_conv(b, paddle_gate(b, x, inputs), inputs, outputs, 1)


def paddle_like(b, x, other):
    """Enlarged to another map's size."""
    size = b.op("Slice", b.op("Shape", other), [2], [4], [0])
    sizes = b.op("Concat", b.op("Slice", b.op("Shape", x), [0], [2], [0]), b.op("Cast", b.op("Cast", size, to=INT32), to=INT64), axis=0)
    return b.op("Resize", x, *NOTHING, sizes, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def paddle_detector():
    """Like PP-PicoDet: a light pyramid of open sizes, scores and binned sides, decoded beside a grid of a fixed stride."""
    b = Builder(11, image=[OPEN.format(0), 3, 96, 96], scale_factor=[OPEN.format(1), 2])
    x = paddle_block(b, paddle_conv(b, "image", 3, 8, 3, 2), 8, 16, 2)
    fine = paddle_block(b, x, 16, 16, 2, 5)
    coarse = paddle_block(b, fine, 16, 24, 2, 5)
    fine = paddle_conv(b, b.op("Concat", paddle_like(b, paddle_conv(b, coarse, 24, 16, 1), fine), fine, axis=1), 32, 16, 5, 1, 1)
    coarse = paddle_conv(b, coarse, 24, 16, 1)
    scores, boxes = [], []
    for level, size, stride in ((fine, 12, 8.0), (coarse, 6, 16.0)):
        y = paddle_conv(b, paddle_conv(b, level, 16, 16, 5, 1, 16), 16, 16, 1)
        score, sides = b.op("Split", b.op("Add", b.op("Conv", y, b.weight(5 + 32, 16, 1, 1), kernel_shape=[1, 1]),
                                          b.op("Reshape", b.vector(37), [1, -1, 1, 1])), split=[5, 32], outputs=2, axis=1)
        shape = b.op("Cast", b.op("Shape", y), to=INT32)
        batch = b.op("Cast", b.op("Slice", shape, [0], [1], [0]), to=INT64)
        scores.append(b.op("Reshape", b.op("Sigmoid", score), b.op("Concat", batch, [5], [size * size], axis=0)))
        sides = b.op("Reshape", b.op("Transpose", sides, perm=[0, 2, 3, 1]), [-1, 8])
        sides = b.op("MatMul", b.op("Softmax", sides, axis=1), np.arange(8, dtype=np.float32).reshape(8, 1))
        sides = b.op("Mul", b.op("Reshape", sides, b.op("Concat", batch, [size * size], [4], axis=0)), np.float32([stride]))
        rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
        centres = ((np.stack([columns, rows], -1).reshape(1, -1, 2) + 0.5) * stride).astype(np.float32)
        before = b.op("Sub", centres, b.op("Slice", sides, [0], [2], [2]))
        boxes.append(b.op("Concat", before, b.op("Add", centres, b.op("Slice", sides, [2], [4], [2])), axis=-1))
    scale = b.op("Concat", *(b.op("Slice", "scale_factor", [i], [i + 1], [1]) for i in (1, 0, 1, 0)), axis=-1)
    found = b.op("Div", b.op("Concat", *boxes, axis=1), b.op("Unsqueeze", scale, axes=[1]))
    return b.model(found, b.op("Concat", *scores, axis=2), rank=3)


def paddle_reader():
    """Like PP-OCR's SVTR: columns of a line of open length as a sequence, layer normalization by its parts, and recurrent layers."""
    b = Builder(11, x=[OPEN.format(0), 3, 48, OPEN.format(1)])
    x = paddle_block(b, paddle_conv(b, "x", 3, 8, 3, 2), 8, 16, (2, 1))
    x = paddle_block(b, x, 16, 24, (2, 1), 5)
    x = b.op("AveragePool", x, kernel_shape=[6, 2], strides=[6, 2], pads=[0, 0, 0, 0], ceil_mode=0)
    shape = b.op("Shape", x)
    width = b.op("Cast", b.op("Cast", b.op("Slice", shape, [3], [4], [0]), to=INT32), to=INT64)
    x = b.op("Transpose", b.op("Reshape", x, b.op("Concat", [0], [24], width, axis=0)), perm=[0, 2, 1])
    away = b.op("Sub", x, b.op("ReduceMean", x, axes=[-1], keepdims=1))
    spread = b.op("Sqrt", b.op("Add", b.op("ReduceMean", b.op("Pow", away, np.float32(2)), axes=[-1], keepdims=1), np.float32(1e-6)))
    y = b.op("Add", b.op("Mul", b.op("Div", away, spread), b.vector(24, 0.5, 1.5)), b.vector(24))
    y = b.op("Add", b.op("MatMul", y, b.weight(24, 72)), b.vector(72))
    y = b.op("Transpose", b.op("Reshape", y, b.op("Concat", [0], width, [3], [4], [6], axis=0)), perm=[2, 0, 3, 1, 4])
    query, key, value = (b.op("Squeeze", b.op("Slice", y, [i], [i + 1], [0]), axes=[0]) for i in range(3))
    query = b.op("Mul", query, np.float32([6**-0.5]))
    y = b.op("MatMul", b.op("Softmax", b.op("MatMul", query, b.op("Transpose", key, perm=[0, 1, 3, 2])), axis=-1), value)
    y = b.op("Reshape", b.op("Transpose", y, perm=[0, 2, 1, 3]), b.op("Concat", [0], width, [24], axis=0))
    x = b.op("Add", x, y)
    steps = b.op("Transpose", x, perm=[1, 0, 2])
    weights = [b.random.uniform(-0.4, 0.4, shape).astype(np.float32) for shape in ((2, 64, 24), (2, 64, 16), (2, 128))]
    batch = b.op("Slice", shape, [0], [1], [0])
    start = b.op("ConstantOfShape", b.op("Concat", [2], batch, [16], axis=0), value=helper.make_tensor("v", FLOAT, [1], [0.0]))
    y, _, _ = b.op("LSTM", steps, *weights, "", start, start, outputs=3, hidden_size=16, direction="bidirectional")
    y = b.op("Reshape", b.op("Transpose", y, perm=[2, 0, 1, 3]), [0, 0, -1])
    return b.model(b.op("Softmax", b.op("Add", b.op("MatMul", y, b.weight(32, 20)), b.vector(20)), axis=-1))


def paddle_segmenter():
    """Like PP-LiteSeg: pooled context, maps enlarged to each other's open sizes, classes of every pixel."""
    b = Builder(11, x=[OPEN.format(0), 3, OPEN.format(1), OPEN.format(2)])
    fine = paddle_conv(b, paddle_conv(b, "x", 3, 8, 3, 2, act="relu"), 8, 16, 3, 2, act="relu")
    coarse = paddle_conv(b, fine, 16, 24, 3, 2, act="relu")
    pooled = paddle_conv(b, b.op("GlobalAveragePool", coarse), 24, 16, 1, act="relu")
    size = b.op("Slice", b.op("Shape", coarse), [2], [4], [0])
    sizes = b.op("Concat", b.op("Slice", b.op("Shape", pooled), [0], [2], [0]), size, axis=0)
    y = b.op("Resize", pooled, *NOTHING, sizes, mode="linear", coordinate_transformation_mode="half_pixel")
    y = paddle_conv(b, b.op("Add", y, paddle_conv(b, coarse, 24, 16, 1, act="relu")), 16, 16, act="relu")
    size = b.op("Slice", b.op("Shape", fine), [2], [4], [0])
    sizes = b.op("Concat", b.op("Slice", b.op("Shape", y), [0], [2], [0]), size, axis=0)
    y = b.op("Resize", y, *NOTHING, sizes, mode="linear", coordinate_transformation_mode="half_pixel")
    seen = [b.op(op, each, axes=[1], keepdims=1) for each in (y, fine) for op in ("ReduceMean", "ReduceMax")]
    gate = b.op("Sigmoid", paddle_conv(b, b.op("Concat", *seen, axis=1), 4, 1, act=None))
    other = b.op("Add", b.op("Mul", gate, np.float32([-1])), np.float32([1]))
    y = b.op("Add", b.op("Mul", y, gate), b.op("Mul", fine, other))
    y = b.op("Conv", paddle_conv(b, y, 16, 8, act="relu"), b.weight(4, 8, 1, 1), kernel_shape=[1, 1])
    size = b.op("Cast", b.op("Slice", b.op("Shape", "x"), [2], [4], [0]), to=INT64)
    sizes = b.op("Concat", b.op("Slice", b.op("Shape", y), [0], [2], [0]), size, axis=0)
    y = b.op("Resize", y, *NOTHING, sizes, mode="linear", coordinate_transformation_mode="half_pixel")
    y = b.op("Softmax", b.op("Transpose", y, perm=[0, 2, 3, 1]), axis=3)
    return b.model(b.op("Transpose", y, perm=[0, 3, 1, 2]))


# --- MXNet, Darknet, Caffe ---

def mxnet_embedding():
    """Like ArcFace of MXNet: pixels scaled by nodes, a BatchNormalization first, PReLU, normalisation before convolutions, opset 8."""
    b = Builder(8, data=["None", 3, 112, 112])
    x = b.op("Mul", b.op("Sub", "data", np.float32([127.5])), np.float32([1 / 128]))
    x = b.norm(b.op("Conv", x, b.weight(16, 3, 3, 3), kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]), 16, 2e-5)
    x = b.op("PRelu", x, b.vector(16, 0.1, 0.4).reshape(16, 1, 1))
    for inputs, outputs, stride in ((16, 16, 2), (16, 24, 2), (24, 24, 1)):
        y = b.op("Conv", b.norm(x, inputs, 2e-5), b.weight(outputs, inputs, 3, 3), kernel_shape=[3, 3], pads=[1] * 4)
        y = b.op("PRelu", b.norm(y, outputs, 2e-5), b.vector(outputs, 0.1, 0.4).reshape(outputs, 1, 1))
        y = b.norm(b.op("Conv", y, b.weight(outputs, outputs, 3, 3), kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2), outputs, 2e-5)
        if stride > 1:
            x = b.norm(b.op("Conv", x, b.weight(outputs, inputs, 1, 1), kernel_shape=[1, 1], strides=[stride] * 2), outputs, 2e-5)
        x = b.op("Add", y, x)
    x = b.op("Flatten", b.op("Dropout", b.norm(x, 24, 2e-5), ratio=0.4))
    x = b.op("Gemm", x, b.weight(32, 24 * 14 * 14), b.vector(32), alpha=1.0, beta=1.0, transA=0, transB=1)
    x = b.norm(x, 32, 2e-5)
    return b.model(b.op("Div", x, b.op("ReduceL2", x, axes=[1], keepdims=1)))


def darknet_detector():
    """Like YOLOv3 of Darknet: LeakyRelu, Upsample, anchors and grids as constants, opset 9."""
    b = Builder(9, input=[1, 3, 96, 96])

    def layer(x, inputs, outputs, kernel=3, stride=1):
        x = b.op("Conv", x, b.weight(outputs, inputs, kernel, kernel), kernel_shape=[kernel] * 2, auto_pad="SAME_LOWER", strides=[stride] * 2)
        return b.op("LeakyRelu", b.norm(x, outputs, 1e-5), alpha=0.1)

    x = layer(layer(layer("input", 3, 8, 3, 2), 8, 16, 3, 2), 16, 16, 3, 2)
    fine = b.op("Add", layer(layer(x, 16, 8, 1), 8, 16), x)
    coarse = layer(fine, 16, 32, 3, 2)
    pooled = [b.op("MaxPool", coarse, kernel_shape=[size] * 2, auto_pad="SAME_UPPER", strides=[1, 1]) for size in (5, 9, 13)]
    coarse = layer(b.op("Concat", coarse, *pooled, axis=1), 128, 16, 1)
    up = b.op("Upsample", layer(coarse, 16, 8, 1), np.float32([1, 1, 2, 2]), mode="nearest")
    heads = (coarse, 16, 6), (layer(b.op("Concat", up, fine, axis=1), 24, 16), 16, 12)
    found = []
    for head, inputs, size in heads:
        y = b.op("Conv", head, b.weight(3 * 9, inputs, 1, 1), b.vector(27), kernel_shape=[1, 1])
        y = b.op("Transpose", b.op("Reshape", y, [1, 3, 9, size, size]), perm=[0, 1, 3, 4, 2])
        grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(1, 1, size, size, 2).astype(np.float32)
        cut = lambda start, end: b.op("Slice", y, axes=[4], starts=[start], ends=[end])
        centre = b.op("Mul", b.op("Add", b.op("Sigmoid", cut(0, 2)), grid), np.float32(96 / size))
        extent = b.op("Mul", b.op("Exp", cut(2, 4)), b.vector(6, 5, 50).reshape(1, 3, 1, 1, 2))
        y = b.op("Concat", centre, extent, b.op("Sigmoid", cut(4, 9)), axis=4)
        found.append(b.op("Reshape", y, [1, -1, 9]))
    return b.model(b.op("Concat", *found, axis=1))


def caffe_classifier():
    """Like GoogLeNet and SqueezeNet of Caffe: pools that hang over the edge, LRN, BatchNormalization and scale apart, opset 7."""
    b = Builder(7, data_0=[1, 3, 99, 99])

    def layer(x, inputs, outputs, kernel=1, stride=1):
        return b.op("Relu", b.op("Conv", x, b.weight(outputs, inputs, kernel, kernel), b.vector(outputs), kernel_shape=[kernel] * 2,
                                 pads=[kernel // 2] * 4, strides=[stride] * 2))

    def pool(x, kernel=3, stride=2, pads=(0, 0, 1, 1)):
        return b.op("MaxPool", x, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=list(pads))

    x = b.op("LRN", pool(layer("data_0", 3, 16, 7, 2)), size=5, alpha=1e-4, beta=0.75, bias=1.0)
    x = b.op("LRN", layer(layer(x, 16, 16), 16, 24, 3), size=5, alpha=1e-4, beta=0.75, bias=1.0)
    x = pool(x)
    parts = [layer(x, 24, 8), layer(layer(x, 24, 8), 8, 16, 3), layer(layer(x, 24, 4), 4, 8, 5), layer(pool(x, 3, 1, (1, 1, 1, 1)), 24, 8)]
    x = b.norm(b.op("Concat", *parts, axis=1), 40, 1e-5)
    x = b.op("Add", b.op("Mul", x, b.vector(40, 0.5, 1.5).reshape(1, 40, 1, 1)), b.vector(40).reshape(1, 40, 1, 1))
    x = b.op("Relu", x)
    x = b.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    x = b.op("Dropout", layer(x, 40, 20), ratio=0.4)
    x = b.op("Reshape", b.op("GlobalAveragePool", x), [0, -1])
    return b.model(b.op("Softmax", b.op("Gemm", x, b.weight(10, 20), b.vector(10), transB=1)))


# --- float16, as converters write it: all of it half, or with float32 at both ends ---

def half(model, ends):
    """A model with all its numbers as float16; `ends`: what it is given and gives stays float32, by Casts."""
    graph = model.graph
    scales = {node.input[1] for node in graph.node if node.op_type == "Upsample"}
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and tensor.name not in scales:
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), tensor.name))
    before = []
    for value in [*graph.input, *graph.output]:
        if not ends:
            value.type.tensor_type.elem_type = HALF
            continue
        inner = f"graph_{value.name}_half"
        for node in graph.node:
            node.input[:] = [inner if name == value.name else name for name in node.input]
            node.output[:] = [inner if name == value.name else name for name in node.output]
        is_input = value in graph.input
        cast = helper.make_node("Cast", [value.name if is_input else inner], [inner if is_input else value.name], to=HALF if is_input else FLOAT)
        before.append(cast) if is_input else graph.node.append(cast)
    nodes = [*before, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


NETWORKS = {
    "keras_mobilenet": keras_mobilenet,
    "keras_mobilenet_open": lambda: keras_mobilenet(fixed=False),
    "keras_unet": keras_unet,
    "keras_detector": keras_detector,
    "keras_transformer": keras_transformer,
    "paddle_detector": paddle_detector,
    "paddle_reader": paddle_reader,
    "paddle_segmenter": paddle_segmenter,
    "mxnet_embedding": mxnet_embedding,
    "darknet_detector": darknet_detector,
    "caffe_classifier": caffe_classifier,
    "darknet_detector_half": lambda: half(darknet_detector(), ends=False),
    "caffe_classifier_half": lambda: half(caffe_classifier(), ends=True),
}


if __name__ == "__main__":
    built = NETWORKS[sys.argv[1]]()
    onnx.checker.check_model(built)
    onnx.save(built, sys.argv[2])

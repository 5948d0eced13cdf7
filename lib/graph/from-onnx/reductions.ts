import { floatOf, intOf } from '../../onnx/attributes';
import type { Node } from '../../onnx/schema/onnx_pb';
import type { Reduction } from '../../ops/tensor-op';
import { Tensor } from '../../tensor/tensor';
import { about, type Reader, refused, type Take } from './reader';

/** What many values become one by. */
export const REDUCTION_OPERATORS: Readonly<Record<string, Take>> = {
  ReduceMean: along('mean'),
  ReduceSum: along('sum'),
  ReduceL1: along('l1'),
  ReduceL2: along('l2'),
  ReduceSumSquare: along('sum_square'),
  ReduceLogSum: along('log_sum'),
  ReduceLogSumExp: along('log_sum_exp'),
  ReduceProd: along('prod'),
  ReduceMax: along('max'),
  ReduceMin: along('min'),
  ArgMax: (reader, node) => takePlace(reader, node, 'argmax'),
  ArgMin: (reader, node) => takePlace(reader, node, 'argmin'),
  GlobalAveragePool: (reader, node) => push(reader, node, 'mean', pixelsOf(reader, node), true),
  GlobalMaxPool: (reader, node) => push(reader, node, 'max', pixelsOf(reader, node), true),
  GlobalLpPool(reader, node) {
    const axes = pixelsOf(reader, node);
    const p = reader.opset < 2 ? floatOf(node, 'p', 2) : intOf(node, 'p', 2);
    if (p === 1 || p === 2) {
      push(reader, node, p === 1 ? 'l1' : 'l2', axes, true);
      return;
    }
    const id = node.output[0]!;
    const power = (to: string, from: string, exponent: number) => {
      const constant = reader.set(`${to}.exponent`, Tensor.f32([], [exponent]));
      reader.push({ id: to, op: 'binary', inputs: [from], function: 'pow', constant });
    };
    reader.push({ id: `${id}.size`, op: 'abs', inputs: [node.input[0]!] });
    power(`${id}.power`, `${id}.size`, p);
    reader.push({ id: `${id}.sum`, op: 'reduce', inputs: [`${id}.power`], function: 'sum', axes, keepdims: true });
    power(id, `${id}.sum`, 1 / p);
  },
};

function along(name: Reduction): Take {
  return (reader, node) => {
    const given = reader.integers(node, 1, 'axes') ?? [];
    const keepdims = intOf(node, 'keepdims', 1) !== 0;
    const isNone = given.length === 0 && intOf(node, 'noop_with_empty_axes', 0) !== 0;
    const rank = reader.rank(node.input[0]!);
    const axes = given.length === 0 ? Array.from({ length: isNone ? 0 : rank }, (_, axis) => axis) : given;
    push(reader, node, name, axes, keepdims);
  };
}

function takePlace(reader: Reader, node: Node, name: 'argmax' | 'argmin'): void {
  if (reader.rank(node.input[0]!) === 0) throw refused(node, 'its input has no axes');
  const isLast = intOf(node, 'select_last_index', 0) !== 0;
  push(reader, node, isLast ? `${name}_last` : name, [intOf(node, 'axis', 0)], intOf(node, 'keepdims', 1) !== 0);
}

/** All axes after batch and channels. */
function pixelsOf(reader: Reader, node: Node): number[] {
  return Array.from({ length: Math.max(0, reader.rank(node.input[0]!) - 2) }, (_, i) => i + 2);
}

/** The mean of whole maps, which is affine, has an operator of its own. */
function push(reader: Reader, node: Node, name: Reduction, given: readonly number[], keepdims: boolean): void {
  const [input] = node.input as [string];
  const id = node.output[0]!;
  const axes = [...new Set(given.map((axis) => reader.axis(input, axis)))].sort((a, b) => a - b);
  const isOfMaps = reader.rank(input) === 4 && axes.join() === '2,3';
  if (axes.length === 0 && ['mean', 'sum', 'prod', 'max', 'min'].includes(name)) {
    reader.alias(node);
    return;
  }
  if (!isOfMaps) {
    reader.push({ ...about(node, 'reduce'), function: name, axes, keepdims });
    return;
  }
  // Kept as images as long as it goes.
  const kept = keepdims ? id : `${id}.kept`;
  if (name === 'mean') reader.push({ id: kept, op: 'global_avg_pool', inputs: [input] });
  else reader.push({ id: kept, op: 'reduce', inputs: [input], function: name, axes, keepdims: true });
  if (!keepdims) reader.push({ id, op: 'flatten', inputs: [kept] });
}

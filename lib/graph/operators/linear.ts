import { elementCount, formatShape } from '../../tensor/tensor';
import { NAME, nullable } from './fields';
import { expectTensor, type NodeOf, type Operator, ShapeMismatch, weightKeys } from './operator';

/** x weight^T + bias, of vectors [N, in]; weight [out, in]. */
export interface LinearNode extends NodeOf<'linear'> {
  readonly weight: string;
  readonly bias: string | null;
}

export const linear: Operator<LinearNode> = {
  inputs: 1,
  fields: { weight: NAME, bias: nullable(NAME) },
  keys: weightKeys,
  shape({ weight, bias }, [input], shapeOf) {
    const [out = 0] = shapeOf(weight);
    if (input.length !== 2) throw new ShapeMismatch(`expected [N, features] but its input is ${formatShape(input)}`);
    expectTensor(weight, [out, input[1]!], shapeOf);
    if (bias !== null) expectTensor(bias, [out], shapeOf);
    return [input[0]!, out];
  },
  channels: ({ weight }, _, shapeOf) => shapeOf(weight)?.[0],
  inputChannels: ({ weight }, shapeOf) => shapeOf(weight)?.[1],
  magnitude: (node) => node,
  steps: ({ weight, bias }, engine) =>
    engine.images({ kind: 'linear', weight: engine.weight(weight), bias: bias === null ? null : engine.weight(bias) }),
  run: ({ weight: key, bias }, [x], { ops, options, weight }) =>
    ops.linear(x, weight(key), bias === null ? null : weight(bias), options),
  macs: ({ weight }, _, result, shapeOf) => elementCount(result) * elementCount(shapeOf(weight).slice(1)),
  onnx: (node) => ({
    opType: 'Gemm',
    inputs: [...node.inputs, ...weightKeys(node).map((key) => ({ key }))],
    attributes: { transB: 1 },
  }),
};

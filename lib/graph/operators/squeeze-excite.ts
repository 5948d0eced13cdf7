import { exactly, NAME } from './fields';
import {
  convolutionAttributes,
  expectImage,
  expectTensor,
  type NodeOf,
  type OnnxContext,
  type OnnxNode,
  type Operator,
  type Weight,
} from './operator';

/** x * sigmoid(expand(relu(reduce(mean of x)))); `reduce` and `expand` are key prefixes of 1x1 convolutions. */
export interface SqueezeExciteNode extends NodeOf<'squeeze_excite'> {
  readonly reduce: string;
  readonly expand: string;
  readonly activation: 'relu';
  readonly gate: 'sigmoid';
}

export const squeezeExcite: Operator<SqueezeExciteNode> = {
  inputs: 1,
  fields: { reduce: NAME, expand: NAME, activation: exactly('relu'), gate: exactly('sigmoid') },
  keys: ({ reduce, expand }) => [reduce, expand].flatMap((prefix) => [`${prefix}.weight`, `${prefix}.bias`]),
  shape({ reduce, expand }, [input], shapeOf) {
    const channels = expectImage(input)[1];
    const [squeezed = 0] = shapeOf(`${reduce}.weight`);
    expectTensor(`${reduce}.weight`, [squeezed, channels, 1, 1], shapeOf);
    expectTensor(`${reduce}.bias`, [squeezed], shapeOf);
    expectTensor(`${expand}.weight`, [channels, squeezed, 1, 1], shapeOf);
    expectTensor(`${expand}.bias`, [channels], shapeOf);
    return input;
  },
  keepsChannels: () => true,
  inputChannels: ({ reduce }, shapeOf) => shapeOf(`${reduce}.weight`)?.[1],
  steps({ reduce, expand, activation, gate }, engine) {
    const input = engine.image();
    const mean = engine.images({ kind: 'globalAveragePool' });
    const squeezed = engine.images({ kind: 'conv', ...convolution(reduce, engine.weight), activation }, [mean]);
    const gates = engine.images({ kind: 'conv', ...convolution(expand, engine.weight), activation: gate }, [squeezed]);
    return engine.images({ kind: 'gate' }, [input, gates]);
  },
  run: ({ reduce, expand }, [x], { ops, options, weight }) =>
    ops.squeezeExcite(x, { reduce: convolution(reduce, weight), expand: convolution(expand, weight) }, options),
  onnx: ({ id, inputs, reduce, expand }, context) => [
    { opType: 'GlobalAveragePool', inputs, part: 'mean' },
    { ...pointwise(`${id}.mean`, reduce, context), part: 'reduced' },
    { opType: 'Relu', inputs: [`${id}.reduced`], part: 'relu' },
    { ...pointwise(`${id}.relu`, expand, context), part: 'expanded' },
    { opType: 'Sigmoid', inputs: [`${id}.expanded`], part: 'gate' },
    { opType: 'Mul', inputs: [...inputs, `${id}.gate`] },
  ],
};

function convolution(prefix: string, weight: Weight) {
  return { weight: weight(`${prefix}.weight`), bias: weight(`${prefix}.bias`) };
}

function pointwise(input: string, prefix: string, { shapeOf }: OnnxContext): OnnxNode {
  const geometry = { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 } as const;
  return {
    opType: 'Conv',
    inputs: [input, { key: `${prefix}.weight` }, { key: `${prefix}.bias` }],
    attributes: convolutionAttributes(shapeOf(`${prefix}.weight`), geometry),
  };
}

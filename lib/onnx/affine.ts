import { constantStages } from '../algebra/constant-stages';
import type { MapOp } from '../algebra/merge';
import type { Stage } from '../ops';
import type { BinaryFunction } from '../ops/tensor-op';
import { DTYPES, type DType } from '../tensor/dtype';
import { Tensor } from '../tensor/tensor';
import { isOfOnnx, stringOf } from './attributes';
import { readBatchNorm } from './batch-norm';
import type { ChannelInference } from './channel-inference';
import type { Budget } from './evaluation/budget';
import type { OnnxModel } from './model';
import { readPads, readPadValue } from './pads';
import type { Node } from './schema/onnx_pb';
import type { ConstantValues } from './values';
import { numbersOf } from './values';
import { readConv, readPool } from './windows';

/** A node that is affine in kind, and why it is not folded. */
export interface NotAffine {
  readonly kind: 'refused';
  readonly reason: string;
}

/** What the recognition needs to know of the graph. */
export interface Known {
  readonly constants: ConstantValues;
  readonly opset: number;
  /** What nodes were found to be: a step holds vectors of all channels, and is asked for more than once. */
  readonly steps: Map<Node, MapOp | NotAffine | undefined>;
  /** Arithmetic that stays what it is (see `nodesOfPatterns`). */
  readonly ofPatterns: ReadonlySet<Node>;
  /** Whether the budget has a vector of so many channels. */
  takeVector(channels: number): boolean;
  /** Channels of a value [N, C, H, W], where they are known. */
  channels(value: string): number | undefined;
  /** Height and width of a value, where both are known. */
  size(value: string): readonly [number, number] | undefined;
}

export function knownOf(
  { opset }: OnnxModel,
  constants: ConstantValues,
  channels: ChannelInference,
  ofPatterns: ReadonlySet<Node>,
  budget: Budget,
): Known {
  return {
    constants,
    opset,
    ofPatterns,
    steps: new Map(),
    takeVector: (channels) => budget.spend(4 * channels),
    channels: (value) => channels.channelsOf(value),
    size: (value) => channels.sizeOf(value),
  };
}

/**
 * A node as an affine map of one of its inputs, image by image: ONNX operators Conv, BatchNormalization, AveragePool, Mul, Div, Add and Sub with
 * a constant for each channel, Neg, Pad with zeros, Identity, Dropout.
 *
 * @returns undefined for a node of another kind
 */
export function affineStep(node: Node, known: Known): MapOp | NotAffine | undefined {
  if (!known.steps.has(node)) known.steps.set(node, stepOf(node, known));
  return known.steps.get(node);
}

function stepOf(node: Node, known: Known): MapOp | NotAffine | undefined {
  if (!isOfOnnx(node.domain) || !node.input[0] || !node.output[0] || known.ofPatterns.has(node)) return undefined;
  const step = stepOfKind(node, known);
  const isOne = node.output.slice(1).every((name) => name === '');
  return isOne || step?.kind === 'refused' ? step : undefined;
}

function stepOfKind(node: Node, known: Known): MapOp | NotAffine | undefined {
  switch (node.opType) {
    case 'Conv':
      return convStep(node, known);
    case 'BatchNormalization':
      return batchNormStep(node, known);
    case 'AveragePool':
      return averagePoolStep(node, known);
    case 'Pad':
      return padStep(node, known);
    case 'Identity':
      return { kind: 'stages', input: node.input[0]!, stages: [] };
    case 'Neg':
      return { kind: 'stages', input: node.input[0]!, stages: [{ kind: 'scale', scale: MINUS_ONE }] };
    case 'Dropout':
      return dropoutStep(node, known);
    case 'Mul':
    case 'Div':
    case 'Add':
    case 'Sub':
      return constantStep(node, known);
    default:
      return undefined;
  }
}

const MINUS_ONE = new Tensor('F64', [1], Float64Array.of(-1));

/** Of a small file that describes large maps. */
const BEYOND_BUDGET = 'it has more channels than the budget of a model of this size allows';

const refused = (reason: string): NotAffine => ({ kind: 'refused', reason });

function convStep(node: Node, known: Known): MapOp | NotAffine {
  const [input, weightName, biasName = ''] = node.input as [string, string, string?];
  const weight = known.constants.get(weightName);
  const bias = biasName === '' ? null : known.constants.get(biasName);
  if (weight === undefined || bias === undefined) return refused('its weight or bias is no constant');
  if (!FLOATS.includes(weight.dtype)) return refused(`its weight is ${weight.dtype}`);
  const window = readConv(node, weight.shape, known.size(input));
  if (typeof window === 'string') return refused(window);
  return { kind: 'stages', input, stages: [{ kind: 'conv2d', weight, bias, ...window }] };
}

function batchNormStep(node: Node, { constants }: Known): MapOp | NotAffine {
  const read = readBatchNorm(node);
  if (typeof read === 'string') return refused(read);
  if (node.output.filter((name) => name !== '').length > 1) return refused('it tells its batch statistics');
  const [weight, bias, runningMean, runningVar] = read.statistics.map((name) => constants.get(name));
  if (weight === undefined || bias === undefined || runningMean === undefined || runningVar === undefined)
    return refused('one of its parameters is no constant');
  const { eps } = read;
  const stages: Stage[] = [{ kind: 'batch_norm', weight, bias, runningMean, runningVar, eps }];
  return { kind: 'stages', input: node.input[0]!, stages };
}

function averagePoolStep(node: Node, known: Known): MapOp | NotAffine {
  const input = node.input[0]!;
  const window = readPool(node, known.size(input));
  if (typeof window === 'string') return refused(window);
  const { kernel, stride, padding, dilation, ceilMode, countIncludePad } = window;
  if (ceilMode) return refused('its last windows may hang over the edge (ceil_mode)');
  if (dilation.some((step) => step !== 1)) return refused('its windows are dilated');
  if (!countIncludePad && padding.some((side) => side !== 0))
    return refused('its padding does not count (count_include_pad 0)');
  if (known.channels(input) === undefined) return refused('the number of its channels is not known');
  const stages: Stage[] = [{ kind: 'avg_pool2d', kernel, stride, padding, countIncludePad: true }];
  return { kind: 'stages', input, stages };
}

function padStep(node: Node, { constants }: Known): MapOp | NotAffine {
  const mode = stringOf(node, 'mode', 'constant');
  if (mode !== 'constant') return refused(`it pads by ${mode}`);
  const numbers = (index: number) => {
    const constant = constants.get(node.input[index]!);
    return constant && constant.size <= MAX_PADS ? numbersOf(constant) : undefined;
  };
  const pads = readPads(node, 4, numbers);
  if (typeof pads === 'string') return refused(pads);
  const value = readPadValue(node, numbers);
  if (value !== 0) return refused(value === undefined ? 'its value is no constant' : `it pads with ${value}`);
  const { before, after } = pads;
  if ([before, after].some(([n, c]) => n !== 0 || c !== 0)) return refused('it pads batch or channels');
  return { kind: 'frame', input: node.input[0]!, padding: [before[2]!, before[3]!, after[2]!, after[3]!] };
}

/** Of the four axes of images. */
const MAX_PADS = 8;

function dropoutStep(node: Node, { constants }: Known): MapOp | NotAffine {
  const [input, , training] = node.input as [string, string?, string?];
  if (training !== undefined && training !== '' && Number(constants.get(training)?.data[0] ?? 1) !== 0)
    return refused('it drops (training mode)');
  if ((node.output[1] ?? '') !== '') return refused('its mask is an output');
  return { kind: 'stages', input, stages: [] };
}

/** One value for each channel, or one for all: constant over images and pixels. */
function constantStep(node: Node, known: Known): MapOp | NotAffine | undefined {
  const [first, second] = node.input as [string, string];
  const [left, right] = [known.constants.get(first), known.constants.get(second)];
  const constant = right ?? left;
  if (constant === undefined || (left !== undefined && right !== undefined)) return undefined;
  const input = right === undefined ? second : first;
  const channels = known.channels(input);
  if (channels === undefined) return undefined; // no image
  if (!known.takeVector(channels)) return refused(BEYOND_BUDGET);
  if (!DTYPES[constant.dtype].floating) return refused(`its constant is ${constant.dtype}`);
  const name = arithmeticOf(node)!;
  const stages = constantStages({ function: name, constant, isFirst: right === undefined }, channels);
  return typeof stages === 'string' ? refused(stages) : { kind: 'stages', input, stages };
}

/** Which arithmetic of two values a node is. */
export function arithmeticOf({ opType }: Node): BinaryFunction | undefined {
  return Object.hasOwn(ARITHMETIC, opType) ? ARITHMETIC[opType as keyof typeof ARITHMETIC] : undefined;
}

const ARITHMETIC = { Add: 'add', Div: 'div', Mul: 'mul', Sub: 'sub' } as const;

/** Types of weights that are folded, in float64, and rounded once. */
export const FLOATS: readonly DType[] = ['F32', 'F16', 'BF16', 'F64'];

import { constantStages } from '../algebra/constant-stages';
import type { MapOp } from '../algebra/merge';
import type { Padding4 } from '../ops/geometry';
import type { Tensor } from '../tensor/tensor';
import { floatOf, intOf, intsOf, isOfOnnx, stringOf } from './attributes';
import type { ChannelInference } from './channel-inference';
import type { Budget } from './evaluation/budget';
import type { OnnxModel } from './model';
import type { Node } from './schema/onnx_pb';
import { numbersOf } from './values';

/** A node that is affine in kind, and why it is not folded. */
export interface NotAffine {
  readonly kind: 'refused';
  readonly reason: string;
}

/** Values that are known before the network runs. */
export interface ConstantValues {
  get(value: string): Tensor | undefined;
}

/** What the recognition needs to know of the graph. */
export interface Known {
  readonly constants: ConstantValues;
  readonly opset: number;
  /** What nodes were found to be: a step holds vectors of all channels, and is asked for more than once. */
  readonly steps: Map<Node, MapOp | NotAffine | undefined>;
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
  budget: Budget,
): Known {
  return {
    constants,
    opset,
    steps: new Map(),
    takeVector: (channels) => budget.spend(4 * channels),
    channels: (value) => channels.channelsOf(value),
    size: (value) => channels.sizeOf(value),
  };
}

/**
 * A node as an affine map of one of its inputs, image by image: ONNX operators Conv, BatchNormalization, AveragePool, Mul, Div, Add and Sub with
 * a constant for each channel, Pad with zeros, Identity, Dropout.
 *
 * @returns undefined for a node of another kind
 */
export function affineStep(node: Node, known: Known): MapOp | NotAffine | undefined {
  if (!known.steps.has(node)) known.steps.set(node, stepOf(node, known));
  return known.steps.get(node);
}

function stepOf(node: Node, known: Known): MapOp | NotAffine | undefined {
  if (!isOfOnnx(node.domain) || !node.input[0] || !node.output[0]) return undefined;
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

/** Of a small file that describes large maps. */
const BEYOND_BUDGET = 'it has more channels than the budget of a model of this size allows';

const refused = (reason: string): NotAffine => ({ kind: 'refused', reason });

function convStep(node: Node, known: Known): MapOp | NotAffine {
  const [input, weightName, biasName] = node.input as [string, string, string | undefined];
  const weight = known.constants.get(weightName);
  const bias = biasName === undefined || biasName === '' ? null : known.constants.get(biasName);
  if (weight === undefined || bias === undefined) return refused('its weight or bias is no constant');
  if (weight.shape.length !== 4) return refused(`its kernel has ${weight.shape.length - 2} dimensions`);
  if (weight.dtype !== 'F32') return refused(`its weight is ${weight.dtype}`);
  const stride = pair(intsOf(node, 'strides'), 1);
  const dilation = pair(intsOf(node, 'dilations'), 1);
  const kernel = [weight.shape[2]!, weight.shape[3]!] as const;
  const padding = paddingOf(node, kernel, stride, dilation, known.size(input));
  if (typeof padding === 'string') return refused(padding);
  const groups = intOf(node, 'group', 1);
  return { kind: 'stages', input, stages: [{ kind: 'conv2d', weight, bias, stride, padding, dilation, groups }] };
}

function batchNormStep(node: Node, { constants }: Known): MapOp | NotAffine {
  if (node.output.filter((name) => name !== '').length > 1 || intOf(node, 'training_mode', 0) !== 0)
    return refused('it normalises by batch statistics (training mode)');
  if (intOf(node, 'spatial', 1) === 0) return refused('it has statistics for each pixel (spatial 0)');
  const [input, ...names] = node.input as [string, ...string[]];
  const [weight, bias, runningMean, runningVar] = names.map((name) => constants.get(name));
  if (weight === undefined || bias === undefined || runningMean === undefined || runningVar === undefined)
    return refused('one of its parameters is no constant');
  const eps = floatOf(node, 'epsilon', Math.fround(1e-5));
  return { kind: 'stages', input, stages: [{ kind: 'batch_norm', weight, bias, runningMean, runningVar, eps }] };
}

function averagePoolStep(node: Node, known: Known): MapOp | NotAffine {
  const input = node.input[0]!;
  const kernel = pair(intsOf(node, 'kernel_shape'), 0);
  if ((intsOf(node, 'kernel_shape') ?? []).length !== 2) return refused('it does not pool images');
  if (intOf(node, 'ceil_mode', 0) !== 0) return refused('its last windows may hang over the edge (ceil_mode)');
  if ((intsOf(node, 'dilations') ?? []).some((step) => step !== 1)) return refused('its windows are dilated');
  const stride = pair(intsOf(node, 'strides'), 1);
  const padding = paddingOf(node, kernel, stride, [1, 1], known.size(input));
  if (typeof padding === 'string') return refused(padding);
  const countIncludePad = intOf(node, 'count_include_pad', 0) !== 0;
  if (!countIncludePad && padding.some((side) => side !== 0))
    return refused('its padding does not count (count_include_pad 0)');
  if (known.channels(input) === undefined) return refused('the number of its channels is not known');
  return {
    kind: 'stages',
    input,
    stages: [{ kind: 'avg_pool2d', kernel, stride, padding, countIncludePad: true }],
  };
}

function padStep(node: Node, { constants, opset }: Known): MapOp | NotAffine {
  const mode = stringOf(node, 'mode', 'constant');
  if (mode !== 'constant') return refused(`it pads by ${mode}`);
  const [input, padsName, valueName, axesName] = node.input as [string, string?, string?, string?];
  const listed = opset < 11 ? intsOf(node, 'pads') : integersOf(constants, padsName);
  if (listed === undefined) return refused('its pads are no constant');
  const given = valueName === undefined || valueName === '' ? undefined : constants.get(valueName);
  if (valueName !== undefined && valueName !== '' && given === undefined) return refused('its value is no constant');
  const value = opset < 11 ? floatOf(node, 'value', 0) : given === undefined ? 0 : Number(given.data[0]);
  if (value !== 0) return refused(`it pads with ${value}`);
  const axes = axesName === undefined || axesName === '' ? undefined : integersOf(constants, axesName);
  if (axesName !== undefined && axesName !== '' && axes === undefined) return refused('its axes are no constant');
  const pads = spread(listed, axes);
  if (pads === undefined) return refused('it does not pad an image');
  const [, , top, left, , , bottom, right] = pads as [number, ...number[]];
  if (pads[0] !== 0 || pads[1] !== 0 || pads[4] !== 0 || pads[5] !== 0) return refused('it pads batch or channels');
  return { kind: 'frame', input, padding: [top!, left!, bottom!, right!] };
}

/** Pads of all four axes, before and after. */
function spread(listed: readonly number[], axes: readonly number[] | undefined): number[] | undefined {
  if (axes === undefined) return listed.length === 8 ? [...listed] : undefined;
  const pads = Array<number>(8).fill(0);
  for (const [i, axis] of axes.entries()) {
    const at = axis < 0 ? axis + 4 : axis;
    if (at < 0 || at > 3 || listed.length !== 2 * axes.length) return undefined;
    pads[at] = listed[i]!;
    pads[at + 4] = listed[i + axes.length]!;
  }
  return pads;
}

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
  if (!['F32', 'F64'].includes(constant.dtype)) return refused(`its constant is ${constant.dtype}`);
  const name = ARITHMETIC[node.opType as keyof typeof ARITHMETIC];
  const stages = constantStages({ function: name, constant, isFirst: right === undefined }, channels);
  return typeof stages === 'string' ? refused(stages) : { kind: 'stages', input, stages };
}

const ARITHMETIC = { Add: 'add', Div: 'div', Mul: 'mul', Sub: 'sub' } as const;

function integersOf(constants: ConstantValues, name: string | undefined): number[] | undefined {
  const tensor = name === undefined ? undefined : constants.get(name);
  return tensor === undefined ? undefined : numbersOf(tensor);
}

function pair(values: readonly number[] | undefined, otherwise: number): [number, number] {
  return [values?.[0] ?? otherwise, values?.[1] ?? otherwise];
}

/** `[top, left, bottom, right]`, or why they are not known. SAME counts the dilated kernel, (k - 1) d + 1. */
function paddingOf(
  node: Node,
  kernel: readonly [number, number],
  stride: readonly [number, number],
  dilation: readonly [number, number],
  size: readonly [number, number] | undefined,
): Padding4 | string {
  const mode = stringOf(node, 'auto_pad', 'NOTSET');
  if (mode === 'VALID') return [0, 0, 0, 0];
  if (mode === 'NOTSET' || mode === '') {
    const pads = intsOf(node, 'pads') ?? [0, 0, 0, 0];
    return pads.length === 4 ? (pads as unknown as Padding4) : `it has ${pads.length} pads`;
  }
  if (mode !== 'SAME_UPPER' && mode !== 'SAME_LOWER') return `its auto_pad is ${mode}`;
  if (size === undefined && (stride[0] > 1 || stride[1] > 1))
    return `its padding (${mode}, stride ${stride}) depends on the image's size, which the graph does not tell`;
  const sides = [0, 1].map((axis) => {
    const span = (kernel[axis]! - 1) * dilation[axis]! + 1;
    const step = stride[axis]!;
    const total =
      step === 1 ? span - 1 : Math.max(0, (Math.ceil(size![axis]! / step) - 1) * step + span - size![axis]!);
    const small = Math.floor(total / 2);
    return mode === 'SAME_UPPER' ? [small, total - small] : [total - small, small];
  });
  return [sides[0]![0]!, sides[1]![0]!, sides[0]![1]!, sides[1]![1]!];
}

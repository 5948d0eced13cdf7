import type { Stage } from '../../ops';
import { batchNormAffine } from '../../ops/batch-norm';
import { toFloat64 } from '../../tensor/half';
import { affineStep } from '../affine';
import type { Analysis } from '../analysis';
import { intOf, intsOf, stringOf } from '../attributes';
import { readPads, readPadValue } from '../pads';
import type { Node } from '../schema/onnx_pb';
import { dtypeOf, numbersOf } from '../values';
import { isFramed } from '../windows';
import { isSumOfValues } from './reassociate';

/** What a normalization does to each channel of a value: x scale + shift. */
export interface Norm {
  readonly scale: Float64Array;
  readonly shift: Float64Array;
}

/** A normalization of a node's result as normalizations of what it reads. */
export interface Passed {
  /** The node that reads them: the given one, or one before it whose result nobody else reads. */
  readonly node: Node;
  /** Of each input that takes part, by its place. */
  readonly inputs: ReadonlyMap<number, Norm>;
  /** What is then left to be added to each channel of the result. */
  readonly rest?: Float64Array | undefined;
  /** The node is part of the normalization of its input: it goes. */
  readonly isPart?: true;
}

/** A node whose result is normalized, and what is known of it. */
export interface Passage {
  readonly node: Node;
  readonly output: number;
  readonly norm: Norm;
  readonly analysis: Analysis;
  channelsOf(value: string): number | undefined;
}

/** The normalization before a node; undefined where it is no such thing. */
export function passed(passage: Passage): Passed | undefined {
  const { node } = passage;
  if (isSumOfValues(node) && affineStep(node, passage.analysis.known) === undefined) return throughTerms(passage);
  return Object.hasOwn(PASSAGES, node.opType) ? PASSAGES[node.opType]!(passage) : throughAffine(passage);
}

const whole = ({ node, norm }: Passage): Passed => ({ node, inputs: new Map([[0, norm]]) });

/** Through a node that makes of a constant something else than it was: what is added to each channel stays behind it. */
function scaleOnly({ node, norm }: Passage): Passed {
  const { scale, shift } = norm;
  const rest = shift.some((value) => value !== 0) ? shift : undefined;
  return { node, inputs: new Map([[0, { scale, shift: new Float64Array(shift.length) }]]), rest };
}

const largest = (passage: Passage) => (passage.norm.scale.every((value) => value >= 0) ? whole(passage) : undefined);

const PASSAGES: Readonly<Record<string, (passage: Passage) => Passed | undefined>> = {
  AveragePool(passage) {
    const { node } = passage;
    return isFramed(node) && intOf(node, 'count_include_pad', 0) !== 0 ? scaleOnly(passage) : whole(passage);
  },
  Cast: (passage) => {
    const type = dtypeOf(intOf(passage.node, 'to', 0));
    return type !== undefined && ['F16', 'BF16', 'F32', 'F64'].includes(type) ? whole(passage) : undefined;
  },
  Concat: throughParts,
  DepthToSpace(passage) {
    const { node, norm } = passage;
    const block = intOf(node, 'blocksize', 1) ** 2;
    const count = norm.scale.length;
    const isColumnRow = stringOf(node, 'mode', 'DCR') === 'CRD';
    return taken(passage, count * block, (c) => (isColumnRow ? Math.floor(c / block) : c % count));
  },
  GlobalAveragePool: whole,
  GlobalMaxPool: largest,
  MaxPool: largest,
  Neg: ({ node, norm: { scale, shift } }) => ({
    node,
    inputs: new Map([[0, { scale, shift: shift.map((value) => -value) }]]),
  }),
  Pad(passage) {
    const { node, analysis, channelsOf } = passage;
    const numbers = (index: number) => constantNumbers(node.input[index], analysis);
    const pads = readPads(node, 4, numbers);
    if (channelsOf(node.input[0]!) !== passage.norm.scale.length || typeof pads === 'string') return undefined;
    if ([pads.before, pads.after].some((sides) => sides[0] !== 0 || sides[1] !== 0)) return undefined;
    if (stringOf(node, 'mode', 'constant') !== 'constant') return whole(passage);
    return readPadValue(node, numbers) === 0 && isImage(node, analysis) ? scaleOnly(passage) : undefined;
  },
  ReduceMean(passage) {
    const { node, analysis } = passage;
    const axes = node.input[1] ? constantNumbers(node.input[1], analysis) : intsOf(node, 'axes');
    const isOfPixels = (axis: number) => axis >= 2 || (axis >= -2 && axis < 0 && isImage(node, analysis));
    return axes !== undefined && axes.length > 0 && axes.every(isOfPixels) ? whole(passage) : undefined;
  },
  Reshape: throughShuffle,
  Resize(passage) {
    const isAffine = stringOf(passage.node, 'coordinate_transformation_mode', '') !== 'tf_crop_and_resize';
    return isAffine && keepsChannels(passage) ? whole(passage) : undefined;
  },
  Slice(passage) {
    const { node, norm, analysis } = passage;
    const [starts, ends, axes, steps] = ['starts', 'ends', 'axes', 'steps'].map(
      (name, i) => intsOf(node, name) ?? constantNumbers(node.input[i + 1], analysis),
    );
    const along = axes?.indexOf(1) ?? -1;
    if (axes === undefined || axes.some((axis) => axis < 0 && !isImage(node, analysis))) return undefined;
    if (axes.some((axis) => (axis < 0 ? axis + 4 : axis) === 0 || axis === -3)) return undefined;
    if (along < 0) return whole(passage);
    const count = passage.channelsOf(node.input[0]!);
    const [start, end, step] = [starts?.[along], ends?.[along], steps?.[along] ?? 1];
    if (count === undefined || start === undefined || end === undefined || step !== 1) return undefined;
    const begin = Math.min(start < 0 ? start + count : start, count);
    // Nobody reads the others.
    return taken(passage, count, (c) => (c >= begin && c < begin + norm.scale.length ? c - begin : undefined));
  },
  Split(passage) {
    const { node, norm, output, analysis } = passage;
    const count = passage.channelsOf(node.input[0]!);
    if (count === undefined || intOf(node, 'axis', 0) !== 1) return undefined;
    const part = Math.ceil(count / node.output.length);
    const equal = node.output.map((_, i) => Math.min(part, count - i * part));
    const sizes = intsOf(node, 'split') ?? (node.input[1] ? constantNumbers(node.input[1], analysis) : equal);
    if (sizes?.length !== node.output.length || sizes[output] !== norm.scale.length) return undefined;
    const begin = sizes.slice(0, output).reduce((sum, size) => sum + size, 0);
    return taken(passage, count, (c) => (c >= begin && c < begin + norm.scale.length ? c - begin : undefined));
  },
  Sub({ node, norm, channelsOf }) {
    const { scale, shift } = norm;
    if (node.input.length !== 2 || node.input.some((value) => channelsOf(value) !== scale.length)) return undefined;
    return { node, inputs: new Map([norm, { scale, shift: new Float64Array(shift.length) }].entries()) };
  },
  Upsample: (passage) => (keepsChannels(passage) ? whole(passage) : undefined),
};

/** The first term takes all that is added. */
function throughTerms({ node, norm: { scale, shift }, channelsOf }: Passage): Passed | undefined {
  if (node.input.some((value) => channelsOf(value) !== scale.length)) return undefined;
  const none = new Float64Array(shift.length);
  return { node, inputs: new Map(node.input.map((_, i) => [i, { scale, shift: i === 0 ? shift : none }])) };
}

function throughParts({ node, norm: { scale, shift }, analysis, channelsOf }: Passage): Passed | undefined {
  const axis = intOf(node, 'axis', 0);
  if (axis !== 1 && !(axis === -3 && node.input.every((value) => isImageValue(value, analysis)))) return undefined;
  const counts = node.input.map(channelsOf);
  if (counts.reduce((sum: number, count) => sum + (count ?? Number.NaN), 0) !== scale.length) return undefined;
  let begin = 0;
  const inputs = new Map<number, Norm>();
  for (const [i, count] of counts.entries()) {
    const end = begin + count!;
    inputs.set(i, { scale: scale.slice(begin, end), shift: shift.slice(begin, end) });
    begin = end;
  }
  return { node, inputs };
}

/** Channels in groups, turned: Reshape, Transpose and Reshape, as they are written of images. */
function throughShuffle(passage: Passage): Passed | undefined {
  const { node, norm, analysis, channelsOf } = passage;
  const { wiring, channels } = analysis;
  const turn = wiring.hasOneReader(node.input[0]!) ? wiring.producer(node.input[0]!) : undefined;
  if (turn?.opType !== 'Transpose' || intsOf(turn, 'perm')?.join() !== '0,2,1,3,4') return undefined;
  const split = wiring.hasOneReader(turn.input[0]!) ? wiring.producer(turn.input[0]!) : undefined;
  if (split?.opType !== 'Reshape') return undefined;
  const sizes = constantNumbers(split.input[1], analysis) ?? channels.shapeOf(turn.input[0]!);
  const count = norm.scale.length;
  const [groups, each] = [sizes?.[1] ?? 0, sizes?.[2] ?? 0];
  const isSame =
    groups * each === count && channelsOf(split.input[0]!) === count && channelsOf(node.output[0]!) === count;
  if (sizes?.length !== 5 || !isSame) return undefined;
  return taken({ ...passage, node: split }, count, (c) => (c % each) * groups + Math.floor(c / each));
}

/** A node that is affine for each channel becomes part of the normalization, which is then one of what it reads. */
function throughAffine({ node, norm, analysis }: Passage): Passed | undefined {
  const step = affineStep(node, analysis.known);
  if (step?.kind !== 'stages') return undefined;
  let all = norm;
  for (const stage of [...step.stages].reverse()) {
    const own = affineOf(stage, norm.scale.length);
    if (own === undefined) return undefined;
    all = after(own, all);
  }
  return { node, inputs: new Map([[node.input.indexOf(step.input), all]]), isPart: true };
}

function affineOf(stage: Stage, count: number): Norm | undefined {
  const spread = (values: Float64Array) => (values.length === 1 ? new Float64Array(count).fill(values[0]!) : values);
  switch (stage.kind) {
    case 'scale':
      if (stage.scale === null) return undefined; // arithmetic has one
      return { scale: spread(toFloat64(stage.scale)), shift: new Float64Array(count) };
    case 'bias':
      return { scale: new Float64Array(count).fill(1), shift: spread(toFloat64(stage.bias)) };
    case 'batch_norm':
      return stage.runningVar.size === count ? normOf(stage) : undefined;
    default:
      return undefined;
  }
}

/** @throws as `batchNormAffine` */
export function normOf(stage: Extract<Stage, { kind: 'batch_norm' }>): Norm {
  const { scale, shift, mean } = batchNormAffine(stage);
  return { scale, shift: shift.map((value, c) => value - mean[c]! * scale[c]!) };
}

function after(first: Norm, { scale, shift }: Norm): Norm {
  return {
    scale: first.scale.map((value, c) => value * scale[c]!),
    shift: first.shift.map((value, c) => value * scale[c]! + shift[c]!),
  };
}

/** Of so many channels, each as that of the result at the place that `from` tells; none: as it is. */
function taken({ node, norm }: Passage, count: number, from: (channel: number) => number | undefined): Passed {
  const pick = (values: Float64Array, none: number) =>
    Float64Array.from({ length: count }, (_, c) => values[from(c) ?? -1] ?? none);
  return { node, inputs: new Map([[0, { scale: pick(norm.scale, 1), shift: pick(norm.shift, 0) }]]) };
}

function keepsChannels({ node, norm, channelsOf }: Passage): boolean {
  return [node.input[0]!, node.output[0]!].every((value) => channelsOf(value) === norm.scale.length);
}

function isImage({ input }: Node, analysis: Analysis): boolean {
  return isImageValue(input[0]!, analysis);
}

function isImageValue(value: string, { channels }: Analysis): boolean {
  return channels.channelsOf(value) !== undefined;
}

function constantNumbers(value: string | undefined, { constants }: Analysis): readonly number[] | undefined {
  const constant = value ? constants.get(value) : undefined;
  return constant !== undefined && constant.size <= MAX_NUMBERS ? numbersOf(constant) : undefined;
}

/** More than any axes have. */
const MAX_NUMBERS = 256;

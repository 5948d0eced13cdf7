import { floatOf, floatsOf, intOf, intsOf, stringOf } from '../../onnx/attributes';
import { splitSizes } from '../../onnx/evaluation/operators';
import { changed } from '../../onnx/messages';
import { readPads, readPadValue } from '../../onnx/pads';
import type { Node } from '../../onnx/schema/onnx_pb';
import { numbersOf } from '../../onnx/values';
import {
  PAD_MODES,
  type PadMode,
  RESIZE_ASPECTS,
  RESIZE_COORDINATES,
  RESIZE_MODES,
  RESIZE_NEAREST,
} from '../../ops/tensor-op';
import { Tensor } from '../../tensor/tensor';
import { GRID_MODES, GRID_PADDINGS, type GridSampleNode } from '../operators/grid-sample';
import { about, type Reader, read, refused, type Take, unusable } from './reader';

/** Far beyond any size, within what a graph's JSON holds. */
const END = 2 ** 31 - 1;

/** What moves elements. */
export const TENSOR_OPERATORS: Readonly<Record<string, Take>> = {
  Concat(reader, node) {
    const axis = reader.axis(node.input.find((input) => reader.constant(input) === undefined)!, intOf(node, 'axis', 1));
    reader.push({ ...about(node, 'concat'), inputs: node.input, axis });
  },
  Transpose(reader, node) {
    const rank = reader.rank(node.input[0]!);
    const perm = intsOf(node, 'perm') ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
    if (perm.every((axis, i) => axis === i)) reader.alias(node);
    else reader.push({ ...about(node, 'transpose'), perm });
  },
  Flatten(reader, node) {
    const [input] = node.input as [string];
    const given = intOf(node, 'axis', 1);
    const axis = given < 0 ? given + reader.rank(input) : given;
    reader.push({ ...about(node, 'flatten'), ...(axis === 1 ? {} : { axis }) });
  },
  Reshape(reader, node) {
    const [input] = node.input as [string];
    const shape = reshapeOf(reader, node);
    const makesVectors = shape.length === 2 && shape[0] === 0 && shape[1] === -1;
    if (makesVectors && reader.rank(input) === 4) reader.push(about(node, 'flatten'));
    else reader.push({ ...about(node, 'reshape'), shape });
  },
  Squeeze(reader, node) {
    const [input] = node.input as [string];
    const given = reader.integers(node, 1, 'axes');
    const [first, second] = reader.sizes(input);
    const units = [...first.keys()].filter((axis) => first[axis] === 1 && second[axis] === 1);
    const axes = given === undefined ? units : given.map((axis) => reader.axis(input, axis));
    reader.push({ ...about(node, 'squeeze'), axes });
  },
  Unsqueeze(reader, node) {
    const given = reader.integers(node, 1, 'axes') ?? [];
    const rank = reader.rank(node.input[0]!) + given.length;
    reader.push({ ...about(node, 'unsqueeze'), axes: given.map((axis) => (axis < 0 ? axis + rank : axis)) });
  },
  Slice(reader, node) {
    const [input] = node.input as [string];
    const starts = reader.integers(node, 1, 'starts');
    const ends = reader.integers(node, 2, 'ends');
    if (starts === undefined || ends === undefined) throw refused(node, 'it has no starts or no ends');
    const axes = reader.integers(node, 3, 'axes') ?? starts.map((_, axis) => axis);
    const steps = reader.integers(node, 4, 'steps') ?? starts.map(() => 1);
    const rank = reader.rank(input);
    const slices = { starts: Array(rank).fill(0), ends: Array(rank).fill(END), steps: Array(rank).fill(1) };
    for (const [i, given] of axes.entries()) {
      const axis = reader.axis(input, given);
      slices.starts[axis] = within(starts[i]!);
      slices.ends[axis] = within(ends[i]!);
      slices.steps[axis] = within(steps[i]!);
    }
    reader.push({ ...about(node, 'slice'), ...slices });
  },
  Split(reader, node) {
    const [input] = node.input as [string];
    const axis = reader.axis(input, intOf(node, 'axis', 0));
    const given = reader.integers(node, 1, 'split');
    const [parts, others] = reader.sizes(input).map((sizes) => splitSizes(node, sizes[axis]!, given)) as [
      readonly number[],
      readonly number[],
    ];
    if (parts.join() !== others.join()) throw refused(node, 'its parts depend on sizes that the model leaves open');
    let start = 0;
    for (const [i, part] of parts.entries()) {
      const id = node.output[i] ?? '';
      if (id !== '') pushRange(reader, id, input, axis, start, start + part);
      start += part;
    }
  },
  Pad(reader, node) {
    const mode = stringOf(node, 'mode', 'constant');
    if (!PAD_MODES.includes(mode as PadMode)) throw refused(node, `its mode is ${mode}`);
    const numbers = (index: number) => reader.numbers(node.input[index]!);
    const pads = read(node, readPads(node, reader.rank(node.input[0]!), numbers));
    const value = read(node, readPadValue(node, numbers) ?? 'its value is no constant number');
    // JSON has no infinity, which exporters put around what a MaxPool reads: a tensor has.
    const isInfinite = mode === 'constant' && !Number.isFinite(value);
    const channels = isInfinite ? (reader.sizes(node.input[0]!)[0][1] ?? 0) : 0;
    const infinities = Tensor.f32([channels], Array<number>(channels).fill(value));
    const frame = isInfinite ? { value: 0, fill: reader.set(`${node.output[0]}.fill`, infinities) } : { value };
    reader.push({ ...about(node, 'pad'), ...pads, mode: mode as PadMode, ...frame });
  },
  Softmax(reader, node) {
    const [input] = node.input as [string];
    const axis = reader.axis(input, intOf(node, 'axis', reader.opset < 13 ? 1 : -1));
    // Before opset 13 over all axes from this one on.
    const [first, second] = reader.sizes(input);
    const joint = reader.opset < 13 && [first, second].some((sizes) => sizes.slice(axis + 1).some((size) => size > 1));
    reader.push({ ...about(node, 'softmax'), ...(axis === 1 ? {} : { axis }), ...(joint ? { joint } : {}) });
  },
  DepthToSpace(reader, node) {
    const size = intOf(node, 'blocksize', 0);
    const channels_first = stringOf(node, 'mode', 'DCR') === 'CRD';
    reader.push({ ...about(node, 'depth_to_space'), block: [size, size], channels_first });
  },
  SpaceToDepth(reader, node) {
    const size = intOf(node, 'blocksize', 0);
    reader.push({
      ...about(node, 'space_to_depth'),
      block: [size, size],
      channels_first: stringOf(node, 'mode', 'DCR') === 'CRD',
    });
  },
  GridSample(reader, node) {
    const older: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic' };
    const given = stringOf(node, 'mode', 'linear');
    const mode = (older[given] ?? given) as GridSampleNode['mode'];
    const padding = choice(node, 'padding_mode', GRID_PADDINGS, 'zeros');
    if (!GRID_MODES.includes(mode)) throw refused(node, `its mode is ${given}`);
    const align_corners = intOf(node, 'align_corners', 0) !== 0;
    reader.push({ ...about(node, 'grid_sample'), inputs: node.input, mode, padding, align_corners });
  },
  Resize: takeResize,
  Upsample: takeResize,
};

function within(place: number): number {
  return Math.min(Math.max(place, -END), END);
}

/** A part of an axis; to its end where none is given. */
export function pushRange(reader: Reader, id: string, input: string, axis: number, start: number, end = END): void {
  const rank = reader.rank(input);
  const of = (value: number, otherwise: number) =>
    Array.from({ length: rank }, (_, each) => (each === axis ? value : otherwise));
  reader.push({ id, op: 'slice', inputs: [input], starts: of(start, 0), ends: of(end, END), steps: of(1, 1) });
}

/** Sizes that do not depend on what the model leaves open; 0 and -1 for those that do. */
function reshapeOf(reader: Reader, node: Node): number[] {
  const [first, second] = reader.shapeNumbers(node, 1);
  const [from, other] = reader.sizes(node.input[0]!);
  const zeroIsZero = intOf(node, 'allowzero', 0) !== 0;
  if (zeroIsZero && first.includes(0)) throw refused(node, 'its result is empty');
  const shape = first.map((size, i) => {
    // A batch that the model fixes stays the input's batch, whatever it is.
    const isBatch = i === 0 && size === from[0];
    if (size === second[i] && size !== 0 && !isBatch) return size;
    return size === 0 || (size === from[i] && second[i] === other[i]) ? 0 : -1;
  });
  if (shape.filter((size) => size === -1).length > 1)
    throw refused(node, 'more than one of its sizes depend on what the model leaves open');
  return shape;
}

/** Of images, and of values that are images with axes of one element more. */
function takeResize(reader: Reader, node: Node): void {
  const [input] = node.input as [string];
  const rank = reader.rank(input);
  const units = rank === 4 ? [] : unitsFor(reader, node);
  if (units === undefined) throw refused(node, 'it resizes other axes than height and width');
  if (units.length > 0) {
    const id = node.output[0]!;
    const [image, result] = [`${id}.image`, `${id}.resized`];
    reader.push({ id: image, op: 'unsqueeze', inputs: [input], axes: units });
    const own = [0, 1, 2, 3].filter((axis) => !units.includes(axis));
    const axes = resizedAxes(reader, node).map((axis) => own[axis]!);
    const asImage = { input: [image, ...node.input.slice(1)], output: [result] };
    takeImageResize(reader, changed(node, asImage), axes);
    reader.push({ id, op: 'squeeze', inputs: [result], axes: units });
    return;
  }
  takeImageResize(reader, node, resizedAxes(reader, node));
}

/** The axes of which a Resize speaks. */
function resizedAxes(reader: Reader, node: Node): readonly number[] {
  const [input] = node.input as [string];
  const all = Array.from({ length: reader.rank(input) }, (_, axis) => axis);
  return intsOf(node, 'axes')?.map((axis) => reader.axis(input, axis)) ?? all;
}

/** Where axes of one element make an image of a value of fewer axes, so that height and width are what is resized. */
function unitsFor(reader: Reader, node: Node): number[] | undefined {
  const [input] = node.input as [string];
  const rank = reader.rank(input);
  if (rank < 1 || rank > 3) return undefined;
  if (rank < 3) return rank === 1 ? [0, 1, 2] : [0, 1];
  const axes = resizedAxes(reader, node);
  const own = reader.sizes(input);
  const old = isOldResize(reader, node);
  const scales = scalesOf(reader, node, old) ?? [];
  const sizes = old || (node.input[3] ?? '') === '' ? undefined : reader.shapeNumbers(node, 3);
  const isKept = axes.every((axis, i) => {
    if (axis !== 1) return true;
    if (scales.length > 0) return scales[i] === 1;
    return sizes?.every((list, sample) => list[i] === own[sample]![axis]) ?? true;
  });
  return isKept ? [2] : [0];
}

function isOldResize(reader: Reader, node: Node): boolean {
  return node.opType === 'Upsample' || reader.opset < 11;
}

/** @param axes of the image, for which the node's lists are */
function takeImageResize(reader: Reader, node: Node, axes: readonly number[]): void {
  const [input] = node.input as [string];
  const old = isOldResize(reader, node);
  const spread = (values: readonly number[] | undefined, otherwise: number) =>
    values === undefined || values.length === 0
      ? undefined
      : [0, 1, 2, 3].map((axis) => values[axes.indexOf(axis)] ?? otherwise);
  const scales = spread(scalesOf(reader, node, old), 1);
  const like = old ? undefined : likeOf(reader, node, axes);
  const sizes = like !== undefined ? undefined : sizesOf(reader, node, axes, old);
  const from = reader.sizes(input);
  for (const axis of [0, 1]) {
    if (
      (scales !== undefined && scales[axis] !== 1) ||
      (sizes !== undefined && sizes[axis] !== 0 && from.some((shape) => shape[axis] !== sizes[axis]))
    )
      throw refused(node, 'it resizes other axes than height and width');
  }
  if (scales === undefined && sizes === undefined && like === undefined)
    throw refused(node, 'it has neither scales nor sizes');
  const roi = node.input[1] === undefined || old ? undefined : reader.constant(node.input[1]);
  const crop = roi === undefined ? [] : numbersOf(roi);
  const share = (axis: number, end: number) =>
    axes.includes(axis) ? (crop[axes.indexOf(axis) + end * axes.length] ?? end) : end;
  const aspect = choice(node, 'keep_aspect_ratio_policy', RESIZE_ASPECTS, 'stretch');
  // A ratio is kept of axes that the node names.
  const isOut = (axis: number) => aspect !== 'stretch' && !axes.includes(axis);
  const pair = (list: readonly number[] | undefined, out: number) =>
    [2, 3].map((axis) => (isOut(axis) ? out : (list?.[axis] ?? 0))) as [number, number];
  reader.push({
    ...about(node, 'resize'),
    inputs: like === undefined ? [input] : [input, like],
    mode: choice(node, 'mode', RESIZE_MODES, 'nearest'),
    coordinates: choice(node, 'coordinate_transformation_mode', RESIZE_COORDINATES, old ? 'asymmetric' : 'half_pixel'),
    nearest: choice(node, 'nearest_mode', RESIZE_NEAREST, old ? 'floor' : 'round_prefer_floor'),
    aspect,
    exclude_outside: intOf(node, 'exclude_outside', 0) !== 0,
    antialias: intOf(node, 'antialias', 0) !== 0,
    cubic_a: floatOf(node, 'cubic_coeff_a', -0.75),
    extrapolation: floatOf(node, 'extrapolation_value', 0),
    scales: pair(sizes === undefined && like === undefined ? scales : undefined, 1),
    sizes: pair(sizes, 0),
    crop: [share(2, 0), share(3, 0), share(2, 1), share(3, 1)],
  });
}

function scalesOf(reader: Reader, node: Node, old: boolean): readonly number[] | undefined {
  if (old && node.input.length === 1) return floatsOf(node, 'scales');
  const name = node.input[old ? 1 : 2] ?? '';
  if (name === '') return undefined;
  const constant = reader.constant(name);
  if (constant === undefined) throw refused(node, 'its scales are no constants');
  return numbersOf(constant);
}

/** The value whose height and width the sizes are, where they depend on what the model leaves open. */
function likeOf(reader: Reader, node: Node, axes: readonly number[]): string | undefined {
  if ((node.input[3] ?? '') === '') return undefined;
  const wanted = reader.shapeNumbers(node, 3);
  const [first, second] = wanted.map((sizes) => [2, 3].map((axis) => sizes[axes.indexOf(axis)])) as [
    number[],
    number[],
  ];
  if (first.join() === second.join()) return undefined;
  const own = reader.sizes(node.input[0]!);
  const keepsPlanes = wanted.every((sizes, sample) =>
    [0, 1].every((axis) => !axes.includes(axis) || sizes[axes.indexOf(axis)] === own[sample]![axis]),
  );
  if (!keepsPlanes) throw refused(node, 'it resizes other axes than height and width');
  // Those whose shapes are asked, else (exporters compute sizes from the input's) any that has them.
  return [...reader.shapesBehind(node.input[3]!), ...reader.known()].find((value) => {
    const [here, there] = reader.sizes(value);
    const isImage = here.length === 4 && here.slice(2).join() === first.join();
    return isImage && there.slice(2).join() === second.join();
  });
}

/** For each axis; 0 where nothing is said of it. */
function sizesOf(reader: Reader, node: Node, axes: readonly number[], old: boolean): number[] | undefined {
  const name = node.input[3] ?? '';
  if (old || name === '') return undefined;
  const [first, second] = reader.shapeNumbers(node, 3);
  if (first.length === 0) return undefined;
  const [from, other] = reader.sizes(node.input[0]!);
  return [0, 1, 2, 3].map((axis) => {
    const size = first[axes.indexOf(axis)];
    if (size === undefined) return axis < 2 ? 0 : from[axis]!;
    if (size === second[axes.indexOf(axis)]) return size;
    if (axis < 2 && size === from[axis] && second[axes.indexOf(axis)] === other[axis]) return 0;
    throw unusable('its sizes are computed from those that the model leaves open');
  });
}

function choice<Word extends string>(node: Node, name: string, words: readonly Word[], otherwise: Word): Word {
  const word = stringOf(node, name, otherwise);
  if (!words.includes(word as Word)) throw refused(node, `its ${name} is ${word}`);
  return word as Word;
}

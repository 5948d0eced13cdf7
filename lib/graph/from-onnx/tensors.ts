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
import { ceilOf, floorOf, isSame, minus, type Size, type Sizes, sum, times } from '../../sizes/size';
import { Tensor } from '../../tensor/tensor';
import { GRID_MODES, GRID_PADDINGS, type GridSampleNode } from '../operators/grid-sample';
import type { NodeSize } from '../operators/operator';
import { about, type Reader, read, refused, type Take } from './reader';

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
    const sizes = reader.sizes(input);
    const units = [...sizes.keys()].filter((axis) => sizes[axis] === 1);
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
    const starts = reader.listed(node, 1, 'starts');
    const ends = reader.listed(node, 2, 'ends');
    if (starts === undefined || ends === undefined) throw refused(node, 'it has no starts or no ends');
    const axes = reader.integers(node, 3, 'axes') ?? starts.map((_, axis) => axis);
    const steps = reader.integers(node, 4, 'steps') ?? starts.map(() => 1);
    const rank = reader.rank(input);
    const slices = {
      starts: Array<NodeSize>(rank).fill(0),
      ends: Array<NodeSize>(rank).fill(END),
      steps: Array<number>(rank).fill(1),
    };
    for (const [i, given] of axes.entries()) {
      const axis = reader.axis(input, given);
      slices.starts[axis] = reader.sizeText(within(starts[i]!));
      slices.ends[axis] = reader.sizeText(within(ends[i]!));
      slices.steps[axis] = Math.min(Math.max(steps[i]!, -END), END);
    }
    reader.push({ ...about(node, 'slice'), ...slices });
  },
  Split(reader, node) {
    const [input] = node.input as [string];
    const axis = reader.axis(input, intOf(node, 'axis', 0));
    const parts = reader.listed(node, 1, 'split') ?? equalParts(node, reader.sizes(input)[axis]!);
    let start: Size = 0;
    for (const [i, part] of parts.entries()) {
      const id = node.output[i] ?? '';
      const end: Size = sum(start, part);
      if (id !== '') pushRange(reader, id, input, axis, start, end);
      start = end;
    }
  },
  Pad(reader, node) {
    const mode = stringOf(node, 'mode', 'constant');
    if (!PAD_MODES.includes(mode as PadMode)) throw refused(node, `its mode is ${mode}`);
    const numbers = (index: number) => reader.numbers(node.input[index]!);
    const pads = openPadsOf(reader, node) ?? read(node, readPads(node, reader.rank(node.input[0]!), numbers));
    const value = read(node, readPadValue(node, numbers) ?? 'its value is no constant number');
    // JSON has no infinity, which exporters put around what a MaxPool reads: a tensor has.
    const isInfinite = mode === 'constant' && !Number.isFinite(value);
    const channels = isInfinite ? reader.knownSize(node.input[0]!, 1) : 0;
    const infinities = Tensor.f32([channels], Array<number>(channels).fill(value));
    const frame = isInfinite ? { value: 0, fill: reader.set(`${node.output[0]}.fill`, infinities) } : { value };
    reader.push({ ...about(node, 'pad'), ...pads, mode: mode as PadMode, ...frame });
  },
  Softmax(reader, node) {
    const [input] = node.input as [string];
    const axis = reader.axis(input, intOf(node, 'axis', reader.opset < 13 ? 1 : -1));
    // Before opset 13 over all axes from this one on.
    const joint =
      reader.opset < 13 &&
      reader
        .sizes(input)
        .slice(axis + 1)
        .some((size) => size !== 1);
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

function within(place: Size): Size {
  return typeof place === 'number' ? Math.min(Math.max(place, -END), END) : place;
}

/** As many parts as there are outputs, the last the smallest. */
function equalParts(node: Node, size: Size): Sizes {
  const count = node.output.length;
  if (typeof size === 'number') return splitSizes(node, size, undefined);
  const each = ceilOf(size, count);
  return node.output.map((_, i) => (i < count - 1 ? each : minus(size, times(i, each))));
}

/** Pads that are computed from open sizes. */
function openPadsOf(reader: Reader, node: Node) {
  if ((node.input[1] ?? '') === '' || reader.constant(node.input[1]!) !== undefined) return undefined;
  const rank = reader.rank(node.input[0]!);
  const axes = (node.input[3] ?? '') === '' ? [...Array(rank).keys()] : reader.integers(node, 3, 'axes')!;
  const pads = reader.shapeNumbers(node, 1);
  if (pads.length !== 2 * axes.length) throw refused(node, 'its pads are not two for each axis');
  const side = (axis: number, end: 0 | 1) => {
    const place = axes.findIndex((each) => each === axis || each === axis - rank);
    return place < 0 ? 0 : reader.sizeText(pads[place + end * axes.length]!);
  };
  const all = [...Array(rank).keys()];
  return { before: all.map((axis) => side(axis, 0)), after: all.map((axis) => side(axis, 1)) };
}

/** A part of an axis; to its end where none is given. */
export function pushRange(reader: Reader, id: string, input: string, axis: number, start: Size, end: Size = END): void {
  const rank = reader.rank(input);
  const of = (value: NodeSize, otherwise: number): NodeSize[] =>
    Array.from({ length: rank }, (_, each) => (each === axis ? value : otherwise));
  reader.push({
    id,
    op: 'slice',
    inputs: [input],
    starts: of(reader.sizeText(start), 0),
    ends: of(reader.sizeText(end), END),
    steps: Array<number>(rank).fill(1),
  });
}

/** Sizes, of which those that are the input's are 0 and one may be -1: what remains. */
function reshapeOf(reader: Reader, node: Node): NodeSize[] {
  const wanted = reader.shapeNumbers(node, 1);
  const from = reader.sizes(node.input[0]!);
  const zeroIsZero = intOf(node, 'allowzero', 0) !== 0;
  if (zeroIsZero && wanted.includes(0)) throw refused(node, 'its result is empty');
  const shape = wanted.map((size, i) => {
    // A batch that the model fixes stays the input's batch, whatever it is.
    const isOwn = i < from.length && (i === 0 || typeof size !== 'number') && isSame(size, from[i]!);
    return isOwn ? 0 : size;
  });
  // One size that is open is what remains: of however many images, where the model speaks of one.
  const open = shape.flatMap((size, i) => (typeof size === 'number' ? [] : [i]));
  const rest = open.length === 1 && !shape.includes(-1) ? open[0] : undefined;
  return reader.sizeTexts(shape.map((size, i) => (i === rest ? -1 : size)));
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
  const { scales, sizes } = targetOf(reader, node, axes, isOldResize(reader, node));
  const isKept = scales === undefined ? isSame(sizes![1]!, own[1]!) : scales[1] === 1;
  return isKept ? [2] : [0];
}

function isOldResize(reader: Reader, node: Node): boolean {
  return node.opType === 'Upsample' || reader.opset < 11;
}

/** @param axes of the image, for which the node's lists are */
function takeImageResize(reader: Reader, node: Node, axes: readonly number[]): void {
  const [input] = node.input as [string];
  const old = isOldResize(reader, node);
  const from = reader.sizes(input);
  const { scales, sizes } = targetOf(reader, node, axes, old);
  for (const axis of [0, 1]) {
    const isKept = scales === undefined ? isSame(sizes![axis]!, from[axis]!) : scales[axis] === 1;
    if (!isKept) throw refused(node, 'it resizes other axes than height and width');
  }
  const roi = node.input[1] === undefined || old ? undefined : reader.constant(node.input[1]);
  const crop = roi === undefined ? [] : numbersOf(roi);
  const share = (axis: number, end: number) =>
    axes.includes(axis) ? (crop[axes.indexOf(axis) + end * axes.length] ?? end) : end;
  const aspect = choice(node, 'keep_aspect_ratio_policy', RESIZE_ASPECTS, 'stretch');
  // A ratio is kept of axes that the node names.
  const isOut = (axis: number) => aspect !== 'stretch' && !axes.includes(axis);
  const pair = <T extends NodeSize>(list: readonly T[] | undefined, out: T | number) =>
    [2, 3].map((axis) => (isOut(axis) ? out : (list?.[axis] ?? 0))) as [T | number, T | number];
  reader.push({
    ...about(node, 'resize'),
    inputs: [input],
    mode: choice(node, 'mode', RESIZE_MODES, 'nearest'),
    coordinates: choice(node, 'coordinate_transformation_mode', RESIZE_COORDINATES, old ? 'asymmetric' : 'half_pixel'),
    nearest: choice(node, 'nearest_mode', RESIZE_NEAREST, old ? 'floor' : 'round_prefer_floor'),
    aspect,
    exclude_outside: intOf(node, 'exclude_outside', 0) !== 0,
    antialias: intOf(node, 'antialias', 0) !== 0,
    cubic_a: floatOf(node, 'cubic_coeff_a', -0.75),
    extrapolation: floatOf(node, 'extrapolation_value', 0),
    scales: pair(scales, 1),
    sizes: pair<NodeSize>(sizes && reader.sizeTexts(sizes), 0),
    crop: [share(2, 0), share(3, 0), share(2, 1), share(3, 1)],
  });
}

/** For each axis its scale, or its size in the result; scales that are quotients of open sizes are sizes. */
function targetOf(
  reader: Reader,
  node: Node,
  axes: readonly number[],
  old: boolean,
):
  | { readonly scales: readonly number[]; readonly sizes?: undefined }
  | { readonly sizes: Sizes; readonly scales?: undefined } {
  const from = reader.sizes(node.input[0]!);
  const spread = <T>(values: readonly T[], otherwise: (axis: number) => T) =>
    [0, 1, 2, 3].map((axis) => values[axes.indexOf(axis)] ?? otherwise(axis));
  if (!old && (node.input[3] ?? '') !== '') {
    const sizes = reader.shapeNumbers(node, 3);
    if (sizes.length > 0) return { sizes: spread(sizes, (axis) => from[axis]!) };
  }
  const place = old ? 1 : 2;
  if (old && node.input.length === 1) return { scales: spread(floatsOf(node, 'scales') ?? [], () => 1) };
  if ((node.input[place] ?? '') === '') throw refused(node, 'it has neither scales nor sizes');
  const constant = reader.constant(node.input[place]!);
  if (constant !== undefined) {
    if (constant.size === 0) throw refused(node, 'it has neither scales nor sizes');
    return { scales: spread(numbersOf(constant), () => 1) };
  }
  const quotients = reader.shapeQuotients(node, place);
  const sizes = quotients.map(([of, by], i) => {
    const size = times(from[axes[i]!]!, of);
    const made = floorOf(size, by);
    if (isSame(times(made, by), size)) return made;
    throw refused(node, `its scale (${of}) / (${by}) leaves a fraction of a pixel`);
  });
  return { sizes: spread(sizes, (axis) => from[axis]!) };
}

function choice<Word extends string>(node: Node, name: string, words: readonly Word[], otherwise: Word): Word {
  const word = stringOf(node, name, otherwise);
  if (!words.includes(word as Word)) throw refused(node, `its ${name} is ${word}`);
  return word as Word;
}

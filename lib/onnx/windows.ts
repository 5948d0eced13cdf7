import { ceilOf, floorOf, greater, minus, type Size, type Sizes, sum, times } from '../sizes/size';
import { intOf, intsOf, stringOf } from './attributes';
import type { Node } from './schema/onnx_pb';

type Two = readonly [number, number];
/** A number for each axis of an image: height and width of one, of lines and volumes as many as those have. */
type Axes = readonly number[];
/** The same of sizes that may be open. */
type OpenAxes = Sizes;

/** How a window slides over images. */
export interface Window<S extends Size = number> {
  readonly stride: Two;
  readonly dilation: Two;
  /** [top, left, bottom, right] */
  readonly padding: readonly [S, S, S, S];
}

export interface PoolWindow<S extends Size = number> extends Window<S> {
  readonly kernel: Two;
  readonly ceilMode: boolean;
  readonly countIncludePad: boolean;
}

export interface TransposedWindow extends Window {
  readonly outputPadding: Two;
}

/**
 * The window of a Conv, or why it has none that is known.
 *
 * @param weight the shape of its weight
 * @param size height and width of its input, where they are known; of open ones the padding may be open
 */
export function readConv<S extends Size>(
  node: Node,
  weight: Axes,
  size: readonly S[] | undefined,
): (Window<S> & { groups: number }) | string {
  if (weight.length !== 4) return NO_IMAGES;
  const window = readWindow(node, weight.slice(2), size);
  return typeof window === 'string' ? window : { ...(window as unknown as Window<S>), groups: intOf(node, 'group', 1) };
}

/** The window of a MaxPool or AveragePool, or why it has none that is known; `size` as for `readConv`. */
export function readPool<S extends Size>(node: Node, size: readonly S[] | undefined): PoolWindow<S> | string {
  const kernel = intsOf(node, 'kernel_shape') ?? [1, 1];
  if (kernel.length !== 2) return notOfImages('kernel_shape');
  const window = readWindow(node, kernel, size);
  if (typeof window === 'string') return window;
  return {
    ...(window as unknown as Window<S>),
    kernel: kernel as unknown as Two,
    ceilMode: intOf(node, 'ceil_mode', 0) !== 0,
    countIncludePad: intOf(node, 'count_include_pad', 0) !== 0,
  };
}

/** The window of a ConvTranspose; where a size is asked for, what pads and output_padding then are. As `readConv`. */
export function readConvTranspose(
  node: Node,
  weight: Axes,
  size: OpenAxes | undefined,
): (TransposedWindow & { groups: number }) | string {
  if (weight.length !== 4) return NO_IMAGES;
  const kernel = weight.slice(2);
  const lists = stepsOf(node, 2);
  const outputPadding = listOf(node, 'output_padding', 2, 0);
  if (typeof lists === 'string') return lists;
  if (typeof outputPadding === 'string') return outputPadding;
  const { stride, dilation } = lists;
  const asked = intsOf(node, 'output_shape')?.slice(-2);
  const mode = stringOf(node, 'auto_pad', 'NOTSET');
  const made = (padding: Axes, more: Axes = outputPadding) => ({
    ...({ stride, dilation, padding, outputPadding: more } as unknown as TransposedWindow),
    groups: intOf(node, 'group', 1),
  });
  if (asked === undefined && !isSame(mode)) {
    const pads = mode === 'VALID' ? NONE : (intsOf(node, 'pads') ?? NONE);
    return pads.length === 4 ? made(pads) : notOfImages('pads');
  }
  const beyond: OpenAxes | undefined = size?.map((pixels, axis) => {
    const span = spanOf(kernel[axis]!, dilation[axis]!) + outputPadding[axis]!;
    return minus(sum(times(stride[axis]!, minus(pixels, 1)), span), asked?.[axis] ?? times(pixels, stride[axis]!));
  });
  if (beyond === undefined || !areKnown(beyond)) return 'its output_shape depends on sizes that the model leaves open';
  const more = outputPadding.map((each, axis) => each + Math.max(0, -beyond[axis]!));
  return made(
    shared(
      beyond.map((each) => Math.max(0, each)),
      mode,
    ) as Axes,
    more,
  );
}

/** Sizes of an image after a window of `kernel` has slid over it; undefined where rounding up leaves a choice, or nothing tells. */
export function slidSizes(node: Node, kernel: Axes, sizes: OpenAxes): OpenAxes | undefined {
  if (sizes.length !== kernel.length || intOf(node, 'ceil_mode', 0) !== 0) return undefined;
  const window = readWindow(node, kernel, sizes);
  if (typeof window === 'string') return undefined;
  const { stride, dilation, padding } = window;
  return sizes.map((size, axis) => {
    const room = sum(size, padding[axis]!, padding[axis + sizes.length]!, -spanOf(kernel[axis]!, dilation[axis]!));
    return sum(floorOf(room, stride[axis]!), 1);
  });
}

/** Sizes of an image that a ConvTranspose makes of one; undefined where nothing tells. */
export function enlargedSizes(node: Node, weight: Axes, sizes: OpenAxes): OpenAxes | undefined {
  const window = sizes.length === 2 ? readConvTranspose(node, weight, sizes) : NO_IMAGES;
  if (typeof window === 'string') return undefined;
  const { stride, dilation, padding, outputPadding } = window;
  return sizes.map((size, axis) => {
    const span = spanOf(weight[axis + 2]!, dilation[axis]!) + outputPadding[axis]!;
    return sum(times(stride[axis]!, minus(size, 1)), span - padding[axis]! - padding[axis + 2]!);
  });
}

/**
 * Over how many axes a node's window slides; undefined for one that has none.
 *
 * @param rank of a value, where it is known
 */
export function windowAxes(node: Node, rank: (value: string) => number | undefined): number | undefined {
  const ofWeight = node.opType === 'Conv' || node.opType === 'ConvTranspose';
  if (!ofWeight && !POOLS.has(node.opType)) return undefined;
  const weight = ofWeight ? rank(node.input[1] ?? '') : undefined;
  return weight === undefined ? intsOf(node, 'kernel_shape')?.length : weight - 2;
}

/** Along which axis of a volume the window of a Conv is one element that moves on by one, if there is such an axis. */
export function flatAxis(node: Node, weight: Axes): number | undefined {
  const mode = stringOf(node, 'auto_pad', 'NOTSET');
  if (node.opType !== 'Conv' || weight.length !== 5 || (mode !== 'NOTSET' && mode !== 'VALID')) return undefined;
  const [strides, pads] = [intsOf(node, 'strides'), mode === 'VALID' ? undefined : intsOf(node, 'pads')];
  return [2, 1, 0].find(
    (axis) => weight[axis + 2] === 1 && (strides?.[axis] ?? 1) === 1 && !pads?.[axis] && !pads?.[axis + 3],
  );
}

const POOLS = new Set(['AveragePool', 'LpPool', 'MaxPool']);
const NO_IMAGES = 'it does not convolve images';
const NONE = [0, 0, 0, 0];
const notOfImages = (name: string) => `its ${name} are not those of images`;

/** A window over images of any number of axes; its padding before all axes stands before that after them. */
function readWindow(node: Node, kernel: Axes, size: OpenAxes | undefined) {
  const axes = kernel.length;
  const lists = stepsOf(node, axes);
  if (typeof lists === 'string') return lists;
  const mode = stringOf(node, 'auto_pad', 'NOTSET');
  if (mode === 'NOTSET' || mode === '' || mode === 'VALID') {
    const given = mode === 'VALID' ? undefined : intsOf(node, 'pads');
    const padding = given ?? Array<number>(2 * axes).fill(0);
    return padding.length === 2 * axes ? { ...lists, padding } : notOfImages('pads');
  }
  if (!isSame(mode)) return `its auto_pad is ${mode}`;
  const { stride, dilation } = lists;
  const dependsOnSize = stride.some((step) => step > 1);
  const total = (dependsOnSize ? size : kernel)?.map((pixels, axis) => {
    const span = spanOf(kernel[axis]!, dilation[axis]!);
    const reached = sum(times(minus(ceilOf(pixels, stride[axis]!), 1), stride[axis]!), span);
    return greater(0, minus(reached, pixels));
  });
  if (total === undefined)
    return `its auto_pad ${mode} of stride ${stride} depends on sizes that the model leaves open`;
  return { ...lists, padding: shared(total, mode) };
}

/** The strides and dilations of a node, or what is wrong with them. */
export function stepsOf(node: Node, axes: number): { readonly stride: Axes; readonly dilation: Axes } | string {
  const [stride, dilation] = [listOf(node, 'strides', axes, 1), listOf(node, 'dilations', axes, 1)];
  if (typeof stride === 'string') return stride;
  return typeof dilation === 'string' ? dilation : { stride, dilation };
}

function listOf(node: Node, name: string, axes: number, otherwise: number): Axes | string {
  const list = intsOf(node, name) ?? Array<number>(axes).fill(otherwise);
  return list.length === axes ? list : notOfImages(name);
}

/** Whether windows may reach beyond the image. */
export function isFramed(node: Node): boolean {
  const mode = stringOf(node, 'auto_pad', 'NOTSET');
  if (intOf(node, 'ceil_mode', 0) !== 0 || (mode !== 'NOTSET' && mode !== 'VALID')) return true;
  return mode !== 'VALID' && intsOf(node, 'pads')?.some((side) => side !== 0) === true;
}

function isSame(mode: string): boolean {
  return mode === 'SAME_UPPER' || mode === 'SAME_LOWER';
}

/** Pixels from the first to the last tap. */
function spanOf(taps: number, dilation: number): number {
  return (taps - 1) * dilation + 1;
}

function areKnown(sizes: OpenAxes): sizes is Axes {
  return sizes.every((size) => typeof size === 'number');
}

/** Padding shared out to both ends of each axis; the odd pixel goes to the end (SAME_UPPER), or to the start. */
function shared(total: OpenAxes, mode: string): OpenAxes {
  const half = total.map((each) => floorOf(each, 2));
  const rest = total.map((each, axis) => minus(each, half[axis]!));
  return mode === 'SAME_UPPER' ? [...half, ...rest] : [...rest, ...half];
}

import { intOf } from '../../onnx/attributes';
import type { Node } from '../../onnx/schema/onnx_pb';
import { type PoolWindow, readConv, readConvTranspose, readPool, type Window } from '../../onnx/windows';
import type { Padding4 } from '../../ops/geometry';
import type { Size, Sizes } from '../../sizes/size';
import { Tensor } from '../../tensor/tensor';
import type { NodeSize } from '../operators/operator';
import { takeColumns } from './columns';
import { imageWeight, ofLinesToo } from './lines';
import { about, type Reader, read, refused, type Take } from './reader';
import { ofFlatVolumesToo } from './volumes';

/** What works on images: convolutions, pooling. */
export const IMAGE_OPERATORS: Readonly<Record<string, Take>> = {
  Conv: ofFlatVolumesToo(
    convolve,
    ofLinesToo((reader, node) => convolve(reader, node, imageWeight(reader, node))),
  ),
  ConvTranspose: ofLinesToo((reader, node) => {
    const weight = imageWeight(reader, node);
    const { shape } = reader.tensor(weight);
    const { outputPadding, ...window } = read(node, readConvTranspose(node, shape, sizeOf(reader, node)));
    const bias = reader.optional(node, 2);
    reader.push({ ...about(node, 'conv_transpose2d'), weight, bias, ...window, output_padding: outputPadding });
  }),
  Col2Im: takeColumns,
  MaxPool: ofLinesToo((reader, node) => {
    if (reader.isRead(node.output[1] ?? '')) throw refused(node, 'it tells where its maxima are');
    const window = read(node, readPool(node, sizeOf(reader, node)));
    const { input, sides } = padded(reader, node, window.padding, LEAST);
    reader.push({ ...about(node, 'max_pool2d'), inputs: [input], ...poolFields({ ...window, padding: sides }) });
  }),
  LpPool: ofLinesToo((reader, node) => {
    const power = intOf(node, 'p', 2);
    const window = read(node, readPool(node, sizeOf(reader, node)));
    const { input, sides } = padded(reader, node, window.padding, 0);
    const fields = poolFields({ ...window, padding: sides });
    reader.push({ ...about(node, 'lp_pool2d'), inputs: [input], ...fields, power });
  }),
  AveragePool: ofLinesToo((reader, node) => {
    const window = read(node, readPool(node, sizeOf(reader, node)));
    const { input, sides } = padded(reader, node, window.padding, 0);
    const fields = { ...poolFields({ ...window, padding: sides }), count_include_pad: window.countIncludePad };
    const isOpen = input !== node.input[0];
    const all = { ...fields, count_include_pad: true };
    if (!isOpen) reader.push({ ...about(node, 'avg_pool2d'), ...fields });
    else if (window.countIncludePad) reader.push({ ...about(node, 'avg_pool2d'), inputs: [input], ...all });
    else takeSharesInside(reader, node, input, window.padding, all);
  }),
};

/** @param weight key of the tensor, which is of images */
function convolve(reader: Reader, node: Node, weight: string): void {
  const { padding, ...window } = read(node, readConv(node, reader.tensor(weight).shape, sizeOf(reader, node)));
  const bias = reader.optional(node, 2);
  const { input, sides } = padded(reader, node, padding, 0);
  reader.push({ ...about(node, 'conv2d'), inputs: [input], weight, bias, ...window, padding: sidesOf(sides) });
}

/** Height and width of the image that a node reads. */
function sizeOf(reader: Reader, node: Node): Sizes {
  return reader.sizes(node.input[0]!).slice(2);
}

/** What no pixel is below. */
const LEAST = -3.4028234663852886e38;

/** The input of a window: where its padding depends on open sizes, with a frame around it. */
function padded(reader: Reader, node: Node, padding: readonly Size[], value: number) {
  const [input] = node.input as [string];
  const sides = reader.sizeTexts(padding);
  if (sides.every((side) => typeof side === 'number')) return { input, sides: sides as unknown as Padding4 };
  return { input: pushFrame(reader, `${node.output[0]}.padded`, input, sides, value), sides: NONE };
}

const NONE: Padding4 = [0, 0, 0, 0];

function pushFrame(reader: Reader, id: string, input: string, sides: readonly NodeSize[], value: number): string {
  const frame = { before: [0, 0, ...sides.slice(0, 2)], after: [0, 0, ...sides.slice(2)] };
  reader.push({ id, op: 'pad', inputs: [input], ...frame, mode: 'constant', value });
  return id;
}

/** Averages of those pixels that are no padding: of all, by the average of ones in a frame of zeros. */
function takeSharesInside(
  reader: Reader,
  node: Node,
  input: string,
  padding: readonly Size[],
  window: PoolFields & { readonly count_include_pad: boolean },
): void {
  const [id] = node.output as [string];
  const one = reader.set(`${id}.one`, Tensor.f32([1, 1, 1, 1], [1]));
  reader.push({ id: `${id}.one`, op: 'constant', inputs: [], tensor: one });
  const shape = [1, 1, ...reader.sizeTexts(reader.sizes(node.input[0]!).slice(2))];
  reader.push({ id: `${id}.ones`, op: 'expand', inputs: [`${id}.one`], shape });
  const framed = pushFrame(reader, `${id}.framed`, `${id}.ones`, reader.sizeTexts(padding), 0);
  reader.push({ id: `${id}.shares`, op: 'avg_pool2d', inputs: [framed], ...window });
  reader.push({ id: `${id}.averages`, op: 'avg_pool2d', inputs: [input], ...window });
  reader.push({ id, op: 'binary', inputs: [`${id}.averages`, `${id}.shares`], function: 'div' });
}

/** Two numbers where the sides are equal, else four. */
function sidesOf(padding: Padding4): Padding4 | Window['stride'] {
  const [top, left, bottom, right] = padding;
  return top === bottom && left === right ? [top, left] : padding;
}

type PoolFields = ReturnType<typeof poolFields>;

function poolFields(window: PoolWindow) {
  const { kernel, stride, dilation, ceilMode: ceil_mode } = window;
  const dilated = dilation.some((step) => step > 1) ? { dilation } : {};
  return { kernel, stride, ...dilated, padding: sidesOf(window.padding), ceil_mode };
}

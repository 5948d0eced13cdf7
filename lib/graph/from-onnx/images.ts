import { intOf } from '../../onnx/attributes';
import type { Node } from '../../onnx/schema/onnx_pb';
import { type PoolWindow, readConv, readConvTranspose, readPool, type Window } from '../../onnx/windows';
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
    const { outputPadding, ...window } = read(node, readConvTranspose(node, shape, sizesOf(reader, node)));
    const bias = reader.optional(node, 2);
    reader.push({ ...about(node, 'conv_transpose2d'), weight, bias, ...window, output_padding: outputPadding });
  }),
  MaxPool: ofLinesToo((reader, node) => {
    if (reader.isRead(node.output[1] ?? '')) throw refused(node, 'it tells where its maxima are');
    reader.push({ ...about(node, 'max_pool2d'), ...poolFields(read(node, readPool(node, sizesOf(reader, node)))) });
  }),
  LpPool: ofLinesToo((reader, node) => {
    const power = intOf(node, 'p', 2);
    reader.push({
      ...about(node, 'lp_pool2d'),
      ...poolFields(read(node, readPool(node, sizesOf(reader, node)))),
      power,
    });
  }),
  AveragePool: ofLinesToo((reader, node) => {
    const window = read(node, readPool(node, sizesOf(reader, node)));
    const count_include_pad = window.countIncludePad;
    reader.push({ ...about(node, 'avg_pool2d'), ...poolFields(window), count_include_pad });
  }),
};

/** @param weight key of the tensor, which is of images */
function convolve(reader: Reader, node: Node, weight: string): void {
  const window = read(node, readConv(node, reader.tensor(weight).shape, sizesOf(reader, node)));
  const bias = reader.optional(node, 2);
  reader.push({ ...about(node, 'conv2d'), weight, bias, ...window, padding: sidesOf(window) });
}

/** Height and width of the image that a node reads, in both samples. */
function sizesOf(reader: Reader, node: Node): readonly (readonly number[])[] {
  return reader.sizes(node.input[0]!).map((shape) => shape.slice(2));
}

/** Two numbers where the sides are equal, else four. */
function sidesOf({ padding }: Window): Window['padding'] | Window['stride'] {
  const [top, left, bottom, right] = padding;
  return top === bottom && left === right ? [top, left] : padding;
}

function poolFields(window: PoolWindow) {
  const { kernel, stride, dilation, ceilMode: ceil_mode } = window;
  const dilated = dilation.some((step) => step > 1) ? { dilation } : {};
  return { kernel, stride, ...dilated, padding: sidesOf(window), ceil_mode };
}

import { intsOf } from '../../onnx/attributes';
import type { Node } from '../../onnx/schema/onnx_pb';
import { stepsOf } from '../../onnx/windows';
import { windowCount } from '../../ops/geometry';
import { minus, product, type Size, sum, times } from '../../sizes/size';
import { Tensor } from '../../tensor/tensor';
import type { Two } from '../operators/operator';
import { type Reader, read, refused } from './reader';

/**
 * Col2Im: images of the windows [N, C kernel_h kernel_w, windows] that were cut out of them, added up where they overlap. As a transposed convolution by
 * kernels of one 1: channel c kernel_h kernel_w + i goes to pixel i of each window. For values that are finite.
 */
export function takeColumns(reader: Reader, node: Node): void {
  const [columns] = node.input as [string];
  const id = node.output[0]!;
  const pixels = reader.shapeNumbers(node, 1);
  const kernel = read(node, reader.numbers(node.input[2] ?? '') ?? 'its block_shape is no constant');
  if (pixels.length !== 2 || kernel.length !== 2) throw refused(node, 'it makes no images of height and width');
  const { stride, dilation } = read(node, stepsOf(node, 2));
  if (![...kernel, ...stride, ...dilation].every((size) => Number.isInteger(size) && size >= 1))
    throw refused(node, 'its window is none: its block_shape, strides and dilations are to be positive');
  const [top = 0, left = 0, bottom = 0, right = 0] = intsOf(node, 'pads') ?? [];
  const before = [top, left];
  const after = [bottom, right];
  const windows = pixels.map((size, axis) =>
    windowCount<Size>(size, kernel[axis]!, stride[axis]!, before[axis]!, after[axis]!, dilation[axis]!),
  );
  const beyond = pixels.map((size, axis) => {
    const reached = sum(times(stride[axis]!, minus(windows[axis]!, 1)), dilation[axis]! * (kernel[axis]! - 1) + 1);
    return minus(sum(size, before[axis]!, after[axis]!), reached);
  });
  if (beyond.some((size) => typeof size !== 'number'))
    throw refused(node, 'how many pixels its windows leave out depends on open sizes');
  const taps = product(kernel) as number;
  const channels = reader.knownSize(columns, 1) / taps;
  if (!Number.isInteger(channels)) throw refused(node, `its input has no ${taps} channels for each of an image`);
  reader.takeBudget(channels * taps * taps);
  const ones = new Float32Array(channels * taps * taps);
  for (let i = 0; i < channels * taps; i++) ones[i * taps + (i % taps)] = 1;
  const weight = reader.set(`${id}.weight`, Tensor.f32([channels * taps, 1, ...kernel], ones));
  const shape = reader.sizeTexts([reader.sizes(columns)[0]!, channels * taps, ...windows]);
  reader.push({ id: `${id}.windows`, op: 'reshape', inputs: [columns], shape });
  reader.push({
    id,
    op: 'conv_transpose2d',
    inputs: [`${id}.windows`],
    weight,
    bias: null,
    stride: stride as unknown as Two,
    padding: [top, left, bottom, right],
    output_padding: beyond as unknown as Two,
    dilation: dilation as unknown as Two,
    groups: channels,
  });
}

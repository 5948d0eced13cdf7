import { intsAttribute, intsOf } from '../../onnx/attributes';
import { changed } from '../../onnx/messages';
import type { Node } from '../../onnx/schema/onnx_pb';
import { Tensor } from '../../tensor/tensor';
import type { Reader, Take } from './reader';

/** What ONNX says of each axis of a window, and what it says of height where there is only width. */
const LISTS = [
  ['kernel_shape', [1]],
  ['strides', [1]],
  ['dilations', [1]],
  ['output_padding', [0]],
  ['output_shape', [1]],
] as const;

/** Reads an operator of lines [N, C, L] too: as one of images of height 1. */
export function ofLinesToo(take: Take): Take {
  return (reader, node) => {
    const [input] = node.input as [string];
    if (reader.rank(input) !== 3) {
      take(reader, node);
      return;
    }
    const id = node.output[0]!;
    const [image, result] = [`${id}.image`, `${id}.row`];
    reader.push({ id: image, op: 'unsqueeze', inputs: [input], axes: [2] });
    take(reader, changed(asOfImages(node), { input: [image, ...node.input.slice(1)], output: [result] }));
    reader.push({ id, op: 'squeeze', inputs: [result], axes: [2] });
  };
}

/** The node with its windows over height and width. */
function asOfImages(node: Node): Node {
  const lists = LISTS.flatMap(([name, ofHeight]) => {
    const given = intsOf(node, name);
    return given === undefined ? [] : [intsAttribute(name, [...given.slice(0, -1), ...ofHeight, ...given.slice(-1)])];
  });
  const pads = intsOf(node, 'pads');
  if (pads !== undefined) lists.push(intsAttribute('pads', [0, ...pads.slice(0, 1), 0, ...pads.slice(1)]));
  const others = node.attribute.filter(({ name }) => !lists.some((list) => list.name === name));
  return changed(node, { attribute: [...others, ...lists] });
}

/** The key of the weight of a convolution: of images, whatever it is. */
export function imageWeight(reader: Reader, node: Node): string {
  const tensor = reader.operand(node.input[1] ?? '');
  if (tensor?.shape.length !== 3) return reader.weight(node, 1);
  const [out = 0, into = 0, taps = 0] = tensor.shape;
  return reader.set(`${node.output[0]}.weight`, new Tensor(tensor.dtype, [out, into, 1, taps], tensor.data));
}

import { intsAttribute, intsOf } from '../../onnx/attributes';
import { changed } from '../../onnx/messages';
import type { Node } from '../../onnx/schema/onnx_pb';
import { flatAxis } from '../../onnx/windows';
import { Tensor } from '../../tensor/tensor';
import type { Reader, Take } from './reader';

/** What a window says once for each axis, and twice. */
const LISTS = ['kernel_shape', 'strides', 'dilations', 'pads'] as const;

/** Reads a convolution of volumes [N, C, A, B, D] too whose window is flat along one axis: as one of the images that lie along it. */
export function ofFlatVolumesToo(convolve: (reader: Reader, node: Node, weight: string) => void, take: Take): Take {
  return (reader, node) => {
    const tensor = reader.rank(node.input[0]!) === 5 ? reader.operand(node.input[1] ?? '') : undefined;
    const flat = tensor && flatAxis(node, tensor.shape);
    if (flat === undefined) {
      take(reader, node);
      return;
    }
    const id = node.output[0]!;
    const axis = flat + 2;
    const [turned, images, result] = [`${id}.turned`, `${id}.images`, `${id}.result`];
    const pixels = [2, 3, 4].filter((each) => each !== axis);
    reader.push({ id: turned, op: 'transpose', inputs: [node.input[0]!], perm: [0, axis, 1, ...pixels] });
    const [, count, ...image] = reader.sizeTexts(reader.sizes(turned));
    reader.push({ id: images, op: 'reshape', inputs: [turned], shape: [-1, ...image] });
    const kernel = tensor!.shape.filter((_, i) => i !== axis);
    const weight = reader.set(`${id}.weight`, new Tensor(tensor!.dtype, kernel, tensor!.data));
    const asImages = { input: [images, ...node.input.slice(1)], output: [result] };
    convolve(reader, changed(withoutAxis(node, flat), asImages), weight);
    const [, ...made] = reader.sizeTexts(reader.sizes(result));
    reader.push({ id: `${result}.apart`, op: 'reshape', inputs: [result], shape: [-1, count!, ...made] });
    const perm = [2, 3, 4].map((each) => (each === axis ? 1 : pixels.indexOf(each) + 3));
    reader.push({ id, op: 'transpose', inputs: [`${result}.apart`], perm: [0, 2, ...perm] });
  };
}

function withoutAxis(node: Node, flat: number): Node {
  const lists = LISTS.flatMap((name) => {
    const given = intsOf(node, name);
    return given === undefined
      ? []
      : [
          intsAttribute(
            name,
            given.filter((_, i) => i % 3 !== flat),
          ),
        ];
  });
  const others = node.attribute.filter(({ name }) => !lists.some((list) => list.name === name));
  return changed(node, { attribute: [...others, ...lists] });
}

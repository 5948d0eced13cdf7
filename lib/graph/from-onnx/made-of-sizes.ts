import { tensorAttribute } from '../../onnx/attributes';
import { tensorOf } from '../../onnx/values';
import { ceilOf, minus, type Size } from '../../sizes/size';
import { Tensor } from '../../tensor/tensor';
import { type Reader, refused, type Take } from './reader';

/** Values that are made of open sizes: grids of places, frames of one value. Those of known sizes are constants. */
export const SIZE_OPERATORS: Readonly<Record<string, Take>> = {
  Range(reader, node) {
    const [start, end, step] = [0, 1, 2].map((index) => reader.shapeNumbers(node, index)[0]!) as [Size, Size, Size];
    if (typeof step !== 'number' || step === 0) throw refused(node, `its step is ${step}`);
    const count = step > 0 ? ceilOf(minus(end, start), step) : ceilOf(minus(start, end), -step);
    const id = node.output[0]!;
    // Sums of ones count from 0.
    pushFilled(reader, `${id}.ones`, 1, [count]);
    const places = `${id}.places`;
    reader.push({ id: places, op: 'cum_sum', inputs: [`${id}.ones`], axis: 0, exclusive: true, reverse: false });
    const steps = reader.set(`${id}.step`, Tensor.f32([], [step]));
    reader.push({ id: `${id}.steps`, op: 'binary', inputs: [places], function: 'mul', constant: steps });
    reader.push({ id: `${id}.start`, op: 'sizes', inputs: [], values: [reader.sizeText(start)], scalar: true });
    reader.push({ id, op: 'binary', inputs: [`${id}.steps`, `${id}.start`], function: 'add' });
  },
  ConstantOfShape(reader, node) {
    const given = tensorAttribute(node, 'value');
    const value = given === undefined ? 0 : Number(tensorOf(given)?.data[0]);
    if (Number.isNaN(value)) throw refused(node, 'its value is no number');
    pushFilled(reader, node.output[0]!, value, reader.shapeNumbers(node, 0));
  },
};

function pushFilled(reader: Reader, id: string, value: number, shape: readonly Size[]): void {
  const tensor = reader.set(`${id}.value`, Tensor.f32([], [value]));
  reader.push({ id: `${id}.value`, op: 'constant', inputs: [], tensor });
  reader.push({ id, op: 'expand', inputs: [`${id}.value`], shape: reader.sizeTexts(shape) });
}

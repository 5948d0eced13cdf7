import { join } from 'node:path';
import { Tensor } from '../../lib/tensor/tensor';
import { FIXTURES, type FixtureTensor, readFixtureTensors } from './fixtures';

/** A file of the inputs on which the product once failed; see test/fixtures/reported/README.md. */
export function reportedPath(file: string): string {
  return join(FIXTURES, 'reported', file);
}

/** The right outputs of a reported input, by name, and the input itself. */
export function readExpected(name: string): { input: Tensor; outputs: ReadonlyMap<string, FixtureTensor> } {
  const outputs = readFixtureTensors(reportedPath(`${name}.expected.safetensors`));
  const { shape, data } = outputs.get('input')!;
  outputs.delete('input');
  return { input: Tensor.f32(shape, Float32Array.from(data as Float32Array)), outputs };
}

import { DTYPES, type DType } from '../../lib/tensor/dtype';
import { Tensor } from '../../lib/tensor/tensor';
import { readFixtureTensors } from './fixtures';

/** A safetensors file of the fixtures as a state dict, read by the tests' own reader. */
export function fixtureStateDict(path: string): Map<string, Tensor> {
  return new Map(
    [...readFixtureTensors(path)].map(([name, { dtype, shape, data }]) => {
      const { array } = DTYPES[dtype as DType];
      return [name, new Tensor(dtype as DType, shape, new array(data.buffer, 0, data.length))];
    }),
  );
}

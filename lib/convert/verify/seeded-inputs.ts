import { channelCounts } from '../../engine/channels';
import { inferShapes, inputsOf, type Model } from '../../graph';
import { seededUniform, uniformValues } from '../../tensor/random';
import { elementCount, Tensor } from '../../tensor/tensor';

const IMAGES = 2;
/** Height, width and what else a model leaves open. */
const SIZE = 64;

/**
 * Seeded tensors for a network's inputs, by name: of two images, or one where it takes no more.
 *
 * @param given the shapes of some inputs
 */
export function seededInputs(
  model: Model,
  seed: number,
  given: ReadonlyMap<string, readonly number[]> = new Map(),
): ReadonlyMap<string, Tensor> {
  const uniform = seededUniform(seed);
  const shapes = new Map([...shapesFor(model), ...given]);
  return new Map(
    inputsOf(model.graph).map(({ id, type = 'F32' }) => {
      const shape = shapes.get(id)!;
      const values = uniformValues(uniform, elementCount(shape), -1, 1);
      return [id, tensorOf(type, shape, values)];
    }),
  );
}

/** Of integers 0 and 1, which are places in whatever they are an index of; of bytes all. */
function tensorOf(type: Tensor['dtype'], shape: readonly number[], values: Float32Array): Tensor {
  switch (type) {
    case 'U8':
      return new Tensor(
        'U8',
        shape,
        Uint8Array.from(values, (each) => Math.floor((each + 1) * 128)),
      );
    case 'I64':
      return new Tensor('I64', shape, BigInt64Array.from(Array.from(values, (each) => (each > 0 ? 1n : 0n))));
    case 'I32':
      return new Tensor('I32', shape, Int32Array.from(values, bit));
    case 'I16':
      return new Tensor('I16', shape, Int16Array.from(values, bit));
    case 'I8':
      return new Tensor('I8', shape, Int8Array.from(values, bit));
    case 'BOOL':
      return new Tensor('BOOL', shape, Uint8Array.from(values, bit));
    default:
      return Tensor.f32(shape, values); // which half types take too
  }
}

const bit = (each: number) => (each > 0 ? 1 : 0);

function shapesFor({ graph, tensors }: Model): ReadonlyMap<string, readonly number[]> {
  const channels = channelCounts(graph, tensors);
  const shapes = (images: number) => {
    const open = new Map<string, number>();
    const sizes = inputsOf(graph).map(({ id, shape }) => {
      const known = shape.map((size, axis) => {
        if (typeof size === 'number') return size;
        const multiple = graph.multiples?.[size] ?? 1;
        const own = multiple * Math.ceil(SIZE / multiple);
        const told = axis === 0 ? images : shape.length === 4 && axis === 1 ? (channels.get(id) ?? own) : own;
        if (!open.has(size)) open.set(size, told);
        return open.get(size)!;
      });
      return [id, known] as const;
    });
    return new Map(sizes);
  };
  try {
    inferShapes(graph, shapes(IMAGES), tensors);
    return shapes(IMAGES);
  } catch {
    return shapes(1); // if that does not fit either, the run says why
  }
}

import { Engine } from '../../lib/engine';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';

/** Boxes [1, 3, 4] of which the second overlaps the first; behind the list of those that are kept their corners are gathered. */
const BOXES = [0, 0, 10, 10, 0, 1, 10, 10, 20, 20, 30, 30];

function detector() {
  const whole = (...values: number[]) => new Tensor('I64', [values.length], BigInt64Array.from(values, BigInt));
  return model(
    [
      node('Reshape', ['image', 'scoresShape'], ['scores']),
      node('NonMaxSuppression', ['boxes', 'scores', 'most', 'iou', 'least'], ['kept']),
      node('Slice', ['kept', 'two', 'three', 'one'], ['column']),
      node('Reshape', ['column', 'all'], ['places']),
      node('Squeeze', ['boxes', 'zero'], ['list']),
      node('Gather', ['list', 'places'], ['found']),
    ],
    {
      boxes: Tensor.f32([1, 3, 4], BOXES),
      most: whole(3),
      iou: Tensor.f32([1], [0.5]),
      least: Tensor.f32([1], [0.3]),
      scoresShape: whole(1, 1, 3),
      all: whole(-1),
      zero: whole(0),
      one: whole(1),
      two: whole(2),
      three: whole(3),
    },
    { inputs: { image: [1, 1, 1, 3] }, outputs: ['found'] },
  );
}

test('what is behind a list of boxes has the size that came out', async () => {
  await using engine = await Engine.create(fromOnnx(detector()));
  const found = await engine.run(Tensor.f32([1, 1, 1, 3], [0.9, 0.8, 0.5]));
  expect(found.shape).toEqual([2, 4]);
  expect([...found.data]).toEqual([...BOXES.slice(0, 4), ...BOXES.slice(8)]);
  const one = await engine.run(Tensor.f32([1, 1, 1, 3], [0.1, 0.8, 0.2]));
  expect([...one.data]).toEqual(BOXES.slice(4, 8));
});

test('where nothing is found the list is empty, and so is what is behind it', async () => {
  await using engine = await Engine.create(fromOnnx(detector()));
  const none = await engine.run(Tensor.f32([1, 1, 1, 3], [0.1, 0.2, 0.2]));
  expect(none.shape).toEqual([0, 4]);
});

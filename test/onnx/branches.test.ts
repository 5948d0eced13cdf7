import { create } from '@bufbuild/protobuf';
import { Engine } from '../../lib/engine';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { type Graph, GraphSchema, type Node } from '../../lib/onnx/schema/onnx_pb';
import { protoOf } from '../../lib/onnx/values';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node, value } from '../support/onnx-model';

const whole = (...values: number[]) => new Tensor('I64', [values.length], BigInt64Array.from(values, BigInt));

function branch(nodes: readonly Node[], output: string, tensors: Readonly<Record<string, Tensor>> = {}): Graph {
  return create(GraphSchema, {
    name: 'branch',
    node: [...nodes],
    output: [value(output, [])],
    initializer: Object.entries(tensors).map(([name, tensor]) => protoOf(name, tensor)),
  });
}

/** What torch's classic exporter writes of a squeeze of an axis: one if it has one element. Names of both branches are the same. */
function squeeze(x: string, y: string, axis: number): Node[] {
  const own = (name: string) => `${y}.${name}`;
  return [
    node('Shape', [x], [own('shape')]),
    node('Constant', [], [own('axis')], { value: whole(axis) }),
    node('Gather', [own('shape'), own('axis')], [own('size')]),
    node('Constant', [], [own('one')], { value: whole(1) }),
    node('Equal', [own('size'), own('one')], [own('isOne')]),
    node('If', [own('isOne')], [y], {
      then_branch: branch(
        [node('Constant', [], ['axes'], { value: whole(axis) }), node('Squeeze', [x, 'axes'], ['result'])],
        'result',
      ),
      else_branch: branch([node('Identity', [x], ['result'])], 'result'),
    }),
  ];
}

const run = async (read: ReturnType<typeof model>, x: Tensor) => {
  await using engine = await Engine.create(fromOnnx(read));
  return engine.run(x);
};

test('squeezes as the classic exporter writes them, one after the other', async () => {
  const nodes = [...squeeze('x', 'first', 1), node('Relu', ['first'], ['positive']), ...squeeze('positive', 'y', 1)];
  const read = (shape: number[]) => model(nodes, {}, { inputs: { x: shape }, outputs: ['y'] });
  const both = await run(read([2, 1, 1, 3]), Tensor.f32([2, 1, 1, 3], [1, -2, 3, 4, 5, 6]));
  expect([both.shape, [...both.data]]).toEqual([
    [2, 3],
    [1, 0, 3, 4, 5, 6],
  ]);
  const one = await run(read([2, 1, 3, 1]), Tensor.f32([2, 1, 3, 1], [1, -2, 3, 4, 5, 6]));
  expect(one.shape).toEqual([2, 3, 1]);
  const none = await run(read([2, 3, 1, 1]), Tensor.f32([2, 3, 1, 1], [1, -2, 3, 4, 5, 6]));
  expect(none.shape).toEqual([2, 3, 1, 1]);
});

test('of a constant condition, nested, with initializers and outer values', async () => {
  const inner = node('If', ['no'], ['chosen'], {
    then_branch: branch([node('Erf', ['sum'], ['result'])], 'result'),
    else_branch: branch([node('Mul', ['sum', 'factor'], ['result'])], 'result', { factor: Tensor.f32([], [10]) }),
  });
  const outer = node('If', ['yes'], ['y'], {
    then_branch: branch([node('Add', ['x', 'factor'], ['sum']), inner], 'chosen', { factor: Tensor.f32([], [1]) }),
    else_branch: branch([node('Unknown', ['x'], ['result'])], 'result'),
  });
  const truth = (value: number) => new Tensor('BOOL', [], Uint8Array.of(value));
  const read = model([outer], { yes: truth(1), no: truth(0) }, { inputs: { x: [2] }, outputs: ['y'] });
  expect([...(await run(read, Tensor.f32([2], [1, 2]))).data]).toEqual([20, 30]);
});

test('a branch may be a value that is there, or a constant', async () => {
  const nodes = [
    node('If', ['yes'], ['same'], {
      then_branch: branch([], 'x'),
      else_branch: branch([], 'x'),
    }),
    node('If', ['yes'], ['number'], {
      then_branch: branch([node('Constant', [], ['two'], { value: Tensor.f32([1], [2]) })], 'two'),
      else_branch: branch([], 'x'),
    }),
    node('Mul', ['same', 'number'], ['y']),
  ];
  const yes = new Tensor('BOOL', [1], Uint8Array.of(1));
  const read = model(nodes, { yes }, { inputs: { x: [2] }, outputs: ['y'] });
  expect([...(await run(read, Tensor.f32([2], [1, 2]))).data]).toEqual([2, 4]);
});

test('all that is missing is told, in branches too', () => {
  const chosen = node('If', ['isPositive'], ['y'], {
    then_branch: branch([node('Unknown', ['x'], ['result'])], 'result'),
    else_branch: branch([node('Relu', ['x'], ['a']), node('Unknown', ['a'], ['b'])], 'b'),
  });
  const nodes = [node('Greater', ['x', 'zero'], ['isPositive']), chosen];
  const read = model(nodes, { zero: Tensor.f32([], [0]) }, { inputs: { x: [1] }, outputs: ['y'] });
  expect(() => fromOnnx(read)).toThrow('the model has 1 other: Unknown (2 nodes, first "Unknown:result")');
  const open = model(
    [...squeeze('x', 'first', 1), node('Other', ['first'], ['y'])],
    {},
    { inputs: { x: [2, 3] }, outputs: ['y'] },
  );
  expect(() => fromOnnx(open)).toThrow('the model has 1 other: Other "Other:y" (1 node)');
});

test('of a condition that the data tell, both branches run and one is chosen', async () => {
  const choice = (no: Graph) => [
    node('Greater', ['x', 'zero'], ['isPositive']),
    node('If', ['isPositive'], ['y'], {
      then_branch: branch([node('Mul', ['x', 'factor'], ['result'])], 'result', { factor: Tensor.f32([1], [10]) }),
      else_branch: no,
    }),
  ];
  const read = (no: Graph) =>
    model(choice(no), { zero: Tensor.f32([], [0]) }, { inputs: { x: [1, 1] }, outputs: ['y'] });
  const negated = read(branch([node('Neg', ['x'], ['result'])], 'result'));
  expect([...(await run(negated, Tensor.f32([1, 1], [2]))).data]).toEqual([20]);
  expect([...(await run(negated, Tensor.f32([1, 1], [-2]))).data]).toEqual([2]);
  const other = read(branch([node('Squeeze', ['x'], ['result'])], 'result'));
  expect(() => fromOnnx(other)).toThrow('which shape its result has is known only as it runs');
});

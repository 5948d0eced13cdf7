import { valueTypes } from '../../lib/onnx/value-types';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';

test('types of values: as the graph says, else as the operators make them', () => {
  const nodes = [
    node('Shape', ['x'], ['sizes']),
    node('Gather', ['sizes', 'place'], ['height']),
    node('Cast', ['height'], ['half'], { to: 10 }),
    node('Less', ['x', 'x'], ['mask']),
    node('Where', ['mask', 'x', 'x'], ['chosen']),
    node('TopK', ['chosen', 'place'], ['best', 'places']),
    node('Constant', [], ['bytes'], { value: new Tensor('U8', [1], Uint8Array.of(1)) }),
    node('ConstantOfShape', ['sizes'], ['zeros']),
    node('Mystery', ['nowhere'], ['unknown']),
  ];
  const place = new Tensor('I64', [1], BigInt64Array.of(1n));
  const { proto } = model(nodes, { place }, { inputs: { x: [1, 3, 8, 8] }, outputs: ['best'] });
  expect(Object.fromEntries(valueTypes(proto.graph))).toEqual({
    x: 'F32',
    place: 'I64',
    sizes: 'I64',
    height: 'I64',
    half: 'F16',
    mask: 'BOOL',
    chosen: 'F32',
    best: 'F32',
    places: 'I64',
    bytes: 'U8',
    zeros: 'F32',
  });
});

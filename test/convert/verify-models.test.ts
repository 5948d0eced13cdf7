import { join } from 'node:path';
import { convert, verify } from '../../lib/convert';
import { readModel } from '../../lib/engine';
import { exportOnnx } from '../../lib/graph';
import { readOnnx, writeOnnx } from '../../lib/onnx';
import { protoOf } from '../../lib/onnx/values';
import { Tensor } from '../../lib/tensor/tensor';
import { FIXTURES, fixturePath, readManifest } from '../support/fixtures';
import { model, node } from '../support/onnx-model';
import { refusal } from '../support/refusal';
import { roughBlock } from '../support/rough-block';
import { workplace } from './workplace';

const { path, write } = workplace();
const ACNET = fixturePath('checkpoints', 'acnet-onnx-train.onnx');
const YUNET = [
  join(FIXTURES, 'public', 'yunet_s_train.pth'),
  join(FIXTURES, 'public', 'yunet_s_deploy_320.onnx'),
] as const;
const DIGITS = fixturePath('trained', 'digits-acnet.pth');
const digitsGraph = () => ({ ...readManifest('trained', 'digits-acnet').train_graph, inputShape: [1, 8, 8] });

/** A model with one element of an initializer changed, by a share of its largest. */
async function changed(file: string, name: RegExp, share: number): Promise<string> {
  const { proto, opset } = await readOnnx(file);
  const index = proto.graph.initializer.findIndex((each) => name.test(each.name));
  const { dims, rawData, name: found } = proto.graph.initializer[index]!;
  const values = new Float32Array(new Uint8Array(rawData).buffer);
  values[0]! += share * values.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0);
  proto.graph.initializer[index] = protoOf(found, Tensor.f32(dims.map(Number), values));
  await writeOnnx(path('changed.onnx'), { proto, opset }, { force: true });
  return path('changed.onnx');
}

describe('two ONNX models', () => {
  test('a training form and what it was folded to, both ways; one changed weight is seen', async () => {
    await convert(ACNET, path('folded.onnx'));
    for (const [a, b] of [
      [ACNET, 'folded.onnx'],
      ['folded.onnx', ACNET],
      [ACNET, ACNET],
    ] as const) {
      const report = await verify(a === ACNET ? a : path(a), b === ACNET ? b : path(b));
      expect(report).toMatchObject({ equal: true, blocks: [], otherTensors: [] });
      expect(report.values?.map(({ value }) => value)).toContain('logits');
    }
    const wrong = await verify(ACNET, await changed(path('folded.onnx'), /fused\.weight/, 1e-2));
    expect(wrong.equal).toBe(false);
  });

  test('outputs of other names are compared in their order', async () => {
    const weight = Tensor.f32([2, 2, 1, 1], [1, 2, 3, 4]);
    const make = async (name: string, output: string, w = weight) => {
      const built = model(
        [node('Conv', ['x', 'w'], [output])],
        { w },
        { inputs: { x: [1, 2, 4, 4] }, outputs: [output] },
      );
      await writeOnnx(path(name), built);
      return path(name);
    };
    const [a, b] = [await make('a.onnx', 'y'), await make('b.onnx', 'logits')];
    expect(await verify(a, b)).toMatchObject({ equal: true, network: { equal: true, relative: 0 } });
    const other = await make('c.onnx', 'z', Tensor.f32([2, 2, 1, 1], [1, 2, 3, 4.1]));
    expect(await verify(a, other)).toMatchObject({ equal: false, network: { equal: false } });
  });

  test('options of checkpoints mean nothing', async () => {
    expect(await refusal(verify(ACNET, ACNET, { eps: 1e-5 }))).toMatchObject({ details: { option: 'eps' } });
    expect(await refusal(verify(ACNET, ACNET, { keyPath: ['model'] }))).toMatchObject({
      details: { option: 'keyPath' },
    });
  });
});

describe('a checkpoint and an ONNX model', () => {
  test('published by others, folded by their exporter: every pair and every other weight, by content', async () => {
    for (const [first, second] of [YUNET, [...YUNET].reverse() as unknown as typeof YUNET]) {
      const report = await verify(first, second);
      expect(report).toMatchObject({ equal: true, network: null, otherTensors: [] });
      expect(report.blocks.length).toBe(15);
      expect(new Set(report.blocks.map(({ beside }) => beside)).size).toBe(15);
      expect(report.notes.join()).toMatch(/76 of 76 weights outside .*only weights were compared/);
    }
  });

  test('a weight or a bias that differs is named, in a block and outside', async () => {
    const initializers = (await readOnnx(YUNET[1])).proto.graph.initializer;
    const nameless = initializers.filter(({ name, dims }) => /^\d+$/.test(name) && dims.length === 4);
    const inBlock = await verify(YUNET[0], await changed(YUNET[1], new RegExp(`^${nameless[3]!.name}$`), 1e-3));
    expect(inBlock).toMatchObject({ equal: false, otherTensors: [] });
    expect(inBlock.blocks.filter(({ equal }) => !equal)).toHaveLength(1);
    for (const name of [/^bbox_head.*weight$/, /^bbox_head.*bias$/]) {
      const outside = await verify(YUNET[0], await changed(YUNET[1], name, 1e-3));
      expect(outside).toMatchObject({ equal: false, otherTensors: [{ key: expect.stringMatching(name) }] });
    }
  });

  test('the training form of both', async () => {
    // The checkpoint's block with plain branches, and the model of its nodes.
    const block = roughBlock('a.', 4);
    const input = await write('in', block);
    const nodes = [
      node('Conv', ['x', 'a.rbr_dense.conv.weight'], ['d'], { pads: [1, 1, 1, 1] }),
      node('BatchNormalization', ['d', ...bn('a.rbr_dense.bn')], ['dn'], { epsilon: 1e-5 }),
      node('Conv', ['x', 'a.rbr_1x1.conv.weight'], ['o']),
      node('BatchNormalization', ['o', ...bn('a.rbr_1x1.bn')], ['on'], { epsilon: 1e-5 }),
      node('BatchNormalization', ['x', ...bn('a.rbr_identity')], ['i'], { epsilon: 1e-5 }),
      node('Add', ['dn', 'on'], ['s']),
      node('Add', ['s', 'i'], ['t']),
      node('Relu', ['t'], ['y']),
    ];
    const tensors = Object.fromEntries([...block].filter(([, { dtype }]) => dtype === 'F32'));
    await writeOnnx(path('m.onnx'), model(nodes, tensors, { inputs: { x: [1, 4, 6, 6] }, outputs: ['y'] }));
    const report = await verify(input, path('m.onnx'));
    expect(report).toMatchObject({ equal: true, blocks: [{ prefix: 'a', equal: true }], otherTensors: [] });
    // Another eps is another network, which shows here: the model has its own.
    expect(await verify(input, path('m.onnx'), { eps: 1e-2 })).toMatchObject({ equal: false });
  });

  test('with a graph both networks run', async () => {
    const graph = digitsGraph();
    const { output, verification } = await convert(DIGITS, path('a.onnx'), { graph, verify: true });
    expect(verification).toMatchObject({ equal: true, network: { equal: true }, blocks: [] });
    // Also where nothing of the weights can be recognised: the same network with other activations is not equal.
    const { graph: read, tensors } = await readModel(output);
    const nodes = read.nodes.map((each) => (each.op === 'relu' ? { ...each, op: 'sigmoid' as const } : each));
    await exportOnnx(path('other.onnx'), { graph: { ...read, nodes }, tensors });
    expect(await verify(DIGITS, path('other.onnx'))).toMatchObject({ equal: true }); // by weights alone
    const differs = await verify(DIGITS, path('other.onnx'), { graph });
    expect(differs).toMatchObject({ equal: false, network: { equal: false } });
    expect(differs.blocks.map(({ equal }) => equal)).toEqual([true, true, true, true]);
  });

  test('another network; nothing to compare', async () => {
    const repvgg = fixturePath('trained', 'digits-repvgg.pth');
    await convert(DIGITS, path('a.onnx'), { graph: digitsGraph() });
    const report = await verify(repvgg, path('a.onnx'));
    expect(report.equal).toBe(false);
    expect(report.blocks.some(({ problem }) => problem?.includes('no convolution of its shape'))).toBe(true);
    expect(report.otherTensors.length).toBeGreaterThan(0);
    const counter = await write('counter', new Map([['steps', new Tensor('I64', [], new BigInt64Array([7n]))]]));
    expect(await refusal(verify(counter, path('a.onnx')))).toMatchObject({ code: 'ERR_REPFUSE_NO_BLOCKS' });
  });
});

function bn(name: string): string[] {
  return ['weight', 'bias', 'running_mean', 'running_var'].map((part) => `${name}.${part}`);
}

import { existsSync, readFileSync } from 'node:fs';
import { toBinary } from '@bufbuild/protobuf';
import { foldOnnx } from '../../lib/convert';
import { verifyOnnx } from '../../lib/convert/verify/onnx';
import { Engine, readModel } from '../../lib/engine';
import { foldGraph } from '../../lib/onnx/fold/fold';
import { changed } from '../../lib/onnx/messages';
import { type OnnxModel, parseOnnx, readOnnx, writeOnnx } from '../../lib/onnx/model';
import { ModelSchema } from '../../lib/onnx/schema/onnx_pb';
import { protoOf, tensorOf } from '../../lib/onnx/values';
import { toFloat64 } from '../../lib/tensor/half';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { fixtureCases, fixturePath, readFixtureTensors, readManifest } from '../support/fixtures';
import { model, node } from '../support/onnx-model';
import { referenceOnnx } from '../support/reference-onnx';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';

const { path } = temporaryFolder();

function outputOf(
  { proto }: OnnxModel,
  input: { shape: readonly number[]; data: ArrayLike<number> },
  name: string,
): Float64Array {
  const [feed] = proto.graph.input.filter((value) => !proto.graph.initializer.some((each) => each.name === value.name));
  return Float64Array.from(referenceOnnx(proto.graph, { [feed!.name]: input }).get(name)!.data);
}

describe.each(fixtureCases('checkpoints').filter((name) => readManifest('checkpoints', name).op === 'onnx'))(
  'checkpoints/%s as ONNX',
  (name) => {
    const manifest = readManifest('checkpoints', name);
    const file = fixturePath('checkpoints', manifest.files.onnx);
    const tensors = readFixtureTensors(fixturePath('checkpoints', manifest.files.tensors));
    const { shape, data } = tensors.get('input')!;
    const input = { shape, data: data as Float32Array };
    const want = tensors.get('logits@f64')!.data as Float64Array;

    test('every branch folds; the folded graph gives the same in float64', async () => {
      const model = await readOnnx(file);
      const { model: folded, report } = await foldGraph(model);
      expect(report.convolutions.after).toBe(manifest.conv_count_after_conversion ?? manifest.node_counts.Conv);
      expect(folded.proto.graph.node.filter(({ opType }) => opType === 'BatchNormalization')).toEqual([]);
      for (const each of [model, folded])
        expect(peakError(outputOf(each, input, 'logits'), want)).toBeLessThanOrEqual(
          manifest.tolerance.output_rel_peak_f32,
        );
      expect(folded.proto.graph.output).toEqual(model.proto.graph.output);
    });

    test('the engine runs it, as it is and folded', async () => {
      const { model } = await foldGraph(await readOnnx(file));
      await writeOnnx(path(`${name}.run.onnx`), model);
      for (const each of [file, path(`${name}.run.onnx`)]) {
        using engine = await Engine.create(await readModel(each));
        const got = await engine.run(Tensor.f32(shape, data as Float32Array));
        expect(peakError(got.data as Float32Array, want)).toBeLessThanOrEqual(manifest.tolerance.output_rel_peak_f32);
      }
    });

    test('foldOnnx verifies its output by the engine', async () => {
      const { folded, output, verification } = await foldOnnx(file, path(`${name}.verified.onnx`), { verify: true });
      if (folded.length === 0) {
        expect(verification).toBeNull();
        expect(readFileSync(output).equals(readFileSync(file))).toBe(true);
      } else {
        expect(verification).toMatchObject({ equal: true, bound: 2e-5 });
        const checked = verification!.values.filter(({ of }) => of === 'region').map(({ value }) => value);
        const regions = folded.map((region) => region.output).filter((value) => value !== 'logits');
        expect(checked.sort()).toEqual([...new Set(regions)].sort());
      }
    });

    test('what is written is what was made', async () => {
      const { model } = await foldGraph(await readOnnx(file));
      await writeOnnx(path(`${name}.onnx`), model);
      const again = await readOnnx(path(`${name}.onnx`));
      expect(toBinary(ModelSchema, again.proto)).toEqual(toBinary(ModelSchema, model.proto));
    });

    test('a deploy form comes back node for node', async () => {
      const { model } = await foldGraph(await readOnnx(file));
      const { model: again, report } = await foldGraph(model);
      expect(again).toBe(model);
      expect(report.folded).toEqual([]);
    });
  },
);

describe.each(['classic', 'dynamo'])('a detector of open sizes, as torch exports it: %s', (name) => {
  const file = `test/fixtures/onnx-head/${name}.onnx`;
  const expected = readFixtureTensors('test/fixtures/onnx-head/expected.safetensors');

  test('runs on images of any size, with all its outputs, and folded too', async () => {
    await foldOnnx(file, path(`${name}.head.onnx`));
    for (const each of [file, path(`${name}.head.onnx`)]) {
      if (!existsSync(each)) continue; // nothing to fold
      await using engine = await Engine.create(await readModel(each));
      for (const i of [0, 1, 2]) {
        const { shape, data } = expected.get(`x${i}`)!;
        const outputs = await engine.runAll(Tensor.f32(shape, data as Float32Array));
        expect([...outputs.keys()]).toEqual(['boxes', 'classes', 'map']);
        for (const [output, got] of outputs) {
          const want = expected.get(`${output}${i}`)!;
          expect(got.shape).toEqual(want.shape);
          expect(peakError(got.data as Float32Array, want.data as Float64Array)).toBeLessThan(1e-6);
        }
      }
    }
  });
});

describe('public files', () => {
  test('ppocr_cls_bn_constants.onnx: all 35 BatchNormalizations fed by Constant nodes fold, as the fixture has them', async () => {
    const model = await readOnnx('test/fixtures/public/ppocr_cls_bn_constants.onnx');
    const expected = readFixtureTensors('test/fixtures/public/ppocr_cls_bn_constants.expected.safetensors');
    const { model: folded, report } = await foldGraph(model);
    expect(folded.proto.graph.node.filter(({ opType }) => opType === 'BatchNormalization')).toEqual([]);
    expect(report.folded.flatMap(({ from }) => from).filter((node) => node.startsWith('BatchNorm'))).toHaveLength(35);
    // Where nothing but the BatchNormalization went into the convolution, its weights are those of the fixture.
    const initializers = new Map(folded.proto.graph.initializer.map((proto) => [proto.name, tensorOf(proto)!]));
    const alone = report.folded.filter(({ from }) => from.length === 2);
    expect(alone.length).toBeGreaterThan(20);
    for (const { node, output } of alone) {
      for (const part of ['weight', 'bias'])
        expect(
          peakError(
            toFloat64(initializers.get(`${node}.${part}`)!),
            expected.get(`fused_f64.${output}.${part}`)!.data as Float64Array,
          ),
        ).toBeLessThan(1e-7);
    }
    const { shape, data } = expected.get('input')!;
    const want = Float64Array.from(expected.get('output_noopt_f32')!.data as Float32Array);
    for (const each of [model, folded])
      expect(peakError(outputOf(each, { shape, data: data as Float32Array }, 'softmax_0.tmp_0'), want)).toBeLessThan(
        1e-5,
      );
  });

  test('the engine runs ppocr_cls_bn_constants.onnx, as it is and folded', async () => {
    const file = 'test/fixtures/public/ppocr_cls_bn_constants.onnx';
    const expected = readFixtureTensors('test/fixtures/public/ppocr_cls_bn_constants.expected.safetensors');
    const { shape, data } = expected.get('input')!;
    const want = expected.get('output_noopt_f32')!.data as Float32Array;
    const { verification } = await foldOnnx(file, path('ppocr.onnx'), { verify: true });
    expect(verification).toMatchObject({ equal: true });
    for (const each of [file, path('ppocr.onnx')]) {
      await using engine = await Engine.create(await readModel(each));
      const got = await engine.run(Tensor.f32(shape, data as Float32Array));
      expect(peakError(got.data as Float32Array, want)).toBeLessThan(1e-5);
    }
  });

  test('the engine runs yunet_s_deploy_320.onnx: twelve outputs', async () => {
    const expected = readFixtureTensors('test/fixtures/public/yunet_s.expected.safetensors');
    const { shape, data } = expected.get('input_crop_seeded')!;
    const model = await readModel('test/fixtures/public/yunet_s_deploy_320.onnx');
    await using engine = await Engine.create(model, { algorithm: 'float64' });
    const outputs = await engine.runAll(Tensor.f32(shape, data as Float32Array));
    expect(outputs.size).toBe(12);
    for (const [name, { shape, data }] of outputs) {
      const want = expected.get(`onnx_out.${name}`)!;
      expect(shape).toEqual(want.shape);
      expect(peakError(data as Float32Array, want.data as Float32Array)).toBeLessThan(5e-5); // small probabilities of large logits
    }
  });

  test('a wrong weight in a folded model is told, by value', async () => {
    const file = fixturePath('checkpoints', 'repvgg-onnx-train.onnx');
    const { model: right, report } = await foldGraph(await readOnnx(file));
    const wrong = right.proto.graph.initializer.find(({ name }) => name.endsWith('_fused.bias'))!;
    const values = toFloat64(tensorOf(wrong)!);
    const moved = Float32Array.from(values, (value, i) => value + (i === 0 ? 1e-2 : 0));
    const other = protoOf(wrong.name, Tensor.f32([values.length], moved));
    const { graph } = right.proto;
    const initializer = graph.initializer.map((each) => (each.name === wrong.name ? other : each));
    const proto = changed(right.proto, { graph: changed(graph, { initializer }) });
    await writeOnnx(path('wrong.onnx'), { ...right, proto: proto as OnnxModel['proto'] });
    const { equal, values: checks } = await verifyOnnx(file, path('wrong.onnx'), report.folded, {});
    expect(equal).toBe(false);
    const region = report.folded.find(({ node }) => wrong.name.startsWith(node))!;
    const check = checks.find(({ value }) => value === region.output)!;
    expect(check).toMatchObject({ of: 'region', equal: false });
    expect(check.given).toBeLessThan(1e-6);
  });

  test('all operators that the engine has not are named at once', async () => {
    const foreign = changed(node('Relu', ['c'], ['d']), { domain: 'com.example' });
    const odd = model(
      [
        node('Shape', ['x'], ['shape']), // read as the model is
        node('Odd', ['x'], ['a']),
        node('Strange', ['a'], ['b']),
        node('Odd', ['b'], ['c']),
        foreign,
        node('Reshape', ['d', 'shape'], ['y']),
        node('Unread', ['d'], ['z']),
      ],
      {},
      { inputs: { x: [1, 3, 8, 8] }, outputs: ['y'] },
    );
    await writeOnnx(path('odd.onnx'), odd);
    expect(await refusal(readModel(path('odd.onnx')))).toMatchObject({
      code: 'ERR_REPFUSE_GRAPH',
      message: expect.stringMatching(
        /odd\.onnx: Expected operators that repfuse runs but the model has 3 others: Odd \(2 nodes, first "Odd:a"\), Strange "Strange:b" \(1 node\), com\.example\.Relu "Relu:d" \(1 node\)$/,
      ),
      details: { operators: { Odd: 2, Strange: 1, 'com.example.Relu': 1 } },
    });
  });

  test('yunet_s_deploy_320.onnx has nothing left to fold but what is told', async () => {
    const bytes = readFileSync('test/fixtures/public/yunet_s_deploy_320.onnx');
    const { report } = await foldGraph(parseOnnx(bytes));
    expect(report.convolutions.after).toBeLessThanOrEqual(report.convolutions.before);
  });
});

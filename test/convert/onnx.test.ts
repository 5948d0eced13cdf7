import { copyFileSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { type BatchResult, type ConvertAllOptions, convert, convertAll, inspect } from '../../lib/convert';
import { writeOnnx } from '../../lib/onnx';
import { Tensor } from '../../lib/tensor/tensor';
import { fixturePath } from '../support/fixtures';
import { model, node } from '../support/onnx-model';
import { refusal } from '../support/refusal';
import { roughBlock } from '../support/rough-block';
import { workplace } from './workplace';

const { path, names, write } = workplace();
const ACNET = fixturePath('checkpoints', 'acnet-onnx-train.onnx');

describe('inspect', () => {
  test('what can be folded and what cannot, and why; operators, inputs and outputs, sizes', async () => {
    const report = await inspect(ACNET);
    expect(report).toMatchObject({
      file: ACNET,
      format: 'onnx',
      blocks: [],
      batchNormsLeft: 0,
      opset: 13,
      inputs: [{ name: 'input', type: 'float32', shape: [2, 3, 16, 20] }],
      outputs: [{ name: 'logits', type: 'float32', shape: [2, 10] }],
      nodes: { before: 41, after: 13 },
      convolutions: { before: 12, after: 4 },
      batchNorms: { before: 12, after: 0 },
      kept: [],
      parameters: { before: 18730, after: 12718 },
    });
    expect(report.operators).toContainEqual({ operator: 'Conv', count: 12 });
    expect(report.folded?.map(({ kernel }) => kernel.join())).toEqual(['3,3', '3,3', '3,3', '5,5']);
    // What it says comes true.
    const converted = await convert(ACNET, path('out.onnx'), { verify: true });
    const { output: _, sha256: __, milliseconds: ___, verification, ...same } = converted;
    expect(same).toEqual(report);
    expect(verification).toMatchObject({ equal: true, blocks: [] });
    const after = await inspect(path('out.onnx'));
    expect(after).toMatchObject({
      folded: [],
      nodes: { before: 13, after: 13 },
      bytes: { before: report.bytes.after },
    });
    expect(after.notes.join()).toContain('no branch and no BatchNormalization');
  });

  test('what stays has its reason, and a BatchNormalization that nothing takes is told', async () => {
    const vector = Tensor.f32([4], [1, 2, 3, 4]);
    const nodes = [
      node('Pad', ['x'], ['padded'], { mode: 'reflect', pads: [0, 0, 1, 1, 0, 0, 1, 1] }),
      node('BatchNormalization', ['padded', 'v', 'v', 'v', 'v'], ['normal']),
      node('Relu', ['normal'], ['y']),
    ];
    const built = model(nodes, { v: vector }, { inputs: { x: [1, 4, null, 8] }, outputs: ['y'], opset: 10 });
    await writeOnnx(path('stays.onnx'), built);
    const report = await inspect(path('stays.onnx'));
    expect(report).toMatchObject({
      folded: [],
      kept: [
        { node: 'Pad "Pad:padded"', reason: 'it pads by reflect' },
        {
          node: 'BatchNormalization "BatchNormalization:normal"',
          reason: expect.stringMatching(/^a Pad stands before it/),
        },
      ],
      batchNormsLeft: 1,
      inputs: [{ shape: [1, 4, 'n', 8] }],
      outputs: [{ name: 'y', type: null, shape: null }],
      parameters: { before: 0, after: 0 },
      bytes: { before: 16 },
    });
    expect(report.notes.join()).toContain('BatchNormalizations that stay: 1');
  });
});

describe('convert takes what foldOnnx takes', () => {
  test('a copy, byte for byte, where nothing can be folded', async () => {
    await convert(ACNET, path('once.onnx'));
    const report = await convert(path('once.onnx'), path('twice'));
    expect(report.notes.join()).toContain('the output is a copy');
    expect(readFileSync(path('twice')).equals(readFileSync(path('once.onnx')))).toBe(true);
    expect(await refusal(convert(path('once.onnx'), path('no.onnx'), { requireChange: true }))).toMatchObject({
      code: 'ERR_REPFUSE_NO_BLOCKS',
    });
    expect(names()).toEqual(['once.onnx', 'twice']);
  });

  test.each(['out.pth', 'out.PT', 'out.safetensors', 'out.npz', 'out.bin', 'out.txt'])(
    '%s is refused',
    async (name) => {
      expect(await refusal(convert(ACNET, path(name)))).toMatchObject({
        code: 'ERR_REPFUSE_INVALID_ARGUMENT',
        message: expect.stringContaining('ends in .onnx'),
      });
      expect(names()).toEqual([]);
    },
  );

  test('a folder; never the input, by whatever name', async () => {
    mkdirSync(path('there'));
    expect((await convert(ACNET, path('there'))).output).toBe(path('there/acnet-onnx-train.onnx'));
    expect((await convert(ACNET, `${path('new')}/`)).output).toBe(path('new/acnet-onnx-train.onnx'));
    copyFileSync(ACNET, path('in.onnx'));
    linkSync(path('in.onnx'), path('link.onnx'));
    for (const output of [path('.'), path('link.onnx'), path('in.onnx')]) {
      const error = await refusal(convert(path('in.onnx'), output, { force: true }));
      expect(error.message).toContain('other than the input');
    }
    expect(readFileSync(path('in.onnx')).equals(readFileSync(ACNET))).toBe(true);
  });

  test.each(['eps', 'families', 'dtype', 'format', 'graph', 'keyPath', 'keys', 'keepBlocks', 'ranges'] as const)(
    '%s means nothing for a model, grow nothing for a checkpoint',
    async (option) => {
      const values = { eps: 1e-5, dtype: 'f16', format: 'torch', graph: {}, keys: 'plain', ranges: true };
      const options = { [option]: values[option as 'eps'] ?? [] };
      const format = option === 'graph' ? {} : options;
      expect(await refusal(convert(ACNET, path('out.onnx'), option === 'format' ? format : options))).toMatchObject({
        code: 'ERR_REPFUSE_INVALID_ARGUMENT',
        details: { option },
      });
      const checkpoint = await write('in', roughBlock('a.'));
      expect(await refusal(convert(checkpoint, path('out'), { grow: true }))).toMatchObject({
        details: { option: 'grow' },
      });
      expect(names()).toEqual(['in']);
    },
  );
});

describe('a batch of both kinds', () => {
  const run = async (files: string[], options: Partial<ConvertAllOptions> = {}) => {
    const results: BatchResult[] = [];
    for await (const result of convertAll(files, { outDir: path('out'), ...options })) results.push(result);
    return results.sort((a, b) => (a.name < b.name ? -1 : 1));
  };
  /** Two files whose names say nothing of what they are, or the contrary. */
  const inputs = async () => {
    mkdirSync(path('in'));
    copyFileSync(ACNET, path('in/model.bin'));
    await write('in/block.onnx', roughBlock('a.'));
    await convert(ACNET, path('in/deployed.onnx'));
    return readdirSync(path('in')).map((name) => path(`in/${name}`));
  };

  test('outputs have the ending of what they are; what was deployed is copied', async () => {
    const files = await inputs();
    const results = await run(files, { jobs: 2, verify: true });
    expect(results.map(({ name, status }) => `${name}: ${status}`)).toEqual([
      'block.onnx: converted',
      'deployed.onnx: unchanged',
      'model.bin: converted',
    ]);
    expect(results.map(({ report }) => report!.verification!.equal)).toEqual([true, true, true]);
    expect(results.every(({ sha256 }) => /^[0-9a-f]{64}$/.test(sha256!))).toBe(true);
    expect(readdirSync(path('out')).sort()).toEqual([
      'block.safetensors',
      'deployed.onnx',
      'model.onnx',
      'report.jsonl',
    ]);
    expect((await run(files, { resume: true })).map(({ status }) => status)).toEqual(Array(3).fill('skipped'));
  });

  test('options go to those that they concern, and a note says so; a type that a model cannot have fails it', async () => {
    const files = await inputs();
    const [block, deployed, model] = await run(files, { eps: 1e-3, keys: 'plain', grow: true });
    expect(model!.report!.notes).toEqual(
      expect.arrayContaining(['`eps` means nothing for an ONNX model', '`keys` means nothing for an ONNX model']),
    );
    expect(block!.report!.notes).toContain('`grow` means nothing for a checkpoint');
    expect(deployed!.status).toBe('unchanged');
    const half = await run(files, { dtype: 'f16', force: true });
    expect(half.map(({ status }) => status)).toEqual(['converted', 'failed', 'failed']);
    expect(half[2]!.error).toMatchObject({ details: { option: 'dtype' } });
  });

  test('two files may not have one output', async () => {
    mkdirSync(path('in'));
    copyFileSync(ACNET, path('in/a.onnx'));
    copyFileSync(ACNET, path('in/a.bin'));
    await expect(run([path('in/a.onnx'), path('in/a.bin')])).rejects.toMatchObject({
      message: expect.stringContaining('would be the output of both'),
    });
    // A checkpoint of that name has another ending.
    await write('in/a.pth', roughBlock('a.'));
    await run([path('in/a.onnx'), path('in/a.pth')]);
    expect(existsSync(path('out/a.safetensors'))).toBe(true);
  });
});

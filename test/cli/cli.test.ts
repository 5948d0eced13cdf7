import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import { Tensor } from '../../lib/tensor/tensor';
import { fixtureCases, fixturePath, readManifest } from '../support/fixtures';
import { roughBlock } from '../support/rough-block';
import { MAIN, workplace } from './command';

const { path, names, node, repfuse } = workplace();
const ACNET = fixturePath('trained', 'digits-acnet.pth');
const ACNET_DEPLOY = fixturePath('trained', 'digits-acnet.deploy.safetensors');

describe('inspect', () => {
  test('blocks, families, forms, parameters, container; JSON for machines', () => {
    const { status, stdout, stderr } = repfuse('inspect', ACNET);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^\S+digits-acnet\.pth: torch-zip, weights at state_dict\n/);
    expect(stdout).toMatch(/stem\.conv4\.acb +acnet +train +convertible +square \+ ver \+ hor +3 +32->48 3x3/);
    expect(stdout).toContain('parameters 41 770 -> 24 946');
    expect(stdout).toContain('note: the prefix module. was dropped from the keys');
    const json = JSON.parse(repfuse('inspect', ACNET, '--json').stdout);
    expect(json).toMatchObject({
      format: 'torch-zip',
      keyPath: ['state_dict'],
      droppedPrefix: 'module.',
      otherTensors: 2,
    });
  });

  test('the form of every block (R04), eps with its source and effect (R26)', () => {
    const deploy = repfuse('inspect', ACNET_DEPLOY);
    expect(deploy.stdout).toMatch(/stem\.conv1\.acb +acnet +deploy +already-deployed/);
    expect(deploy.stdout).toContain('0 blocks folded');
    const forced = repfuse('inspect', ACNET, '--eps', '1e-3');
    expect(forced.stdout).toMatch(
      /eps 1e-3 \(option\); 1e-5 and 1e-3 would differ by up to [\d.]+ % in a fused weight/,
    );
    expect(repfuse('inspect', ACNET, '--eps', 'auto').stdout).toContain('eps 1e-5 (default of acnet)');
  });

  test('works without the addon, and shows problems without failing', () => {
    const { status, stdout } = node(['--no-addons', MAIN, 'inspect', ACNET]);
    expect(status).toBe(0);
    expect(stdout).toContain('stem.conv1.acb');
    const bad = repfuse('inspect', fixturePath('checkpoints/bad', 'missing-branch.pth'));
    expect(bad).toMatchObject({ status: 0, stdout: expect.stringMatching(/stage2\.0 +repvgg +train +partial/) });
  });

  test('another set of weights is chosen by its key path', () => {
    const file = fixturePath('checkpoints', 'mobileone-ema.pth');
    expect(repfuse('inspect', file).stdout).toContain('note: another set of weights lies at state_dict (');
    expect(repfuse('inspect', file, '--key-path', 'state_dict').stdout).toContain('weights at state_dict\n');
    expect(repfuse('inspect', file, '--key-path', 'nowhere')).toMatchObject({ status: 1, stdout: '' });
  });
});

describe('what a state dict does not say', () => {
  test("a family of one's own (--rules), and a wrong rule file named with its field", () => {
    const XLSR = 'test/fixtures/public/xlsr_x4.pt';
    expect(repfuse('inspect', XLSR).stdout).toContain('0 blocks, 28 other tensors');
    const { status, stdout } = repfuse('convert', XLSR, '-o', 'out', '--rules', 'examples/rules/xlsr.json', '--verify');
    expect(status).toBe(0);
    expect(stdout).toMatch(/\(root\) +xlsr +train +converted +conv0_0 \+ conv0_1 \+ conv0_2 \+ conv0_3/);
    writeFileSync(path('wrong.json'), JSON.stringify({ family: 'x' }));
    const wrong = repfuse('inspect', XLSR, '--rules', 'wrong.json');
    expect(wrong).toMatchObject({ status: 1, stdout: '' });
    expect(wrong.stderr).toMatch(/^ERR_REPFUSE_RULE: wrong\.json, source: /);
  });

  test('plain pairs (--family conv-bn), and a family that is none', () => {
    const YUNET = 'test/fixtures/public/yunet_s_train.pth';
    expect(repfuse('inspect', YUNET).stdout).toContain('note: 15 BatchNorms outside these blocks are left');
    expect(repfuse('inspect', YUNET, '--family', 'conv-bn').stdout).toContain('15 blocks, ');
    expect(repfuse('inspect', YUNET, '--family', 'conv-nb').stderr).toContain('did you mean conv-bn?');
  });

  test('branches without keys (--keyless)', async () => {
    const block = new Map([...roughBlock('a.')].filter(([key]) => !/rbr_1x1|rbr_identity/.test(key)));
    for (const [key, tensor] of block) block.set(key.replace('rbr_dense.bn.', 'bn.'), tensor);
    block.set('a.rbr_1x1.weight', Tensor.f32([8, 8, 1, 1]));
    await writeSafetensors(path('in'), block);
    expect(repfuse('convert', 'in', '-o', 'out')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("--keyless 'a=input,average'"),
    });
    const { status, stdout } = repfuse('convert', 'in', '-o', 'out', '--keyless', 'a=input', '--verify');
    expect(status).toBe(0);
    expect(stdout).toMatch(/a +qarepvgg +train +converted +rbr_dense \+ rbr_1x1 \+ input/);
    expect(repfuse('inspect', 'in', '--keyless', 'a').status).toBe(2);
    expect(repfuse('inspect', 'in', '--keyless', 'a=inputs').stderr).toContain('Expected input or average');
  });

  test('inspect --check fails while branches are left (R22)', () => {
    expect(repfuse('inspect', ACNET, '--check').status).toBe(3);
    expect(repfuse('inspect', ACNET_DEPLOY, '--check').status).toBe(0);
    const bad = fixturePath('checkpoints/bad', 'missing-branch.pth');
    expect(repfuse('inspect', bad, '--check').status).toBe(3);
  });
});

describe('convert', () => {
  test('writes, --verify proves, results go to stdout and the rest to stderr', () => {
    const { status, stdout, stderr } = repfuse('convert', ACNET, '-o', 'out', '--verify');
    expect(status).toBe(0);
    expect(stdout).toMatch(/stem\.conv1\.acb +acnet +train +converted/);
    expect(stdout).toContain('equal: the error of every block is within its bound');
    expect(stderr).toMatch(/^reading \.\.\.\nfusing \.\.\.\nwriting \.\.\.\nverifying \.\.\.\nwrote out in \d+ ms\n$/);
    expect(repfuse('verify', ACNET, 'out').status).toBe(0);
  });

  test.each(['digits-repvgg', 'digits-dbb'])('gives the golden tensors of %s, twice the same bytes', async (name) => {
    const { files } = readManifest('trained', name);
    const made = repfuse('convert', fixturePath('trained', files.checkpoint), '-o', 'out', '--json');
    expect(JSON.parse(made.stdout)).toMatchObject({ output: 'out', verification: null });
    const [got, golden] = await Promise.all(
      [path('out'), fixturePath('trained', files.deploy_safetensors)].map((file) => readCheckpoint(file)),
    );
    expect(new Map([...got!.tensors].sort())).toEqual(new Map([...golden!.tensors].sort()));
    expect(repfuse('convert', 'out', '-o', 'again').stdout).toContain('0 blocks folded');
    expect(readFileSync(path('again')).equals(readFileSync(path('out')))).toBe(true);
  });

  test('what conversion must notice is refused, named, and nothing is written', () => {
    const cases = fixtureCases('checkpoints/bad').filter((name) => {
      const { stage, expect: expected, files } = readManifest('checkpoints/bad', name);
      return stage === 'convert' && expected === 'refuse' && files.checkpoint.endsWith('.pth');
    });
    expect(cases.length).toBeGreaterThanOrEqual(10);
    for (const name of cases) {
      const manifest = readManifest('checkpoints/bad', name);
      const { status, stdout, stderr } = repfuse('convert', fixturePath('checkpoints/bad', `${name}.pth`), '-o', 'out');
      expect([name, status, stdout]).toEqual([name, 1, '']);
      for (const tensor of manifest.error_names_all) expect(stderr).toContain(tensor);
    }
    expect(names()).toEqual([]);
  });

  test('--keep settles a block, --eps is used, --force overwrites, --require-change insists', async () => {
    const broken = roughBlock('bad.');
    broken.delete('bad.rbr_1x1.conv.weight');
    await writeSafetensors(path('in'), new Map([...roughBlock('good.'), ...broken]));
    expect(repfuse('convert', 'in', '-o', 'out')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('bad: partial: training tensors are missing: bad.rbr_1x1.conv.weight'),
    });
    const kept = repfuse('convert', 'in', '-o', 'out', '--keep', 'bad', '--eps', '1e-3');
    expect(kept).toMatchObject({ status: 0, stdout: expect.stringMatching(/^bad +repvgg +train +kept/m) });
    expect((await readCheckpoint(path('out'))).metadata['repfuse.eps']).toBe('0.001 (option)');
    expect(repfuse('convert', 'in', '-o', 'out', '--keep', 'bad').stderr).toContain('ERR_REPFUSE_EXISTS');
    expect(repfuse('convert', 'in', '-o', 'out', '--keep', 'bad', '--force').status).toBe(0);
    expect(repfuse('convert', 'in', '-o', 'x', '--keep', 'baf').stderr).toContain('did you mean bad?');
    const change = ['convert', ACNET_DEPLOY, '-o', 'changed', '--require-change'];
    expect(repfuse(...change)).toMatchObject({ status: 1, stderr: expect.stringContaining('0 blocks were folded') });
    expect(existsSync(path('changed'))).toBe(false);
  });

  test('nothing to convert is no failure', () => {
    const nothing = repfuse('convert', fixturePath('checkpoints/bad', 'no-blocks.pth'), '-o', 'none');
    expect(nothing).toMatchObject({ status: 0, stderr: expect.stringContaining('wrote none') });
    expect(nothing.stdout).toContain('nothing to convert');
    expect(nothing.stdout).toContain('note: nothing was to be fused: the output is a copy');
    expect(names()).toEqual(['none']);
  });

  test('entries that are no weights are listed, nothing in the file is run (P09)', () => {
    const { stdout } = repfuse('convert', fixturePath('checkpoints', 'repvgg-training.pth'), '-o', 'out');
    expect(stdout).toMatch(/left out: epoch \(number 119\).*max_accuracy \(numpy\S+ \(not executed\)\)/);
    const evil = repfuse('convert', fixturePath('checkpoints/bad', 'evil-os-system.pth'), '-o', 'evil');
    expect(evil.status).toBe(1);
    expect(evil.stdout + evil.stderr).not.toMatch(/^repfuse-canary/m);
  });
});

test('verify ends with 3 and names the worst block first', async () => {
  const { tensors } = await readCheckpoint(ACNET_DEPLOY);
  const weights = tensors.get('stem.conv3.acb.fused_conv.weight')!.data as Float32Array;
  weights[100]! += 1e-3 * weights.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  tensors.set('extra', Tensor.f32([1]));
  await writeSafetensors(path('changed'), tensors);
  const { status, stdout } = repfuse('verify', ACNET, 'changed');
  expect(status).toBe(3);
  expect(stdout.split('\n')[1]).toMatch(/^stem\.conv3\.acb .* DIFFERS$/);
  expect(stdout).toContain('extra: only in the second file');
  expect(stdout).toContain('NOT EQUAL: worst block stem.conv3.acb');
  const json = JSON.parse(repfuse('verify', ACNET, 'changed', '--json').stdout);
  expect(json).toMatchObject({ equal: false, blocks: [{ prefix: 'stem.conv3.acb', equal: false }, {}, {}, {}] });
  // Infinity is no JSON.
  tensors.delete('stem.conv3.acb.fused_conv.bias');
  await writeSafetensors(path('lacking'), tensors);
  const lacking = JSON.parse(repfuse('verify', ACNET, 'lacking', '--json').stdout);
  expect(lacking.blocks[0]).toMatchObject({ relative: 'Infinity', problem: expect.stringContaining('has no') });
});

describe('run', () => {
  test('every output of an ONNX model', async () => {
    const expected = 'test/fixtures/public/yunet_s.expected.safetensors';
    const input = ['--input', expected, '--tensor', 'input_crop_seeded', '--raw'];
    const made = repfuse('run', 'test/fixtures/public/yunet_s_deploy_320.onnx', ...input, '--output', 'faces');
    expect(made).toMatchObject({ status: 0, stdout: expect.stringMatching(/^cls_8 \[1, 1600, 1\]\n/) });
    const { tensors } = await readCheckpoint(path('faces'));
    expect([...tensors.keys()].sort()).toHaveLength(12);
    expect(tensors.get('kps_32')!.shape).toEqual([1, 100, 10]);
    const json = JSON.parse(repfuse('run', 'test/fixtures/public/yunet_s_deploy_320.onnx', ...input, '--json').stdout);
    expect(json.outputs.bbox_16.shape).toEqual([1, 400, 4]);
  });

  const IMAGES = fixturePath('trained', 'digits-test.safetensors');
  const makeModel = (graph: object = {}) => {
    const example = JSON.parse(readFileSync(path('examples/digits-acnet.graph.json'), 'utf8'));
    writeFileSync(path('graph.json'), JSON.stringify({ ...example, ...graph }));
    const made = repfuse('convert', ACNET, '-o', 'model', '--graph', 'graph.json', '--verify', '--force');
    expect(made).toMatchObject({ status: 0, stdout: expect.stringMatching(/end to end: error \S+ of the peak/) });
  };

  test('classes of the 500 images as in the fixtures', async () => {
    makeModel();
    const golden = await readCheckpoint(fixturePath('trained', 'digits-acnet.safetensors'));
    const predictions = [...(golden.tensors.get('predictions')!.data as Uint8Array)];
    const { status, stdout } = repfuse('run', 'model', '--input', IMAGES, '--tensor', 'images');
    expect(status).toBe(0);
    const rows = stdout.trim().split('\n').slice(1);
    expect(rows.map((line) => Number(line.trim().split(/ +/)[1]))).toEqual(predictions);
  });

  test('top classes with their labels, probabilities once however the network ends', async () => {
    const labels = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'];
    makeModel({ labels });
    const run = (...flags: string[]) => repfuse('run', 'model', '--input', IMAGES, '--tensor', 'images', ...flags);
    expect(run('--top', '2').stdout).toMatch(/^image +class +probability\n0 +six +[01]\.\d{4}\n0 +five +0\.\d{4}\n1 /);
    const { shape, data, classes } = JSON.parse(run('--top', '3', '--json').stdout);
    expect([shape, data.length, classes.length]).toEqual([[500, 10], 5000, 500]);
    expect(classes[0].map((guess: { label: string }) => guess.label).slice(0, 2)).toEqual(['six', 'five']);
    expect(classes[0][0].probability).toBeGreaterThan(classes[0][1].probability);

    const { nodes, output } = JSON.parse(readFileSync(path('examples/digits-acnet.graph.json'), 'utf8'));
    makeModel({ labels, output: 'p', nodes: [...nodes, { id: 'p', op: 'softmax', inputs: [output] }] });
    const softened = JSON.parse(run('--top', '3', '--json').stdout);
    expect(softened.classes[0][0].probability).toBeCloseTo(classes[0][0].probability, 6);
  });

  test('input from .npy whatever its name, output as safetensors', async () => {
    makeModel();
    const pixels = (await readCheckpoint(IMAGES)).tensors.get('images')!.data as Uint8Array;
    const header = `${"{'descr': '|u1', 'fortran_order': False, 'shape': (3, 1, 8, 8), }".padEnd(117)}\n`;
    const start = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, header.length, 0]);
    const npy = Buffer.concat([start, Buffer.from(header), pixels.subarray(0, 192)]);
    writeFileSync(path('x'), npy);
    const json = repfuse('run', 'model', '--input', 'x', '--json', '--output', 'y');
    expect(JSON.parse(json.stdout).shape).toEqual([3, 10]);
    const written = (await readCheckpoint(path('y'))).tensors.get('output')!;
    expect([...(written.data as Float32Array)]).toEqual(JSON.parse(json.stdout).data);
    writeFileSync(path('short.npy'), npy.subarray(0, 200));
    expect(repfuse('run', 'model', '--input', 'short.npy').stderr).toMatch(
      /ERR_REPFUSE_FORMAT: short\.npy: .*truncated/,
    );
  });

  test('what is missing is said: the graph, the tensor, the shape', () => {
    makeModel();
    expect(repfuse('run', ACNET_DEPLOY, '--input', IMAGES).stderr).toContain('holds no graph');
    expect(repfuse('run', 'model', '--input', IMAGES)).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/Expected a tensor input .*images, labels.*--tensor/),
    });
    expect(repfuse('run', 'model', '--input', IMAGES, '--tensor', 'labels').stderr).toContain('ERR_REPFUSE_SHAPE');
  });
});

describe('failures', () => {
  test('end with 1 and a coded message; with --json the error is JSON too', () => {
    const absent = repfuse('inspect', 'absent.pth');
    expect(absent).toMatchObject({ status: 1, stdout: '' });
    expect(absent.stderr).toMatch(/^ERR_REPFUSE_FILE: .*absent\.pth/);
    const json = repfuse('convert', fixturePath('checkpoints/bad', 'nan-weight.pth'), '-o', 'out', '--json');
    expect(json.status).toBe(1);
    expect(JSON.parse(json.stdout).error).toMatchObject({
      code: 'ERR_REPFUSE_BLOCK',
      details: { blocks: [{ prefix: 'stage0', status: 'unsupported' }] },
    });
    expect(repfuse('verify', ACNET, 'absent', '--json')).toMatchObject({ status: 1 });
    writeFileSync(path('no.json'), '{');
    expect(repfuse('inspect', ACNET, '--graph', 'no.json').stderr).toMatch(
      /^ERR_REPFUSE_GRAPH: Expected JSON in no\.json/,
    );
  });

  test('an existing output stays as it is', () => {
    writeFileSync(path('taken'), 'precious');
    expect(repfuse('convert', ACNET, '-o', 'taken')).toMatchObject({ status: 1 });
    expect(readFileSync(path('taken'), 'utf8')).toBe('precious');
  });

  test('of usage end with 2 and suggest the nearest', () => {
    const flag = repfuse('convert', ACNET, '-o', 'out', '--verfy');
    expect(flag).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining('Did you mean --verify?') });
    const command = repfuse('inspekt', ACNET);
    expect(command).toMatchObject({ status: 2, stderr: expect.stringContaining('Did you mean inspect?') });
    for (const args of [
      [],
      ['convert', ACNET],
      ['convert', ACNET, '-o', 'out', '--eps', 'small'],
      ['convert', ACNET, '-o', 'out', '--threads', '0'],
      ['verify', ACNET],
      ['verify', ACNET, ACNET, '--tolerance', '-1'],
      ['run', 'model'],
      ['inspect', ACNET, 'another'],
    ]) {
      expect([args, repfuse(...args).status]).toEqual([args, 2]);
    }
    const json = repfuse('convert', ACNET, '-o', 'out', '--json', '--verfy');
    expect(json.status).toBe(2);
    expect(JSON.parse(json.stdout).error).toMatchObject({
      code: 'ERR_REPFUSE_INVALID_ARGUMENT',
      message: expect.stringContaining('--verfy'),
    });
  });
});

describe('doctor', () => {
  test('says what runs here and where the addon was found', () => {
    const { status, stdout } = repfuse('doctor');
    expect(status).toBe(0);
    expect(stdout).toMatch(/native addon: loaded from \S+repfuse\.node \((REPFUSE_NATIVE_PATH|local build)\)/);
    expect(stdout).toMatch(/CPU level: (scalar|avx2|avx512|avx512bf16|amx) /);
    expect(stdout).toMatch(/threads: \d+/);
    for (const tool of ['python3', 'make', 'cmake', 'node-gyp']) expect(stdout).toContain(`${tool}: `);
  });

  test('steering variables are shown', () => {
    const { stdout } = node([MAIN, 'doctor'], { REPFUSE_ISA: 'scalar', REPFUSE_NUM_THREADS: '3' });
    expect(stdout).toMatch(/REPFUSE_ISA=scalar\nREPFUSE_NUM_THREADS=3\n[\s\S]*CPU level: scalar[\s\S]*threads: 3/);
  });

  test('every cause why the addon does not load, and exit code 1', () => {
    const absent = path('absent.node');
    const { status, stdout } = node(['--no-addons', MAIN, 'doctor', '--json'], { REPFUSE_NATIVE_PATH: absent });
    expect(status).toBe(1);
    const { error } = JSON.parse(stdout).addon;
    expect(error.code).toBe('ERR_REPFUSE_NO_NATIVE');
    expect(error.details.attempts.map(({ from }: { from: string }) => from)).toEqual([`REPFUSE_NATIVE_PATH=${absent}`]);
    expect(node(['--no-addons', MAIN, 'doctor']).stdout).toContain('native addon: NOT LOADED');
    expect(node([MAIN, 'doctor'], { REPFUSE_ISA: 'sse9' })).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('for REPFUSE_ISA but received "sse9"'),
    });
  });
});

import { join } from 'node:path';
import { convert, inspect, readCheckpoint, Tensor, writeSafetensors } from '../../lib';
import type { StateDict } from '../../lib/checkpoint/state-dict';
import { peakError } from '../support/compare';
import { FIXTURES } from '../support/fixtures';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();
const reported = (file: string) => join(FIXTURES, 'reported', 'eps', file);

/** What test/fixtures/reported/eps/README.md says: family and eps of each block, the plain pairs, of each made-up network. */
const NETWORKS: readonly { file: string; eps: number; family: RegExp; blocks: string[]; pairs: string[] }[] = [
  {
    file: 'yolov6m.pth',
    eps: 1e-3,
    family: /^repvgg$/,
    blocks: [
      'backbone.stem',
      'backbone.ERBlock_2.0',
      'backbone.ERBlock_2.1.m.conv1.conv1',
      'backbone.ERBlock_2.1.m.conv1.conv2',
      'neck.Rep_p4.m.conv1.conv1',
    ],
    pairs: ['backbone.ERBlock_2.1.cv1'],
  },
  {
    file: 'yolov6_hs.pth',
    eps: 1e-3,
    family: /^repopt$/,
    blocks: ['backbone.stem', 'backbone.ERBlock_2.0', 'neck.Rep_p4.conv1'],
    pairs: [],
  },
  {
    file: 'yolov6s_qa.pth',
    eps: 1e-3,
    family: /^yolov6-qarepvgg$/,
    blocks: ['backbone.stem', 'backbone.ERBlock_2.0', 'neck.Rep_p4.conv1'],
    pairs: [],
  },
  {
    file: 'mmyolo_yolov6s.pth',
    eps: 1e-3,
    family: /^(mmyolo-)?repvgg$/,
    blocks: [
      'backbone.stem',
      'backbone.stage1.0',
      'backbone.stage1.1.conv1',
      'backbone.stage1.1.block.0',
      'neck.top_down_layers.0.0.conv1',
      'neck.bottom_up_layers.0.conv1',
    ],
    pairs: ['neck.reduce_layers.2', 'bbox_head.head_module.stems.0', 'bbox_head.head_module.cls_convs.0'],
  },
  {
    file: 'mmyolo_ppyoloe_plus.pth',
    eps: 1e-5,
    family: /^(mmyolo-)?repvgg$/,
    blocks: ['backbone.stage1.0.blocks.0.conv2', 'neck.top_down_layers.0.0.blocks.0.conv2'],
    pairs: [
      'backbone.stem.0',
      'backbone.stage1.0.conv_down',
      'backbone.stage1.0.blocks.0.conv1',
      'neck.top_down_layers.0.0.blocks.0.conv1',
      'bbox_head.head_module.cls_stems.0.conv',
    ],
  },
  {
    file: 'ppyoloe.pth',
    eps: 1e-5,
    family: /^repconv$/,
    blocks: ['backbone.stages.0.blocks.0.conv2', 'neck.fpn_stages.0.0.convs.0.conv2'],
    pairs: ['backbone.stages.0.blocks.0.conv1'],
  },
  { file: 'ultra_bare.pth', eps: 1e-3, family: /^repconv$/, blocks: ['2.cv1.0.m', '22.m.0'], pairs: ['0'] },
];

describe.each(NETWORKS)('$file', ({ file, eps, family, blocks, pairs }) => {
  const input = reported(file);

  test('every block is convertible by itself, with the eps of its network and the key that shows it', async () => {
    const before = await readCheckpoint(input);
    const report = await inspect(input);
    expect(report.blocks.map(({ prefix }) => prefix)).toEqual(blocks);
    for (const block of report.blocks) {
      expect(block).toMatchObject({
        status: 'convertible',
        family: expect.stringMatching(family),
        eps: { value: eps },
      });
      const [, key] = / shown by (\S+): /.exec(block.eps.source)!;
      expect(before.tensors.has(key!)).toBe(true);
    }
  });

  test('the fused numbers, plain pairs too, are those of a fuse in float64', async () => {
    const output = folder.path(`${file}.safetensors`);
    const report = await convert(input, output, { families: ['conv-bn'] });
    const plain = report.blocks.filter((block) => block.family === 'conv-bn');
    expect(plain.map(({ prefix, eps: { value } }) => [prefix, value])).toEqual(pairs.map((prefix) => [prefix, eps]));
    const { tensors: before } = await readCheckpoint(input);
    const { tensors: after } = await readCheckpoint(output);
    for (const { prefix, family: name } of report.blocks) {
      const { deploy, weight, bias } = fused(name, before, `${prefix}.`, eps);
      expect(peakError(after.get(`${prefix}.${deploy}.weight`)!.data as Float32Array, weight)).toBeLessThan(1e-6);
      expect(peakError(after.get(`${prefix}.${deploy}.bias`)!.data as Float32Array, bias)).toBeLessThan(1e-6);
    }
  });
});

test("YOLOv6's QARepVGG keeps every BatchNorm of a sum in its deploy form", async () => {
  const output = folder.path('qa.safetensors');
  await convert(reported('yolov6s_qa.pth'), output);
  const { tensors } = await readCheckpoint(output);
  const before = await readCheckpoint(reported('yolov6s_qa.pth'));
  for (const block of ['backbone.stem', 'backbone.ERBlock_2.0', 'neck.Rep_p4.conv1'])
    for (const name of ['weight', 'bias', 'running_mean', 'running_var'])
      expect(tensors.get(`${block}.bn.${name}`)).toEqual(before.tensors.get(`${block}.bn.${name}`));
});

test('texts beside the weights of a torch file are read with it', async () => {
  const { texts } = await readCheckpoint(reported('mmyolo_yolov6s.pth'));
  expect([...texts]).toEqual([['meta.mmyolo_version', '0.6.0']]);
});

test('the family of a deploy form is one word, and those that share it are listed', async () => {
  const { blocks } = await inspect(reported('qa.safetensors'));
  for (const { family, mayBe } of blocks) {
    expect(family).toBe('repvgg');
    expect(mayBe).toEqual(expect.arrayContaining(['repvgg', 'yolov6-qarepvgg', 'yolov7', 'yolo-nas']));
  }
});

test('a unit named like a deploy form that is none is mentioned', async () => {
  const { tensors } = await readCheckpoint(reported('qa.safetensors'));
  const file = folder.path('unit.safetensors');
  const unit = ['weight', 'bias'].map((name) => [`neck.x.rbr_reparam.pw.${name}`, Tensor.f32([1])] as const);
  await writeSafetensors(file, new Map([...tensors, ...unit]));
  const mentioned = (notes: readonly string[]) => notes.filter((note) => note.includes('neck.x.rbr_reparam.pw'));
  expect(mentioned((await inspect(file)).notes)).toHaveLength(1);
  expect((await inspect(reported('qa.safetensors'))).notes.join()).not.toContain('named like a deploy form');
});

/** Weight and bias of a 3x3 convolution in float64. */
interface Kernel {
  readonly weight: Float64Array;
  readonly bias: Float64Array;
}

/** A block fused by definition, for the families above. */
function fused(family: string, tensors: StateDict, prefix: string, eps: number): Kernel & { readonly deploy: string } {
  const get = (key: string) => tensors.get(prefix + key)?.data as Float32Array | undefined;
  const conv = (key: string): Kernel => {
    const { shape } = tensors.get(`${prefix}${key}.weight`)!;
    const values = get(`${key}.weight`)!;
    const [out = 0, inputs = 0, height = 0] = shape;
    const weight = new Float64Array(out * inputs * 9);
    if (height === 3) weight.set(values);
    else for (let i = 0; i < values.length; i++) weight[9 * i + 4] = values[i]!;
    return { weight, bias: new Float64Array(out) };
  };
  const scaled = ({ weight, bias }: Kernel, factors: ArrayLike<number>): Kernel => {
    const row = weight.length / bias.length;
    const factor = (o: number) => factors[factors.length === 1 ? 0 : o]!;
    return {
      weight: weight.map((value, i) => value * factor(Math.floor(i / row))),
      bias: bias.map((value, o) => value * factor(o)),
    };
  };
  const normalized = (kernel: Kernel, key: string): Kernel => {
    const [gamma, beta, mean, variance] = ['weight', 'bias', 'running_mean', 'running_var'].map(
      (n) => get(`${key}.${n}`)!,
    );
    const { weight, bias } = scaled(
      { ...kernel, bias: kernel.bias.map((value, o) => value - mean![o]!) },
      Float64Array.from(gamma!, (value, o) => value / Math.sqrt(variance![o]! + eps)),
    );
    return { weight, bias: bias.map((value, o) => value + beta![o]!) };
  };
  const added = (...kernels: readonly Kernel[]): Kernel =>
    kernels.reduce((a, b) => ({
      weight: a.weight.map((value, i) => value + b.weight[i]!),
      bias: a.bias.map((value, o) => value + b.bias[o]!),
    }));
  const identity = (channels: number): Kernel => {
    const weight = new Float64Array(channels * channels * 9);
    for (let o = 0; o < channels; o++) weight[9 * (o * channels + o) + 4] = 1;
    return { weight, bias: new Float64Array(channels) };
  };
  const factors = (key: string) => get(key) ?? [1];
  switch (family) {
    case 'conv-bn': {
      const { shape } = tensors.get(`${prefix}conv.weight`)!;
      const kernel = { weight: Float64Array.from(get('conv.weight')!), bias: new Float64Array(shape[0]!) };
      return { deploy: 'conv', ...normalized(kernel, 'bn') };
    }
    case 'repopt': {
      const branches = [
        scaled(conv('conv'), get('scale_conv.weight')!),
        scaled(conv('conv_1x1'), get('scale_1x1.weight')!),
      ];
      return { deploy: 'conv', ...normalized(added(...branches), 'bn') };
    }
    case 'repconv': {
      const small = scaled(normalized(conv('conv2.conv'), 'conv2.bn'), factors('alpha'));
      return { deploy: 'conv', ...added(normalized(conv('conv1.conv'), 'conv1.bn'), small) };
    }
    case 'yolov6-qarepvgg':
      return { deploy: 'rbr_reparam', ...added(normalized(conv('rbr_dense.conv'), 'rbr_dense.bn'), conv('rbr_1x1')) };
    default: {
      const dense = normalized(conv('rbr_dense.conv'), 'rbr_dense.bn');
      const small = scaled(normalized(conv('rbr_1x1.conv'), 'rbr_1x1.bn'), factors('alpha'));
      const same = get('rbr_identity.weight');
      const input = same === undefined ? [] : [normalized(identity(same.length), 'rbr_identity')];
      return { deploy: 'rbr_reparam', ...added(dense, small, ...input) };
    }
  }
}

import { type DetectedBlock, type DetectOptions, detectBlocks } from '../../lib/families';
import { NETWORKS } from '../../lib/families/network-rule';
import { Tensor } from '../../lib/tensor/tensor';

type Entry = readonly [string, Tensor];

const tensor = (...shape: number[]) => new Tensor('F32', shape, new Float32Array(shape.reduce((a, b) => a * b, 1)));
const norm = (key: string, channels: number): Entry[] =>
  ['weight', 'bias', 'running_mean', 'running_var'].map((name) => [`${key}.${name}`, tensor(channels)]);
const unit = (conv: string, bn: string, k: number, inputs = 3): Entry[] => [
  [`${conv}.weight`, tensor(4, inputs, k, k)],
  ...norm(bn, 4),
];

/** Blocks of three input and four output channels, by what they are called below. */
const MAKE = {
  repvgg: (path: string): Entry[] => [
    ...unit(`${path}.rbr_dense.conv`, `${path}.rbr_dense.bn`, 3),
    ...unit(`${path}.rbr_1x1.conv`, `${path}.rbr_1x1.bn`, 1),
  ],
  alpha: (path: string): Entry[] => [[`${path}.alpha`, tensor(1)], ...MAKE.repvgg(path)],
  qarepvgg: (path: string): Entry[] => [
    ...unit(`${path}.rbr_dense.conv`, `${path}.rbr_dense.bn`, 3),
    [`${path}.rbr_1x1.weight`, tensor(4, 3, 1, 1)],
    ...norm(`${path}.bn`, 4),
  ],
  yolov7: (path: string): Entry[] => [
    ...unit(`${path}.rbr_dense.0`, `${path}.rbr_dense.1`, 3),
    ...unit(`${path}.rbr_1x1.0`, `${path}.rbr_1x1.1`, 1),
  ],
  // As many inputs as outputs: by itself it might be one convolution after the other.
  repconv: (path: string): Entry[] => [
    ...unit(`${path}.conv1.conv`, `${path}.conv1.bn`, 3, 4),
    ...unit(`${path}.conv2.conv`, `${path}.conv2.bn`, 1, 4),
  ],
  rtdetr: (path: string): Entry[] => [
    ...unit(`${path}.conv1.conv`, `${path}.conv1.norm`, 3, 4),
    ...unit(`${path}.conv2.conv`, `${path}.conv2.norm`, 1, 4),
  ],
  nas: (path: string): Entry[] => [
    ...unit(`${path}.branch_3x3.conv`, `${path}.branch_3x3.bn`, 3),
    [`${path}.branch_1x1.weight`, tensor(4, 3, 1, 1)],
    [`${path}.alpha`, tensor(1)],
    ...norm(`${path}.post_bn`, 4),
  ],
  pair: (path: string): Entry[] => unit(`${path}.conv`, `${path}.bn`, 3),
  plain: (path: string): Entry[] => [[`${path}.weight`, tensor(4, 3, 3, 3)]],
  deployed: (path: string): Entry[] => [
    [`${path}.rbr_reparam.weight`, tensor(4, 3, 3, 3)],
    [`${path}.rbr_reparam.bias`, tensor(4)],
  ],
} satisfies Record<string, (path: string) => Entry[]>;

type Kind = keyof typeof MAKE;
/** Kinds to the paths that have one. */
type Layout = Partial<Record<Kind, readonly string[]>>;

const build = (layout: Layout) =>
  Object.entries(layout).flatMap(([kind, paths]) => paths!.flatMap((path) => MAKE[kind as Kind](path)));
const find = (entries: readonly Entry[], options: DetectOptions = {}) =>
  detectBlocks(new Map(entries), { families: ['conv-bn'], ...options });
const trained = (blocks: readonly DetectedBlock[]) => blocks.filter(({ form }) => form === 'train');

/** Networks as their authors name the modules, some of the blocks of each. */
const LAYOUTS: readonly { name: string; eps: number; layout: Layout }[] = [
  {
    name: 'YOLOv6 n and s',
    eps: 1e-3,
    layout: {
      repvgg: ['backbone.stem', 'backbone.ERBlock_2.0', 'backbone.ERBlock_2.1.block.0', 'neck.Rep_p4.conv1'],
      pair: ['neck.reduce_layer0.block', 'neck.Bifusion0.cv1.block', 'detect.stems.0.block'],
    },
  },
  {
    name: 'YOLOv6 with P6',
    eps: 1e-3,
    layout: { repvgg: ['backbone.stem', 'neck.Rep_n6.block.0'], pair: ['backbone.ERBlock_6.2.cv1.block'] },
  },
  {
    name: 'YOLOv6 MBLA',
    eps: 1e-3,
    layout: { pair: ['backbone.stem.block', 'backbone.ERBlock_3.1.m.0.0.conv1.block', 'detect.cls_convs_ab.0.block'] },
  },
  {
    name: 'YOLOv6 lite',
    eps: 1e-3,
    layout: { pair: ['backbone.conv_0.block', 'backbone.lite_effiblock_1.0.conv_1.block', 'neck.Csp_p4.conv_1.block'] },
  },
  {
    name: 'YOLOv6 with QARepVGG',
    eps: 1e-3,
    layout: { qarepvgg: ['backbone.stem', 'backbone.ERBlock_2.0'], pair: ['neck.reduce_layer0'] },
  },
  {
    name: 'Gold-YOLO',
    eps: 1e-3,
    layout: {
      repvgg: ['backbone.stem', 'neck.low_IFM.1', 'neck.Rep_n4.conv1'],
      pair: ['neck.LAF_p4.cv1', 'neck.reduce_layer_c5'],
    },
  },
  {
    name: 'YOLOv5',
    eps: 1e-3,
    layout: { pair: ['model.0', 'model.2.cv1', 'model.2.m.0.cv2'], plain: ['model.24.m.0'] },
  },
  {
    name: 'YOLOv7',
    eps: 1e-3,
    layout: { pair: ['model.0'], yolov7: ['model.102'], plain: ['model.105.m.0'] },
  },
  {
    name: 'YOLOv9',
    eps: 1e-3,
    layout: { pair: ['model.0', 'model.2.cv1'], repconv: ['model.2.cv2.0.m.0.cv1', 'model.22.m.0'] },
  },
  { name: 'Ultralytics, plain units alone', eps: 1e-3, layout: { pair: ['model.0', 'model.1'] } },
  {
    name: 'YOLOX',
    eps: 1e-3,
    layout: { pair: ['backbone.backbone.dark2.0', 'backbone.lateral_conv0', 'head.stems.0'] },
  },
  {
    name: 'DAMO-YOLO',
    eps: 1e-3,
    layout: {
      repvgg: ['backbone.block_list.1.block_list.0.conv2', 'neck.merge_3.convs.0.conv2'],
      pair: ['neck.bu_conv13', 'head.cls_convs.0.0'],
    },
  },
  {
    name: 'YOLO-NAS',
    eps: 1e-3,
    layout: {
      nas: ['backbone.stem.conv', 'backbone.stage1.blocks.bottlenecks.0.cv1'],
      pair: ['neck.neck1.reduce_skip1', 'heads.head1.stem.seq'],
    },
  },
  {
    name: 'YOLO-NAS-POSE',
    eps: 1e-6,
    layout: {
      nas: ['backbone.stem.conv', 'backbone.stage1.blocks.bottlenecks.0.cv1'],
      pair: ['backbone.context_module.cv1', 'heads.head1.bbox_stem.seq', 'heads.head1.pose_stem.seq'],
    },
  },
  {
    name: 'YOLOv6 of mmyolo, n to m',
    eps: 1e-3,
    layout: {
      repvgg: ['backbone.stem', 'backbone.stage1.0.0', 'backbone.stage1.0.1.conv1', 'neck.bottom_up_layers.0.block.0'],
      pair: ['neck.reduce_layers.2', 'bbox_head.head_module.stems.0', 'bbox_head.head_module.cls_convs.0'],
    },
  },
  {
    name: 'YOLOv6 of mmyolo, l',
    eps: 1e-3,
    layout: {
      pair: [
        'backbone.stem.block',
        'backbone.stage1.0.1.block.conv1.conv1.block',
        'neck.top_down_layers.0.0.block.conv1.conv1.block',
        'bbox_head.head_module.reg_convs.0',
      ],
    },
  },
  {
    name: 'YOLOv7 of mmyolo, l and x',
    eps: 1e-3,
    layout: {
      repvgg: ['neck.out_layers.0', 'neck.out_layers.1'],
      pair: ['backbone.stem.0', 'backbone.stage1.1.blocks.0.0', 'neck.reduce_layers.0'],
    },
  },
  {
    name: 'YOLOv7 of mmyolo, tiny',
    eps: 1e-3,
    layout: {
      pair: [
        'backbone.stem.0',
        'backbone.stage1.0.main_convs.0',
        'neck.top_down_layers.0.main_convs.0',
        'neck.out_layers.0',
      ],
      plain: ['bbox_head.head_module.convs_pred.0.1'],
    },
  },
  {
    name: 'YOLOv8 of mmyolo',
    eps: 1e-3,
    layout: {
      pair: [
        'backbone.stem',
        'backbone.stage1.1.blocks.0.conv2',
        'neck.top_down_layers.0.blocks.0.conv2',
        'bbox_head.head_module.cls_preds.0.0',
      ],
    },
  },
  {
    name: 'YOLOX of mmyolo',
    eps: 1e-3,
    layout: { pair: ['backbone.stem.conv', 'bbox_head.head_module.multi_level_cls_convs.0.0'] },
  },
  {
    name: 'PPYOLOE+ of mmyolo',
    eps: 1e-5,
    layout: {
      alpha: ['backbone.stage1.0.blocks.0.conv2'],
      repvgg: ['neck.reduce_layers.2.0.blocks.0.conv2'],
      pair: ['backbone.stem.0', 'bbox_head.head_module.cls_stems.0.conv'],
    },
  },
  {
    name: 'PPYOLOE of mmyolo',
    eps: 1e-5,
    layout: {
      repvgg: ['backbone.stage1.0.blocks.0.conv2', 'neck.bottom_up_layers.0.0.blocks.0.conv2'],
      pair: ['backbone.stage1.0.conv_down', 'bbox_head.head_module.reg_stems.0.conv'],
    },
  },
  {
    name: 'RTMDet',
    eps: 1e-5,
    layout: {
      pair: ['backbone.stage1.1.main_conv', 'bbox_head.head_module.cls_convs.0.0'],
      plain: ['backbone.stage1.1.attention.fc', 'bbox_head.head_module.rtm_cls.0'],
    },
  },
  {
    name: 'PP-YOLOE',
    eps: 1e-5,
    layout: {
      repconv: [
        'backbone.stages.0.blocks.0.conv2',
        'neck.fpn_stages.0.0.convs.0.conv2',
        'neck.pan_stages.1.0.convs.0.conv2',
      ],
      pair: ['backbone.stem.conv1', 'neck.fpn_routes.0', 'yolo_head.stem_cls.0.conv'],
    },
  },
  {
    name: 'RT-DETR of PaddleDetection',
    eps: 1e-5,
    layout: { repconv: ['neck.pan_blocks.0.bottlenecks.0'], pair: ['neck.lateral_convs.0'] },
  },
  {
    name: 'D-FINE',
    eps: 1e-5,
    layout: { rtdetr: ['encoder.fpn_blocks.0.cv2.0.bottlenecks.0'], pair: ['backbone.stem.stem1'] },
  },
  {
    name: 'RepVGG, a classifier',
    eps: 1e-5,
    layout: { repvgg: ['stage0', 'stage1.0', 'stage4.0'], plain: ['linear'] },
  },
  { name: 'RepVGGplus', eps: 1e-5, layout: { repvgg: ['stage1.blocks.0', 'stage3_first.blocks.0'] } },
  { name: 'RepVGG as a backbone', eps: 1e-5, layout: { repvgg: ['backbone.stage0', 'backbone.stage1.0'] } },
];

/** Ways in which the same network comes in a file. */
const FORMS: readonly [string, (key: string) => string][] = [
  ['as it is', (key) => key],
  ...['module.', 'model.', '_orig_mod.', 'ema.module.', 'teacher.', 'nets.0.model.'].map(
    (prefix): [string, (key: string) => string] => [`under ${prefix}`, (key) => prefix + key],
  ),
];

describe.each(LAYOUTS)('$name', ({ eps, layout }) => {
  const entries = build(layout);

  test('has one eps, however the file wraps and sorts it, and no doubt', () => {
    for (const [form, rename] of FORMS) {
      const renamed = entries.map(([key, value]) => [rename(key), value] as const);
      for (const list of [renamed, [...renamed].sort(([a], [b]) => (a < b ? -1 : 1))]) {
        const blocks = trained(find(list));
        expect(blocks.length).toBeGreaterThan(1);
        expect([form, ...blocks.map(({ eps: { value } }) => value)]).toEqual([form, ...blocks.map(() => eps)]);
        expect(blocks.flatMap(({ problem }) => problem ?? [])).toEqual([]);
      }
    }
  });

  test('has it where all blocks but one are in deploy form', () => {
    const { repvgg = [] } = layout;
    for (const kept of repvgg) {
      const deployed = build({ ...layout, repvgg: [kept], deployed: repvgg.filter((path) => path !== kept) });
      expect(trained(find(deployed)).map((block) => block.eps.value)).not.toContain(eps === 1e-3 ? 1e-5 : 1e-3);
    }
  });
});

describe('a part of a network, saved alone', () => {
  const parts = LAYOUTS.flatMap(({ name, eps, layout }) =>
    ['backbone', 'neck', 'bbox_head'].map((part) => ({ name, eps, part, entries: build(layout) })),
  ).map(({ entries, part, ...rest }) => ({
    ...rest,
    part,
    entries: entries.filter(([key]) => key.startsWith(`${part}.`)),
  }));
  // What these hold does not show their network.
  const silent = [
    'YOLOv6 with P6 backbone',
    'Gold-YOLO backbone',
    'YOLOX backbone',
    'YOLO-NAS neck',
    'YOLO-NAS-POSE backbone',
    'YOLOv6 of mmyolo, l bbox_head',
    'YOLOv7 of mmyolo, tiny bbox_head',
    'YOLOX of mmyolo backbone',
  ];
  const telling = parts.filter(({ name, part, entries }) => entries.length > 0 && !silent.includes(`${name} ${part}`));

  test.each(telling.map((part) => [`${part.name} ${part.part}`, part] as const))('%s', (_, { eps, part, entries }) => {
    for (const drop of [0, part.length + 1]) {
      const blocks = trained(find(entries.map(([key, value]) => [key.slice(drop), value])));
      expect(blocks.length).toBeGreaterThan(0);
      expect(blocks.map((block) => block.eps.value)).toEqual(blocks.map(() => eps));
    }
  });
});

describe('every sign', () => {
  const signs = NETWORKS.flatMap((rule) => rule.signs.map((sign) => [rule.network, sign, rule] as const));

  test.each(signs)('of %s: %s', (network, sign, { eps, because }) => {
    const shown = sign.replaceAll('#', '1').replaceAll('*', 'reparam');
    const [first = ''] = sign.split('.');
    const beside = /^(?:detect|bbox_head|heads)$/.test(first)
      ? 'neck.y'
      : first === '#'
        ? '9'
        : first === 'model'
          ? 'model.9.y'
          : 'y';
    const [block] = trained(find([...MAKE.repvgg(beside), [`${shown}.weight`, tensor(1)]]));
    expect(block!.eps).toEqual({ value: eps, source: `${network}, shown by ${shown}.weight: ${because}` });
  });

  test('stands for whole names, in its place', () => {
    for (const key of [
      'backbone.xERBlock_2.0',
      'backbone.ERBlock_2x.0',
      'backbone.ERBlock_.0',
      'stage1.0.cv1',
      'x.3.m.0',
    ]) {
      const [block] = trained(find([...MAKE.repvgg('backbone.stem'), ...MAKE.plain(key)]));
      expect([key, block!.eps.source]).toEqual([key, 'default of repvgg']);
    }
  });
});

describe('more than one network in a file', () => {
  const yolo = (root: string) => build({ repvgg: [`${root}backbone.stem`, `${root}backbone.ERBlock_2.0`] });
  const epsOf = (blocks: readonly DetectedBlock[]) =>
    Object.fromEntries(blocks.map(({ prefix, eps }) => [prefix, eps.value]));

  test('evidence holds for what stands beside it', () => {
    expect(epsOf(find([...yolo('student.'), ...build({ repvgg: ['teacher.stage0', 'teacher.stage1.0'] })]))).toEqual({
      'student.backbone.stem': 1e-3,
      'student.backbone.ERBlock_2.0': 1e-3,
      'teacher.stage0': 1e-5,
      'teacher.stage1.0': 1e-5,
    });
  });

  test('a network within another has its own', () => {
    const teacher = build({ alpha: ['teacher.backbone.stage1.0.blocks.0.conv2'], repvgg: ['teacher.neck.x'] });
    expect(epsOf(find([...yolo(''), ...teacher, ...build({ repvgg: ['classifier.stage0'] })]))).toEqual({
      'backbone.stem': 1e-3,
      'backbone.ERBlock_2.0': 1e-3,
      'teacher.backbone.stage1.0.blocks.0.conv2': 1e-5,
      'teacher.neck.x': 1e-5,
      'classifier.stage0': 1e-5,
    });
  });

  test('evidence that disagrees about the same blocks is named, key by key, and left to the user', () => {
    const entries = [...yolo(''), ...build({ repconv: ['neck.fpn_stages.0.0.convs.0.conv2'], pair: ['neck.x'] })];
    const blocks = find(entries);
    expect(blocks).toHaveLength(4);
    for (const { problem } of blocks) {
      expect(problem!.kind).toBe('ambiguous');
      expect(problem!.reason).toContain('1e-3 (YOLOv6, shown by backbone.ERBlock_2.0.rbr_dense.conv.weight: ');
      expect(problem!.reason).toContain(
        '1e-5 (PP-YOLOE, shown by neck.fpn_stages.0.0.convs.0.conv2.conv1.conv.weight: ',
      );
      expect(problem!.reason).toContain('`eps`');
    }
    for (const settled of [
      find(entries, { eps: 1e-4 }),
      find(entries, { epsOf: () => ({ value: 1e-4, source: 'graph' }) }),
    ])
      expect(settled.map(({ problem, eps }) => [problem, eps.value])).toEqual(settled.map(() => [undefined, 1e-4]));
  });
});

describe('what comes before the evidence, and after', () => {
  test('the option, then what tells of single BatchNorms, then the rule of the user', () => {
    const entries = build({ repvgg: ['backbone.ERBlock_2.0'] });
    const [asked] = find(entries, { eps: 0.01, epsOf: () => ({ value: 0.1, source: 'graph' }) });
    expect(asked!.eps).toEqual({ value: 0.01, source: 'option' });
    const [told] = find(entries, { epsOf: () => ({ value: 0.1, source: 'graph' }) });
    expect(told!.eps).toEqual({ value: 0.1, source: 'graph' });
  });

  test("Gold-YOLO's SyncBatchNorms have torch's eps", () => {
    const blocks = find(
      build({ repvgg: ['neck.Rep_p4.conv1'], pair: ['neck.Inject_p4.local_embedding', 'neck.low_IFM.0'] }),
    );
    expect(blocks.map(({ prefix, eps }) => [prefix, eps.value])).toEqual([
      ['neck.Rep_p4.conv1', 1e-3],
      ['neck.Inject_p4.local_embedding', 1e-5],
      ['neck.low_IFM.0', 1e-3],
    ]);
  });

  test('QARepVGG of YOLOv6 elsewhere: only when asked for', () => {
    const entries = build({ qarepvgg: ['x.stem'] });
    expect(find(entries)).toMatchObject([{ family: 'qarepvgg', eps: { value: 1e-5 } }]);
    expect(find(entries, { families: ['yolov6-qarepvgg'] })).toMatchObject([{ family: 'yolov6-qarepvgg' }]);
  });
});

describe('texts beside the weights', () => {
  const entries = build({ repvgg: ['backbone.x'] });
  const withText = (text: string, layout = entries) => find(layout, { texts: new Map([['meta.cfg', text]]) })[0]!;

  test.each([
    ["norm_cfg=dict(type='BN', momentum=0.03, eps=0.001),", 1e-3],
    ["norm_cfg = dict(\n    eps=1e-4,\n    type='SyncBN')", 1e-4],
    ["norm_cfg=dict(type='SyncBN')", 1e-5],
    ['{"norm_cfg": {"type": "BN", "eps": 0.002}}', 2e-3],
    ["norm_cfg=dict(type='GN', eps=0.5)\nnorm_cfg=dict(type='BN', eps=0.003)", 3e-3],
    ["norm_cfg=dict(type='BN', affine=False, track_running_stats=False)\nnorm_cfg=dict(type='BN', eps=0.003)", 3e-3],
  ])('norm_cfg tells: %s', (text, value) => {
    expect(withText(text)).toMatchObject({ eps: { value, source: 'norm_cfg of meta.cfg' } });
  });

  test('a configuration that disagrees with itself or with the keys is no answer', () => {
    const two = withText("a=dict(norm_cfg=dict(type='BN')), b=dict(norm_cfg=dict(type='BN', eps=0.001))");
    expect(two.problem).toMatchObject({
      kind: 'ambiguous',
      reason: expect.stringMatching(/1e-5 .*meta\.cfg.* or 1e-3/),
    });
    const other = withText("norm_cfg=dict(type='BN', eps=1e-5)", build({ repvgg: ['backbone.ERBlock_2.0'] }));
    expect(other.problem).toMatchObject({ kind: 'ambiguous', reason: expect.stringContaining('norm_cfg of meta.cfg') });
  });

  test('mmyolo by its name: what most of its networks have, where nothing tells more', () => {
    const texts = new Map([['meta.mmyolo_version', '0.6.0']]);
    expect(find(entries, { texts })[0]!.eps).toMatchObject({
      value: 1e-3,
      source: expect.stringMatching(/^mmyolo, shown by meta\.mmyolo_version: /),
    });
    const rtmdet = build({ repvgg: ['backbone.x'], plain: ['bbox_head.head_module.rtm_cls.0'] });
    expect(find(rtmdet, { texts })[0]!.eps.value).toBe(1e-5);
  });
});

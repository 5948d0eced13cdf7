import { convert, parseRules, readCheckpoint, writeSafetensors } from '../../lib';
import type { FindOptions } from '../../lib/convert';
import { toFloat64 } from '../../lib/tensor/half';
import { peakError } from '../support/compare';
import { referenceConv2d } from '../support/reference-conv';
import { type Activation, framed, perChannel, ReferenceNet, sum } from '../support/reference-net';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();

/** A block system: what its training form computes, written from its paper or repository. */
interface System {
  readonly family: string;
  readonly eps?: number;
  readonly paddle?: boolean;
  readonly channels: number;
  readonly path?: string;
  readonly deploy: string;
  readonly options?: FindOptions;
  forward(net: ReferenceNet, x: Activation): Activation;
}

const C = 6;
const dense = (k: number) => [C, C, k, k];
const dw = (k: number) => [C, 1, k, k];

/** Convolution, padded to keep the size, then BatchNorm. */
function convBn(net: ReferenceNet, x: Activation, conv: string, bn: string, shape: readonly number[], dilation = 1) {
  const groups = shape[1] === 1 ? shape[0]! : 1;
  const pad = (dilation * (shape[2]! - 1)) / 2;
  return net.batchNorm(net.conv(x, `${conv}.weight`, shape, { pad, groups, dilation }), bn);
}

const growing = (family: string, combine: string, key: string, stages: (k: number) => object[]) => ({
  family,
  source: 'a test',
  anchor: `${key}3.conv.weight`,
  distinguishedBy: [`${key}5.conv.weight`],
  combine,
  branches: [3, 5, 7].map((k) => ({ name: `${k}`, role: 'main', presence: 'required', chains: [stages(k)] })),
  deploy: { weight: 'fused.weight', bias: 'fused.bias' },
  deployIsEvident: false,
  eps: 1e-5,
});

/** Rules of a user: a dense 1x1 convolution before a depthwise one, depthwise kernels of growing size that are joined. */
const RULES = [
  {
    family: 'dense-depthwise',
    source: 'a test',
    anchor: 'pair.dw.weight',
    branches: [
      {
        name: 'pair',
        role: 'main',
        presence: 'required',
        chains: [
          [
            { conv: 'pair.pw', geometry: 'pointwise' },
            { batchNorm: 'pair.bn1' },
            { padBorder: true },
            { conv: 'pair.dw', geometry: 'valid', depthwise: true },
            { batchNorm: 'pair.bn2' },
          ],
        ],
      },
    ],
    deploy: { weight: 'fused.weight', bias: 'fused.bias' },
    deployIsEvident: false,
    eps: 1e-5,
  },
  {
    ...growing('dense-growing', 'concat', 'p', (k) => [
      { conv: `p${k}.pw`, geometry: 'pointwise' },
      { conv: `p${k}.dw`, geometry: 'aligned', depthwise: true },
      { batchNorm: `p${k}.bn` },
    ]),
    anchor: 'p3.dw.weight',
    distinguishedBy: ['p5.dw.weight'],
  },
  ...[
    ['growing', 'concat', 'g'],
    ['split-growing', 'split', 's'],
  ].map(([family, combine, key]) =>
    growing(family!, combine!, key!, (k) => [
      { conv: `${key}${k}.conv`, geometry: 'aligned', depthwise: true },
      { batchNorm: `${key}${k}.bn` },
    ]),
  ),
];

/** Activations side by side along channels. */
function joined(...parts: readonly Activation[]): Activation {
  const [batch, , height, width] = parts[0]!.shape as [number, number, number, number];
  const channels = parts.reduce((total, { shape }) => total + shape[1]!, 0);
  const data = Array.from({ length: batch }, (_, image) =>
    parts.flatMap((part) => {
      const size = part.data.length / batch;
      return [...part.data.subarray(image * size, (image + 1) * size)];
    }),
  );
  return { shape: [batch, channels, height, width], data: Float64Array.from(data.flat()) };
}

/** Channels [begin, end) of an activation. */
function part({ shape, data }: Activation, begin: number, end: number): Activation {
  const [batch, channels, height, width] = shape as [number, number, number, number];
  const kept = data.filter((_, i) => {
    const channel = Math.floor(i / (height * width)) % channels;
    return channel >= begin && channel < end;
  });
  return { shape: [batch, end - begin, height, width], data: kept };
}

/** What a BatchNorm of the net makes of zero. */
function zeroOf(net: ReferenceNet, bn: string): Float64Array {
  const get = (name: string) => net.tensors.get(`${bn}.${name}`)!.data as Float32Array;
  return Float64Array.from(get('bias'), (beta, c) => {
    return beta - (get('running_mean')[c]! * get('weight')[c]!) / Math.sqrt(get('running_var')[c]! + 1e-5);
  });
}

const SYSTEMS: readonly System[] = [
  {
    family: 'repvgg-qat',
    channels: C,
    deploy: 'rbr_reparam',
    forward: (net, x) => convBn(net, x, 'rbr_reparam.conv', 'rbr_reparam.bn', dense(3)),
  },
  {
    family: 'repvgg-qat',
    channels: C,
    path: 'collecting',
    deploy: 'rbr_reparam',
    forward(net, x) {
      net.batchNorm(x, 'rbr_reparam.bnstat');
      return net.addBias(net.conv(x, 'rbr_reparam.conv.weight', dense(3), { pad: 1 }), 'rbr_reparam.biasadd.bias');
    },
  },
  {
    family: 'repvgg-bn-fused',
    eps: 1e-3,
    channels: C,
    deploy: 'rbr_reparam',
    forward: (net, x) =>
      sum(
        net.conv(x, 'rbr_dense.conv.weight', dense(3), { pad: 1, bias: true }),
        net.conv(x, 'rbr_1x1.conv.weight', dense(1), { bias: true }),
        net.batchNorm(x, 'rbr_identity'),
      ),
  },
  ...[0.7, 0].map(
    (alpha): System => ({
      family: 'mmyolo-repvgg',
      eps: 1e-3,
      channels: C,
      path: `alpha${alpha}`,
      deploy: 'rbr_reparam',
      forward(net, x) {
        const small = convBn(net, x, 'rbr_1x1.conv', 'rbr_1x1.bn', dense(1));
        // `if self.alpha`: a stored 0 means none.
        const scaled = net.scale(small, 'alpha', [1], [alpha]);
        return sum(convBn(net, x, 'rbr_dense.conv', 'rbr_dense.bn', dense(3)), alpha === 0 ? small : scaled);
      },
    }),
  ),
  {
    family: 'yolov7',
    eps: 1e-3,
    channels: C,
    path: 'model.102',
    deploy: 'rbr_reparam',
    forward: (net, x) =>
      sum(
        convBn(net, x, 'rbr_dense.0', 'rbr_dense.1', dense(3)),
        convBn(net, x, 'rbr_1x1.0', 'rbr_1x1.1', dense(1)),
        net.batchNorm(x, 'rbr_identity'),
      ),
  },
  {
    family: 'acnet',
    channels: C,
    path: 'of2019',
    deploy: 'fused_conv',
    forward(net, x) {
      const one = (key: string, kh: number, kw: number) => {
        const framedInput = net.conv(x, `${key}_conv.weight`, [C, C, kh, kw], { pad: 1 });
        // Padding 1 on the short axis makes two rows or columns too many.
        return crop(framedInput, kh === 1 ? 1 : 0, kw === 1 ? 1 : 0);
      };
      return net.batchNorm(
        sum(
          convBn(net, x, 'square_conv', 'square_bn', dense(5)),
          net.batchNorm(one('ver', 3, 1), 'ver_bn'),
          net.batchNorm(one('hor', 1, 3), 'hor_bn'),
        ),
        'last_bn',
      );
    },
  },
  {
    family: 'mm-repvgg',
    channels: C,
    path: 'backbone.stage_1.0',
    deploy: 'branch_reparam',
    forward: (net, x) =>
      sum(
        convBn(net, x, 'branch_3x3.conv', 'branch_3x3.norm', dense(3)),
        convBn(net, x, 'branch_1x1.conv', 'branch_1x1.norm', dense(1)),
        net.batchNorm(x, 'branch_norm'),
      ),
  },
  {
    family: 'mm-mobileone',
    channels: C,
    deploy: 'branch_reparam',
    forward: (net, x) =>
      sum(
        ...[0, 1, 2].map((i) => convBn(net, x, `branch_conv_list.${i}.conv`, `branch_conv_list.${i}.norm`, dw(3))),
        convBn(net, x, 'branch_scale.conv', 'branch_scale.norm', dw(1)),
        net.batchNorm(x, 'branch_norm'),
      ),
  },
  {
    family: 'sg-repvgg',
    channels: C,
    deploy: 'rbr_reparam',
    forward: (net, x) =>
      sum(
        convBn(net, x, 'branch_3x3.conv', 'branch_3x3.bn', dense(3)),
        net.scale(convBn(net, x, 'branch_1x1.conv', 'branch_1x1.bn', dense(1)), 'alpha', [], [1.3]),
        net.batchNorm(x, 'no_conv_branch'),
      ),
  },
  ...[0.8, 0].map(
    (alpha): System => ({
      family: 'yolo-nas',
      eps: 1e-3,
      channels: C,
      path: `nas${alpha}`,
      deploy: 'rbr_reparam',
      options: { keyless: { '*': ['input'] } },
      forward(net, x) {
        // A random placeholder lies in the training file.
        net.tensor('rbr_reparam.weight', dense(3));
        net.tensor('rbr_reparam.bias', [C]);
        return net.batchNorm(
          sum(
            convBn(net, x, 'branch_3x3.conv', 'branch_3x3.bn', dense(3)),
            net.scale(net.conv(x, 'branch_1x1.weight', dense(1), { bias: true }), 'alpha', [1], [alpha]),
            x,
          ),
          'post_bn',
        );
      },
    }),
  ),
  ...(['', 'input', 'input,average'] as const).map(
    (names): System => ({
      family: 'qarepvgg',
      channels: C,
      path: `stage1.${names.length}`,
      deploy: 'rbr_reparam',
      options: { keyless: { 'stage1.*': names === '' ? [] : names.split(',') } },
      forward(net, x) {
        const terms = [
          convBn(net, x, 'rbr_dense.conv', 'rbr_dense.bn', dense(3)),
          net.conv(x, 'rbr_1x1.weight', dense(1)),
          ...(names.includes('input') ? [x] : []),
          ...(names.includes('average') ? [net.average(x)] : []),
        ];
        return net.batchNorm(sum(...terms), 'bn');
      },
    }),
  ),
  {
    family: 'qarepvgg',
    channels: C,
    path: 'plain',
    deploy: 'rbr_reparam',
    options: { keyless: { plain: ['input'] } },
    forward: (net, x) =>
      net.batchNorm(
        sum(net.conv(x, 'rbr_dense.weight', dense(3), { pad: 1 }), net.conv(x, 'rbr_1x1.weight', dense(1)), x),
        'bn',
      ),
  },
  {
    family: 'yolov6-qarepvgg',
    eps: 1e-3,
    channels: C,
    path: 'backbone.ERBlock_2.0',
    deploy: 'rbr_reparam',
    options: { keyless: { '*': ['input', 'average'] } },
    // Its deploy form keeps the BatchNorm after the sum.
    forward(net, x) {
      const before = sum(
        convBn(net, x, 'rbr_dense.conv', 'rbr_dense.bn', dense(3)),
        net.conv(x, 'rbr_1x1.weight', dense(1)),
        x,
        net.average(x),
      );
      net.batchNorm(before, 'bn');
      return before;
    },
  },
  ...[true, false].map(
    (scaled): System => ({
      family: 'repmixer',
      channels: C,
      path: `network.0.${scaled ? 0 : 1}.token_mixer`,
      deploy: 'reparam_conv',
      forward(net, x) {
        const mixer = sum(
          convBn(net, x, 'mixer.rbr_conv.0.conv', 'mixer.rbr_conv.0.bn', dw(3)),
          convBn(net, x, 'mixer.rbr_scale.conv', 'mixer.rbr_scale.bn', dw(1)),
          net.batchNorm(x, 'mixer.rbr_skip'),
        );
        const difference = sum(
          mixer,
          perChannel(net.batchNorm(x, 'norm.rbr_skip'), (v) => -v),
        );
        return sum(x, scaled ? net.scale(difference, 'layer_scale', [C, 1, 1]) : difference);
      },
    }),
  ),
  {
    family: 'timm-repmixer',
    channels: C,
    path: 'stages.0.blocks.0.token_mixer',
    deploy: 'reparam_conv',
    forward(net, x) {
      const mixer = sum(
        convBn(net, x, 'mixer.conv_kxk.0.conv', 'mixer.conv_kxk.0.bn', dw(3)),
        convBn(net, x, 'mixer.conv_scale.conv', 'mixer.conv_scale.bn', dw(1)),
        net.batchNorm(x, 'mixer.identity'),
      );
      const difference = sum(
        mixer,
        perChannel(net.batchNorm(x, 'norm.identity'), (v) => -v),
      );
      return sum(x, net.scale(difference, 'layer_scale.gamma', [C, 1, 1]));
    },
  },
  ...(['lkb_origin', 'large_conv'] as const).map(
    (large): System => ({
      family: large === 'lkb_origin' ? 'replknet' : 'timm-large-kernel',
      channels: C,
      deploy: large === 'lkb_origin' ? 'lkb_reparam' : 'reparam_conv',
      forward: (net, x) =>
        sum(
          convBn(net, x, `${large}.conv`, `${large}.bn`, dw(31)),
          convBn(net, x, 'small_conv.conv', 'small_conv.bn', dw(5)),
        ),
    }),
  ),
  {
    family: 'unireplknet',
    channels: C,
    path: 'stages.0.0.dwconv',
    deploy: 'lk_origin',
    forward: (net, x) =>
      sum(
        convBn(net, x, 'lk_origin', 'origin_bn', dw(13)),
        ...[
          [5, 1],
          [7, 2],
          [3, 3],
          [3, 4],
          [3, 5],
        ].map(([k, d]) => convBn(net, x, `dil_conv_k${k}_${d}`, `dil_bn_k${k}_${d}`, dw(k!), d)),
      ),
  },
  {
    family: 'pp-lcnetv3',
    paddle: true,
    channels: C,
    deploy: 'reparam_conv',
    forward(net, x) {
      net.tensor('lab.scale', [1]);
      net.tensor('lab.bias', [1]);
      return sum(
        ...[0, 1, 2, 3].map((i) => convBn(net, x, `conv_kxk.${i}.conv`, `conv_kxk.${i}.bn`, dw(3))),
        convBn(net, x, 'conv_1x1.conv', 'conv_1x1.bn', dw(1)),
        net.batchNorm(x, 'identity'),
      );
    },
  },
  {
    family: 'pp-lcnetv2',
    channels: C,
    deploy: 'dw_conv',
    forward(net, x) {
      net.tensor('dw_conv.weight', dw(5));
      net.tensor('dw_conv.bias', [C]);
      return sum(...[5, 3, 1].map((k, i) => convBn(net, x, `dw_conv_list.${i}.conv`, `dw_conv_list.${i}.bn`, dw(k))));
    },
  },
  ...[false, true].map(
    (withInput): System => ({
      family: 'ecbsr',
      channels: C,
      path: `backbone.${withInput ? 1 : 0}`,
      deploy: 'conv3x3',
      options: { keyless: { 'backbone.1': ['input'], 'backbone.0': [] } },
      forward(net, x) {
        const first = (name: string, out: number) => {
          const y = net.conv(x, `conv1x1_${name}.k0`, [out, C, 1, 1], { bias: `conv1x1_${name}.b0` });
          return framed(y, net.tensors.get(`conv1x1_${name}.b0`)!.data as Float32Array);
        };
        const edges = ['sbx', 'sby', 'lpl'].map((name) => {
          const y = net.conv(first(name, C), `conv1x1_${name}.mask`, dw(3), { groups: C });
          return net.addBias(net.scale(y, `conv1x1_${name}.scale`, [C, 1, 1, 1]), `conv1x1_${name}.bias`);
        });
        return sum(
          net.conv(x, 'conv3x3.weight', dense(3), { pad: 1, bias: true }),
          net.conv(first('3x3', 2 * C), 'conv1x1_3x3.k1', [C, 2 * C, 3, 3], { bias: 'conv1x1_3x3.b1' }),
          ...edges,
          ...(withInput ? [x] : []),
        );
      },
    }),
  ),
  {
    family: 'repvit',
    channels: C,
    path: 'features.1.token_mixer.0',
    deploy: '',
    forward: (net, x) =>
      net.batchNorm(
        sum(
          convBn(net, x, 'conv.c', 'conv.bn', dw(3)),
          net.conv(x, 'conv1.weight', dw(1), { groups: C, bias: true }),
          x,
        ),
        'bn',
      ),
  },
  {
    family: 'repvit',
    channels: C,
    path: 'legacy',
    deploy: '',
    forward: (net, x) =>
      sum(convBn(net, x, 'conv.c', 'conv.bn', dw(3)), convBn(net, x, 'conv1.c', 'conv1.bn', dw(1)), x),
  },
  {
    family: 'yolov10-repvggdw',
    eps: 1e-3,
    channels: C,
    path: 'model.8.m.0.cv1.2',
    deploy: 'conv',
    forward: (net, x) =>
      sum(convBn(net, x, 'conv.conv', 'conv.bn', dw(7)), convBn(net, x, 'conv1.conv', 'conv1.bn', dw(3))),
  },
  {
    family: 'repopt',
    channels: C,
    deploy: 'conv',
    forward: (net, x) =>
      net.batchNorm(
        sum(
          net.scale(net.conv(x, 'conv.weight', dense(3), { pad: 1 }), 'scale_conv.weight', [C]),
          net.scale(net.conv(x, 'conv_1x1.weight', dense(1)), 'scale_1x1.weight', [C]),
          net.scale(x, 'scale_identity.weight', [C]),
        ),
        'bn',
      ),
  },
  {
    family: 'ultralytics-conv2',
    eps: 1e-3,
    channels: C,
    path: 'model.3',
    deploy: 'conv',
    forward: (net, x) =>
      net.batchNorm(sum(net.conv(x, 'conv.weight', dense(3), { pad: 1 }), net.conv(x, 'cv2.weight', dense(1))), 'bn'),
  },
  {
    family: 'rt-detr',
    channels: C,
    path: 'encoder.pan_blocks.0.bottlenecks.0',
    deploy: 'conv',
    forward: (net, x) =>
      sum(convBn(net, x, 'conv1.conv', 'conv1.norm', dense(3)), convBn(net, x, 'conv2.conv', 'conv2.norm', dense(1))),
  },
  {
    family: 'repconv',
    eps: 1e-3,
    channels: C,
    path: 'model.4.cv2.0.m.0.cv1',
    deploy: 'conv',
    forward: (net, x) =>
      sum(
        convBn(net, x, 'conv1.conv', 'conv1.bn', dense(3)),
        convBn(net, x, 'conv2.conv', 'conv2.bn', dense(1)),
        net.batchNorm(x, 'bn'),
      ),
  },
  {
    family: 'repconv',
    channels: C,
    path: 'neck.stage',
    deploy: 'conv',
    options: { families: ['repconv'] },
    forward: (net, x) =>
      sum(
        convBn(net, x, 'conv1.conv', 'conv1.bn', dense(3)),
        net.scale(convBn(net, x, 'conv2.conv', 'conv2.bn', dense(1)), 'alpha', [1], [0.6]),
      ),
  },
  {
    family: 'dbb',
    channels: C,
    path: 'wide',
    deploy: 'dbb_reparam',
    forward(net, x) {
      const padded = (conv: string, bn: string) => {
        const bordered = net.batchNorm(net.conv(x, `${conv}.weight`, dense(1)), bn);
        return framed(bordered, zeroOf(net, bn));
      };
      const pooled = padded('dbb_avg.conv', 'dbb_avg.bn.bn');
      const inner = crop(net.average(pooled), 1, 1);
      return sum(
        convBn(net, x, 'dbb_origin.conv', 'dbb_origin.bn', dense(3)),
        convBn(net, x, 'dbb_1x1.conv', 'dbb_1x1.bn', dense(1)),
        net.batchNorm(inner, 'dbb_avg.avgbn'),
        net.batchNorm(
          net.conv(padded('dbb_1x1_kxk.conv1', 'dbb_1x1_kxk.bn1.bn'), 'dbb_1x1_kxk.conv2.weight', dense(3)),
          'dbb_1x1_kxk.bn2',
        ),
        net.batchNorm(crop(net.conv(x, 'ver_conv.weight', [C, C, 3, 1], { pad: 1 }), 0, 1), 'ver_bn'),
        net.batchNorm(crop(net.conv(x, 'hor_conv.weight', [C, C, 1, 3], { pad: 1 }), 1, 0), 'hor_bn'),
      );
    },
  },
  {
    family: 'orepa',
    channels: C,
    path: 'layer1.0.conv1',
    deploy: 'orepa_reparam',
    forward(net, x) {
      const row = (y: Activation, index: number, vector: Float32Array) =>
        perChannel(y, (v, c) => v * vector[index * C + c]!);
      const vector = net.tensor('vector', [6, C]).data as Float32Array;
      /** Every channel with taps of its own. */
      const taps = (y: Activation, key: string, shape: readonly number[]) => {
        const { data } = net.tensor(key, shape);
        const weight = Float32Array.from({ length: C * 9 }, (_, i) => Number(data[i % data.length]));
        return referenceConv2d({
          input: y.data,
          inputShape: y.shape,
          weight,
          weightShape: [C, 1, 3, 3],
          bias: null,
          stride: [1, 1],
          padding: [1, 1, 1, 1],
          dilation: [1, 1],
          groups: C,
        });
      };
      const difference = net.conv(x, 'weight_orepa_1x1_kxk_idconv1', dense(1));
      net.tensor('id_tensor', dense(1));
      const expanded = net.conv(x, 'weight_orepa_gconv_dw', [4 * C, 1, 3, 3], { pad: 1, groups: C });
      return net.batchNorm(
        sum(
          row(net.conv(x, 'weight_orepa_origin', dense(3), { pad: 1 }), 0, vector),
          row(taps(net.conv(x, 'weight_orepa_avg_conv', dense(1)), 'weight_orepa_avg_avg', [3, 3]), 1, vector),
          row(taps(net.conv(x, 'weight_orepa_pfir_conv', dense(1)), 'weight_orepa_prior', [C, 3, 3]), 2, vector),
          row(net.conv(sum(difference, x), 'weight_orepa_1x1_kxk_conv2', dense(3), { pad: 1 }), 3, vector),
          row(net.conv(x, 'weight_orepa_1x1', dense(1)), 4, vector),
          row(net.conv(expanded, 'weight_orepa_gconv_pw', [C, 4 * C, 1, 1]), 5, vector),
        ),
        'bn',
      );
    },
  },
  {
    family: 'orepa-1x1',
    channels: C,
    path: 'layer1.0.conv3',
    deploy: 'or1x1_reparam',
    forward(net, x) {
      const vector = net.tensor('vector', [2, 9]).data as Float32Array;
      const row = (y: Activation, index: number) => perChannel(y, (v, c) => v * vector[index * 9 + c]!);
      const inner = net.conv(x, 'weight_or1x1_l2i_conv1', dense(1));
      return net.batchNorm(
        sum(
          row(net.conv(x, 'weight_or1x1_origin', [9, C, 1, 1]), 0),
          row(net.conv(inner, 'weight_or1x1_l2i_conv2', [9, C, 1, 1]), 1),
        ),
        'bn',
      );
    },
  },
  {
    family: 'dense-depthwise',
    channels: C,
    path: 'rule.pair',
    deploy: 'fused',
    options: { rules: parseRules(RULES) },
    forward(net, x) {
      const first = net.batchNorm(net.conv(x, 'pair.pw.weight', [9, C, 1, 1]), 'pair.bn1');
      const beta = zeroOf(net, 'pair.bn1');
      return net.batchNorm(net.conv(framed(first, beta), 'pair.dw.weight', [9, 1, 3, 3], { groups: 9 }), 'pair.bn2');
    },
  },
  {
    family: 'dense-growing',
    channels: C,
    path: 'rule.dense-growing',
    deploy: 'fused',
    options: { rules: parseRules(RULES) },
    forward: (net, x) =>
      joined(
        ...[3, 5, 7].map((k) =>
          net.batchNorm(
            net.conv(net.conv(x, `p${k}.pw.weight`, [4, C, 1, 1]), `p${k}.dw.weight`, [4, 1, k, k], {
              pad: k >> 1,
              groups: 4,
            }),
            `p${k}.bn`,
          ),
        ),
      ),
  },
  {
    family: 'growing',
    channels: C,
    path: 'rule.growing',
    deploy: 'fused',
    options: { rules: parseRules(RULES) },
    forward: (net, x) => joined(...[3, 5, 7].map((k) => convBn(net, x, `g${k}.conv`, `g${k}.bn`, dw(k)))),
  },
  {
    family: 'split-growing',
    channels: 9,
    path: 'rule.split',
    deploy: 'fused',
    options: { rules: parseRules(RULES) },
    forward: (net, x) =>
      joined(
        ...[3, 5, 7].map((k, i) =>
          convBn(net, part(x, [0, 2, 5, 9][i]!, [0, 2, 5, 9][i + 1]!), `s${k}.conv`, `s${k}.bn`, [2 + i, 1, k, k]),
        ),
      ),
  },
  {
    family: 'repghost',
    channels: C,
    path: 'blocks.0.0.ghost1',
    deploy: 'cheap_operation',
    forward: (net, x) =>
      sum(convBn(net, x, 'cheap_operation.0', 'cheap_operation.1', dw(3)), net.batchNorm(x, 'fusion_bn.0')),
  },
  ...(['bn1', 'bn'] as const).flatMap((bn): System[] => [
    {
      family: 'ghostnetv3',
      channels: C,
      path: `blocks.0.ghost1.${bn}`,
      deploy: 'primary_conv.0',
      forward: (net, x) =>
        sum(
          ...[0, 1, 2].map((i) =>
            convBn(net, x, `primary_rpr_conv.${i}.conv`, `primary_rpr_conv.${i}.${bn}`, dense(1)),
          ),
        ),
    },
    ...(['cheap', 'dw'] as const).map(
      (part): System => ({
        family: 'ghostnetv3',
        channels: C,
        path: `blocks.1.${part}.${bn}`,
        deploy: part === 'dw' ? 'conv_dw' : 'cheap_operation.0',
        forward: (net, x) =>
          sum(
            ...[0, 1, 2].map((i) => convBn(net, x, `${part}_rpr_conv.${i}.conv`, `${part}_rpr_conv.${i}.${bn}`, dw(3))),
            convBn(net, x, `${part}_rpr_scale.conv`, `${part}_rpr_scale.${bn}`, dw(1)),
            ...(part === 'cheap' ? [net.batchNorm(x, 'cheap_rpr_skip')] : []),
          ),
      }),
    ),
  ]),
  {
    family: 'yolo-implicit',
    eps: 1e-3,
    channels: C,
    path: 'model.105',
    deploy: 'm.1',
    forward(net, x) {
      const moved = net.addBias(x, 'ia.1.implicit', [1, C, 1, 1]);
      const head = net.conv(moved, 'm.1.weight', [9, C, 1, 1], { bias: true });
      return net.scale(head, 'im.1.implicit', [1, 9, 1, 1]);
    },
  },
  ...(['l', 'linear'] as const).map(
    (layer): System => ({
      family: 'bn-linear',
      channels: C,
      path: layer === 'l' ? 'classifier.classifier' : 'head_dist',
      deploy: '',
      forward: (net, x) => net.conv(net.batchNorm(x, 'bn'), `${layer}.weight`, [9, C], { bias: true }),
    }),
  ),
  ...(['c', 'linear'] as const).map(
    (layer): System => ({
      family: 'conv-bn',
      channels: C,
      path: 'blocks.0.m.qkv',
      deploy: '',
      options: { families: ['conv-bn'] },
      forward: (net, x) => net.batchNorm(net.conv(x, `${layer}.weight`, [9, C]), 'bn'),
    }),
  ),
  {
    family: 'conv-bn',
    channels: C,
    path: 'layer1.0',
    deploy: 'conv1',
    options: { families: ['conv-bn'] },
    forward: (net, x) => net.batchNorm(net.conv(x, 'conv1.weight', dense(3), { pad: 1, bias: true }), 'bn1'),
  },
];

/** A weight's sizes; a linear layer's are those of a 1x1 convolution. */
function oihw([out, inPerGroup, height = 1, width = 1]: readonly number[]): [number, number, number, number] {
  return [out!, inPerGroup!, height, width];
}

/** Drops rows and columns at each side. */
function crop({ shape, data }: Activation, rows: number, columns: number): Activation {
  const [batch, channels, height, width] = shape as [number, number, number, number];
  const kept = [...data].filter((_, i) => {
    const [y, x] = [Math.floor(i / width) % height, i % width];
    return y >= rows && y < height - rows && x >= columns && x < width - columns;
  });
  return {
    shape: [batch, channels, height - 2 * rows, width - 2 * columns],
    data: Float64Array.from(kept),
  };
}

describe.each(SYSTEMS.map((system, index) => [`${system.family} (${system.path ?? 'block'})`, system, index] as const))(
  '%s',
  (_, system, index) => {
    const { family, eps = 1e-5, paddle = false, channels, path = 'block', deploy, options = {} } = system;
    const net = new ReferenceNet(index + 1, eps, paddle ? ['_mean', '_variance'] : undefined);
    const x = net.input(channels);
    const expected = system.forward(net, x);
    const file = folder.path(`${index}.safetensors`);
    const output = folder.path(`${index}.deploy.safetensors`);

    test('is found, fused exactly, verified, and its training tensors are gone', async () => {
      await writeSafetensors(file, new Map([...net.tensors].map(([key, tensor]) => [`${path}.${key}`, tensor])));
      const report = await convert(file, output, { ...options, verify: true });
      expect(report.blocks.map((block) => block.family)).toEqual([family]);
      expect(report.blocks[0]!.eps.value).toBe(eps);
      expect(report.verification).toMatchObject({ equal: true });
      const { tensors } = await readCheckpoint(output);
      const key = [path, deploy].filter((part) => part !== '').join('.');
      const weight = tensors.get(`${key}.weight`)!;
      const [, inPerGroup, kernelHeight, kernelWidth] = oihw(weight.shape);
      const got = referenceConv2d({
        input: x.data,
        inputShape: x.shape,
        weight: toFloat64(weight),
        weightShape: oihw(weight.shape),
        bias: toFloat64(tensors.get(`${key}.bias`)!),
        stride: [1, 1],
        padding: [kernelHeight >> 1, kernelWidth >> 1, kernelHeight >> 1, kernelWidth >> 1],
        dilation: [1, 1],
        groups: channels / inPerGroup,
      });
      expect(got.shape).toEqual(expected.shape);
      expect(peakError(got.data, expected.data)).toBeLessThan(1e-6);
      const kept = [...tensors.keys()].filter((name) => name !== `${key}.weight` && name !== `${key}.bias`);
      expect(kept.filter((name) => !/\.(lab\.|bn\.)/.test(name))).toEqual([]);
    });
  },
);

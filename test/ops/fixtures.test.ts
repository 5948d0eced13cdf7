import * as ops from '../../lib/ops';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { fixtureCases, fixturePath, type Manifest, readFixtureTensors, readManifest } from '../support/fixtures';
import { availableIsas, withIsa } from '../support/isa';

type Run<T> = (input: Tensor, config: Manifest, t: (name: string) => Tensor) => T;

/** How each `op` of the conv2d manifests is called: synchronously and on the pool. */
const OPERATORS: Record<string, { sync: Run<Tensor>; async: Run<Promise<Tensor>> }> = {
  conv2d: {
    sync: (x, { conv }, t) => ops.conv2d(x, t('weight'), conv.bias ? t('bias') : null, conv),
    async: (x, { conv }, t) => ops.conv2dAsync(x, t('weight'), conv.bias ? t('bias') : null, conv),
  },
  avg_pool2d: {
    sync: (x, config) => ops.avgPool2d(x, poolOptions(config)),
    async: (x, config) => ops.avgPool2dAsync(x, poolOptions(config)),
  },
  max_pool2d: {
    sync: (x, config) => ops.maxPool2d(x, poolOptions(config)),
    async: (x, config) => ops.maxPool2dAsync(x, poolOptions(config)),
  },
  global_avg_pool: { sync: (x) => ops.globalAvgPool(x), async: (x) => ops.globalAvgPoolAsync(x) },
  batch_norm: {
    sync: (x, config, t) => ops.batchNorm(x, batchNormOf(config, t)),
    async: (x, config, t) => ops.batchNormAsync(x, batchNormOf(config, t)),
  },
  linear: {
    sync: (x, config, t) => ops.linear(x, t('weight'), config.bias ? t('bias') : null),
    async: (x, config, t) => ops.linearAsync(x, t('weight'), config.bias ? t('bias') : null),
  },
  relu: { sync: (x) => ops.relu(x), async: (x) => ops.reluAsync(x) },
  sigmoid: { sync: (x) => ops.sigmoid(x), async: (x) => ops.sigmoidAsync(x) },
  silu: { sync: (x) => ops.silu(x), async: (x) => ops.siluAsync(x) },
  hardswish: { sync: (x) => ops.hardswish(x), async: (x) => ops.hardswishAsync(x) },
  softmax: { sync: (x) => ops.softmax(x), async: (x) => ops.softmaxAsync(x) },
  add: { sync: (x, _, t) => ops.add(x, t('other')), async: (x, _, t) => ops.addAsync(x, t('other')) },
  squeeze_excite: {
    sync: (x, _, t) => ops.squeezeExcite(x, squeezeExciteOf(t)),
    async: (x, _, t) => ops.squeezeExciteAsync(x, squeezeExciteOf(t)),
  },
};

function poolOptions(config: Manifest) {
  return { ...config, kernel: config.kernel, ceilMode: config.ceil_mode, countIncludePad: config.count_include_pad };
}

function batchNormOf(config: Manifest, t: (name: string) => Tensor): ops.BatchNorm {
  const affine = config.affine ? { weight: t('weight'), bias: t('bias') } : {};
  return { runningMean: t('running_mean'), runningVar: t('running_var'), eps: config.eps, ...affine };
}

function squeezeExciteOf(t: (name: string) => Tensor): ops.SqueezeExcite {
  return {
    reduce: { weight: t('reduce.weight'), bias: t('reduce.bias') },
    expand: { weight: t('expand.weight'), bias: t('expand.bias') },
  };
}

describe.each(fixtureCases('conv2d'))('conv2d/%s', (name) => {
  const manifest = readManifest('conv2d', name);
  const tensors = readFixtureTensors(fixturePath('conv2d', manifest.files.tensors));
  const tensor = (key: string) => {
    const found = tensors.get(key)!;
    return Tensor.f32(found.shape, found.data as Float32Array);
  };
  const operator = OPERATORS[manifest.op]!;
  const want = tensors.get('output@f64') ?? tensors.get('output')!;
  const check = (got: Tensor) => {
    expect(got.shape).toEqual(want.shape);
    expect(peakError(got.data as Float32Array, want.data as Float64Array)).toBeLessThanOrEqual(
      manifest.tolerance.output_rel_peak_f32,
    );
  };

  test.each(availableIsas())('at %s', (isa) => {
    check(withIsa(isa, () => operator.sync(tensor('input'), manifest.config, tensor)));
  });

  test('on the pool', async () => check(await operator.async(tensor('input'), manifest.config, tensor)));
});

import { readFileSync } from 'node:fs';
import * as repfuse from '../../lib';
import { Tensor } from '../../lib';
import * as algebraDoor from '../../lib/algebra/public';
import * as graphDoor from '../../lib/graph/public';
import { INSPECT } from '../../lib/tensor/tensor';
import { fixturePath } from '../support/fixtures';
import { roughBlock } from '../support/rough-block';

/** One of the things that can be called, and arguments that are right. */
export interface Call {
  readonly call: (...args: never[]) => unknown;
  readonly args: readonly unknown[];
}

const { algebra, ops } = repfuse;
const x = () => Tensor.f32([1, 2, 4, 4], new Float32Array(32).fill(0.5));
const vector = (value = 1) => Tensor.f32([2], new Float32Array(2).fill(value));
const weight = () => Tensor.f32([2, 2, 3, 3], new Float32Array(36).fill(0.1));
const pointwise = () => Tensor.f32([2, 2, 1, 1], new Float32Array(4).fill(0.1));
const bn = () => ({ runningMean: vector(0), runningVar: vector(), weight: vector(), bias: vector(0), eps: 1e-5 });
const conv = () => algebra.conv(weight(), vector(0), { padding: 1 });
const convStage = () => ({
  kind: 'conv2d' as const,
  weight: weight(),
  bias: null,
  stride: [1, 1] as const,
  padding: [1, 1, 1, 1] as const,
  dilation: [1, 1] as const,
  groups: 1,
});
const scaleStage = () => ({ kind: 'scale' as const, scale: vector(), negative: false, zeroIsOne: false });
const branch = () => ({ name: 'main', stages: [convStage(), { kind: 'batch_norm' as const, ...bn() }, scaleStage()] });
const squeeze = () => ({
  reduce: { weight: pointwise(), bias: vector() },
  expand: { weight: pointwise(), bias: vector() },
});
const block = () => new repfuse.RepVGGBlock({ inChannels: 2, outChannels: 2 });
const graph = (): repfuse.Graph => ({
  input: 'x',
  output: 'y',
  inputShape: [2, 4, 4],
  normalization: { scale: 1, mean: [0, 0], std: [1, 1] },
  labels: ['a', 'b'],
  nodes: [
    {
      id: 'y',
      op: 'conv2d',
      inputs: ['x'],
      weight: 'w',
      bias: 'b',
      stride: [1, 1],
      padding: [1, 1],
      padding_mode: 'zeros',
      dilation: [1, 1],
      groups: 1,
    },
  ],
});
const tensors = () =>
  new Map([
    ['w', weight()],
    ['b', vector()],
  ]);
const model = () => ({ graph: graph(), tensors: tensors() });
const checkpoint = readFileSync(fixturePath('checkpoints', 'repvgg-plain.pth'));
const deployed = readFileSync(fixturePath('checkpoints', 'repvgg-plain.deploy.safetensors'));
const onnx = readFileSync(fixturePath('checkpoints', 'repvgg-onnx-train.onnx'));

/**
 * Every function, constructor and method of the package, by name.
 *
 * @param path a name in a folder for outputs
 */
export async function callsOf(path: (name: string) => string): Promise<Readonly<Record<string, Call>>> {
  const engine = await repfuse.Engine.create(model());
  const calls: Record<string, Call> = {};
  const add = (name: string, call: (...args: never[]) => unknown, ...args: readonly unknown[]) => {
    calls[name] = { call, args };
  };
  const create = (name: string, Class: unknown, ...args: readonly unknown[]) =>
    add(`new ${name}`, (...given) => Reflect.construct(Class as never, given), ...args);
  /** A method of a new object each time. */
  const method = <T extends object>(name: string, make: () => T, key: keyof T, ...args: readonly unknown[]) =>
    add(name, (...given) => (make()[key] as (...args: unknown[]) => unknown)(...given), ...args);

  create('Tensor', Tensor, 'F32', [2], new Float32Array(2));
  add('Tensor.f32', (...args) => Reflect.apply(Tensor.f32, Tensor, args), [2], [1, 2]);
  method('Tensor#Symbol(nodejs.util.inspect.custom)', x, INSPECT);
  create('RepfuseError', repfuse.RepfuseError, 'ERR_REPFUSE_FILE', 'text', { file: 'x' }, { cause: 1 });
  add('info', repfuse.info);

  for (const name of ['relu', 'sigmoid', 'silu', 'hardswish', 'softmax', 'globalAvgPool'] as const) twins(name, x());
  function twins(name: keyof typeof ops, ...args: readonly unknown[]): void {
    add(`ops.${name}`, ops[name], ...args, { threads: 1 });
    add(`ops.${name}Async`, ops[`${name}Async` as 'reluAsync'], ...args, { threads: 1, signal: undefined });
  }
  const window = { kernel: 2, stride: 2, padding: 0, dilation: 1, ceilMode: false };
  twins('add', x(), x());
  twins('linear', Tensor.f32([1, 2]), Tensor.f32([3, 2]), Tensor.f32([3]));
  twins('batchNorm', x(), bn());
  twins('padBorder', x(), vector(), [1, 1]);
  twins('crop', x(), [1, 1]);
  twins('squeezeExcite', x(), squeeze());
  twins('runBranch', branch(), x());
  const convOptions = { stride: 1, padding: 1, dilation: 1, groups: 1, activation: 'relu', paddingMode: 'zeros' };
  add('ops.conv2d', ops.conv2d, x(), weight(), vector(), convOptions);
  add('ops.conv2dAsync', ops.conv2dAsync, x(), weight(), vector(), { ...convOptions, signal: undefined });
  add('ops.maxPool2d', ops.maxPool2d, x(), window);
  add('ops.maxPool2dAsync', ops.maxPool2dAsync, x(), window);
  add('ops.avgPool2d', ops.avgPool2d, x(), { ...window, countIncludePad: true, divisorOverride: 3 });
  add('ops.avgPool2dAsync', ops.avgPool2dAsync, x(), { ...window, countIncludePad: true, divisorOverride: 3 });
  add('ops.normalizePixels', ops.normalizePixels, x(), { scale: 2, mean: [0, 0], std: [1, 1] }, { threads: 1 });
  add('ops.concatChannels', ops.concatChannels, [x(), x()]);

  create('algebra.AffineConv', algebra.AffineConv, conv(), {}, {});
  add('algebra.AffineConv#outputSize', (...args) => Reflect.apply(conv().outputSize, conv(), args), [4, 4]);
  add('algebra.conv', algebra.conv, weight(), vector(), { stride: 1, padding: 1, dilation: 1, groups: 1, name: 'w' });
  add('algebra.identity', algebra.identity, 2, 1);
  add('algebra.foldBatchNorm', algebra.foldBatchNorm, conv(), bn(), { name: 'bn' });
  add('algebra.scale', algebra.scale, conv(), vector(), { name: 's' });
  add('algebra.shift', algebra.shift, conv(), vector(), { name: 's' });
  add('algebra.addBranches', algebra.addBranches, [conv(), conv()], { inputSize: [4, 4] });
  add('algebra.alignTo', algebra.alignTo, conv(), { kernel: 5, padding: 2, dilation: 1 });
  add('algebra.averagePool', algebra.averagePool, {
    channels: 2,
    kernel: 2,
    stride: 1,
    padding: 0,
    countIncludePad: true,
    ceilMode: false,
    divisorOverride: null,
    groups: 2,
    inputSize: [4, 4],
    allowInexactBorder: false,
  });
  add('algebra.composeSequential', algebra.composeSequential, conv(), algebra.identity(2), { border: 'zero' });
  add('algebra.concatOutputs', algebra.concatOutputs, [conv(), conv()], { input: 'shared' });
  add('algebra.fromBranch', algebra.fromBranch, branch(), { groups: 1, channels: 2, allowInexactBorder: false });
  add(
    'algebra.fromBranches',
    algebra.fromBranches,
    { branches: [branch()], combine: 'sum', after: [scaleStage()] },
    { groups: 1 },
  );
  const { appendStages, inputChannels, scaleFactors, stageWeight, storedKernel } = algebraDoor;
  add('algebra.inputChannels', inputChannels, branch());
  add('algebra.scaleFactors', scaleFactors, scaleStage(), 2);
  add('algebra.stageWeight', stageWeight, { ...convStage(), weight: pointwise(), plusIdentity: true });
  add('algebra.storedKernel', storedKernel, { ...convStage(), weight: Tensor.f32([3, 3]), taps: 2 });
  add(
    'algebra.appendStages',
    appendStages,
    conv(),
    { name: 'after', stages: [scaleStage()] },
    { allowInexactBorder: false },
  );
  const into = { into: 'largest-branch', check: 'before', rounding: 'nearest', threads: 1 };
  add('algebra.materialize', algebra.materialize, conv(), into);
  add('algebra.materializeAsync', algebra.materializeAsync, conv(), { ...into, signal: undefined });

  const geometry = { kernelSize: 3, stride: 1, groups: 1, deploy: false, eps: 1e-5, seed: 1 };
  const options = { inChannels: 2, outChannels: 2, ...geometry, padding: 1, dilation: 1, affine: true };
  create('RepVGGBlock', repfuse.RepVGGBlock, { ...options, useSe: false, usePostSe: false, naming: 'timm' });
  create('ACNetBlock', repfuse.ACNetBlock, { ...options, activation: 'relu' });
  create('DiverseBranchBlock', repfuse.DiverseBranchBlock, { ...options, internalChannels: 2, activation: 'none' });
  create('MobileOneBlock', repfuse.MobileOneBlock, { ...options, numConvBranches: 2, useSe: false, naming: 'apple' });
  create('ACNet', repfuse.ACNet, 2, 2, geometry);
  create('RepBlock', repfuse.RepBlock, 2, 2, geometry);
  create('ReparameterizableBlock', repfuse.ReparameterizableBlock, options, geometry, {});
  for (const name of ['forward', 'forwardLinear'] as const) {
    method(`ReparameterizableBlock#${name}`, block, name, x(), { threads: 1 });
    method(`ReparameterizableBlock#${name}Async`, block, `${name}Async`, x(), { threads: 1, signal: undefined });
  }
  method('ReparameterizableBlock#switchToDeploy', block, 'switchToDeploy', { threads: 1 });
  method('ReparameterizableBlock#stateDict', block, 'stateDict', { borrow: false });
  method('ReparameterizableBlock#loadStateDict', block, 'loadStateDict', block().stateDict(), {
    prefix: '',
    borrow: false,
  });
  method('ArticleBlock#_switch_to_deploy', () => new repfuse.RepBlock(2, 2), '_switch_to_deploy', { threads: 1 });

  add('parseGraph', repfuse.parseGraph, graph());
  add('evaluate', repfuse.evaluate, graph(), tensors(), x(), { threads: 1 });
  add('evaluateAsync', repfuse.evaluateAsync, graph(), tensors(), x(), { threads: 1, signal: undefined });
  add('normalizeInput', repfuse.normalizeInput, graph(), x());
  add('graph.inferShapes', graphDoor.inferShapes, graph(), [1, 2, 4, 4], tensors());
  add('graph.graphMetadata', graphDoor.graphMetadata, graph());
  add('graph.readGraphMetadata', graphDoor.readGraphMetadata, graphDoor.graphMetadata(graph()));
  add('graph.batchNormEps', graphDoor.batchNormEps, graph());
  const net = repfuse.netFromSeed('repvgg_a0', { classes: 2 });
  add('graph.deployGraph', graphDoor.deployGraph, graph(), [
    { ...repfuse.detectBlocks(roughBlock('a.', 2))[0], prefix: 'a' } as repfuse.DetectedBlock,
  ]);
  add('exportOnnx', repfuse.exportOnnx, path('out.onnx'), model(), { force: true, durable: false, opset: 17 });

  add('netFromSeed', repfuse.netFromSeed, 'mobileone_s0', { form: 'deploy', names: 'native', classes: 2, seed: 1 });
  add('netGraph', repfuse.netGraph, 'repvgg_a0', net.tensors);
  add('netFigures', repfuse.netFigures, 'repvgg_a0', { form: 'train', names: 'timm', classes: 10 });
  add('detectBlocks', repfuse.detectBlocks, roughBlock('a.', 2), {
    rules: [repfuse.FAMILY_RULES[0]],
    families: ['repvgg'],
    keyless: { '*': [] },
    eps: 1e-5,
    epsOf: () => undefined,
    keysInOrder: true,
    moduleAt: () => undefined,
    texts: new Map(),
    unread: new Map(),
  });
  add('parseRules', repfuse.parseRules, JSON.parse(JSON.stringify(repfuse.FAMILY_RULES[0])), 'rules');

  create('Engine', repfuse.Engine, engine, graph(), tensors(), 1);
  add('Engine.create', repfuse.Engine.create, model(), {
    threads: 1,
    precision: 'f32',
    batchInvariant: false,
    algorithm: 'auto',
    merge: true,
    plans: 1,
    signal: undefined,
  });
  const onEngine = (name: keyof repfuse.Engine & string, ...args: readonly unknown[]) =>
    add(`Engine#${name}`, (...given) => Reflect.apply(engine[name] as never, engine, given), ...args);
  onEngine('run', x(), { out: Tensor.f32([1, 2, 4, 4]), signal: undefined });
  onEngine('runAll', x(), { signal: undefined });
  onEngine('runSync', x(), { out: Tensor.f32([1, 2, 4, 4]) });
  onEngine('stream', [x(), x()], { concurrency: 2, signal: undefined });
  onEngine('outputShape', [1, 2, 4, 4]);
  onEngine('explain', [1, 2, 4, 4]);
  add('Engine#Symbol(nodejs.util.inspect.custom)', () => engine[INSPECT]());
  for (const name of ['dispose', Symbol.dispose, Symbol.asyncDispose]) {
    add(`Engine#${String(name)}`, async () => (await repfuse.Engine.create(model()))[name as 'dispose']());
  }
  add('measurePrecision', repfuse.measurePrecision, model(), x(), { threads: 1, runs: 1, signal: undefined });
  const reading = { keyPath: [], prefix: '', onProgress: () => {}, signal: undefined };
  add('readModel', repfuse.readModel, deployed, { ...reading, graph: undefined, arch: 'repvgg_a0' });

  const finding = { eps: 1e-5, rules: repfuse.FAMILY_RULES, families: ['repvgg'], keyless: { '*': [] } };
  const inspecting = { ...finding, ...reading, keepBlocks: [], graph: undefined, arch: undefined };
  const { onProgress: _, ...converting } = inspecting;
  add('readCheckpoint', repfuse.readCheckpoint, checkpoint, reading);
  add('inspect', repfuse.inspect, checkpoint, inspecting);
  const convertOptions = {
    ...converting,
    force: true,
    hash: false,
    dtype: 'f32',
    format: 'safetensors',
    keys: 'native',
  };
  const flags = { durable: false, ranges: false, requireChange: false, threads: 1, verify: false };
  add('convert', repfuse.convert, checkpoint, path('out.safetensors'), { ...convertOptions, ...flags });
  add('convertAll', repfuse.convertAll, [fixturePath('checkpoints', 'repvgg-plain.pth')], {
    ...convertOptions,
    ...flags,
    outDir: path('all'),
    jobs: 1,
    resume: false,
    shard: { index: 0, count: 1 },
  });
  add('verify', repfuse.verify, checkpoint, deployed, {
    ...inspectingWithout('keepBlocks'),
    tolerance: 1,
    seed: 1,
    threads: 1,
  });
  function inspectingWithout(name: 'keepBlocks') {
    const { [name]: __, ...rest } = inspecting;
    return rest;
  }
  add('foldOnnx', repfuse.foldOnnx, onnx, path('folded.onnx'), {
    force: true,
    durable: false,
    grow: false,
    requireChange: false,
    threads: 1,
    verify: false,
    signal: undefined,
  });
  const writing = { force: true, durable: false, signal: undefined, onProgress: () => {} };
  add('writeNpz', repfuse.writeNpz, path('out.npz'), tensors(), writing);
  add('writeTorch', repfuse.writeTorch, path('out.pth'), tensors(), writing);
  add('writeSafetensors', repfuse.writeSafetensors, path('out.safetensors'), tensors(), {
    ...writing,
    metadata: { a: 'b' },
    sealWith: async () => ({ a: 'c' }),
  });
  return calls;
}

/**
 * The names of all that can be called: functions, constructors, methods and static ones, of namespaces and sub-paths too; what several
 * doors have, once.
 */
export function publicNames(): string[] {
  const names: string[] = [];
  const seen = new Set<object>();
  const methods = (owner: object, prefix: string) => {
    for (const key of Reflect.ownKeys(owner)) {
      const { value } = Object.getOwnPropertyDescriptor(owner, key)!;
      if (typeof value === 'function' && key !== 'constructor') names.push(`${prefix}${String(key)}`);
    }
  };
  const visitClass = (name: string, Class: { readonly prototype: object; readonly name: string }) => {
    names.push(`new ${name}`);
    for (const key of Object.getOwnPropertyNames(Class)) {
      const { value } = Object.getOwnPropertyDescriptor(Class, key)!;
      if (typeof value === 'function') names.push(`${name}.${key}`);
    }
    for (
      let proto = Class.prototype;
      proto !== Object.prototype && proto !== Error.prototype;
      proto = Object.getPrototypeOf(proto)
    ) {
      if (seen.has(proto)) return;
      seen.add(proto);
      const owner = proto.constructor.name;
      methods(proto, `${name.endsWith(owner) ? name : owner}#`);
    }
  };
  const visit = (prefix: string, members: object) => {
    for (const [name, member] of Object.entries(members)) {
      if (typeof member === 'function') {
        if (seen.has(member)) continue;
        seen.add(member);
        if (/^class\b/.test(Function.prototype.toString.call(member))) visitClass(prefix + name, member);
        else names.push(prefix + name);
      } else if (member === ops || member === algebra) visit(`${name}.`, member);
    }
  };
  visit('', repfuse);
  visit('algebra.', algebraDoor);
  visit('graph.', graphDoor);
  return names;
}

import { addBranches, fromBranch, materialize } from '../algebra';
import type { StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import { buildBranch } from '../families/branches';
import {
  type AsyncOpOptions,
  add,
  addAsync,
  type Branch,
  conv2d,
  conv2dAsync,
  type OpOptions,
  relu,
  reluAsync,
  runBranch,
  runBranchAsync,
  squeezeExcite,
  squeezeExciteAsync,
} from '../ops';
import { toFloat32 } from '../tensor/half';
import { formatShape, Tensor } from '../tensor/tensor';
import { type BlockDefinition, deploySpecs, squeezeExciteSpecs, type TensorSpec, trainingSpecs } from './definition';
import { initialTensors, roughStatistics } from './initialize';

export interface LoadStateDictOptions {
  /** Only keys that begin with this belong to the block, e.g. `stage1.0.`. Default ''. */
  readonly prefix?: string | undefined;
  /** Use the tensors as they are instead of copying them: the block may then overwrite them when it is fused. */
  readonly borrow?: boolean | undefined;
}

/**
 * A re-parameterizable block: parallel affine branches that are summed, in training form, or one convolution with bias, in
 * deploy form; then squeeze-excite and activation, where it has them. Both forms compute the same function, with running
 * statistics: there is no training mode.
 */
export abstract class ReparameterizableBlock {
  protected readonly definition: BlockDefinition;
  /** Tensors of the present form, by key. */
  private tensors: StateDict;
  private isDeployed: boolean;

  protected constructor(definition: BlockDefinition, { deploy, seed }: { deploy: boolean; seed: number }) {
    this.definition = definition;
    this.isDeployed = deploy;
    this.tensors = initialTensors(this.specs(), seed);
  }

  /** Whether the block is one plain convolution. */
  get deployed(): boolean {
    return this.isDeployed;
  }

  get inChannels(): number {
    return this.definition.inChannels;
  }

  get outChannels(): number {
    return this.definition.outChannels;
  }

  /** Learnable parameters of the present form (BatchNorm statistics are none). */
  get parameterCount(): number {
    const learnable = [...this.specs()].filter(([, { role }]) => !['mean', 'var', 'counter'].includes(role));
    return learnable.reduce((sum, [key]) => sum + this.tensors.get(key)!.size, 0);
  }

  /** The training branches with their tensors, in the order in which they are summed; none in deploy form. */
  get branches(): readonly Branch[] {
    if (this.isDeployed) return [];
    const { branches, geometry, eps } = this.definition;
    const epsOf = (batchNorm: string) => epsFor(eps, batchNorm);
    return branches.map((branch) => buildBranch(branch, this.tensors, '', geometry, epsOf));
  }

  /**
   * The block's output, squeeze-excite and activation included.
   *
   * @param input [N, inChannels, H, W]
   * @returns [N, outChannels, H', W']
   * @throws ERR_REPFUSE_SHAPE and the errors of `batchNorm`
   */
  forward(input: Tensor, options: OpOptions = {}): Tensor {
    const { activation, squeezeExcite: se } = this.definition;
    let y = this.forwardLinear(input, options);
    if (se?.position === 'before-activation') y = squeezeExcite(y, this.squeezeExcite(), options);
    if (activation === 'relu') y = relu(y, options);
    return se?.position === 'after-activation' ? squeezeExcite(y, this.squeezeExcite(), options) : y;
  }

  /** `forward` on the pool: the event loop stays free. */
  async forwardAsync(input: Tensor, options: OpOptions & AsyncOpOptions = {}): Promise<Tensor> {
    const { activation, squeezeExcite: se } = this.definition;
    let y = await this.forwardLinearAsync(input, options);
    if (se?.position === 'before-activation') y = await squeezeExciteAsync(y, this.squeezeExcite(), options);
    if (activation === 'relu') y = await reluAsync(y, options);
    return se?.position === 'after-activation' ? squeezeExciteAsync(y, this.squeezeExcite(), options) : y;
  }

  /** The affine part alone: the sum of the branches, or the fused convolution. */
  forwardLinear(input: Tensor, options: OpOptions = {}): Tensor {
    if (this.isDeployed)
      return conv2d(input, this.fused('weight'), this.fused('bias'), { ...options, ...this.definition.geometry });
    return this.branches.map((branch) => runBranch(branch, input, options)).reduce((sum, y) => add(sum, y, options));
  }

  /** `forwardLinear` on the pool. */
  async forwardLinearAsync(input: Tensor, options: OpOptions & AsyncOpOptions = {}): Promise<Tensor> {
    if (this.isDeployed) {
      return conv2dAsync(input, this.fused('weight'), this.fused('bias'), { ...options, ...this.definition.geometry });
    }
    let sum: Tensor | undefined;
    for (const branch of this.branches) {
      const y = await runBranchAsync(branch, input, options);
      sum = sum === undefined ? y : await addAsync(sum, y, options);
    }
    return sum!;
  }

  /**
   * Fuses the branches into one convolution, exactly (float64 inside, rounded once), in the buffer of the largest branch, and
   * frees the others. Does nothing in deploy form. All checks come first: if it throws, the block is as it was.
   *
   * @throws ERR_REPFUSE_NOT_FUSABLE, ERR_REPFUSE_NOT_FINITE
   */
  switchToDeploy(options: OpOptions = {}): void {
    if (this.isDeployed) return;
    const sum = addBranches(this.branches.map((branch) => fromBranch(branch)));
    const { weight, bias } = materialize(sum, { into: 'largest-branch', threads: options.threads });
    const { deploy } = this.definition.rule;
    const kept = [...squeezeExciteSpecs(this.definition).keys()].map((key) => [key, this.tensors.get(key)!] as const);
    this.tensors = new Map([[deploy.weight, weight], [deploy.bias, bias], ...kept]);
    this.isDeployed = true;
  }

  /** The tensors of the present form under the authors' key names, not copied. */
  stateDict(): StateDict {
    return new Map(this.tensors);
  }

  /**
   * Takes the tensors of a state dict in the form that the block has. F16 and BF16 are widened (exactly).
   *
   * @throws ERR_REPFUSE_KEY naming every key that is missing or not expected, ERR_REPFUSE_SHAPE naming the tensor. The block is
   *   then as it was.
   */
  loadStateDict(stateDict: StateDict, { prefix = '', borrow = false }: LoadStateDictOptions = {}): void {
    const specs = this.specs();
    const given = new Map(
      [...stateDict]
        .filter(([key]) => key.startsWith(prefix))
        .map(([key, tensor]) => [key.slice(prefix.length), tensor]),
    );
    const missing = [...specs]
      .filter(([key, { role }]) => role !== 'counter' && !given.has(key))
      .map(([key]) => prefix + key);
    const unexpected = [...given.keys()].filter((key) => !specs.has(key)).map((key) => prefix + key);
    if (missing.length > 0 || unexpected.length > 0) throw this.keyError(given, missing, unexpected);
    const loaded: StateDict = new Map();
    for (const [key, spec] of specs) {
      const tensor = given.get(key);
      loaded.set(
        key,
        tensor === undefined ? new Tensor('I64', [], new BigInt64Array(1)) : adopt(prefix + key, tensor, spec, borrow),
      );
    }
    this.tensors = loaded;
  }

  /** Replaces every BatchNorm's statistics and affine parameters by seeded rough ones, as if trained. */
  randomizeStatistics(seed: number): void {
    if (this.isDeployed) return;
    for (const [key, tensor] of roughStatistics(this.specs(), seed)) this.tensors.set(key, tensor);
  }

  private specs(): Map<string, TensorSpec> {
    const own = this.isDeployed ? deploySpecs(this.definition) : trainingSpecs(this.definition);
    return new Map([...own, ...squeezeExciteSpecs(this.definition)]);
  }

  private fused(part: 'weight' | 'bias'): Tensor {
    return this.tensors.get(this.definition.rule.deploy[part])!;
  }

  private squeezeExcite() {
    const { reduce, expand } = this.definition.squeezeExcite!;
    const conv = (key: string) => ({
      weight: this.tensors.get(`${key}.weight`)!,
      bias: this.tensors.get(`${key}.bias`)!,
    });
    return { reduce: conv(reduce), expand: conv(expand) };
  }

  private keyError(given: ReadonlyMap<string, Tensor>, missing: string[], unexpected: string[]): RepfuseError {
    const parts = [
      ...(missing.length > 0 ? [`missing ${missing.join(', ')}`] : []),
      ...(unexpected.length > 0 ? [`not expected ${unexpected.join(', ')}`] : []),
    ];
    const { rule } = this.definition;
    const otherForm = this.isDeployed ? given.has(rule.anchor) : given.has(rule.deploy.weight);
    const hint = otherForm
      ? ` (it is in ${this.isDeployed ? 'training' : 'deploy'} form: create the block with deploy: ${!this.isDeployed})`
      : '';
    return new RepfuseError(
      'ERR_REPFUSE_KEY',
      `Expected the keys of a ${rule.family} block but the state dict does not fit: ${parts.join('; ')}${hint}`,
      { missing, unexpected },
    );
  }
}

function epsFor(eps: number | Readonly<Record<string, number>>, batchNorm: string): number {
  const value = typeof eps === 'number' ? eps : eps[batchNorm];
  if (value === undefined)
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an eps for ${batchNorm} but the eps option has none`,
    );
  return value;
}

function adopt(name: string, tensor: Tensor, { shape, role }: TensorSpec, borrow: boolean): Tensor {
  if (formatShape(tensor.shape) !== formatShape(shape)) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${formatShape(shape)} for ${name} but received ${formatShape(tensor.shape)}`,
      { tensor: name },
    );
  }
  if (role === 'counter') {
    if (tensor.dtype !== 'I64')
      throw new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected I64 for ${name} but received ${tensor.dtype}`, {
        tensor: name,
      });
    return borrow ? tensor : new Tensor('I64', shape, BigInt64Array.from(tensor.data as BigInt64Array));
  }
  if (!['F32', 'F16', 'BF16'].includes(tensor.dtype)) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected F32, F16 or BF16 for ${name} but received ${tensor.dtype}, which float32 does not hold exactly`,
      { tensor: name },
    );
  }
  const values = toFloat32(tensor);
  return Tensor.f32(shape, borrow || values !== tensor.data ? values : Float32Array.from(values));
}

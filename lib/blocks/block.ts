import { fromBranches, materialize } from '../algebra';
import { checkOptions } from '../arguments/check';
import { BOOLEAN, membersOf, optional } from '../arguments/schemas';
import type { StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import { type BlockGeometry, buildBranch } from '../families/branches';
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
import { ASYNC_OP_OPTIONS, OP_OPTIONS } from '../ops/run';
import { checkTensors } from '../tensor/schemas';
import type { Float32Tensor, Tensor } from '../tensor/tensor';
import {
  type BlockDefinition,
  type BlockStructure,
  deploySpecs,
  squeezeExciteSpecs,
  type TensorSpecs,
  trainingSpecs,
} from './definition';
import { resolveEps } from './eps';
import type { BlockOptions } from './geometry';
import { initialTensors } from './initialize';
import { copyTensor, LOAD_STATE_DICT_OPTIONS, type LoadStateDictOptions, takeTensors } from './load-state-dict';

export interface StateDictOptions {
  /** The block's own tensors instead of copies: a later `switchToDeploy` overwrites one of them. Default false. */
  readonly borrow?: boolean | undefined;
}

const STATE_DICT_OPTIONS = membersOf<StateDictOptions>()({ borrow: optional(BOOLEAN) });
const STATISTICS: readonly string[] = ['mean', 'var', 'counter'];

/**
 * A re-parameterizable block: parallel affine branches that are summed, in training form, or one convolution with bias, in
 * deploy form; then squeeze-excite and activation, where it has them. Both forms compute the same function, with running
 * statistics: there is no training mode.
 */
export abstract class ReparameterizableBlock {
  private readonly definition: BlockDefinition;
  /** Tensors of the present form, by key. */
  private tensors: StateDict;
  private isDeployed: boolean;
  /** Forward passes on the pool that may still read the training tensors. */
  private passesUnderWay = 0;

  /** @internal What a kind of block is; @throws ERR_REPFUSE_INVALID_ARGUMENT */
  protected constructor(options: BlockOptions, geometry: BlockGeometry, structure: BlockStructure) {
    if (new.target === ReparameterizableBlock) {
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        'Expected a kind of block, such as RepVGGBlock, but received what all have in common',
      );
    }
    const { inChannels, outChannels } = options;
    this.definition = {
      squeezeExcite: null,
      internalChannels: inChannels,
      ...structure,
      inChannels,
      outChannels,
      geometry,
      affine: options.affine ?? true,
      epsFor: resolveEps(options.eps ?? 1e-5, structure.branches),
    };
    this.isDeployed = options.deploy ?? false;
    this.tensors = initialTensors(this.#specs(), options.seed ?? 0);
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
    const learnable = [...this.#specs()].filter(([, { role }]) => !STATISTICS.includes(role));
    return learnable.reduce((sum, [key]) => sum + this.tensors.get(key)!.size, 0);
  }

  /**
   * The training branches, in the order in which they are summed; none in deploy form. Their tensors are the block's own:
   * `switchToDeploy` overwrites the largest weight.
   */
  get branches(): readonly Branch[] {
    if (this.isDeployed) return [];
    const { branches, geometry, epsFor } = this.definition;
    return branches.map((branch) => buildBranch(branch, this.tensors, '', geometry, epsFor));
  }

  /**
   * The block's output, squeeze-excite and activation included.
   *
   * @param input [N, inChannels, H, W]
   * @returns [N, outChannels, H', W']
   * @throws ERR_REPFUSE_SHAPE and the errors of `batchNorm`
   */
  forward(input: Tensor, given: OpOptions = {}): Float32Tensor {
    const options = checkOptions('forward', OP_OPTIONS, given);
    const { activation, squeezeExcite: se } = this.definition;
    let y = this.forwardLinear(input, options);
    if (se?.position === 'before-activation') y = squeezeExcite(y, this.#squeezeExcite(), options);
    if (activation === 'relu') y = relu(y, options);
    return se?.position === 'after-activation' ? squeezeExcite(y, this.#squeezeExcite(), options) : y;
  }

  /** `forward` on the pool: the event loop stays free. */
  async forwardAsync(input: Tensor, given: OpOptions & AsyncOpOptions = {}): Promise<Float32Tensor> {
    const options = checkOptions('forwardAsync', ASYNC_OP_OPTIONS, given);
    const { activation, squeezeExcite: se } = this.definition;
    const weights = se === null ? null : this.#squeezeExcite();
    let y = await this.forwardLinearAsync(input, options);
    if (se?.position === 'before-activation') y = await squeezeExciteAsync(y, weights!, options);
    if (activation === 'relu') y = await reluAsync(y, options);
    return se?.position === 'after-activation' ? squeezeExciteAsync(y, weights!, options) : y;
  }

  /** The affine part alone: the sum of the branches, or the fused convolution. */
  forwardLinear(input: Tensor, given: OpOptions = {}): Float32Tensor {
    const options = checkOptions('forwardLinear', OP_OPTIONS, given);
    if (this.isDeployed)
      return conv2d(input, this.#fused('weight'), this.#fused('bias'), { ...options, ...this.definition.geometry });
    let sum: Float32Tensor | undefined;
    for (const branch of this.branches) {
      const y = runBranch(branch, input, options);
      sum = sum === undefined ? y : add(sum, y, options);
    }
    return sum!;
  }

  /** `forwardLinear` on the pool. */
  async forwardLinearAsync(input: Tensor, given: OpOptions & AsyncOpOptions = {}): Promise<Float32Tensor> {
    const options = checkOptions('forwardLinearAsync', ASYNC_OP_OPTIONS, given);
    if (this.isDeployed) {
      return conv2dAsync(input, this.#fused('weight'), this.#fused('bias'), {
        ...options,
        ...this.definition.geometry,
      });
    }
    this.passesUnderWay++;
    try {
      let sum: Float32Tensor | undefined;
      for (const branch of this.branches) {
        const y = await runBranchAsync(branch, input, options);
        sum = sum === undefined ? y : await addAsync(sum, y, options);
      }
      return sum!;
    } finally {
      this.passesUnderWay--;
    }
  }

  /**
   * Fuses the branches into one convolution, exactly (float64 inside, rounded once), in the buffer of the largest branch, and
   * frees the others. Does nothing in deploy form. All checks come first: if it throws, the block is as it was. While a
   * `forwardAsync` still reads the branches, the result goes into a new buffer instead.
   *
   * @throws ERR_REPFUSE_NOT_FUSABLE, ERR_REPFUSE_NOT_FINITE
   */
  switchToDeploy(options: OpOptions = {}): void {
    const { threads } = checkOptions('switchToDeploy', OP_OPTIONS, options);
    if (this.isDeployed) return;
    const sum = fromBranches(this);
    const into = this.passesUnderWay === 0 ? 'largest-branch' : undefined;
    const { weight, bias } = materialize(sum, { into, threads });
    const { deploy } = this.definition.rule;
    const kept = [...squeezeExciteSpecs(this.definition).keys()].map((key) => [key, this.tensors.get(key)!] as const);
    this.tensors = new Map([[deploy.weight, weight], [deploy.bias, bias], ...kept]);
    this.isDeployed = true;
  }

  /** The tensors of the present form, under the authors' key names. Copies, unless `borrow`. */
  stateDict(options: StateDictOptions = {}): StateDict {
    const { borrow = false } = checkOptions('stateDict', STATE_DICT_OPTIONS, options);
    return new Map([...this.tensors].map(([key, tensor]) => [key, borrow ? tensor : copyTensor(tensor)]));
  }

  /**
   * Takes the tensors of a state dict in the form that the block has, copying them unless `borrow`. F16 and BF16 are widened
   * (exactly).
   *
   * @throws ERR_REPFUSE_KEY naming the keys that are missing or not expected, ERR_REPFUSE_SHAPE and
   *   ERR_REPFUSE_INVALID_ARGUMENT (types) naming the tensor. The block is then as it was.
   */
  loadStateDict(stateDict: StateDict, options: LoadStateDictOptions = {}): void {
    const tensors = checkTensors('stateDict', stateDict);
    const checked = checkOptions('loadStateDict', LOAD_STATE_DICT_OPTIONS, options);
    this.tensors = takeTensors(tensors, this.#specs(), this.definition.rule, checked);
  }

  #specs(): TensorSpecs {
    const own = this.isDeployed ? deploySpecs(this.definition) : trainingSpecs(this.definition);
    return new Map([...own, ...squeezeExciteSpecs(this.definition)]);
  }

  #fused(part: 'weight' | 'bias'): Tensor {
    return this.tensors.get(this.definition.rule.deploy[part])!;
  }

  #squeezeExcite() {
    const { reduce, expand } = this.definition.squeezeExcite!;
    const conv = (key: string) => ({
      weight: this.tensors.get(`${key}.weight`)!,
      bias: this.tensors.get(`${key}.bias`)!,
    });
    return { reduce: conv(reduce), expand: conv(expand) };
  }
}

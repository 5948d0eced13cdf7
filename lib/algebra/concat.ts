import { checkArgument, checkOptions } from '../arguments/check';
import { membersOf, oneOf, optional } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import { commonGrid } from './add';
import { AFFINE_CONVS, type AffineConv, affineConv } from './affine-conv';
import { type BiasTerm, type Chain, type Factor, finestGroups } from './chain';

export interface ConcatOptions {
  /** Whether all read the same input (default), or each the next of its channels. */
  readonly input?: 'shared' | 'split' | undefined;
}

const OPTIONS = membersOf<ConcatOptions>()({ input: optional(oneOf(['shared', 'split'])) });

/**
 * Transform IV: convolutions whose outputs are concatenated along channels are one convolution with the concatenated kernels
 * (Ding et al., CVPR 2021, equation 6), after alignment to a common grid. They read the same input (`shared`), or with
 * `split` each the next of its channels. The result is grouped as finely as that allows; where the parts do not
 * make one grouped convolution it is dense, absent connections being zero.
 *
 * @throws ERR_REPFUSE_SHAPE for unequal strides or output sizes, or unequal input channels with a shared input.
 */
export function concatOutputs(parts: readonly AffineConv[], options: ConcatOptions = {}): AffineConv {
  const convs = checkArgument('convs', AFFINE_CONVS, parts);
  const { input = 'shared' } = checkOptions('concatOutputs', OPTIONS, options);
  const [first] = convs;
  if (first === undefined) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      'Expected at least one convolution to concatenate but received none',
    );
  }
  const grid = commonGrid(convs);
  const chains: Chain[] = [];
  const biasTerms: BiasTerm[] = [];
  const bias: number[] = [];
  let inChannels = 0;
  convs.forEach((conv, branch) => {
    if (input === 'shared' && conv.inChannels !== first.inChannels) {
      throw new RepfuseError(
        'ERR_REPFUSE_SHAPE',
        `Expected ${first.inChannels} input channels for convolution ${branch} of a shared input but received ${conv.inChannels}`,
        { branch },
      );
    }
    const outBegin = bias.length;
    const inBegin = input === 'split' ? inChannels : 0;
    for (const chain of conv.value.chains) chains.push({ ...chain, factors: shift(chain.factors, outBegin, inBegin) });
    // Constants of inner maps stay: only their way to the output moves.
    for (const term of conv.value.biasTerms) biasTerms.push({ ...term, factors: shift(term.factors, outBegin, 0) });
    for (const value of conv.value.bias) bias.push(value);
    inChannels += conv.inChannels;
  });
  if (input === 'shared') inChannels = first.inChannels;
  const outChannels = bias.length;
  const groups = convs.length === 1 ? first.groups : finestGroups(chains, outChannels, inChannels);
  return affineConv(
    { outChannels, inChannels, stride: first.stride, groups, ...grid },
    { chains, bias: Float64Array.from(bias), biasTerms },
  );
}

/** Moves the outputs of the first factor and the inputs of the last. */
function shift(factors: readonly Factor[], outBegin: number, inBegin: number): Factor[] {
  return factors.map((factor, i) => ({
    ...factor,
    outBegin: factor.outBegin + (i === 0 ? outBegin : 0),
    inBegin: factor.inBegin + (i === factors.length - 1 ? inBegin : 0),
  }));
}

import { RepfuseError } from '../../errors';
import { evaluateValues, type Graph, outputsOf, type ReadModel } from '../../graph';
import { throwIfAborted } from '../../native/call';
import { formatShape } from '../../tensor/tensor';
import { type Difference, differenceOf, peakOf } from './difference';
import type { NetworkVerification } from './report';
import { seededInputs } from './seeded-inputs';

/** A network that can be run. */
export interface RunnableNetwork {
  readonly graph: Graph;
  readonly tensors: ReadModel['tensors'];
}

interface RunOptions {
  readonly tolerance?: number | undefined;
  readonly seed?: number | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Allowed error of an output, relative to its peak: ten times what rounding makes of networks of a hundred layers. */
const BOUND = 2e-5;

/**
 * Runs two networks operator by operator on the same seeded inputs, and compares their outputs in their order.
 *
 * @returns the worst output; `problem` where they cannot be compared
 */
export async function compareNetworks(
  first: RunnableNetwork,
  second: RunnableNetwork,
  { tolerance: bound = BOUND, seed = 1, threads, signal }: RunOptions,
): Promise<NetworkVerification> {
  const unknown = { equal: false, maxAbsolute: Number.POSITIVE_INFINITY, relative: Number.POSITIVE_INFINITY, bound };
  const known =
    [second, first].find(({ graph }) => graph.inputShape !== undefined || graph.inputs !== undefined) ?? second;
  try {
    const input = seededInputs(known, seed);
    const [want, have] = [outputsOf(first.graph), outputsOf(second.graph)];
    if (want.length !== have.length)
      return { ...unknown, problem: `the networks have ${want.length} and ${have.length} outputs` };
    const expected = await evaluateValues(first.graph, first.tensors, input, want, { threads, signal });
    const got = await evaluateValues(second.graph, second.tensors, input, have, { threads, signal });
    let worst: Difference | undefined;
    for (const [i, id] of want.entries()) {
      const [a, b] = [expected.get(id)!, got.get(have[i]!)!];
      if (formatShape(a.shape) !== formatShape(b.shape))
        return { ...unknown, problem: `the outputs are ${formatShape(a.shape)} and ${formatShape(b.shape)}` };
      const difference = differenceOf(a, b, peakOf(a));
      if (worst === undefined || difference.relative > worst.relative) worst = difference;
    }
    const { maxAbsolute, relative } = worst!;
    return { equal: relative <= bound, maxAbsolute, relative, bound };
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof RepfuseError && TOLD.includes(error.code)) return { ...unknown, problem: error.message };
    throw error;
  }
}

/** What tells of the networks. */
const TOLD = ['ERR_REPFUSE_NOT_FUSABLE', 'ERR_REPFUSE_NOT_FINITE', 'ERR_REPFUSE_SHAPE', 'ERR_REPFUSE_GRAPH'];

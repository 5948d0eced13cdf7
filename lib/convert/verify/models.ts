import type { Source } from '../../checkpoint/files/source';
import type { FoldedRegion, OnnxModel } from '../../onnx';
import type { VerifiedModel } from './checkpoint-model';
import { compareNetworks } from './networks';
import { verifyOnnx } from './onnx';
import type { OnnxVerification, VerifyOptions, VerifyReport } from './report';

/** A model beside what it was folded to, region by region. @throws as `verifyOnnx` */
export async function verifyFolding(
  given: Source,
  folded: Source,
  regions: readonly FoldedRegion[],
  { threads, signal, onProgress }: Pick<VerifyOptions, 'threads' | 'signal' | 'onProgress'>,
): Promise<VerifyReport> {
  onProgress?.({ phase: 'verify', done: 0, total: 1 });
  const report = reportOf(await verifyOnnx(given, folded, regions, { threads, signal }), undefined);
  onProgress?.({ phase: 'verify', done: 1, total: 1 });
  return report;
}

/**
 * Two models of one network, in any forms: their outputs, and what the second makes otherwise than the first of values that both have. Outputs
 * of other names are compared in their order.
 *
 * @throws as `verifyOnnx`
 */
export async function verifyModels(
  first: VerifiedModel & { readonly source: Source },
  second: VerifiedModel & { readonly source: Source },
  options: VerifyOptions,
): Promise<VerifyReport> {
  const { seed, threads, signal, tolerance } = options;
  const [names, others] = [first, second].map(({ model }) => outputNames(model));
  if (names!.length === others!.length && names!.every((name) => others!.includes(name)))
    return reportOf(await verifyOnnx(first.source, second.source, [], { seed, tolerance, threads, signal }), tolerance);
  const network = await compareNetworks(await first.graph(), await second.graph(), options);
  const notes = [`the outputs have other names and were compared in their order: ${names} and ${others}`];
  return { ...NOTHING, tolerance: tolerance ?? null, equal: network.equal, network, notes };
}

function outputNames({ proto }: OnnxModel): string[] {
  return proto.graph.output.map(({ name }) => name);
}

const NOTHING = { blocks: [], network: null, otherTensors: [], notes: [] } as const;

/** What a verification of two models has in common with one of checkpoints. */
function reportOf(verification: OnnxVerification, tolerance: number | undefined): VerifyReport {
  return { ...NOTHING, tolerance: tolerance ?? null, ...verification };
}

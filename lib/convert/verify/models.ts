import type { Source } from '../../checkpoint/files/source';
import type { FoldedRegion } from '../../onnx';
import { type OnnxVerification, verifyOnnx } from './onnx';
import type { VerifyOptions, VerifyReport } from './verify';

type Settings = Pick<VerifyOptions, 'threads' | 'signal' | 'onProgress'>;

/** A model beside what it was folded to, region by region. @throws as `verifyOnnx` */
export async function verifyFolding(
  given: Source,
  folded: string,
  regions: readonly FoldedRegion[],
  { threads, signal, onProgress }: Settings,
): Promise<VerifyReport> {
  onProgress?.({ phase: 'verify', done: 0, total: 1 });
  const report = reportOf(await verifyOnnx(given, folded, regions, { threads, signal }));
  onProgress?.({ phase: 'verify', done: 1, total: 1 });
  return report;
}

/** What a verification of two models has in common with one of checkpoints. */
function reportOf(verification: OnnxVerification): VerifyReport {
  return { tolerance: null, blocks: [], network: null, otherTensors: [], notes: [], ...verification };
}

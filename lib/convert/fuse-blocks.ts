import type { OpenCheckpoint } from '../checkpoint/open-checkpoint';
import type { TensorSource } from '../checkpoint/tensor-source';
import { throwIfAborted } from '../native/call';
import type { Tensor } from '../tensor/tensor';
import { type FusedBlock, type FuseOptions, fuseBlock, releaseBlock } from './fuse-block';
import type { FoundBlock } from './inspect';
import type { OutputSpec } from './output-spec';
import type { BlockReport } from './report';

export interface FuseProgress {
  readonly phase: 'fuse';
  /** Blocks that are fused. */
  readonly done: number;
  readonly total: number;
  readonly block: string;
}

export interface FuseBlocksOptions extends FuseOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: FuseProgress) => void) | undefined;
}

/** Thrown by the source of a block that turns out not to be fusable: then nothing is written, and the other blocks are looked at. */
export class UnfusableBlock extends Error {}

/** The blocks of a file that are to be fused, each when its turn comes. */
export class BlockFusing {
  private readonly started = new Map<FoundBlock, Promise<FusedBlock>>();
  private readonly total: number;
  private done = 0;

  constructor(
    private readonly found: readonly FoundBlock[],
    private readonly opened: OpenCheckpoint,
    private readonly spec: OutputSpec,
    private readonly options: FuseBlocksOptions,
  ) {
    this.total = found.filter(({ report }) => report.status === 'convertible').length;
  }

  /** Fused weight and bias as sources; both come from one pass, and the weight's memory is used again once it is written. */
  sources(item: FoundBlock): { readonly weight: TensorSource; readonly bias: TensorSource } {
    const { outChannels, weightShape } = item.block;
    const load = async (part: 'weight' | 'bias'): Promise<Tensor> => {
      const { fused } = await this.fuse(item);
      if (fused === undefined) throw new UnfusableBlock(item.block.prefix);
      return fused[part];
    };
    return {
      weight: {
        dtype: 'F32',
        shape: weightShape,
        load: () => load('weight'),
        release: () => releaseBlock(item.block, this.opened),
      },
      bias: { dtype: 'F32', shape: [outChannels], load: () => load('bias') },
    };
  }

  /** The report of every block, those of fused ones completed. Fuses what has not been, only to tell what becomes of it. */
  async reports(): Promise<BlockReport[]> {
    const reports: BlockReport[] = [];
    for (const item of this.found) {
      const known = this.started.get(item);
      if (known !== undefined) reports.push((await known).report);
      else if (item.report.status !== 'convertible') reports.push(item.report);
      else {
        reports.push((await this.fuse(item)).report);
        releaseBlock(item.block, this.opened);
      }
    }
    return reports;
  }

  /** Reports how far it is. */
  tell(block: string): void {
    this.options.onProgress?.({ phase: 'fuse', done: this.done, total: this.total, block });
  }

  private fuse(item: FoundBlock): Promise<FusedBlock> {
    const fusing = this.started.get(item) ?? this.begin(item);
    this.started.set(item, fusing);
    return fusing;
  }

  private async begin(item: FoundBlock): Promise<FusedBlock> {
    const { prefix } = item.block;
    throwIfAborted(this.options.signal);
    this.tell(prefix);
    const anchor = this.opened.tensors.get(item.block.anchorKey)!;
    const half = this.spec.fusedType(anchor.dtype) !== 'F32';
    const fused = await fuseBlock(item, this.opened, { ...this.options, rounding: half ? 'odd' : 'nearest' });
    this.done++;
    this.tell(prefix);
    return fused;
  }
}

import type { OnnxModel } from '../model';

export interface FoldOptions {
  /** Merge even where one convolution costs more than its parts did (a 1x1 into a large dense kernel). Default false. */
  readonly grow?: boolean | undefined;
  /** Only tell what would be folded: fused weights are 0, and the native addon is not needed. Default false. */
  readonly dryRun?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Nodes that became one convolution. */
export interface FoldedRegion {
  /** The new node, and the value that it makes, which keeps its name. */
  readonly node: string;
  readonly output: string;
  /** The nodes that it stands for. */
  readonly from: readonly string[];
  readonly kernel: readonly [number, number];
  readonly groups: number;
}

export interface FoldReport {
  readonly folded: readonly FoldedRegion[];
  /** What could have been folded by its kind, and why it was not. */
  readonly kept: readonly { readonly node: string; readonly reason: string }[];
  /** Nodes whose results nobody reads. */
  readonly dead: number;
  readonly nodes: { readonly before: number; readonly after: number };
  readonly convolutions: { readonly before: number; readonly after: number };
}

/** What a pass makes of a model: the given one where it folds nothing. */
export interface Folded {
  readonly model: OnnxModel;
  readonly folded: readonly FoldedRegion[];
  readonly kept: FoldReport['kept'];
}
